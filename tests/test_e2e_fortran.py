"""Fortran on the farm, whole: real make, real gfortran, real distccd, byte for byte."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import project, project_fortran
from tests.farm import PATIENCE, Farm, wait_until
from tests.project_fortran import Project
from tests.tool import Result, Running, buildfarm, environment, status

AHEAD = pytest.mark.parametrize("ahead", [(), ("--no-lookahead",)], ids=["lookahead", "no-lookahead"])
WITHOUT_FORTRAN = """#!/bin/sh
case " $* " in *.f90\\ * | *.F90\\ * | *.f\\ * | *.F\\ *)
  echo "gcc: fatal error: cannot execute 'f951': No such file or directory" >&2; exit 1;;
esac
exec /usr/bin/gcc "$@"
"""


@pytest.fixture(autouse=True)
def _tools() -> None:
    if shutil.which("gfortran") is None:
        pytest.skip("gfortran is missing: install the package gfortran")


@pytest.fixture
def tree(tmp_path: Path) -> Project:
    return project_fortran.write(tmp_path / "p")


def made_by_make(tree: Project, *words: str) -> Result:
    done = subprocess.run(
        ["make", *words],
        cwd=tree.root,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        env=environment(),
    )
    return Result(done.returncode, done.stdout, done.stderr)


def built_by_make(tree: Project) -> dict[str, str]:
    """The digests of make's own tree; the tree is clean again afterwards."""
    made = made_by_make(tree, "-j2")
    assert made.code == 0, made.stderr
    digests = project.digests(tree.root)
    clean(tree)
    return digests


def clean(tree: Project) -> None:
    for path in tree.root.rglob("*"):
        if path.suffix in (".o", ".mod", ".smod", ".d") or path.name == "program":
            path.unlink()
    shutil.rmtree(tree.root / ".buildfarm", ignore_errors=True)


def run(tree: Project, farm: Farm, *words: str) -> Result:
    return buildfarm("run", "-C", str(tree.root), "--hosts", farm.hosts, *words)


def commands(result: Result) -> list[str]:
    """The compile commands that make echoed, sorted."""
    return sorted(line for line in result.stdout.splitlines() if " -c " in line)


def compilers_words(text: str) -> list[str]:
    """The lines of stderr that are neither make's nor ours, sorted: parallel compiles end in any order."""
    return sorted(line for line in text.splitlines() if not re.match(r"make|buildfarm: |\[\d+/", line))


def sources(tree: Project) -> set[str]:
    """The Fortran sources' names, as the nodes' logs have them."""
    return {path.name for path in tree.root.glob("*/*.[fF]*")}


def left_behind(farm: Farm) -> list[str]:
    return [path.name for node in farm.nodes for path in node.tmp.glob("distccd_*")]


@AHEAD
@pytest.mark.parametrize("options", [",lzo,cpp", ""], ids=["lzo,cpp", "plain"])
def test_every_unit_is_compiled_by_a_node_and_the_tree_is_makes_own(
    tree: Project, options: str, ahead: tuple[str, ...]
) -> None:
    plain = made_by_make(tree, "-j2")
    left_by_make = made_by_make(tree, "-n").stdout  # not nothing: gfortran writes a module before its object
    expected = project.digests(tree.root)
    clean(tree)
    with Farm(count=1, jobs=4, options=options) as farm:
        result = run(tree, farm, *ahead)
        assert result.code == 0, result.stderr
        assert set(farm.sources()) >= sources(tree)
        if ahead:  # a wrong guess of lookahead's may cost a compile
            assert len(farm.compiles()) == tree.units
        assert left_behind(farm) == []
    assert project.digests(tree.root) == expected
    assert compilers_words(result.stderr) == compilers_words(plain.stderr)
    assert any("Unused variable" in line for line in compilers_words(plain.stderr))
    assert commands(result) == commands(plain)
    units = status(tree.root)["units"]
    assert units["remote"] == units["done"] == units["total"] == tree.units
    assert made_by_make(tree, "-n").stdout == left_by_make


