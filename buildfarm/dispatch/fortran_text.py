"""Gets the text of a Fortran unit that the compiler proper sees: after cpp, included files in place.

It neither scans the text itself nor looks for modules.

*Theory of operation.*  The text starts with line markers.  f951 takes the unit's name from the first (`scanner.cc:
gfc_read_orig_filename`) and would else eat the text's first character; the second gives debug information its
directory, but is also the first place where f951 looks for included files.  On a node that may be a stale copy of the
user's tree on the node's own disk, so a node must not look for any: they go into the text.  Line markers around
them, named as the include line names them, give the same debug information and the same messages as gfortran's own
inclusion (`scanner.cc: load_file, preprocessor_line`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Protocol

from buildfarm.dispatch import local
from buildfarm.dispatch.linemarkers import entered_files
from buildfarm.dispatch.missing_directories import SILENCE
from buildfarm.dispatch.modules import SearchPath
from buildfarm.dispatch.prepared import CannotTravel
from buildfarm.model import FortranOptions, Invocation, Unit
from buildfarm.value import dataclass

# scanner.cc: include_line; the same in both source forms, behind a sentinel with -fopenmp only.
_LINE = rb"""[ \t]*include[ \t]*(["'])([^"'\n]+)\1[ \t]*(?:![^\n]*)?\r?$"""
_INCLUDE = re.compile(rb"^" + _LINE, re.IGNORECASE | re.MULTILINE)
_OPENMP_INCLUDE = re.compile(rb"^(?:(?:[ \t]*!|[cC*])\$[ \t])?" + _LINE, re.IGNORECASE | re.MULTILINE)
NOTHING_MADE: Mapping[str, str] = {}
_INTRINSIC_INCLUDES = frozenset((b"omp_lib.h", b"openacc_lib.h"))
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
Open = Callable[[bytes], bytes | None]  # the content of an include line's file; None: leave the line to the compiler


@dataclass(frozen=True, slots=True)
class FortranText:
    """A unit's text after cpp, and what it says and was read from."""

    text: bytes = field(repr=False)  # as it travels, behind its line markers
    source: bytes = field(repr=False)  # the real source
    scanned: Scanned
    inputs: tuple[str, ...]  # absolute paths of the source and the included files
    stderr: bytes  # of the preprocessing, save what `missing_directories` tells

    @property
    def defines_modules(self) -> bool:
        return bool(self.scanned.possible_module_files)


async def read(
    unit: Unit, invocation: Invocation, tool_path: str, scan: Scan, *, made: Mapping[str, str] = NOTHING_MADE
) -> FortranText:
    """The unit's text: one process for a unit with cpp, none without.  Raises CannotTravel.

    `made` maps the source's normal path to a private file with its text, if it is not in place yet; not with cpp.
    """
    options, cwd = options_of(unit), invocation.cwd
    if any(c in unit.source + cwd for c in '"\\\n'):
        raise CannotTravel("its name has characters that a line marker can't carry")
    path = os.path.join(cwd, unit.source)
    source = content(made.get(os.path.normpath(path), path))
    inputs = {path: None}
    head = f'# 1 "{unit.source}"\n'
    if unit.debug:
        head += f'# 1 "{cwd}//"\n'
    if options.cpp:
        argv = [tool_path, *unit.preprocess_arguments, SILENCE, "-E", unit.source]
        result = await local.run(argv, cwd=cwd, env=invocation.env)
        if not result.succeeded:
            raise CannotTravel("preprocessing failed")
        body, stderr = result.stdout, result.stderr
        for name in entered_files(body):
            inputs[os.path.join(cwd, os.fsdecode(name).removeprefix("./"))] = None
    else:
        head += f'# 1 "{unit.source}"\n'
        body, stderr = source, b""
    search = SearchPath.of(unit, cwd)

    def open_file(name: bytes) -> bytes | None:
        found = search.include(os.fsdecode(name))
        if found is None:
            if name in _INTRINSIC_INCLUDES:
                return None
            raise CannotTravel(f"include file {os.fsdecode(name)} is not found")
        inputs[found.path] = None
        return content(found.path)

    openmp = "-fopenmp" in unit.compile_arguments
    body = with_includes(body, os.fsencode(unit.source), open_file, openmp=openmp)
    scanned = scan(body.decode("latin-1"), unit)
    for include in scanned.includes:
        if os.fsencode(include) not in _INTRINSIC_INCLUDES:
            raise CannotTravel(f"the include line of {include} is not understood")
    return FortranText(os.fsencode(head) + body, source, scanned, tuple(inputs), stderr)


def with_includes(text: bytes, name: bytes, open_file: Open, *, openmp: bool = False, depth: int = 0) -> bytes:
    """`text`, whose first line is line 1 of file `name` unless a marker says otherwise, with its files in place.

    Raises CannotTravel where files include each other without end.
    """
    if b"include" not in text.lower():  # fifty times faster than to look for lines
        return text
    found = list((_OPENMP_INCLUDE if openmp else _INCLUDE).finditer(text))
    if not found:
        return text
    if depth == _DEPTH:
        raise CannotTravel(f"include lines nest deeper than {_DEPTH}")
    parts: list[bytes] = []
    done = 0
    for line in found:
        file_text = open_file(line[2])
        if file_text is None:
            continue
        number, file = _position(text, line.start(), b'"%s"' % name)
        file_text = with_includes(file_text, line[2], open_file, openmp=openmp, depth=depth + 1)
        parts.append(text[done : line.start()])
        parts.append(b'# 1 "%s" 1\n%s' % (line[2], file_text))
        if not file_text.endswith(b"\n"):
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


def options_of(unit: Unit) -> FortranOptions:
    assert unit.fortran is not None, "BUG: a Fortran recipe for a unit that is not Fortran"
    return unit.fortran


def content(path: str) -> bytes:
    """The bytes of a file that the unit reads.  Raises CannotTravel when it can't be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise CannotTravel(f"{path}: {error.strerror}") from error
