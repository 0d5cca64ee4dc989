"""Has nodes' compilers colour their words as this machine's colour theirs on a terminal.

It does not know whether a build has a terminal, and prints nothing.

*Theory of operation.*  gcc colours where its stderr is a terminal and `TERM`, `GCC_COLORS` and the options say nothing
else ("Options to Control Diagnostic Messages Formatting"); a node's stderr is a file.  So a unit travels with
`-fdiagnostics-color=always`, if it is proved that this is no more than colours: the compiler is run here on a terminal
of our own, and once more as a node runs it, with the option and without the terminal's variables.  Words and object
must be the same.  So no rule of gcc's is repeated here; a compiler that does not know the option, another one's
colours, a record of the switches in the object each leave the unit as it is, and so do colours of the user's own.

Left out are the links (OSC 8) that gcc 10 and later put behind the names of warnings: `-fdiagnostics-urls=always` is
written down in debug information.

Colours that nobody will see are taken out again where the words are delivered, to a recipe that has redirected them.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import tempfile
import tty
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from buildfarm.dispatch import local
from buildfarm.model import Language, Unit

COLOURED = "-fdiagnostics-color=always"
_SAYS = ("-fdiagnostics-color", "-fno-diagnostics-color", "-fdiagnostics-plain-output")  # a user's own word on it
_TERMINAL = ("TERM", "COLORTERM", "GCC_COLORS", "GCC_URLS", "TERM_URLS")
_TERMINALS = ("/dev/pts/", "/dev/tty", "/dev/console")
_COLOUR = re.compile(rb"\x1b\[[0-9;]*m\x1b\[K")  # gcc/color-macros.h: SGR_START, SGR_END
_LINK = re.compile(rb"\x1b\]8;;[^\x07\x1b]*(?:\x07|\x1b\\)")
_STDERR = 2
_SECONDS = 30.0  # that a compile of one line may take
_WARNED_OF = {
    Language.C: ("unit.c", "static int unused;\n"),
    Language.CXX: ("unit.cc", "static int unused;\n"),
    Language.FORTRAN: ("unit.f90", "program unit\n  integer :: unused\nend program\n"),
}


def plain(words: bytes) -> bytes:
    """The words without colours."""
    return _COLOUR.sub(b"", words) if b"\x1b" in words else words


def as_seen(words: bytes, unit: Unit, env: Mapping[str, str], pid: int) -> bytes:
    """The unit's words as the process sees them that calls for the compile: in colour on a terminal only."""
    if b"\x1b" not in words or _speaks(unit.argv):
        return words
    colours = env.get("TERM", "dumb") != "dumb" and env.get("GCC_COLORS") != ""
    return words if colours and _has_terminal(pid) else plain(words)


def _speaks(arguments: Sequence[str]) -> bool:
    return any(argument.startswith(_SAYS) for argument in arguments)


def _has_terminal(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/fd/{_STDERR}").startswith(_TERMINALS)
    except OSError:
        return False


class Palette:
    """What was proved of compilers, for the life of a build; `wanted`: somebody could see colours."""

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._proved: dict[tuple[str | None, ...], bool] = {}

    @cached_property
    def _proving(self) -> asyncio.Lock:
        return asyncio.Lock()

    async def coloured(self, unit: Unit, tool_path: str, env: Mapping[str, str]) -> Unit:
        """The unit, compiled in colour if it would be here."""
        if not self._wanted or unit.language not in _WARNED_OF or _speaks(unit.argv) or "GCC_COLORS" in env:
            return unit
        key = (tool_path, unit.language, *(env.get(name) for name in _TERMINAL))
        if key not in self._proved:
            async with self._proving:  # a build's first units come together
                if key not in self._proved:
                    self._proved[key] = await _is_proved(unit.language, tool_path, env)
        if not self._proved[key]:
            return unit
        return unit._replace(
            preprocess_arguments=(COLOURED, *unit.preprocess_arguments),
            compile_arguments=(COLOURED, *unit.compile_arguments),
        )


async def _is_proved(language: Language, tool_path: str, env: Mapping[str, str]) -> bool:
    name, text = _WARNED_OF[language]
    there = {name: value for name, value in env.items() if name not in _TERMINAL}
    with tempfile.TemporaryDirectory(prefix="buildfarm-") as directory:
        Path(directory, name).write_text(text)
        argv = ["-Wall", "-g", "-frecord-gcc-switches", "-c", name, "-o"]
        try:
            shown = await asyncio.to_thread(_on_terminal, [tool_path, *argv, "shown.o"], directory, env)
            told = await local.run([tool_path, COLOURED, *argv, "told.o"], cwd=directory, env=there)
            same = Path(directory, "shown.o").read_bytes() == Path(directory, "told.o").read_bytes()
        except (OSError, subprocess.SubprocessError):
            return False
    return same and plain(shown) != shown and _LINK.sub(b"", shown) == told.stderr


def _on_terminal(argv: Sequence[str], directory: str, env: Mapping[str, str]) -> bytes:
    """What the tool says where its stderr is a terminal.  Raises OSError, SubprocessError."""
    master, slave = os.openpty()
    try:
        tty.setraw(slave)
        os.set_blocking(master, False)
        subprocess.run(
            argv,
            cwd=directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=slave,
            timeout=_SECONDS,
            check=True,
        )
        return os.read(master, 65536)  # a few hundred bytes, which the terminal's buffer holds
    finally:
        os.close(master)
        os.close(slave)
