"""Every benchmark can run: the cheap ones do, with --quick; and what runs them unattended gives up and cleans up."""

from __future__ import annotations

import ctypes
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import goals, trees, unattended
from benchmarks.farm import build_replay
from benchmarks.frame import Measure, environment
from benchmarks.master_cpu import Cost
from benchmarks.record import modules_needed

PR_GET_CHILD_SUBREAPER = 37  # linux/prctl.h
CHEAP = ("null_build", "scale")


@pytest.mark.parametrize("name", sorted(benchmarks.LIMITS))
def test_every_benchmark_can_be_imported_and_has_a_run(name: str) -> None:
    assert callable(import_module(f"benchmarks.{name}").run)


@pytest.mark.parametrize("name", CHEAP)
def test_a_cheap_benchmark_gives_its_table(name: str) -> None:
    lines = import_module(f"benchmarks.{name}").run(quick=True).splitlines()
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert len(lines) > 2
    assert len(widths) == 1, f"a ragged table: {lines}"


def test_what_hangs_is_given_up_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    script = f"setsid sh -c 'echo $$ >{told}; while :; do sleep 1000; done' & wait"
    for seconds in (1, 10, 100):  # until it has begun by then
        assert unattended.run(["sh", "-c", script], seconds) == f"given up after {seconds} seconds"
        if told.exists() and (pid := told.read_text()):
            break
    assert not Path(f"/proc/{pid}").exists()
    orphans = ctypes.c_int(-1)
    ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(orphans), 0, 0, 0)
    assert orphans.value == 0, "nor does this process go on taking what others leave"


def test_what_fails_is_told_and_what_succeeds_is_not() -> None:
    assert unattended.run(["sh", "-c", "exit 3"], 30) == "exit status 3"
    assert unattended.run(["true"], 30) is None


@pytest.mark.parametrize("name", trees.names())
def test_make_builds_a_recorded_tree_in_its_order_with_compilers_that_answer(name: str, tmp_path: Path) -> None:
    tree = trees.Tree.load(name).first(3)
    project = trees.write(tree, tmp_path / "tree")
    trees.write_objects(tree, tmp_path / "objects")
    for told in (tmp_path / "objects").glob("*.us"):
        told.write_text("0")
    compiler = build_replay(tmp_path / "objects", tmp_path / project.compiler)
    words = ["make", "-j3", f"{project.variable}={compiler}"]
    subprocess.run(words, cwd=project.root, env=environment(), capture_output=True, check=True)
    made = {path.stem: path.stat().st_size for path in project.root.rglob("*.o")}
    assert len(made) == len(tree.units) == project.units
    assert len(list(project.root.rglob("lib.a"))) == len(tree.parts)
    trees.clean(project.root)
    assert not list(project.root.rglob("*.o"))


@pytest.mark.parametrize("name", trees.names())
def test_a_recorded_tree_is_whole(name: str) -> None:
    tree = trees.Tree.load(name)
    assert sorted(part for stage in tree.stages for part in stage) == sorted(tree.parts)
    assert all(needed < number for number, unit in enumerate(tree.units) for needed in unit.needs)
    assert all(tree.units[needed].modules for unit in tree.units for needed in unit.needs)
    assert all(unit.code_bytes <= unit.source_bytes for unit in tree.units)
    assert tree.bound(8) >= tree.work / 8
    assert tree.bound(10_000) == max(unit.seconds for unit in tree.units)


@pytest.mark.parametrize("suffix", [".f", ".F", ".f90", ".F90"])
@pytest.mark.parametrize("modules", [0, 1, 2])
def test_made_up_fortran_is_fortran_of_the_recorded_size(suffix: str, modules: int, tmp_path: Path) -> None:
    first = trees.Unit(1.0, 9000, 9000, (), ".F90", "-O2", 1, 4000)
    second = trees.Unit(1.0, 9000, 9000, (0,), suffix, "-O2", modules, 4000)
    tree = trees.Tree("x", "Fortran", (("a",), ("b",)), {"a": (0,), "b": (1,)}, (first, second))
    project = trees.write(tree, tmp_path / "tree")
    subprocess.run(["make", "FC=gfortran -fsyntax-only", "AR=true"], cwd=project.root, check=False, capture_output=True)
    source = project.root / "p01" / f"u0001{suffix}"
    words = ["gfortran", "-fsyntax-only", "-I../modules", "-J../modules", source.name]
    subprocess.run(words, cwd=source.parent, check=True)
    assert len(list((project.root / "modules").glob("*.mod"))) == 1 + modules
    assert 8000 < source.stat().st_size < 10000


def test_a_units_cost_is_the_slope_between_two_sizes() -> None:
    small, large = (Measure(1.0, seconds, 0.0, 2048, "") for seconds in (1.4, 3.4))
    cost = Cost.of((40, small), (240, large))
    assert (round(cost.unit, 6), round(cost.start, 6), cost.peak_mb) == (10.0, 1000.0, 2.0)


def test_a_needed_module_is_found_in_the_source_that_makes_it(tmp_path: Path) -> None:
    texts = (
        "module a\nend module a\n",
        "      USE A, only : x\n",
        "  module  b ! so\n  use :: a\nmodule procedure p\nend\n",
    )
    paths = [tmp_path / f"{number}.f90" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    assert modules_needed([str(path) for path in paths]) == [[], [0], [0]]


def test_a_goal_is_read_from_its_benchmarks_table_and_judged() -> None:
    heads = "| units | make to its first recipe, s | resume to first dispatch, s | extra, median (spread) |"
    row = "| {} | 0.05 | {} (0.10 to 9.00) | 0.1 |"
    lines = [heads, "| --- | --- | --- | --- |", row.format("200", "0.10"), row.format("2,000", "0.90")]
    document = "\n".join(["<!-- benchmark resume -->", *lines, "<!-- end resume -->"])
    assert "| resume to first dispatch, 2,000 units, seconds | 1 or less | 0.90 (0.10 to 9.00) | yes |" in goals.render(
        document
    )
    assert "1.10 (0.10 to 9.00) | no |" in goals.render(document.replace("0.90", "1.10"))
    assert goals.render("").count(goals.NOT_MEASURED) == len(goals.GOALS)
