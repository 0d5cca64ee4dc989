"""What names tell: which tool an argv[0] is, which language a suffix means, which path is no regular file.

It knows no options and reads no file.  Source of the suffixes: the GCC manual, "Overall Options", and what
`gfortran -###` does with each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from buildfarm.model import Language
from buildfarm.value import dataclass

_COMPILER: Final = re.compile(
    r"(?:[\w.]+-)*?(?P<name>gcc|g\+\+|c\+\+|cc|gfortran|clang|clang\+\+|c89|c99|f77|f90|f95)(?:-\d[\d.]*)?"
)
_MPI: Final = re.compile(r"mpi(?P<name>cc|cxx|c\+\+|CC|f77|f90|fort)(?:[.-]\w+)?")
_BINUTILS: Final = re.compile(r"(?:[\w.]+-)*?(?:gcc-)?(?P<name>ar|ranlib|ld)(?:[.-](?:bfd|gold|lld|mold|\d[\d.]*))?")

_DISTRIBUTORS: Final = frozenset(("distcc", "icecc"))
_CXX_NAMES: Final = frozenset(("g++", "c++", "clang++", "cxx", "CC"))
_SUFFIX_TABLE: Final = {
    Language.C: ".c",
    Language.CXX: ".cc .cp .cxx .cpp .CPP .c++ .C",
    Language.FORTRAN: ".f .for .ftn .f90 .f95 .f03 .f08 .F .FOR .FTN .fpp .FPP .F90 .F95 .F03 .F08",
    Language.OTHER: ".i .ii .s .S .sx .m .mi .mm .M .mii .d .di .dd .go .adb .ads "
    ".h .H .hh .hp .hxx .hpp .HPP .h++ .tcc",
}
SUFFIXES: Final = {suffix: language for language, row in _SUFFIX_TABLE.items() for suffix in row.split()}
FIXED_SUFFIXES: Final = frozenset((".f", ".for", ".ftn", ".F", ".FOR", ".FTN", ".fpp", ".FPP"))
CPP_SUFFIXES: Final = frozenset((".F", ".FOR", ".FTN", ".fpp", ".FPP", ".F90", ".F95", ".F03", ".F08"))
HEADERS: Final = frozenset((".h", ".H", ".hh", ".hp", ".hxx", ".hpp", ".HPP", ".h++", ".tcc"))
OTHER_REASONS: Final = {
    **dict.fromkeys((".s", ".S", ".sx"), "assembler source: assembled here"),
    **dict.fromkeys((".i", ".ii", ".mi", ".mii"), "preprocessed source: compiled here"),
    **dict.fromkeys(HEADERS, "a precompiled header: serves this machine's compiler only"),
}
LANGUAGES: Final = {  # operands of -x
    "c": Language.C,
    "c++": Language.CXX,
    "f77": Language.FORTRAN,
    "f77-cpp-input": Language.FORTRAN,
    "f95": Language.FORTRAN,
    "f95-cpp-input": Language.FORTRAN,
}


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as its name tells it."""

    family: str  # compiler, clang, archiver, ranlib, linker, other
    cxx: bool = False  # takes `.c` for C++


@lru_cache(maxsize=256)
def tool_of(name: str) -> Tool:
    """The tool that is called `name` (a base name); family `other` where it is none of ours."""
    if match := _COMPILER.fullmatch(name):
        plain = match["name"]
        return Tool("clang" if plain.startswith("clang") else "compiler", plain in _CXX_NAMES)
    if match := _MPI.fullmatch(name):
        return Tool("compiler", match["name"] in ("cxx", "c++", "CC"))
    if match := _BINUTILS.fullmatch(name):
        return Tool({"ar": "archiver", "ranlib": "ranlib", "ld": "linker"}[match["name"]])
    return Tool("other")


def is_distributor(path: str) -> bool:
    """Whether a program of that path distributes compiles, as the exec hook takes it (`make/distribution.h`)."""
    return path.rpartition("/")[2] in _DISTRIBUTORS


def without_distributor(argv: Sequence[str]) -> Sequence[str]:
    """What is executed: the compiler's words of `distcc gcc -c a.c` and `distcc -c a.c`; other commands as they are."""
    if len(argv) == 1 or not is_distributor(argv[0]):
        return argv
    if argv[0].endswith("distcc") and re.match("-(?!-|j$)", argv[1]):
        return ("cc", *argv[1:])
    return argv[1:] if tool_of(argv[1].rpartition("/")[2]).family != "other" else argv


def is_device(path: str) -> bool:
    """Whether `path` lies under /dev or /proc: never an output to record or to sweep, and no file to read twice.

    Trees in memory lie in /dev/shm.
    """
    return path.startswith(("/dev/", "/proc/")) and not path.startswith("/dev/shm/")


def is_conftest(path: str) -> bool:
    """Whether autoconf made `path` to try something out."""
    name = path.rpartition("/")[2]
    return name.startswith("conftest") and name[8:9] in ("", ".", "-")