@AHEAD
def test_an_absolute_module_directory_and_debug_information(tree: Project, ahead: tuple[str, ...]) -> None:
    """With -g everything of Fortran is the same to the byte (`apart.o`, with its absolute -J, has none)."""
    words = ("FFLAGS=-O1 -Wall -g",)
    assert made_by_make(tree, "-j2", *words).code == 0
    expected = project.digests(tree.root)
    clean(tree)
    with Farm(count=1, jobs=4, options=",lzo,cpp") as farm:
        assert run(tree, farm, *ahead, *words).code == 0
        assert set(farm.sources()) >= sources(tree)
    assert project.digests(tree.root) == expected


@AHEAD
def test_an_unchanged_module_keeps_its_time_and_make_rebuilds_what_it_always_does(
    tree: Project, ahead: tuple[str, ...]
) -> None:
    """Body, interface, a comment in an include file: the same commands and the same module files touched as by make."""

    def edited(name: str, old: str, new: str) -> None:
        path = tree.root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    edits = (
        ("src/kinds.f90", "half = x / 2", "half = x * 0.5_wp"),
        ("inc/common.inc", "c1 = 1.0", "c1 = 1.25"),
        ("src/grid.f90", "integer :: n = 4", "integer :: n = 5"),
        ("src/child.f90", "x = x + 1", "x = x + 2"),
    )

    def story(build: Callable[[], Result]) -> list[tuple[list[str], set[str]]]:
        assert build().code == 0
        told = []
        for name, old, new in edits:
            before = module_times(tree.root)
            edited(name, old, new)
            result = build()
            assert result.code == 0, result.stderr
            after = module_times(tree.root)
            told.append((commands(result), {path for path in after if after[path] != before.get(path)}))
        for name, old, new in edits:
            edited(name, new, old)
        return told

    expected = story(lambda: made_by_make(tree, "-j2"))
    assert all(rebuilt for rebuilt, _ in expected)
    assert not expected[0][1], "only the body of kinds.f90 changed"
    assert len(expected[0][0]) == 1 and len(expected[2][0]) > 3
    clean(tree)
    with Farm(count=1, jobs=4, options=",lzo,cpp") as farm:
        assert story(lambda: run(tree, farm, *ahead)) == expected
        commands_run = tree.units + sum(len(rebuilt) for rebuilt, _ in expected)
        assert len(farm.compiles()) >= commands_run
    assert status(tree.root)["units"]["local"] == 0


MODULE_RULES = {
    "a target of its own": "%.o: %.f90\n\tgfortran -c $<\n%.mod: %.o ;\nb.o: a.mod\nc.o: b.mod\n",
    "told as made": "%.o: %.f90\n\tgfortran -c $<\n%.mod: %.o\n\t@true\nb.o: a.mod\nc.o: b.mod\n",
    "touched": "%.o: %.f90\n\tgfortran -c $<\n%.mod: %.o\n\t@touch $@\nb.o: a.mod\nc.o: b.mod\n",
    "what is compiled": "%.mod: %.f90\n\tgfortran -c $<\n%.o: %.mod ;\nb.mod: a.mod\nc.mod: b.mod\n",
    "with the object": "%.o %.mod: %.f90\n\tgfortran -c $<\nb.o b.mod: a.mod\nc.o c.mod: b.mod\n",
}


