"""The fingerprint of a tool call: two calls with the same one are the same compile, if their inputs are.

It covers the working directory, the arguments and the environment variables that can change what a compiler
writes; it does not look at any file, and says nothing about the compiler's version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

# GCC manual, "Environment Variables": search paths, side files, dates.
_GCC: Final = (
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "OBJC_INCLUDE_PATH",
    "COMPILER_PATH",
    "LIBRARY_PATH",
    "GCC_EXEC_PREFIX",
    "GCC_COMPARE_DEBUG",
    "DEPENDENCIES_OUTPUT",
    "SUNPRO_DEPENDENCIES",
    "SOURCE_DATE_EPOCH",
)
# GCC manual, "Environment Variables", and "Diagnostic Message Formatting Options": the words on stderr.
_MESSAGES: Final = (
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "GCC_COLORS",
    "GCC_URLS",
)
# binutils manual, "ld", "Environment Variables", and "ar", for ZERO_AR_DATE on other systems.
_BINUTILS: Final = ("LD_RUN_PATH", "GNUTARGET", "LDEMULATION", "COLLECT_NO_DEMANGLE", "ZERO_AR_DATE")
# Which tools run: execvp(3); the dynamic loader's own, ld.so(8).
_PROCESS: Final = ("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD")
# The MPI wrappers' compilers and flags: Open MPI's mpicc(1), MPICH's mpicc(1) and Intel MPI's mpiicc.
_MPI_PREFIXES: Final = ("OMPI_", "MPICH_", "I_MPI_", "OPAL_")

_MPI_GUARDS: Final = ("MPICH_RECURSION_CHECK",)  # for itself (mpicc.bash.in of MPICH): whether it has called itself

_NAMES: Final = tuple(sorted((*_GCC, *_MESSAGES, *_BINUTILS, *_PROCESS)))


def relevant_environment(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The variables of `environment` that can change a compile's bytes or words, sorted by name."""
    found = [(name, environment[name]) for name in _NAMES if name in environment]
    of_mpi = (item for item in environment.items() if item[0].startswith(_MPI_PREFIXES))
    found.extend(item for item in of_mpi if item[0] not in _MPI_GUARDS)
    return tuple(sorted(found))


def fingerprint(cwd: str, argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """SHA-256, as 64 hex digits, of the call `argv` in `cwd` with the relevant part of `environment`."""
    return fingerprint_in(cwd, argv, relevant_environment(environment))


def fingerprint_in(cwd: str, argv: Sequence[str], relevant: Sequence[tuple[str, str]]) -> str:
    """The same from what `relevant_environment` found."""
    digest = hashlib.sha256(b"buildfarm call 1\0")
    words = [cwd, str(len(argv)), *argv, *(f"{name}={value}" for name, value in relevant)]
    digest.update("\0".join(words).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
