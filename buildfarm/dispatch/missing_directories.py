"""Tells what gfortran says of `-I` and `-J` directories that are not there: the first lines of its messages.

It belongs to the moment at which a result is handed to make, not to that at which it was made: a result made ahead
may be older than the directory.  So no other recipe lets these warnings through, and they are put before the
unit's other words at delivery.  Source: `scanner.cc: add_path_to_list, gfc_do_check_include_dirs`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from buildfarm.dispatch import local
from buildfarm.dispatch.modules import SearchPath
from buildfarm.dispatch.palette import COLOURED
from buildfarm.dispatch.prepared import CannotTravel
from buildfarm.model import Invocation, Unit

SILENCE = "-Wno-missing-include-dirs"


def missing(unit: Unit, cwd: str) -> tuple[str, ...]:
    """The directories that gfortran would miss now, as typed.  Raises CannotTravel where it is an error."""
    if any(argument in ("-w", SILENCE) for argument in unit.compile_arguments):
        return ()
    found = tuple(d for d in SearchPath.of(unit, cwd).directories if not os.path.isdir(os.path.join(cwd, d)))
    if found and any(argument.startswith("-Werror") for argument in unit.compile_arguments):
        raise CannotTravel(f"the directory {found[0]} does not exist")
    return found


class MissingDirectories:
    """The compilers' words, each asked for once, by a compile of nothing."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, ...], bytes] = {}

    async def words(self, unit: Unit, invocation: Invocation, tool_path: str, *, room: Callable[[], Path]) -> bytes:
        """What the compiler would say now; `room` makes a private directory.  Raises CannotTravel, OSError."""
        directories = missing(unit, invocation.cwd)
        if not directories:
            return b""
        colours = (COLOURED,) if COLOURED in unit.compile_arguments else ()
        key = (tool_path, *colours, *directories)
        if key not in self._said:
            empty = room() / "empty.f90"
            empty.touch()
            argv = [tool_path, *colours, *(f"-I{d}" for d in directories), "-fsyntax-only", str(empty)]
            self._said[key] = (await local.run(argv, cwd=invocation.cwd, env=invocation.env)).stderr
        return self._said[key]
