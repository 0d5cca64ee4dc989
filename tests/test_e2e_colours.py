"""On a terminal, the words of units that come from nodes are as coloured as those of a compiler here."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.farm import Farm
from tests.tool import TIMEOUT, command, environment

LINK = re.compile(rb"\x1b\]8;;[^\x07\x1b]*(?:\x07|\x1b\\)")
MAKEFILE = """CFLAGS = -Wall
FFLAGS = -Wall -Iabsent
all: c.o f.o quiet.o own.o said.o cpp.o
%.o: %.f90
\t$(FC) $(FFLAGS) -c $< -o $@
%.o: %.F90
\t$(FC) $(FFLAGS) -c $< -o $@
quiet.o: c.c
\t$(CC) $(CFLAGS) -c $< -o $@ 2>words
own.o: c.c
\t$(CC) $(CFLAGS) -fdiagnostics-color=always -c $< -o $@ 2>coloured
said.o: c.c
\t$(CC) $(CFLAGS) @options -c $< -o $@ 2>also
"""
FILES = {
    "Makefile": MAKEFILE,
    "c.c": '#include "c.h"\nint f(void) { int unused; return g; }\n',
    "options": "-fdiagnostics-color=always\n",
    "c.h": "static int g, h;\n",
    "f.f90": "module m\ncontains\nsubroutine s\n  integer :: unused\nend subroutine\nend module\n",
    "cpp.F90": "#warning mind that\nsubroutine t\n  integer :: unused\nend subroutine\n",
}


def _on_terminal(words: list[str], env: Mapping[str, str]) -> bytes:
    """What a command that ends well says on a terminal, its line ends as they were written."""
    master, slave = pty.openpty()
    process = subprocess.Popen(words, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    said = b""
    try:
        while True:
            try:
                said += os.read(master, 65536)
            except OSError:  # EIO: nobody holds it any more
                break
        assert process.wait(TIMEOUT) == 0, said
    finally:
        process.kill()
        process.wait()
        os.close(master)
    return said.replace(b"\r\n", b"\n")


def _project(root: Path) -> Path:
    root.mkdir()
    for name, text in FILES.items():
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize("where", ["by the nodes", "here", "ahead of make"])
def test_a_terminal_shows_the_colours_that_make_shows(tmp_path: Path, farm: Farm, where: str) -> None:
    env = environment(TERM="xterm-256color", COLORTERM="truecolor")
    theirs, ours = _project(tmp_path / "make"), _project(tmp_path / "ours")
    expected = LINK.sub(b"", _on_terminal(["make", "-C", str(theirs), "-j1", "--no-print-directory"], env))
    assert b"\x1b[01;35m\x1b[Kwarning: " in expected and b"\x1b[01;35m\x1b[KWarning:" in expected
    options = {"by the nodes": ("--no-lookahead",), "here": ("--no-pump", "--no-lookahead"), "ahead of make": ()}[where]
    said = _on_terminal(command("run", "-C", str(ours), "--plain", "--hosts", farm.hosts, *options, "-j1"), env)
    kept = [line for line in said.splitlines(keepends=True) if not line.startswith((b"[", b"buildfarm: ", b"make: "))]
    assert b"".join(kept) == expected
    assert b"(6 on nodes)" in said
    for name in ("words", "coloured", "also", "c.o", "quiet.o", "own.o", "f.o", "cpp.o", "m.mod"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name


@pytest.mark.parametrize("says", [{"TERM": "dumb"}, {"GCC_COLORS": ""}, {"GCC_COLORS": "error=01;34"}])
def test_where_the_environment_asks_for_other_colours_nodes_use_none(
    tmp_path: Path, farm: Farm, says: dict[str, str]
) -> None:
    tree = _project(tmp_path / "p")
    said = _on_terminal(
        command("run", "-C", str(tree), "--plain", "--hosts", farm.hosts, "c.o"), environment(TERM="xterm") | says
    )
    assert b"(1 on nodes)" in said
    assert b"\x1b" not in said
