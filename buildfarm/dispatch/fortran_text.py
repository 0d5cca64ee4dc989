"""Puts the files of `include` lines into a Fortran text, so that nobody has to look for them any more.

It knows neither statements nor modules; cpp's `#include` has been done before.

*Theory of operation.*  A node must not search for include files: with debug information its gfortran looks into the
directory that the text names first, and that may be a stale copy of the user's tree on the node's own disk.  Line
markers around the inserted file, named as the include line names it, give the same debug information and the same
messages as gfortran's own inclusion (`scanner.cc: load_file, preprocessor_line`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from buildfarm.dispatch.prepared import CannotTravel
from buildfarm.model import Unit

# scanner.cc: include_line; the same in both source forms, behind a sentinel with -fopenmp only.
_LINE = rb"""[ \t]*include[ \t]*(["'])([^"'\n]+)\1[ \t]*(?:![^\n]*)?\r?$"""
_INCLUDE = re.compile(rb"^" + _LINE, re.IGNORECASE | re.MULTILINE)
_OPENMP_INCLUDE = re.compile(rb"^(?:(?:[ \t]*!|[cC*])\$[ \t])?" + _LINE, re.IGNORECASE | re.MULTILINE)
_MARKER = re.compile(rb'# (\d+) ("(?:[^"\\\n]|\\.)*")')
_DEPTH = 20  # a file that includes itself ends here


class Scanned(Protocol):
    """What a scanner tells of a text: names in lower case, files by their base names."""

    @property
    def defines(self) -> tuple[str, ...]: ...
    @property
    def uses(self) -> tuple[str, ...]:
        """Modules used, `use, intrinsic` excepted, own ones included."""

    @property
    def includes(self) -> tuple[str, ...]:
        """Names in `include` lines."""

    @property
    def needed_modules(self) -> tuple[str, ...]:
        """Modules used and not defined here."""

    @property
    def needed_submodule_files(self) -> tuple[str, ...]:
        """The `.smod` files of parents that are not defined here."""

    @property
    def possible_module_files(self) -> tuple[str, ...]:
        """All that a compile may write."""


Scan = Callable[[str, Unit], Scanned]  # scans a text of the unit by the rules of the unit's options
Open = Callable[
    [bytes], bytes | None
]  # the content of an include line's file; None: leave the line to the compiler


def with_includes(
    text: bytes, name: bytes, open_file: Open, *, openmp: bool = False, depth: int = 0
) -> bytes:
    """`text`, whose first line is line 1 of file `name` unless a marker says otherwise, with its files in place.

    Raises CannotTravel where files include each other without end.
    """
    found = list((_OPENMP_INCLUDE if openmp else _INCLUDE).finditer(text))
    if not found:
        return text
    if depth == _DEPTH:
        raise CannotTravel(f"include lines nest deeper than {_DEPTH}")
    parts: list[bytes] = []
    done = 0
    for line in found:
        content = open_file(line[2])
        if content is None:
            continue
        number, file = _position(text, line.start(), b'"%s"' % name)
        content = with_includes(content, line[2], open_file, openmp=openmp, depth=depth + 1)
        parts.append(text[done : line.start()])
        parts.append(b'# 1 "%s" 1\n%s' % (line[2], content))
        if not content.endswith(b"\n"):
            parts.append(b"\n")
        parts.append(b"# %d %s 2" % (number + 1, file))
        done = line.end()
    parts.append(text[done:])
    return b"".join(parts)


def _position(text: bytes, offset: int, name: bytes) -> tuple[int, bytes]:
    """The line number and the quoted name of the file that the byte at `offset` belongs to."""
    start = text.rfind(b"\n# ", 0, offset) + 1
    marker = _MARKER.match(text, start) if start or text.startswith(b"# ") else None
    if marker is None:
        return text.count(b"\n", 0, offset) + 1, name
    return int(marker[1]) + text.count(b"\n", marker.end(), offset) - 1, marker[2]
