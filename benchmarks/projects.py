"""Writes the projects that benchmarks build: C, C++ and Fortran, each of any number of units with one program.

The units look like everyday ones to a preprocessor (system headers, headers of the project, some hundred lines);
what they compute matters to nobody.  Names are unique, so that a replaying node knows a unit by its name.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

_MAKEFILE = """\
OBJECTS := $(patsubst %.{suffix},%.o,$(sort $(wildcard *.{suffix})))
{compiler_variable} = {compiler}
FLAGS = -O2 -Wall -I.
program: $(OBJECTS)
\t$({compiler_variable}) -o $@ $(OBJECTS) -lm
%.o: %.{suffix} {headers}
\t$({compiler_variable}) $(FLAGS) -c $< -o $@
"""
C_HEADERS = (
    *("assert", "ctype", "errno", "fcntl", "limits", "math", "signal"),
    *("stdarg", "stdint", "stdio", "stdlib", "string", "time", "unistd"),
)
_CXX_HEADERS = ["algorithm", "cstdint", "cstdio", "map", "memory", "string", "utility", "vector"]


@dataclass(frozen=True, slots=True)
class Project:
    """A tree to be built by make."""

    root: Path
    units: int
    variable: str  # make's name for the compiler: CC, CXX, FC
    compiler: str

    def clean(self) -> None:
        """Leave the sources alone."""
        shutil.rmtree(self.root / ".buildfarm", ignore_errors=True)
        for path in (*self.root.glob("*.o"), *self.root.glob("*.mod"), self.root / "program"):
            path.unlink(missing_ok=True)


def c(root: Path, units: int, *, lines: int = 300) -> Project:
    """Units of `lines` lines with 14 system headers and 3 of their own."""
    includes = "".join(f"#include <{name}.h>\n" for name in C_HEADERS)
    return _write(root, units, "c", "CC", "gcc", includes, lines)


def cxx(root: Path, units: int, *, lines: int = 300) -> Project:
    """The same with 8 headers of the C++ library."""
    includes = "".join(f"#include <{name}>\n" for name in _CXX_HEADERS)
    return _write(root, units, "cc", "CXX", "g++", includes, lines)


def small(root: Path, units: int) -> Project:
    """C units of one line, for what must not depend on their size."""
    root.mkdir(parents=True)
    _makefile(root, "c", "CC", "gcc", "")
    for number in range(units):
        (root / f"u{number:05}.c").write_text(f"int u{number:05};\n")
    (root / "zmain.c").write_text("int main(void) { return 0; }\n")
    return Project(root, units + 1, "CC", "gcc")


def fortran(root: Path, units: int, *, lines: int = 200) -> Project:
    """One module, and units that use it."""
    root.mkdir(parents=True)
    (root / "Makefile").write_text(
        "OBJECTS := $(patsubst %.f90,%.o,$(sort $(wildcard *.f90)))\nFC = gfortran\nFLAGS = -O2\n"
        "program: $(OBJECTS)\n\t$(FC) -o $@ $(OBJECTS)\n"
        "$(filter-out state.o,$(OBJECTS)): state.o\n"
        "%.o: %.f90\n\t$(FC) $(FLAGS) -c $< -o $@\n"
    )
    (root / "state.f90").write_text(
        "module state\n  implicit none\n  integer, parameter :: n = 64\n  real(8) :: field(n, n)\nend module\n"
    )
    for number in range(units - 2):
        body = "".join(
            f"  field({1 + line % 60}:, 1) = field({1 + line % 60}:, 2) * {number + 1}d0 + {line}\n"
            for line in range(lines)
        )
        text = f"subroutine step_{number:03}\n  use state\n  implicit none\n{body}end subroutine\n"
        (root / f"step_{number:03}.f90").write_text(text)
    calls = "".join(f"  call step_{number:03}\n" for number in range(units - 2))
    (root / "zmain.f90").write_text(
        f"program main\n  use state\n  field = 1\n{calls}  print *, field(1, 1)\nend program\n"
    )
    return Project(root, units, "FC", "gfortran")


def _write(root: Path, units: int, suffix: str, variable: str, compiler: str, includes: str, lines: int) -> Project:
    root.mkdir(parents=True)
    headers = ("base.h", "shapes.h", "tables.h")
    _makefile(root, suffix, variable, compiler, " ".join(headers))
    for header in headers:
        guard = header.replace(".", "_").upper()
        body = "".join(
            f"/* Entry {n} of {header}. */\n#define {guard}_{n} ({n} + {len(header)})\n"
            f"static inline int {guard.lower()}_{n}(int x) {{ return x * {guard}_{n}; }}\n"
            for n in range(60)
        )
        (root / header).write_text(f"#ifndef {guard}\n#define {guard}\n{body}#endif\n")
    own = "".join(f'#include "{header}"\n' for header in headers)
    for number in range(units - 1):
        body = "".join(f"    x = base_h_{line % 60}(x) + tables_h_{line % 60}(x) + {line};\n" for line in range(lines))
        (root / f"unit_{number:04}.{suffix}").write_text(
            f"{includes}{own}\nint unit_{number:04}(int x);\nint unit_{number:04}(int x)\n{{\n{body}    return x;\n}}\n"
        )
    declarations = "".join(f"int unit_{number:04}(int x);\n" for number in range(units - 1))
    calls = "".join(f"    x = unit_{number:04}(x);\n" for number in range(units - 1))
    (root / f"zmain.{suffix}").write_text(
        f"{includes}{own}{declarations}\nint main()\n{{\n    int x = 1;\n{calls}    return x == 0;\n}}\n"
    )
    return Project(root, units, variable, compiler)


def _makefile(root: Path, suffix: str, variable: str, compiler: str, headers: str) -> None:
    (root / "Makefile").write_text(
        _MAKEFILE.format(suffix=suffix, compiler_variable=variable, compiler=compiler, headers=headers)
    )