@pytest.mark.parametrize("rules", MODULE_RULES.values(), ids=MODULE_RULES)
def test_rules_for_modules_leave_make_as_much_to_do_as_after_its_own_build(tmp_path: Path, rules: str) -> None:
    def left(build: Callable[[Path], int]) -> list[str]:
        root = tmp_path / "p"
        root.mkdir()
        (root / "Makefile").write_text(f"prog: c.o b.o a.o\n\tgfortran -o $@ $^\n{rules}")
        for before, name in (("", "a"), ("a", "b"), ("b", "c")):
            use = f"use {before}, only: f_{before}\n" if before else ""
            text = f"module {name}\n{use}contains\nsubroutine f_{name}\nend subroutine\nend module\n"
            (root / f"{name}.f90").write_text(text + "end program\n" * (name == "c"))
        assert build(root) == 0
        modules = {name: (root / f"{name}.mod").stat().st_mtime_ns for name in "abc"}
        order = [modules[name] < (root / f"{name}.o").stat().st_mtime_ns for name in "abc"]
        words = ["make", "-n"]
        said = subprocess.run(words, cwd=root, env=environment(), capture_output=True, text=True, check=True).stdout
        shutil.rmtree(root)
        return [*map(str, order), *said.splitlines()]

    expected = left(lambda root: subprocess.run(["make", "-j2"], cwd=root, env=environment()).returncode)
    with Farm(count=1, jobs=4) as farm:
        assert left(lambda root: buildfarm("run", "--hosts", farm.hosts, cwd=root).code) == expected
        assert len(farm.compiles()) == 3


def module_times(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("*.*mod")}


def test_torn_and_missing_modules_after_a_crash_are_made_again(tree: Project) -> None:
    with (tree.root / "Makefile").open("a") as makefile:
        makefile.write("user.o: | hold\nhold:\n\tuntil test -e go; do sleep 0.05; done\n")
    (tree.root / "go").touch()
    expected = built_by_make(tree)
    (tree.root / "go").unlink()
    with Farm(count=1, jobs=2, options=",lzo,cpp") as farm:
        with Running(("run", "-C", str(tree.root), "--hosts", farm.hosts, "-j4")) as build:
            wait_until((tree.root / "grid.o").exists, "grid.o to be made")
            build.kill_all()
        (tree.root / "go").touch()
        torn, missing = tree.root / "mods" / "grid.mod", tree.root / "mods" / "kinds.mod"
        torn.write_bytes(torn.read_bytes()[:20])  # what a power cut leaves of a file not yet on the disk
        missing.unlink()
        result = buildfarm("resume", "-C", str(tree.root), "--hosts", farm.hosts)
        assert result.code == 0, result.stderr
    assert project.digests(tree.root) == expected


def test_a_module_that_was_under_way_here_at_a_crash_goes_before_make_runs_again(tree: Project) -> None:
    """A node's modules come to their places whole; the local compiler writes them in place."""
    kinds, included = tree.root / "src" / "kinds.f90", tree.root / "inc" / "pipe.inc"
    kinds.write_text('include "pipe.inc"\n' + kinds.read_text())
    included.write_text("! nothing\n")
    expected = built_by_make(tree)
    included.unlink()
    os.mkfifo(included)  # the compiler waits here
    with Running(("run", "-C", str(tree.root), "--hosts", "", "-j1")) as build:
        wait_until(lambda: bool(status(tree.root)["checked_out"]), "a unit under way")
        (tree.root / "mods" / "kinds.mod").write_bytes(b"half")
        build.kill_all()
    included.unlink()
    included.write_text("! nothing\n")
    result = buildfarm("resume", "-C", str(tree.root))
    assert result.code == 0, result.stderr
    assert "1 file removed that can't be vouched for" in result.stderr
    assert project.digests(tree.root) == expected


