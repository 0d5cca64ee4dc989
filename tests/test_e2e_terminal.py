"""Builds on a terminal of their own: what its keys and its end do to buildfarm, and to the script that called it."""

from __future__ import annotations

import os
import pty
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.farm import wait_until
from tests.tool import buildfarm, command, environment, status

CTRL_C = b"\x03"
SLOW = "all:\n\techo half > table; touch begun; sleep 20; echo whole > table\n.PHONY: all\n"


@contextmanager
def on_a_terminal(*words: str, cwd: Path) -> Iterator[tuple[int, int]]:
    """The pid of these words, run in a terminal's foreground, and the other side of the terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        os.execvpe(words[0], words, environment(TERM="xterm"))
    try:
        yield pid, terminal
    finally:
        os.close(terminal)


def end_of(pid: int) -> int:
    """As `subprocess` tells it: an exit status, or a signal's number below zero."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_ctrl_c_ends_the_script_too_that_called_buildfarm_as_it_does_with_make(tmp_path: Path) -> None:
    """bash goes on after a command that got SIGINT and ended by itself, for that has made its own of the signal."""
    (tmp_path / "Makefile").write_text(SLOW)
    call = shlex.join(command("run", "--hosts", ""))
    script = f"for i in 1 2; do {call}; echo went on > on; done"
    with on_a_terminal("bash", "-c", script, cwd=tmp_path) as (pid, terminal):
        wait_until((tmp_path / "begun").exists, "the recipe")
        os.write(terminal, CTRL_C)
        assert end_of(pid) == -2
    assert not (tmp_path / "on").exists()
    assert status(tmp_path)["state"] == "interrupted"


def test_a_terminal_that_goes_leaves_a_build_that_can_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(SLOW.replace("sleep 20", "test -e on || sleep 20"))
    with on_a_terminal(*command("run", "--hosts", ""), cwd=tmp_path) as (pid, _):
        wait_until((tmp_path / "begun").exists, "the recipe")
    assert end_of(pid) == 129
    assert status(tmp_path)["state"] == "interrupted"
    (tmp_path / "on").touch()
    assert buildfarm("resume", "-C", str(tmp_path)).code == 0
    assert (tmp_path / "table").read_text() == "whole\n"


def test_a_header_that_was_not_there_yet_is_told_where_the_compilers_words_went_to_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(
        "all: a.o gen.h\ngen.h:\n\tuntil test -e failed; do sleep 0.05; done; echo 'int gen;' > $@\n"
        "a.o: a.c\n\t$(CC) -c $< -o $@ || { touch failed; exit 1; }\n"
    )
    (tmp_path / "a.c").write_text('#include <stddef.h>\n#include "gen.h"\n')
    said = b""
    with on_a_terminal(*command("run", "--hosts", "", "-j4", "-k"), cwd=tmp_path) as (pid, terminal):
        with suppress(OSError):  # EIO: all have ended that could write to it
            while part := os.read(terminal, 1 << 16):
                said += part
        assert end_of(pid) == 2
    assert b"a.o needs gen.h, which is made with gen.h" in said, said
    assert b":  a.o: gen.h" in said, said
