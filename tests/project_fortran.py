"""Writes a Fortran project with all that the language's builds are known for; used by the end-to-end tests.

It builds nothing itself.  In it: chains of modules over directories, submodules of two generations, fixed and free
form, cpp with headers, `include` lines that nest, `-J` relative and absolute, sources in another directory, depfiles,
OpenMP, C beside Fortran, and an MPI wrapper where one is installed.

As careful Makefiles do, a unit's users depend on its `.mod` file, and the rule that makes the object has the `.mod`
as its by-product (`%.mod: %.o ;`): a change that leaves the module as it was compiles no user again.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

MAKEFILE = """\
FC = gfortran
MPIFC = mpif90
FFLAGS = -O1 -Wall
COMMON = $(FFLAGS) -Iinc -Jmods
OBJECTS = kinds.o grid.o kernel.o parent.o child.o grandchild.o solver.o legacy.o threads.o reals.o \\
          apart/apart.o build/elsewhere.o clock.o user.o main.o @MPI@

program: $(OBJECTS)
\t$(FC) -fopenmp -o $@ $(OBJECTS)

kinds.o: src/kinds.f90
\t$(FC) $(COMMON) -c src/kinds.f90
grid.o: src/grid.f90 mods/kinds.mod
\t$(FC) $(COMMON) -fcheck=all -c $< -o $@
kernel.o: src/kernel.F90 inc/defs.h inc/common.inc inc/nested.inc mods/grid.mod
\t$(FC) $(COMMON) -DSCALE=3 -MD -MF kernel.d -MT kernel.o -c $< -o $@
parent.o: src/parent.f90 mods/kinds.mod
\t$(FC) $(COMMON) -c $<
child.o: src/child.f90 parent.o
\t$(FC) $(COMMON) -c $<
grandchild.o: src/grandchild.f90 child.o
\t$(FC) $(COMMON) -c $<
solver.o: fixed/solver.f inc/fixed.inc mods/kernel.mod
\t$(FC) $(COMMON) -std=legacy -c $<
legacy.o: fixed/legacy.F inc/defs.h
\t$(FC) $(COMMON) -cpp -c $< -o $@
threads.o: src/threads.f90 mods/kinds.mod
\t$(FC) $(COMMON) -fopenmp -c $<
reals.o: src/reals.F90 mods/grid.mod
\t$(FC) $(COMMON) -fdefault-real-8 -cpp -MMD -c $< -o $@
# a directory of its own, with an absolute module directory; no -g there: gfortran records an absolute -J
apart/apart.o: apart/apart.f90 mods/grid.mod
\tcd apart && $(FC) -O1 -Wall -I$(CURDIR)/mods -J$(CURDIR)/absolute -c apart.f90
build/elsewhere.o: src/elsewhere.f90 absolute/apart.mod
\tcd build && $(FC) -O1 -Wall -I../mods -I../absolute -J. -c ../src/elsewhere.f90
clock.o: src/clock.c
\t$(CC) -O1 -Wall -c $<
parallel.o: src/parallel.f90 mods/kinds.mod
\t$(MPIFC) $(COMMON) -c $<
user.o: src/user.f90 mods/kernel.mod mods/parent.mod mods/reals_m.mod absolute/apart.mod build/elsewhere.mod
\t$(FC) $(COMMON) -Iabsolute -I build -c $<
main.o: src/main.f90 mods/user.mod
\t$(FC) $(COMMON) -Iabsolute -c $<

mods/kinds.mod: kinds.o ;
mods/grid.mod: grid.o ;
mods/kernel.mod: kernel.o ;
mods/parent.mod: parent.o ;
mods/reals_m.mod: reals.o ;
mods/user.mod: user.o ;
absolute/apart.mod: apart/apart.o ;
build/elsewhere.mod: build/elsewhere.o ;
"""

SOURCES = {
    "src/kinds.f90": """\
module kinds
  use, intrinsic :: iso_fortran_env, only: real64
  implicit none
  integer, parameter :: wp = real64
contains
  pure real(wp) function half(x)
    real(wp), intent(in) :: x
    half = x / 2
  end function
end module kinds
""",
    "src/grid.f90": """\
module grid
  use kinds; implicit none
  type :: grid_t
    integer :: n = 4   ! module nowhere
  end type
contains
  real(wp) function &
      & width(g) result(w)
    type(grid_t), intent(in) :: g
    integer :: unused
    w = half(1.0_wp) / g%n
  end function
