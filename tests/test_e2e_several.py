"""`cc -c a.c b.c`, Fortran too: a unit for each source, and what make would have left, said and ended with."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests import project
from tests.farm import Farm
from tests.tool import Result, buildfarm, environment, status

SOURCES = {
    "a.c": "int a(int x) { return x; }\nvoid warned(void) { int unused; }\n",
    "b.c": "int b(int x) { if (x = 1) return 2; return x; }\n",
    "c.c": "int c(void) { return 3; }\n",
}
BROKEN = {**SOURCES, "b.c": "int b(int x) { return missing; }\n"}


def write(root: Path, sources: dict[str, str], flags: str) -> Path:
    root.mkdir()
    for name, text in sources.items():
        (root / name).write_text(text)
    (root / "Makefile").write_text(f"all:\n\t$(CC) {flags} -Wall -c a.c b.c c.c\n")
    return root


@pytest.mark.parametrize("flags", ["-O1", "-O0 -MMD -fPIC"])
def test_each_source_is_a_unit_and_all_is_as_under_make(tmp_path: Path, flags: str) -> None:
    tree = write(tmp_path / "p", SOURCES, flags)
    made = subprocess.run(["make"], cwd=tree, env=environment(), capture_output=True, text=True, check=True)
    expected = project.digests(tree)
    for name in expected:
        if name.endswith((".o", ".d")):
            (tree / name).unlink()
    with Farm(count=2, jobs=2) as farm:
        result = buildfarm("run", "--hosts", farm.hosts, cwd=tree)
    assert result.code == 0 and "3 units in" in result.stderr and "(3 on nodes)" in result.stderr, result.stderr
    assert project.digests(tree) == expected
    assert result.stderr.startswith(made.stderr) or made.stderr in result.stderr, "the words, in their order"
    assert status(tree)["units"]["remote"] == 3


def test_one_that_fails_has_the_whole_call_run_here(tmp_path: Path) -> None:
    tree = write(tmp_path / "p", BROKEN, "-O1")
    made = subprocess.run(["make"], cwd=tree, env=environment(), capture_output=True, text=True, check=False)
    assert sorted(tree.glob("*.o")) == [tree / "a.o", tree / "c.o"]
    expected = project.digests(tree)
    for path in tree.glob("*.o"):
        path.unlink()
    with Farm(count=1, jobs=4) as farm:
        result = buildfarm("run", "--hosts", farm.hosts, cwd=tree)
    assert result.code == made.returncode == 2
    assert project.digests(tree) == expected
    compiler, _, _ = made.stderr.partition("make: ***")
    assert compiler in result.stderr
    document = status(tree)
    assert document["checked_out"] == [] and len(document["failures"]) == 1


def test_what_is_a_link_is_written_through(tmp_path: Path) -> None:
    """As make leaves it: a file beside an object that is no ordinary file keeps its unit here."""
    tree = write(tmp_path / "p", SOURCES, "-fstack-usage")
    (tree / "kept").touch()
    (tree / "b.su").symlink_to("kept")
    with Farm(count=1, jobs=4) as farm:
        result = buildfarm("run", "--hosts", farm.hosts, cwd=tree)
    assert result.code == 0, result.stderr
    assert (tree / "b.su").is_symlink() and "b.c" in (tree / "kept").read_text()


def test_without_nodes_it_runs_here_as_it_is(tmp_path: Path) -> None:
    tree = write(tmp_path / "p", SOURCES, "-O1")
    result = buildfarm("run", "--hosts", "", cwd=tree)
    assert result.code == 0 and sorted(path.name for path in tree.glob("*.o")) == ["a.o", "b.o", "c.o"]


FORTRAN = {
    "kinds.f90": "module kinds\n  integer, parameter :: wp = kind(1d0)\nend module\n",
    "state.F90": "module state\n  use kinds\n  real(wp) :: t = 273.15_wp\nend module\n",
    "step.f90": "subroutine step\n  use state\n  integer :: unused\n  t = t + 1\nend subroutine\n",
    "main.f90": "program main\n  use state, only: t\n  call step\n  print *, t\nend program\n",
}
IN_ORDER = " ".join(FORTRAN)


def fortran(root: Path, order: str, flags: str, sources: dict[str, str] = FORTRAN) -> Path:
    root.mkdir()
    (root / "mod").mkdir()
    for name, text in sources.items():
        (root / name).write_text(text)
    (root / "Makefile").write_text(f"model:\n\tgfortran -Wall {flags} -c {order}\n\tgfortran -o $@ *.o\n")
    return root


def built_twice(root: Path, farm: Farm, *, before: str = "true") -> tuple[Result, str, dict[str, str], dict[str, str]]:
    """What buildfarm said, what make said, and both trees, each built where the other was, after the words `before`."""
    pristine = root.with_name("pristine")
    root.rename(pristine)
    shutil.copytree(pristine, root)
    subprocess.run(["sh", "-ec", before], cwd=root, check=True)
    made = subprocess.run(["make"], cwd=root, env=environment(), capture_output=True, text=True, check=False)
    expected = project.digests(root)
    shutil.rmtree(root)
    shutil.copytree(pristine, root)
    subprocess.run(["sh", "-ec", before], cwd=root, check=True)
    result = buildfarm("run", "--hosts", farm.hosts, cwd=root)
    assert result.code == made.returncode, result.stderr
    return result, made.stderr, expected, project.digests(root)


@pytest.mark.parametrize("flags", ["-O1", "-g -Jmod -Imissing"])
def test_a_fortran_source_finds_the_modules_of_those_before_it(tmp_path: Path, flags: str) -> None:
    tree = fortran(tmp_path / "p", IN_ORDER, flags)
    with Farm(count=2, jobs=2) as farm:
        result, words, expected, found = built_twice(tree, farm)
    assert found == expected
    assert buildfarm("plan", "-B", cwd=tree).stdout.count(" any node") == 4
    assert words and words in result.stderr, "each source's warnings, in the order of the call"
    assert status(tree)["units"]["remote"] == 4


@pytest.mark.parametrize("before", ["true", "gfortran -c kinds.f90; sed -i s/1d0/1e0/ kinds.f90", "touch state.mod"])
def test_a_fortran_source_finds_nothing_of_those_after_it(tmp_path: Path, before: str) -> None:
    tree = fortran(tmp_path / "p", "state.F90 kinds.f90 step.f90 main.f90", "-O1")
    with Farm(count=2, jobs=2) as farm:
        result, words, expected, found = built_twice(tree, farm, before=before)
    assert found == expected
    assert words.partition("make: ***")[0] in result.stderr


def test_of_two_modules_of_one_name_the_last_stays(tmp_path: Path) -> None:
    other = {**FORTRAN, "twin.f90": "module kinds\n  integer, parameter :: wp = kind(1e0)\nend module\n"}
    tree = fortran(tmp_path / "p", f"{IN_ORDER} twin.f90", "-O1", other)
    with Farm(count=2, jobs=2) as farm:
        _, _, expected, found = built_twice(tree, farm, before="gfortran -c twin.f90 && rm twin.o")
    assert found == expected
