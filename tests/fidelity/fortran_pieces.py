"""Fragments in the manner of models and libraries in Fortran: WRF, ModelE, Quantum ESPRESSO, ROMS, mixed with C.

Each stands in a directory of its own.  As `pieces`; it runs nothing.
"""

from __future__ import annotations

import random

from tests.fidelity.pieces import Piece, c_source, inside, piece


def _module(name: str, rng: random.Random, *, uses: tuple[str, ...] = (), body: str = "") -> str:
    """A module with a constant, a derived type and a function; some of them say things that `-Wall` warns of."""
    used = "".join(f"  use {other}, only: {other}_k\n" for other in uses)
    known = " + ".join(f"{other}_k" for other in uses) or "0"
    odd = rng.choice(("", "    integer :: unused\n", "    real(8) :: t\n    t = 1.0\n"))
    return (
        f"module {name}\n{used}  implicit none\n  integer, parameter :: {name}_k = {rng.randrange(9)} + {known}\n"
        f"  type :: {name}_t\n    real, allocatable :: a(:)\n  end type\ncontains\n{body}"
        f"  integer function {name}_f(x) result(y)\n    integer, intent(in) :: x\n{odd}    y = x * {name}_k\n"
        f"  end function\nend module {name}\n"
    )


@piece
def weather_model(p: str, rng: random.Random) -> Piece:
    """As WRF: cpp to text, sed, compile, the text goes; objects by globs into a library; a header by a program."""
    recipe = rng.choice(
        (
            "rm -f $@\n\tcpp -traditional-cpp -P -I inc $(DEFS) $*.F > $*.bb\n\tsed 's/  *$$//' $*.bb > $*.f90\n"
            "\trm -f $*.bb\n\t$(FC) -c $(FCFLAGS) $*.f90",
            "cpp -P -traditional $(DEFS) -Iinc $< > $*.f90; $(FC) -o $@ -c $(FCFLAGS) $*.f90 && rm -f $*.f90",
            "if fgrep -iq '!$$OMP' $<; then $(FC) -c -fopenmp $(FCFLAGS) -cpp -Iinc $(DEFS) $<; else \\\n"
            "\t  $(FC) -c $(FCFLAGS) -cpp -Iinc $(DEFS) $<; fi",
            "$(FC) -E -cpp -Iinc $(DEFS) $< > tmp_$*.f90 && $(FC) -c $(FCFLAGS) tmp_$*.f90 -o $@; rm -f tmp_$*.f90",
        )
    )
    text = (
        ".SUFFIXES:\n.SUFFIXES: .F .o\nFC = gfortran\nDEFS = -DEM_CORE=1\n"
        "FCFLAGS = -ffree-form -ffree-line-length-none "
        f"{rng.choice(('-O0 -Wall', '-O1', '-g0 -O1 -Wall -Wextra'))}\n"
        "all: lib.a\nlib.a: $(MODULES) driver.o\n\trm -f $@; $(AR) ru lib.a $^\n\t@ranlib $@\n"
        "MODULES = m_frame.o m_physics.o\nlib.a: m_frame.o m_physics.o\n"
        f".F.o:\n\t{recipe}\ninc/gen.inc: registry\n\t@mkdir -p inc; sed 's/.*/integer :: &/' registry > $@\n"
        "m_frame.o: inc/gen.inc\nm_physics.o: m_frame.o\ndriver.o: m_physics.o m_frame.o\n"
    )
    gen = "  subroutine gen()\n#include <gen.inc>\n    u = 1; v = EM_CORE\n  end subroutine\n"
    omp = rng.choice(("", "  subroutine omp()\n!$OMP BARRIER\n  end subroutine\n"))
    files = {
        "m_frame.F": _module("m_frame", rng, body=gen),
        "m_physics.F": f"#ifdef EM_CORE\n{_module('m_physics', rng, uses=('m_frame',), body=omp)}#endif\n",
        "driver.F": "subroutine driver(i)\n  use m_physics\n  use m_frame\n  integer i\n"
        "  i = m_physics_f(i) + m_frame_k\n"
        "end subroutine\n",
        "registry": "u\nv\n",
    }
    return inside(p, text, files, outputs=("m_frame.o", "m_physics.o", "lib.a"))