end module
""",
    "src/kernel.F90": """\
#include "defs.h"
module kernel
  use grid, only: grid_t, width
  use kinds
  implicit none
  real(wp) :: a(SCALE) = VALUE
contains
  subroutine fill(g)
    type(grid_t), intent(in) :: g
    include "common.inc"
#ifdef NEVER
    use nowhere
#endif
    a = a * width(g) + c1
  end subroutine
end module kernel
""",
    "src/parent.f90": """\
module parent
  use kinds, only: wp
  implicit none
  interface
    module subroutine first(x)
      real(wp), intent(inout) :: x
    end subroutine
  end interface
end module
""",
    "src/child.f90": """\
submodule (parent) child
  implicit none
  interface
    module subroutine second(x)
      real(wp), intent(inout) :: x
    end subroutine
  end interface
contains
  module procedure first
    x = x + 1
    call second(x)
  end procedure
end submodule
""",
    "src/grandchild.f90": """\
submodule (parent:child) grandchild
contains
  module procedure second
    x = x * 3
  end procedure
end submodule
""",
    "fixed/solver.f": """\
      subroutine solver(x)
      use kernel
      include "fixed.inc"
c a comment
      real*8 x
      integer neverused
      x = x +
     1 c2 + sum(a)
      end
""",
    "fixed/legacy.F": """\
#include "defs.h"
      subroutine legacy(x)
      double precision x
      x = x + VALUE
   10 continue
      end
""",
    "src/threads.f90": """\
subroutine threads(n, x)
!$ use omp_lib
  use kinds
  integer :: n, i
  real(wp) :: x(n)
!$omp parallel do
  do i = 1, n
    x(i) = half(x(i))
  end do
end subroutine
""",
    "src/reals.F90": """\
module reals_m
  use grid
  real :: r = 1.0
contains
  character(80) function where_am_i()
    where_am_i = __FILE__
  end function
end module
""",
    "apart/apart.f90": """\
module apart
  use grid
  type(grid_t) :: mine
end module
""",
    "src/elsewhere.f90": """\
module elsewhere
  use apart
contains
  integer function points()
    points = mine%n
  end function
end module
""",
    "src/clock.c": "int clock_(void);\nint clock_(void) { return 7; }\n",
    "src/parallel.f90": """\
subroutine parallel(x)
  use mpi, only: MPI_SUCCESS
  use kinds
  real(wp) :: x
  x = x + MPI_SUCCESS
end subroutine
""",
    "src/user.f90": """\
module user
  use kernel
  use parent
  use reals_m, only: where_am_i
  use elsewhere
  implicit none
contains
  subroutine work(x)
    real(wp), intent(out) :: x
    type(grid_t) :: g
    call fill(g)
    x = points()
    call first(x)
  end subroutine
end module
""",
    "src/main.f90": """\
program main
  use user
  implicit none
  real(wp) :: x(3)
  integer, external :: clock
  call work(x(1))
  call solver(x(1))
  call legacy(x(1))
  x(2:) = clock()
  call threads(3, x)
  @CALL@
  print '(3f10.4, 1x, a)', x, trim(where_am_i())
end program
""",
    "inc/defs.h": "#define VALUE 2.5\n",
    "inc/common.inc": 'include "nested.inc"\nreal(wp), parameter :: c1 = 1.0\n',
    "inc/nested.inc": "integer :: nested\n",
    "inc/fixed.inc": "      real*8 c2\n      parameter (c2 = 0.5d0)\n",
}


@dataclass(frozen=True, slots=True)
class Project:
    """A project on disk and what is known of it."""

    root: Path
    units: int
    fortran_units: int


def write(root: Path, **variables: str) -> Project:
    """Write the project; `variables` replace those of the Makefile (`FFLAGS="-O1 -g"`)."""
    mpi = shutil.which("mpif90") is not None
    for name, text in SOURCES.items():
        if name == "src/parallel.f90" and not mpi:
            continue
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("@CALL@", "call parallel(x(1))" if mpi else "continue"))
    for directory in ("mods", "absolute", "build"):
        (root / directory).mkdir()
    lines = MAKEFILE.replace("@MPI@", "parallel.o" if mpi else "").splitlines()
    for name, value in variables.items():
        lines = [f"{name} = {value}" if line.startswith(f"{name} =") else line for line in lines]
    (root / "Makefile").write_text("\n".join(lines) + "\n")
    units = 15 + mpi
    return Project(root, units, units - 1)