def test_a_node_without_gfortran_gets_only_c_and_status_and_nodes_say_so(tree: Project) -> None:
    expected = built_by_make(tree)
    with Farm(count=2, jobs=4, options=",lzo,cpp") as farm:
        farm.nodes[0].install("gcc", WITHOUT_FORTRAN)
        farm.nodes[0].install("gfortran", WITHOUT_FORTRAN)
        result = run(tree, farm)
        assert result.code == 0, result.stderr
        assert all(job.source.endswith(".c") for job in farm.nodes[0].compiles())
        assert len(farm.nodes[1].compiles()) >= tree.fortran_units
        said = {node["port"]: node for node in status(tree.root)["nodes"]}
        lame, able = (said[node.port] for node in farm.nodes)
        assert lame["state"] == "up" and "no fortran" in lame["reason"] and "f951" in lame["reason"]
        assert able["reason"] is None
        listed = json.loads(buildfarm("nodes", "--hosts", farm.hosts, "--json").stdout)["nodes"]
        assert "fortran" not in listed[0]["languages"] and "no fortran" in listed[0]["reason"]
        assert "fortran" in listed[1]["languages"] and listed[1]["reason"] is None
        assert "no fortran" in buildfarm("nodes", "--hosts", farm.hosts).stdout
        assert "no fortran" in buildfarm("status", "-C", str(tree.root)).stdout
    assert project.digests(tree.root) == expected


def test_another_gfortran_is_found_by_the_probe_and_gets_no_unit(tree: Project) -> None:
    """Its gcc is ours, its Fortran compiler is another one: nothing is lost on finding out."""
    expected = built_by_make(tree)
    other = f"#!/bin/sh\nunit=0\n{WITHOUT_FORTRAN.split(chr(10), 1)[1]}".replace(
        "echo \"gcc: fatal error: cannot execute 'f951': No such file or directory\" >&2; exit 1",
        'exec /usr/bin/gcc "$@" -fno-ident',
    )
    with Farm(count=1, jobs=4, options=",lzo,cpp") as farm:
        for name in ("gcc", "gfortran"):
            farm.nodes[0].install(name, other)
        result = run(tree, farm)
        assert result.code == 0, result.stderr
        assert [job.source.endswith(".c") for job in farm.compiles()] == [True]
        (node,) = status(tree.root)["nodes"]
        assert "makes other bytes" in node["reason"] and node["failed"] == 0
        told = buildfarm("explain", "-C", str(tree.root), "kinds.o").stdout
        assert re.search("no node (takes|compiles) fortran", told)
    assert project.digests(tree.root) == expected


@AHEAD
def test_an_error_has_the_local_compilers_words_and_exit_status(tree: Project, ahead: tuple[str, ...]) -> None:
    broken = tree.root / "src" / "user.f90"
    broken.write_text(broken.read_text().replace("call fill(g)", "call fill(g, 1)"))
    plain = made_by_make(tree, "-k")
    clean(tree)
    with Farm(count=1, jobs=4, options=",lzo,cpp") as farm:
        result = run(tree, farm, "-k", *ahead)
        assert left_behind(farm) == []
    assert result.code == plain.code == 2
    assert "Error: More actual than formal arguments" in plain.stderr
    assert compilers_words(result.stderr) == compilers_words(plain.stderr)
    (failure,) = status(tree.root)["failures"]
    assert failure["output"].endswith("user.o") and failure["exit_status"] == 1
    assert not (tree.root / "mods" / "user.mod").exists()


def test_warnings_of_missing_directories_are_those_of_the_moment(tmp_path: Path) -> None:
    """A unit made ahead of the recipe that makes its directory must not warn that it is not there."""
    tree = Project(tmp_path / "p", 3, 3)
    tree.root.mkdir()
    for name in ("early", "plain", "late"):
        (tree.root / f"{name}.F90").write_text(f"subroutine {name}\nend subroutine\n")
    (tree.root / "Makefile").write_text(
        "all:\n\tgfortran -Igenerated -c early.F90\n\tgfortran -nocpp -Igenerated -c plain.F90\n"
        "\tmkdir generated\n\tgfortran -Igenerated -Inever -c late.F90\n"
    )
    plain = made_by_make(tree)
    assert plain.stderr.count("Nonexistent include directory 'generated'") == 2
    clean(tree)
    with Farm(count=1, jobs=4, options=",lzo,cpp") as farm:
        for words in ((), ("--no-lookahead",)):
            (tree.root / "generated").rmdir()
            result = run(tree, farm, *words)
            assert result.code == 0, result.stderr
            ours = [line for line in result.stderr.splitlines() if line.startswith("f951")]
            assert ours == plain.stderr.splitlines()
            clean(tree)


