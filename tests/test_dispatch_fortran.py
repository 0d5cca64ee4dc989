"""Fortran units come back from a real node byte for byte, debug information, modules, words and depfiles included."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildfarm.dispatch import fortran_text, recipe_fortran
from buildfarm.dispatch.prepare import CannotTravel, Prepared, prepare
from buildfarm.model import Invocation
from tests.travel import Trip, scan_unit

BASE = """module base
  implicit none
  integer, parameter :: n = 3
contains
  pure function square(x) result(r)
    real, intent(in) :: x
    real :: r
    r = x * x
  end function
end module
"""
PARENT = """module parent
  interface
    module subroutine first(x)
      integer, intent(in) :: x
    end subroutine
  end interface
end module
submodule (parent) child
  interface
    module subroutine second()
    end subroutine
  end interface
contains
  module procedure first
    print *, x
    call second()
  end procedure
end submodule
"""
GRANDCHILD = """submodule (parent:child) grandchild
contains
  module procedure second
    print *, 2
  end procedure
end submodule
"""
KERNEL = """#include "defs.h"
module kernel
  use base, only: n
  real :: a(n) = VALUE
  character(*), parameter :: file = __FILE__
contains
  subroutine fill(i)
    include "common.inc"
    integer i
    integer unused
    a(i) = i * c1
    print *, file, sum(a)
  end subroutine
end module kernel
module user
  use kernel
  use, intrinsic :: iso_c_binding
end module
"""
FIXED = """      subroutine fixed(x)
      use user
      include "fixed.inc"
c a comment
      real*8 x
      x = x +
     1 c1
      end
"""
OPENMP = """subroutine threads(n, x)
!$ use omp_lib
!$ use base, only: square
  integer n, i
  real x(n)
!$omp parallel do
  do i = 1, n
    x(i) = i
!$  x(i) = square(real(omp_get_thread_num()))
  end do
end subroutine
"""
NETCDF = """function opened(name) result(status)
  use netcdf
  character(*), intent(in) :: name
  integer :: status, id
  status = nf90_open(name, nf90_nowrite, id)
end function
"""
WARNED = """subroutine warned(x)
  integer :: x, y
#ifdef LOUD
#warning look here
#endif
  x = 3.7d0
