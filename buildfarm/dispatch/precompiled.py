"""Says whether a C or C++ unit may be compiled from a precompiled header, which `-E` passes over and no node has.

It reads directives and directories, and asks no compiler.

*Theory of operation.*  gcc takes `NAME.gch` (a file, or a directory of them) for `NAME` only in the place of the first
file that is included, be it by `-include` or by the source (`libcpp/files.cc: pch_open_file`), and looks for it before
`NAME` in each directory, so `NAME` need not be there.  Which directive of the source is reached first depends on
macros, and whether the file fits on options: each directive counts, in all directories that the user names.  A unit too
many is compiled here; none is compiled from another text than make's.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence

from buildfarm.dispatch.stamps import RACY_NS
from buildfarm.model import Invocation, Unit

SUFFIXES = (".gch", ".pch")  # gcc's and clang's
REASON = "a precompiled header stands beside one that it may include"
UNSETTLED = -1  # in the place of a time: it may change again within that tick

_SEARCHED = ("-isystem", "-iquote", "-idirafter", "-I")
_INCLUDED = ("-include", "-imacros")
_DIRECTIVE = re.compile(
    rb"""(?:#|%:)[ \t]*(?:include|import)[a-z_]*[ \t]*["<]([^">\n]+)[">]"""
)  # or what looks like one


class Precompiled:
    """The precompiled headers that were seen in directories.  Not thread-safe."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, frozenset[str]]] = {}  # by directory: its time in ns, the names

    def may_be_used(self, unit: Unit, invocation: Invocation, first: str | None) -> bool:
        """Whether the unit's compile may use one; `first`: what `-E` included first, the compiler's own aside."""
        cwd = invocation.cwd
        source = os.path.join(cwd, unit.source)
        first_read = included(unit)
        names, near = (first_read, cwd) if first_read else (_asked(source), os.path.dirname(source))
        places = (near, *_operands(unit.preprocess_arguments, _SEARCHED))
        asked: dict[str, set[str]] = {}  # by directory, as it is spelled
        for header in names:
            asked.setdefault(os.path.dirname(header), set()).add(os.path.basename(header))
        if first is not None and self._holds(os.path.join(cwd, os.path.dirname(first)), {os.path.basename(first)}):
            return True
        return any(
            self._holds(os.path.join(cwd, place, directory), headers)
            for directory, headers in asked.items()
            for place in (("",) if directory.startswith("/") else places)
        )

    def _holds(self, directory: str, headers: set[str]) -> bool:
        """Whether a precompiled one of these stands there."""
        try:
            changed = os.stat(directory).st_mtime_ns
        except (OSError, ValueError):
            return False
        known = self._seen.get(directory)
        if known is not None and known[0] != changed and time.time_ns() - changed <= RACY_NS:
            # Objects come into a directory all the time: one that has just changed is asked for the names.
            return any(os.path.lexists(f"{directory}/{name}{suffix}") for name in headers for suffix in SUFFIXES)
        if known is None or known[0] != changed:
            settled = time.time_ns() - changed > RACY_NS
            try:
                found = (os.path.splitext(name) for name in os.listdir(directory))
                names = frozenset(stem for stem, suffix in found if suffix in SUFFIXES)
            except OSError:
                return False
            known = self._seen[directory] = (changed if settled else UNSETTLED, names)
        return not known[1].isdisjoint(headers)


def included(unit: Unit) -> tuple[str, ...]:
    """The files that the unit's words have read before its source."""
    return _operands(unit.preprocess_arguments, _INCLUDED)


def _operands(arguments: Sequence[str], options: Sequence[str]) -> tuple[str, ...]:
    def operands() -> Iterator[str]:
        for argument in arguments:
            option = next((option for option in options if argument.startswith(option)), None)
            if option is not None and len(argument) > len(option):
                yield argument[len(option) :]

    return tuple(operands())


def _asked(source: str) -> tuple[str, ...]:
    """What the source's own directives name."""
    try:
        with open(source, "rb") as file:
            return tuple(dict.fromkeys(map(os.fsdecode, _DIRECTIVE.findall(file.read()))))
    except OSError:
        return ()
