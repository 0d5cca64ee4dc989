"""A build that is told to stop takes in what is about to arrive, and can be resumed from there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import project
from tests.farm import PATIENCE, Farm, dead_port, wait_until
from tests.tool import TIMEOUT, Running, buildfarm, command, environment, status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGPWR])
def test_a_build_that_is_told_to_stop_keeps_what_arrives_within_seconds(tmp_path: Path, number: signal.Signals) -> None:
    tree = project.write(tmp_path / "p")
    with Farm(count=1, jobs=4, gated=True) as farm:
        farm.close_gate(after=2)
        with Running(("run", "-C", str(tree), "--hosts", farm.hosts, "-j2")) as build:
            farm.wait_compiles(2)
            wait_until(lambda: farm.waiting() == 4, "four compilers at the gate")
            before_signal = len(farm.started())
            os.kill(build.process.pid, number)
            assert build.process.stderr is not None
            wait_until(lambda: "taking in" in _line(build), "the build to have heard")
            farm.open_gate()
            result = build.wait()
            assert result.code == 128 + number, result.stderr
        assert len(farm.started()) <= before_signal + 2, "new units were handed out after the signal"
        before = status(tree)
        assert before["state"] == "interrupted" and before["resumable"]
        assert not list(tree.rglob("*.bf-*"))
        assert buildfarm("resume", "-C", str(tree), "--hosts", farm.hosts).code == 0
        assert len(farm.started()) == project.UNITS, "a unit that had arrived was compiled again"
    assert (tree / "program").exists()


def _line(build: Running) -> str:
    assert build.process.stderr is not None
    return build.process.stderr.readline().decode()


def test_what_was_ignored_when_the_build_began_stays_ignored(tmp_path: Path) -> None:
    tree = project.write(tmp_path / "p")
    with Farm(count=1, jobs=2, gated=True) as farm:
        farm.close_gate(after=1)
        words = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *command("run", "-C", str(tree), "--hosts", farm.hosts)]
        build = subprocess.Popen(words, env=environment(), stdout=subprocess.DEVNULL, start_new_session=True)
        farm.wait_compiles(1)
        wait_until(lambda: farm.waiting() == 2, "two compilers at the gate")
        os.kill(build.pid, signal.SIGHUP)
        farm.open_gate()
        assert build.wait(PATIENCE) == 0


def test_a_build_whose_conductor_fails_leaves_no_make_behind(tmp_path: Path) -> None:
    tree = tmp_path / "p"
    tree.mkdir()
    (tree / "Makefile").write_text("all: a.o\n\ttouch began; sleep 60\na.o: a.c\n\tcc -c a.c -o a.o\n")
    (tree / "a.c").write_text("int a;\n")
    script = (
        "import sys\n"
        "from buildfarm.conductor import crew\n"
        "class Broken(crew.Farm):\n"
        "    async def _tick(self):\n"
        "        import asyncio, os\n"
        "        while not os.path.exists(sys.argv[1] + '/began'): await asyncio.sleep(0.01)\n"
        "        raise OSError(5, 'as if')\n"
        "crew.Farm = Broken\n"
        "from buildfarm.cli import main\n"
        "main(['run', '-C', sys.argv[1], '--hosts', ''])\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tree], env=environment(), capture_output=True, check=False)
    assert done.returncode == 71, done.stderr
    assert _processes_in(tree) == []
    assert buildfarm("status", "-C", str(tree)).code == 4


@pytest.mark.parametrize(
    ("place", "function", "told"),
    [
        ("planner", "plan_instance", b"BUG: planning: KeyError: 'as if'"),
        ("membership.Membership", "probe", b"is down: BUG: KeyError: 'as if'"),
        ("watching.Watcher", "run", b"BUG: watching: KeyError: 'as if'"),
    ],
)
def test_a_bug_beside_make_costs_no_build(tmp_path: Path, place: str, function: str, told: bytes) -> None:
    tree = project.write(tmp_path / "p")
    script = (
        "import sys\n"
        "from buildfarm.conductor import membership, planner, watching\n"
        "async def broken(*_, **__): raise KeyError('as if')\n"
        f"{place}.{function} = broken\n"
        "from buildfarm.cli import main\n"
        "main(['run', '-C', sys.argv[1]])\n"
    )
    env = environment(DISTCC_HOSTS=f"127.0.0.1:{dead_port()}")
    done = subprocess.run([sys.executable, "-c", script, tree], env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(told) == 1
    assert (tree / "program").exists()


def _processes_in(directory: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "cwd") == str(directory):
                found.append((entry / "comm").read_text())
        except OSError:
            continue
    return found


def test_a_journal_that_can_not_be_written_ends_the_build_with_what_to_do_and_no_bug(tmp_path: Path) -> None:
    tree = project.write(tmp_path / "p")
    script = (
        "import sqlite3, sys\n"
        "from buildfarm.state import writer\n"
        "from buildfarm.state.journal import Journal\n"
        "writer.PATIENCE = 0.3\n"
        "writer.JournalWriter.__init__.__kwdefaults__['patience'] = 0.3\n"
        "def full(*_):\n"
        "    error = sqlite3.OperationalError('database or disk is full')\n"
        "    error.sqlite_errorcode = sqlite3.SQLITE_FULL\n"
        "    Journal.transaction = full  # from now on\n"
        "    raise error\n"
        "Journal.check_in_arrived = full\n"
        "from buildfarm.cli import main\n"
        "main(['run', '-C', sys.argv[1], '--hosts', ''])\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tree], env=environment(), capture_output=True, check=False)
    text = done.stderr.decode()
    assert done.returncode == 71, text
    assert "disk is full" in text and "buildfarm resume" in text and "BUG" not in text
    assert _processes_in(tree) == []
    assert buildfarm("resume", "-C", str(tree)).code == 0
    assert (tree / "program").exists()


def test_ctrl_backslash_stops_a_build_as_ctrl_c_does(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(
        "all:\n\techo half > table; touch begun; sleep 20; echo whole > table\n.PHONY: all\n"
    )
    with Running(("run", "-C", str(tmp_path), "--hosts", "")) as build:
        wait_until((tmp_path / "begun").exists, "the recipe")
        os.kill(build.process.pid, signal.SIGQUIT)
        assert build.process.wait(TIMEOUT) == 131
    assert status(tmp_path)["state"] == "interrupted"
