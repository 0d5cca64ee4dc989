"""The main job, whole: real make, real gcc, real distccd, real kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import project
from tests.farm import Farm, dead_port, wait_until
from tests.faults.room import checked_in
from tests.tool import Running, buildfarm, environment, status


@pytest.mark.parametrize("cflags", ["-O1 -Wall", "-O1 -Wall -g"])
def test_every_unit_is_compiled_by_a_node_and_the_tree_is_makes_own(tmp_path: Path, cflags: str) -> None:
    tree = project.write(tmp_path / "p", cflags=cflags)
    project.made_by_make(tree)
    expected = project.digests(tree, stripped="-g" in cflags)
    project.made_by_make(tree, "clean")
    for library in tree.glob("*/*.[oa]"):
        library.unlink()
    with Farm(count=2, jobs=4) as farm:
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts)
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) == project.UNITS
    assert project.digests(tree, stripped="-g" in cflags) == expected
    document = status(tree)
    assert document["state"] == "complete"
    assert document["units"]["remote"] == document["units"]["done"] == project.UNITS
    assert sum(node["done"] for node in document["nodes"]) == project.UNITS


def test_after_kill_9_of_everything_resume_compiles_only_what_is_missing(tmp_path: Path) -> None:
    tree = project.write(tmp_path / "p")
    project.made_by_make(tree)
    expected = project.digests(tree)
    project.made_by_make(tree, "clean")
    with Farm(count=2, jobs=2, gated=True) as farm:
        farm.close_gate(after=9)
        with Running(("run", "-C", str(tree), "--hosts", farm.hosts, "-j6")) as build:
            farm.wait_compiles(9)
            wait_until(lambda: bool(checked_in(tree)), "a unit that is checked in")
            build.kill_all()
        farm.open_gate()
        before = status(tree)
        assert before["state"] == "interrupted" and before["resumable"]
        done = sum(path.endswith(".o") for path in checked_in(tree))
        assert 0 < done <= before["units"]["done"] < project.UNITS
        wait_until(lambda: farm.compiles() == farm.compiles() and not farm_busy(farm), "the nodes to be idle")
        compiled = len(farm.compiles())
        result = buildfarm("resume", "-C", str(tree), "--hosts", farm.hosts)
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) - compiled <= project.UNITS - done
    assert project.digests(tree) == expected
    after = status(tree)
    assert after["state"] == "complete"
    assert after["units"]["reused"] >= done
    assert after["build"]["resumed_from"] == before["build"]["id"]


def farm_busy(farm: Farm) -> bool:
    """Whether a compiler of the killed build still runs on a node."""
    return len(farm.started()) != len(farm.compiles()) and any(len(node.pids()) > 3 for node in farm.nodes)


def test_a_killed_conductor_leaves_a_make_that_finishes_by_itself(tmp_path: Path) -> None:
    tree = project.write(tmp_path / "p")
    project.made_by_make(tree)
    expected = project.digests(tree)
    project.made_by_make(tree, "clean")
    with Farm(count=1, jobs=2, gated=True) as farm:
        farm.close_gate(after=3)
        with Running(("run", "-C", str(tree), "--hosts", farm.hosts, "-j4")) as build:
            farm.wait_compiles(3)
            os.kill(build.process.pid, signal.SIGKILL)
            build.process.wait()
            farm.open_gate()
            wait_until(lambda: (tree / "program").exists(), "the orphaned make to link the program")
            wait_until(lambda: project.digests(tree) == expected, "the tree to be complete")
    assert status(tree)["state"] == "interrupted"
    assert buildfarm("resume", "-C", str(tree)).code == 0
    assert project.digests(tree) == expected


def test_with_every_node_down_it_builds_here_and_says_so_once(tmp_path: Path) -> None:
    tree = project.write(tmp_path / "p")
    port = dead_port()
    result = buildfarm("run", "-C", str(tree), "--hosts", f"127.0.0.1:{port}/4")
    assert result.code == 0
    assert (tree / "program").exists()
    assert result.stderr.count(f"127.0.0.1:{port} is down") == 1
    document = status(tree)
    assert document["units"]["local"] == project.UNITS
    assert document["nodes"][0]["state"] == "down" and "refused" in document["nodes"][0]["reason"]


def test_without_nodes_it_builds_here_and_says_so_once(tmp_path: Path) -> None:
    tree = project.write(tmp_path / "p")
    result = buildfarm("run", "-C", str(tree), "--hosts", "")
    assert result.code == 0
    assert result.stderr.count("no nodes") == 1
    assert status(tree)["units"]["local"] == project.UNITS
    assert subprocess.run([tree / "program"], capture_output=True, check=True).stdout


def test_a_compile_error_has_the_local_compilers_words_and_makes_exit_status(tmp_path: Path) -> None:
    tree = project.write(tmp_path / "p")
    (tree / "beta" / "beta_3.c").write_text('#include "common.h"\nint beta_3(int x) {\n    return x + missing;\n}\n')
    plain = subprocess.run(["make"], cwd=tree / "beta", capture_output=True, text=True, check=False, env=environment())
    words = plain.stderr[plain.stderr.index("beta_3.c") : plain.stderr.index("make")]
    assert "missing" in words
    with Farm(count=1, jobs=4) as farm:
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, "CFLAGS=-O1")
    assert result.code == 2
    assert words.splitlines()[1] in result.stderr
    document = status(tree)
    assert document["state"] == "failed"
    (failure,) = document["failures"]
    assert failure["output"].endswith("beta_3.o")
    assert failure["exit_status"] == 1
    assert "missing" in failure["stderr"]
    assert all(node["failed"] == 0 for node in document["nodes"])


@pytest.mark.parametrize(
    ("recipe", "said", "known"),
    [
        ("cc -o prog a.o -lnosuchlib", "; 1 link step failed; make failed with status 2", "failed     prog (status 1)"),
        ("exit 3", "; make failed with status 2", "no compile or link step"),
    ],
)
def test_a_build_that_fails_after_its_units_is_closed_as_failed(
    tmp_path: Path, recipe: str, said: str, known: str
) -> None:
    (tmp_path / "Makefile").write_text(f"prog: a.o\n\t{recipe}\na.o: a.c\n\tcc -c a.c\n")
    (tmp_path / "a.c").write_text("int main(void) { return 0; }\n")
    result = buildfarm("run", "-C", str(tmp_path), "--hosts", "")
    assert result.code == 2
    closing = result.stderr.splitlines()[-1]
    assert closing.startswith("buildfarm: 1 unit in") and closing.endswith(said)
    told = buildfarm("status", "-C", str(tmp_path))
    assert told.code == 1
    assert "failed with status 2" in told.stdout and known in told.stdout


def test_a_clock_that_is_set_back_in_mid_build_makes_no_build_shorter(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all: a.o\n\tsleep 2\n\ttouch $@\na.o: a.c\n\tcc -c a.c\n")
    (tmp_path / "a.c").write_text("int a;\n")
    script = (
        "import os, sys, time\n"
        "real = time.time\n"
        "time.time = lambda: real() - 7200 * os.path.exists(sys.argv[1] + '/all')\n"
        "from buildfarm.cli import main\n"
        "main(['run', '-C', sys.argv[1], '--hosts', ''])\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], env=environment(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    closing = done.stderr.splitlines()[-1]
    assert b"1 unit in " in closing and b" in 0." not in closing, closing


def test_a_second_build_in_the_tree_is_turned_away_with_the_firsts_pid(tmp_path: Path) -> None:
    tree = project.write(tmp_path / "p")
    with Farm(count=1, jobs=2, gated=True) as farm:
        farm.close_gate()
        with Running(("run", "-C", str(tree), "--hosts", farm.hosts, "-j4")) as build:
            wait_until(lambda: (tree / ".buildfarm" / "lock.owner").exists(), "the first build to hold the lock")
            wait_until(lambda: status(tree)["state"] == "running", "the first build to run")
            result = buildfarm("run", "-C", str(tree))
            assert result.code == 75
            assert str(build.process.pid) in result.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_build_and_keeps_its_state(tmp_path: Path, number: signal.Signals, code: int) -> None:
    tree = project.write(tmp_path / "p")
    with Farm(count=1, jobs=2, gated=True) as farm:
        farm.close_gate(after=3)
        with Running(("run", "-C", str(tree), "--hosts", farm.hosts, "-j4")) as build:
            farm.wait_compiles(3)
            os.kill(build.process.pid, number)
            result = build.wait()
            assert result.code == code, result.stderr
        assert status(tree)["state"] == "interrupted"
        assert buildfarm("status", "-C", str(tree)).code == 4
        farm.open_gate()
        assert buildfarm("resume", "-C", str(tree), "--hosts", farm.hosts).code == 0
    assert (tree / "program").exists()