def test_the_sample_climate_model_is_compiled_on_the_nodes(tmp_path: Path) -> None:
    """Without its optimisation, and up to the ocean: `make demo` builds all of it."""
    tree, quick = tmp_path / "minimodel", ("OPTIMISE=-O0", "UNROLL=", "ocean")

    def fresh() -> None:
        shutil.rmtree(tree, ignore_errors=True)
        sample = Path(__file__).parent.parent / "sample_projects" / "minimodel"
        shutil.copytree(sample, tree, ignore=shutil.ignore_patterns("*.o", "*.a", "mod", "output.txt", ".buildfarm"))

    fresh()
    plain = made_by_make(Project(tree, 0, 0), "-j2", *quick)
    expected = project.digests(tree)
    compiles = len(commands(plain))
    with Farm(count=2, jobs=4, options=",lzo,cpp") as farm:
        for ahead in ((), ("--no-lookahead",)):
            fresh()
            result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, *ahead, *quick)
            assert result.code == 0, result.stderr
            units = status(tree)["units"]
            assert (units["remote"], units["local"]) == (compiles, 0)
            assert bool(units["lookahead"]) == (not ahead)
            assert project.digests(tree) == expected
        assert left_behind(farm) == []


def test_a_build_that_no_node_helps_with_for_want_of_gcc_here_says_so_at_its_end(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("gfortran", "as", "ld", "make", "sh"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(os.path.realpath(found))
    (tmp_path / "Makefile").write_text("a.o: a.f90\n\tgfortran -O1 -c a.f90\n")
    (tmp_path / "a.f90").write_text("subroutine a(x)\nreal x\nx = x + 1\nend\n")
    with Farm(count=1, jobs=1) as farm:
        made = buildfarm("run", "-C", str(tmp_path), "--hosts", farm.hosts, env=environment(PATH=str(tools)))
    assert made.code == 0
    why = "; no node had one: no gcc on this machine's PATH to compare nodes with; `buildfarm doctor` "
    assert why in made.stderr.splitlines()[-1]


def test_a_trial_that_writes_no_object_is_no_bug(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all:\n\tgfortran -c -o /dev/null m.f90\n")
    (tmp_path / "m.f90").write_text("module m\nend module\n")
    with Farm(count=1, jobs=1) as farm:
        made = buildfarm("run", "-C", str(tmp_path), "--hosts", farm.hosts)
    assert made.code == 0 and "BUG" not in made.stderr, made.stderr
    assert (tmp_path / "m.mod").exists()


def test_warnings_are_errors_and_the_node_may_not_look_into_the_source_s_directory(tmp_path: Path) -> None:
    """A home on the master is one on the node, and its distccd is another user: f951 warns of that in any case."""
    root = tmp_path / "home"
    root.mkdir(mode=0o700)
    (root / "clean.f90").write_text("subroutine clean(x)\n  integer :: x\n  x = 1\nend subroutine\n")
    (root / "unused.f90").write_text("subroutine unused()\n  integer :: x\nend subroutine\n")
    (root / "Makefile").write_text(
        "all: clean.o unused.o\n%.o: %.f90\n\tgfortran -Wall -Werror -c $(CURDIR)/$< -o $@\n"
    )
    with Farm(count=1, jobs=2) as farm:
        result = buildfarm("run", "-C", str(root), "--hosts", farm.hosts, "-k")
    assert result.code == 2
    assert "Unused variable" in result.stderr and "Include directory" not in result.stderr
    document = status(root)
    assert document["units"]["remote"] == 1, document["units"]
    assert (root / "clean.o").exists() and not (root / "unused.o").exists()