@piece
def plane_waves(p: str, rng: random.Random) -> Piece:
    """As Quantum ESPRESSO and ModelE: make.inc above, make.depend by a script, `.mod` files copied, subdirectories."""
    where = rng.choice(("-I../base", "-I../base -J.", "-I../mods"))
    after = "\tmkdir -p ../mods; cp -p *.mod ../mods/\n" if "mods" in where else ""
    depend = rng.choice(
        (
            "-include make.depend\nmake.depend: $(SRC)\n"
            "\tgrep -i '^ *use' $(SRC) | sed 's/\\.f90: *use */.o: /;s/,.*//;s/$$/.o/' | grep -v consts > $@ || :\n",
            "include make.depend\nmake.depend: ; @printf 'solve.o: pots.o\\n' > $@\n",
            "solve.o: pots.o\n",
        )
    )
    base = (
        "include ../make.inc\ndefault: libbase.a\nlibbase.a: kinds.o consts.o cstep.o\n\t$(AR) $(ARFLAGS) $@ $?\n"
        f"\tranlib $@\n{after}consts.o: kinds.o\n"
    )
    solver = (
        f"include ../make.inc\nMODFLAGS = {where}\nSRC = pots.f90 solve.f90\ndefault: libpw.a\n"
        f"libpw.a: pots.o solve.o\n"
        f"\t$(AR) $(ARFLAGS) $@ $?\n\tranlib $@\n{depend}"
    )
    common = (
        ".SUFFIXES :\n.SUFFIXES : .o .c .f90\nMPIF90 = gfortran\nF90FLAGS = -O1 $(EXTRA) $(MODFLAGS)\nARFLAGS = ruv\n"
        ".f90.o:\n\t$(MPIF90) $(F90FLAGS) -c $< -o $@\n.c.o:\n\t$(CC) $(CFLAGS) -c $<\n"
        f"EXTRA = {rng.choice(('', '-Wall', '-fcheck=all', '-fdefault-real-8'))}\n"
    )
    top = (
        "all: pw\npw: base\n\t( cd pw && $(MAKE) TLDEPS= default || exit 1 )\n"
        "base:\n\tif test -d base; then ( cd base && $(MAKE) default || exit 1 ); fi\n.PHONY: all pw base\n"
    )
    interface = (
        "  subroutine c_use(x)\n    use iso_c_binding\n    integer(c_int), intent(inout) :: x\n    interface\n"
        "      integer(c_int) function cstep(x) bind(c)\n        import :: c_int\n"
        "        integer(c_int), value :: x\n"
        "      end function\n    end interface\n    x = cstep(x)\n  end subroutine\n"
    )
    files = {
        "make.inc": common,
        "base/Makefile": base,
        "base/kinds.f90": _module("kinds", rng),
        "base/consts.f90": _module("consts", rng, uses=("kinds",), body=interface),
        "base/cstep.c": c_source("cstep", rng),
        "pw/Makefile": solver,
        "pw/pots.f90": _module("pots", rng, uses=("consts",)),
        "pw/solve.f90": "subroutine solve(n)\n  use pots\n  use consts, only : consts_k\n  integer n\n"
        "  n = pots_f(n) + consts_k\nend subroutine\n",
    }
    return inside(p, top, files, outputs=("base/kinds.o", "pw/pots.o", "base/libbase.a"))


@piece
def preprocessed_fortran(p: str, rng: random.Random) -> Piece:
    """Sources that a preprocessor of the project's own writes, with line marks; includes, submodules, fixed form."""
    marks = rng.choice(("", '# 1 "$<"\\n', '#line 1 "$<"\\n'))
    suffix, flags = rng.choice((("f90", ""), ("F90", "-cpp"), ("f90", "-Wall"), ("F90", "-Wall -Wextra -cpp")))
    if marks and suffix == "f90":
        flags += " -cpp"
    fixed = rng.choice(
        ("-c $< -o $@", "-ffixed-line-length-132 -c $<", "-std=legacy -w -c $< -o $@", "-Wall -O2 -c $<")
    )
    text = (
        f"all: lib.a\nlib.a: t.o s.o old.o\n\trm -f $@; $(AR) rcs $@ $^\nt.{suffix}: t.fypp\n"
        f"\t{{ printf '{marks}'; sed 's/KIND/4/g' $<; }} > $@\nt.o: t.{suffix}\n\tgfortran {flags} -c $< -o $@\n"
        f"s.o: s.f90 t.o common.inc\n\tgfortran -I. -c s.f90\nold.o: old.f common.inc\n\tgfortran {fixed}\n"
    )
    files = {
        "t.fypp": "module t\n  interface\n    module subroutine s(x)\n      real(KIND), intent(inout) :: x\n"
        f"    end subroutine\n  end interface\ncontains\n  real(KIND) function g(x)\n    real(KIND) :: x, unused\n"
        f"    g = x + {rng.randrange(9)}\n  end function\nend module\n",
        "s.f90": "submodule (t) sub\ncontains\n  module procedure s\n    include 'common.inc'\n    x = x + 1\n"
        "  end procedure\nend submodule\n",
        "common.inc": "      INTEGER I_COMMON\n",
        "old.f": "      SUBROUTINE OLD(A,N)\n      INCLUDE 'common.inc'\n      REAL A(N)\n      DO 10 I=1,N\n"
        "      A(I)=A(I)\n"
        "     & +1.0\n   10 CONTINUE\n      END\n",
    }
    return inside(p, text, files, outputs=("t.o", "s.o", "old.o"))
