"""Knows where gfortran finds `.mod` and `.smod` files, where it leaves them, and which it leaves untouched.

It runs nothing and parses no Fortran: `recipe_fortran.py` makes the files, the scanner says what is used.

Facts: gfortran 12, `module.cc: gfc_use_module, gfc_dump_module`, `scanner.cc: gzopen_included_file`, and strace.
A module is looked for as `name.mod` in the working directory, in the directory of the source, in every -I in
order, in -J (wherever it stands), and then among the compiler's own modules.  The file of an `include` line is
looked for in the same places but the working directory, whatever file the line stands in.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import BinaryIO

from buildfarm.dispatch.prepared import Made
from buildfarm.model import Unit
from buildfarm.value import dataclass

# What every gfortran brings with itself (libgfortran and libgomp manuals); a node has its own.
INTRINSIC = frozenset(
    (
        "iso_c_binding",
        "iso_fortran_env",
        "ieee_arithmetic",
        "ieee_exceptions",
        "ieee_features",
        "omp_lib",
        "omp_lib_kinds",
        "openacc",
        "openacc_kinds",
    )
)


@dataclass(frozen=True, slots=True)
class Found:
    """A file as the compiler would find it."""

    typed: str  # the name by which the compiler opens it, relative to the cwd or absolute
    path: str  # absolute: where it is for the compiler
    content_path: str  # absolute: where its bytes are now; differs for modules made and not yet in place


@dataclass(frozen=True, slots=True)
class SearchPath:
    """The directories of one unit, as typed, in the compiler's order."""

    cwd: str
    directories: tuple[str, ...]

    @staticmethod
    def of(unit: Unit, cwd: str) -> SearchPath:
        assert unit.fortran is not None, "BUG: a search path for modules of a unit that is not Fortran"
        typed = (os.path.dirname(unit.source) or ".", *unit.fortran.include_directories)
        module_directory = unit.fortran.module_directory
        return SearchPath(cwd, _once(typed if module_directory is None else (*typed, module_directory)))

    def module(self, file: str, made: Mapping[str, str]) -> Found | None:
        """Where the module file `file` (`m.mod`, `m@s.smod`) is; `made` maps final paths to private ones."""
        return self._find(file, ("", *self.directories), made)

    def include(self, name: str) -> Found | None:
        """Where the file of an `include` line is."""
        return self._find(name, self.directories, {})

    def _find(self, name: str, directories: Iterable[str], made: Mapping[str, str]) -> Found | None:
        for directory in directories:
            typed = os.path.join(directory, name)
            path = os.path.join(self.cwd, typed)
            private = made.get(os.path.normpath(path))
            if private is not None:
                return Found(typed, path, private)
            if os.path.isfile(path):
                return Found(typed, path, path)
        return None


def is_intrinsic(file: str) -> bool:
    return file.removesuffix(".mod") in INTRINSIC


def final_directory(unit: Unit, cwd: str) -> str:
    """Where the compiler leaves the unit's module files."""
    assert unit.fortran is not None, "BUG: a module directory of a unit that is not Fortran"
    return os.path.normpath(os.path.join(cwd, unit.fortran.module_directory or ""))


def changed(files: Iterable[Made]) -> tuple[Made, ...]:
    """Those module files that gfortran would put in place: it leaves a file with the same checksum untouched.

    The others' private copies are not needed any more.  A file that can't be read counts as changed.
    """
    return tuple(made for made in files if (old := _checksum(made.final)) is None or old != _checksum(made.temporary))


def _checksum(path: str) -> bytes | None:
    """The CRC-32 in the gzip trailer (`module.cc: read_crc32_from_module_file`)."""
    try:
        with open(path, "rb") as file:
            return _trailer(file)
    except OSError:
        return None


def _trailer(file: BinaryIO) -> bytes | None:
    if os.fstat(file.fileno()).st_size < 8:
        return None
    file.seek(-8, os.SEEK_END)
    return file.read(4)


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