end subroutine
"""


@pytest.fixture(scope="module")
def trip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trip]:
    if shutil.which("gfortran") is None:
        pytest.skip("gfortran is missing: install the package gfortran")
    with Trip(tmp_path_factory.mktemp("fortran") / "tree") as running:
        running.write("base.f90", BASE)
        running.write("parent.f90", PARENT)
        running.write("grandchild.f90", GRANDCHILD)
        running.write("src/kernel.F90", KERNEL)
        running.write("src/fixed.f", FIXED)
        running.write("src/openmp.f90", OPENMP)
        running.write("src/netcdf_user.f90", NETCDF)
        running.write("src/warned.F90", WARNED)
        running.write("inc/defs.h", "#define VALUE 2.5\n")
        running.write("inc/common.inc", 'include "nested.inc"\nreal*4 :: w = 1.0d0\n')
        running.write("inc/nested.inc", "real :: c1\ncommon /com/ c1\n")
        running.write("inc/fixed.inc", "      real c1\n      common /com/ c1\n")
        for directory in ("mods", "build"):
            (running.root / directory).mkdir()
        yield running


@pytest.fixture
def clean(trip: Trip) -> Trip:
    """The tree without modules."""
    for path in [*trip.root.rglob("*.mod"), *trip.root.rglob("*.smod")]:
        path.unlink()
    return trip


@pytest.mark.parametrize("debug", ["", " -g"])
def test_a_chain_of_modules_is_identical(clean: Trip, debug: str) -> None:
    chain = [
        ("gfortran -O2 -c base.f90", ["base.mod"]),
        ("gfortran -O2 -Wall -Iinc -c src/kernel.F90 -o build/kernel.o", ["kernel.mod", "user.mod"]),
        ("gfortran -O2 -Wall -I inc -fcheck=all -c src/fixed.f", []),
        ("gfortran -O2 -fopenmp -c src/openmp.f90", []),
    ]
    for command, made in chain:
        result = clean.go(command + debug)
        assert (result.recipe, result.status, result.raw, result.words) == ("S2", 0, True, "same"), command
        assert list(result.made) == made and all(result.made.values())


@pytest.mark.parametrize("debug", ["", " -g"])
def test_submodules_are_identical(clean: Trip, debug: str) -> None:
    first = clean.go("gfortran -c parent.f90" + debug)
    assert list(first.made) == ["parent.mod", "parent.smod", "parent@child.smod"] and all(first.made.values())
    second = clean.go("gfortran -c grandchild.f90" + debug)
    assert list(second.made) == ["parent@grandchild.smod"] and all(second.made.values())
    assert first.raw and second.raw
    assert str(clean.root / "parent@child.smod") in second.inputs


@pytest.mark.parametrize(
    ("command", "cwd"),
    [
        ("gfortran -g -Iinc -J mods -c src/kernel.F90 -o build/k.o -fdefault-real-8", "."),
        ("gfortran -g -I../inc -J../mods -c ../src/kernel.F90", "build"),
        ("gfortran -g -I{root}/inc -Jmods -c {root}/src/kernel.F90", "."),
        ("gfortran -Iinc -J{root}/mods -c src/kernel.F90", "."),
    ],
)
def test_module_directories_and_sources_elsewhere(clean: Trip, command: str, cwd: str) -> None:
    clean.go("gfortran -J mods -c base.f90")
    result = clean.go(command.format(root=clean.root) + " -Wall", cwd)
    assert result.raw and result.words == "same"
    assert result.made == {"kernel.mod": True, "user.mod": True}
    assert str(clean.root / "inc/nested.inc") in {os.path.normpath(path) for path in result.inputs}


def test_an_absolute_module_directory_differs_in_the_producer_only(clean: Trip) -> None:
    result = clean.go(f"gfortran -g -J{clean.root}/mods -c base.f90")
    assert not result.raw and result.stripped


def test_modules_of_the_system_travel(clean: Trip) -> None:
    if not Path("/usr/include/netcdf.mod").exists():
        pytest.skip("netcdf.mod is missing: install the package libnetcdff-dev")
    result = clean.go("gfortran -O2 -g -I/usr/include -c src/netcdf_user.f90")
    assert result.raw and "/usr/include/netcdf.mod" in result.inputs


@pytest.mark.parametrize("debug", ["", " -g"])
@pytest.mark.parametrize(
    ("flags", "by"),
    [
        ("-Wall src/warned.F90", "S2"),
        ("-Wall -DLOUD -Inowhere -I/nowhere src/warned.F90", "S2"),
        ("-Wall -nocpp -Inowhere -I/nowhere base.f90", "S2"),
        ("-Wall -cpp -ffree-form {root}/src/warned.F90", "S2r"),
    ],
)
def test_words_are_the_local_compilers(trip: Trip, flags: str, by: str, debug: str) -> None:
    result = trip.go(f"gfortran -c {flags.format(root=trip.root)}{debug}")
    assert result.local_stderr
    assert (result.words, result.words_by, result.raw) == ("same", by, True)


@pytest.mark.parametrize(
    ("place", "by"), [("g.fypp", "S2"), ("src/../g.fypp", "S2"), ("{root}/g.fypp", "S2r"), ("not-there.fypp", "S2")]
)
@pytest.mark.parametrize("flags", ["-Wall", "-Wall -cpp", "-Wall -g"])
def test_lines_of_the_file_that_a_line_mark_names_are_shown(trip: Trip, place: str, by: str, flags: str) -> None:
    trip.write("g.fypp", "! as it was written\nwritten = KIND\n")
    name = place.format(root=trip.root)
    trip.write("made.f90", f'# 1 "{name}"\nsubroutine made()\n  integer :: unused\nend subroutine\n')
    result = trip.go(f"gfortran {flags} -c made.f90")
    assert (b"written = KIND" in result.local_stderr) == (place != "not-there.fypp")
    assert (result.words, result.words_by, result.raw) == ("same", by, "-g" not in flags or result.raw)


def test_lines_of_an_included_file_with_an_absolute_name_are_shown(trip: Trip) -> None:
    trip.write("far/odd.inc", "  integer :: unused\n")
    trip.write("near.F90", '#include "odd.inc"\nend\n'.replace("#", "subroutine near()\n#", 1))
    result = trip.go(f"gfortran -Wall -I{trip.root}/far -c near.F90")
    assert b"integer :: unused" in result.local_stderr
    assert (result.words, result.words_by, result.raw) == ("same", "S2r", True)


@pytest.mark.parametrize(
    "flags",
    [
        "-cpp -MD -c base.f90",
        "-Iinc -MMD -MP -MF build/k.d -MT target -c src/kernel.F90 -o build/k.o",
        "-Iinc -J mods -MD -c src/kernel.F90 -o build/k.o",
        "-cpp -MD -MF a_long_name_for_a_dependency_file.d -J build -c parent.f90",
    ],
)
def test_depfiles_have_the_compilers_own_bytes(trip: Trip, flags: str) -> None:
    trip.go("gfortran -c base.f90")
    for path in trip.root.glob("kernel.mod"):
        path.unlink()
    result = trip.go(f"gfortran {flags}")
    assert result.raw
    assert result.made and all(result.made.values())


def test_a_depfile_names_modules_that_only_the_module_directory_has(clean: Trip) -> None:
    clean.go("gfortran -J mods -c base.f90")
    clean.write("own.f90", "module own\nend module\nsubroutine s\n use own\n use base\nend subroutine\n")
    for stale in ("", "an old one"):
        if stale:
            clean.write("mods/own.mod", stale)
        result = clean.go("gfortran -cpp -MD -J mods -c own.f90")
        assert result.raw and result.made == {"own.d": True, "own.mod": True}
    assert " mods/base.mod" in (clean.root / "own.d").read_text()


def test_a_depfile_names_modules_that_are_not_in_place_yet_as_they_will_be(clean: Trip) -> None:
    clean.go("gfortran -J mods -c base.f90")
    private = clean.workdir() / "base.mod"
    clean.write("far.f90", "subroutine far\n use base\nend subroutine\n")
    command = "gfortran -cpp -MMD -J mods -c far.f90"
    expected = clean.go(command)
    assert expected.made == {"far.d": True}
    wanted = (clean.root / "far.d").read_bytes()
    (clean.root / "mods" / "base.mod").rename(private)
    unit, workdir, tool = clean.unit(command), clean.workdir(), shutil.which("gfortran")
    assert tool is not None
    invocation = Invocation(unit.argv, str(clean.root), os.environ)

    async def steps() -> Prepared:
        text = await fortran_text.read(unit, invocation, tool, scan_unit)
        made = {str(clean.root / "mods" / "base.mod"): str(private)}
        return await recipe_fortran.prepare(unit, invocation, tool, text, node_tool="gcc", workdir=workdir, made=made)

    for _ in range(2):
        (depfile,) = asyncio.run(steps()).outputs_made
        assert Path(depfile.temporary).read_bytes() == wanted


def test_an_error_comes_back_as_one(trip: Trip) -> None:
    trip.write("bad.f90", "subroutine bad(n)\n  integer n\n  n = = 2\nend subroutine\n")
    result = trip.go("gfortran -c bad.f90")
    assert (result.status, result.local_status) == (0x100, 1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("module m\n  use nowhere\nend module\n", "nowhere.mod is not found"),
        ("module m\n  integer = 3\nend module\n", "the source has an error"),
        ('subroutine s\n  include "nowhere.inc"\nend subroutine\n', "nowhere.inc is not found"),
        ("submodule (nowhere) s\nend submodule\n", "nowhere.smod is not found"),
    ],
)
def test_what_is_not_there_is_left_to_the_local_compiler(trip: Trip, text: str, reason: str) -> None:
    trip.write("lost.f90", text)
    with pytest.raises(CannotTravel, match=reason):
        trip.prepare("gfortran -c lost.f90")


def test_a_stale_module_does_not_get_in_the_way_of_a_new_one(clean: Trip) -> None:
    """The working directory is searched first, so a stale `kernel.mod` there is nearer than the one just made."""
    trip = clean
    trip.go("gfortran -c base.f90")
    trip.go("gfortran -Iinc -c src/kernel.F90")
    text = KERNEL.replace("character(*)", "integer :: new\n  character(*)")
    trip.write(
        "src/kernel.F90",
        text.replace("use, intrinsic :: iso_c_binding", "integer, parameter :: k = kind(new)"),
    )
    try:
        result = trip.go("gfortran -Iinc -c src/kernel.F90")
    finally:
        trip.write("src/kernel.F90", KERNEL)
    assert result.raw and result.made == {"kernel.mod": True, "user.mod": True}


def test_a_module_that_the_compiler_would_not_find_first_keeps_the_unit_here(clean: Trip) -> None:
    clean.go("gfortran -c base.f90")
    clean.go("gfortran -Iinc -c src/kernel.F90")
    with pytest.raises(CannotTravel, match="hides"):
        clean.prepare("gfortran -Iinc -Jmods -c src/kernel.F90")


def test_code_is_generated_from_modules_that_are_not_in_place_yet(clean: Trip) -> None:
    """The seam of two-phase compilation: modules along the chain first, then code in any order."""
    units = [clean.unit(f"gfortran -O2 -Iinc -c {name}") for name in ("base.f90", "src/kernel.F90", "src/fixed.f")]
    tool = shutil.which("gfortran")
    assert tool is not None
    made: dict[str, str] = {}

    async def chain() -> list[Prepared]:
        texts = []
        for unit in units:
            invocation = Invocation(unit.argv, str(clean.root), os.environ)
            text = await fortran_text.read(unit, invocation, tool, scan_unit)
            for item in await recipe_fortran.make_modules(
                unit, invocation, tool, text, workdir=clean.workdir(), made=made
            ):
                made[item.final] = item.temporary
            texts.append((unit, invocation, text))
        return [
            await recipe_fortran.prepare(
                unit, invocation, tool, text, node_tool="gcc", workdir=clean.workdir(), made=made
            )
            for unit, invocation, text in texts
        ]

    prepared = asyncio.run(chain())
    assert not list(clean.root.rglob("*.mod"))
    objects = [clean.send(each.job).object for each in reversed(prepared)]
    for unit, content in zip(reversed(units), objects, strict=True):
        assert content, unit.source
    for unit, content in zip(units, reversed(objects), strict=True):
        assert clean.go(" ".join(unit.argv)).raw
        assert (clean.root / unit.output).read_bytes() == content


@pytest.mark.parametrize("debug", ["", " -g"])
def test_an_old_copy_of_the_tree_on_the_nodes_own_disk_is_not_read(debug: str) -> None:
    """With -g the text names the directory of this machine, and f951 would look for includes and modules there."""
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory)
        top.chmod(0o755)  # the daemon may look into it
        with Trip(top / "tree") as trip:
            for number, root in ((1, trip.root), (2, top / "stale")):
                for path in ("mods", "src", "inc"):
                    (root / path).mkdir(parents=True)
                (root / "src/base.f90").write_text(f"module base\n integer, parameter :: n = {number}\nend module\n")
                (root / "inc/x.inc").write_text(f"integer :: included = {number}\n")
                (root / "src/own.f90").write_text(
                    f"module own\n integer :: o = {number}\nend module\n"
                    'subroutine s\n use base\n use own\n include "x.inc"\n print *, n, o, included\nend subroutine\n'
                )
                for where in (".", "src"):
                    for source in ("base.f90", "own.f90"):
                        if root != trip.root:
                            subprocess.run(
                                ["gfortran", "-J", where, "-I", "inc", "-c", f"src/{source}"],
                                cwd=root,
                                check=True,
                            )
                            shutil.copy(root / "inc/x.inc", root / where)
            trip.go("gfortran -Jmods -c src/base.f90")
            command = f"gfortran -Jmods -Iinc -c src/own.f90{debug}"
            prepared = trip.prepare(command)
            answer = trip.send(prepared.job, instead=top / "stale")
            subprocess.run(command.split(), cwd=trip.root, check=True)
            assert answer.object == (trip.root / "own.o").read_bytes()


def test_a_unit_can_be_prepared_twice_in_one_place(clean: Trip) -> None:
    unit, workdir = clean.unit("gfortran -cpp -MD -c base.f90"), clean.workdir()
    tool = shutil.which("gfortran")
    assert tool is not None
    for _ in range(2):
        prepared = asyncio.run(
            prepare(
                unit,
                Invocation(unit.argv, str(clean.root), os.environ),
                tool,
                node_tool="gcc",
                workdir=workdir,
                scan=scan_unit,
            )
        )
        assert all(Path(made.temporary).stat().st_size for made in prepared.outputs_made)


def test_plain_fortran_costs_no_process(trip: Trip) -> None:
    trip.write("plain.f90", "subroutine plain\nend subroutine\n")
    unit = trip.unit("gfortran -O2 -c plain.f90")
    invocation = Invocation(unit.argv, str(trip.root), os.environ)
    nothing = "/nowhere/gfortran"

    async def steps() -> str:
        text = await fortran_text.read(unit, invocation, nothing, scan_unit)
        assert await recipe_fortran.make_modules(unit, invocation, nothing, text, workdir=trip.workdir()) == ()
        prepared = await recipe_fortran.prepare(
            unit, invocation, nothing, text, node_tool="gcc", workdir=trip.workdir()
        )
        return prepared.job.recipe

    assert asyncio.run(steps()) == "S2"


def test_nothing_is_left_on_the_node(clean: Trip) -> None:
    clean.go("gfortran -J mods -c base.f90")
    clean.go("gfortran -I../inc -J../mods -c ../src/kernel.F90", "build")
    clean.go("gfortran -J mods -c parent.f90")
    assert [name for name in clean.left_on_the_node() if "distccd_" in name] == []
