"""Status reads: at any time, from anywhere, cheap, and never a write."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from buildfarm.model import AttemptEnd, BuildState, NodeStatus
from buildfarm.state import reader
from buildfarm.state.identity import BOOT_ID_VARIABLE
from buildfarm.state.journal import Journal
from buildfarm.state.views import named_output
from tests import state_samples as sample


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / ".buildfarm"


def contents(state_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in state_dir.iterdir() if not path.name.endswith("-shm")}


def test_no_journal_is_no_build_and_reading_makes_none(tmp_path: Path) -> None:
    assert reader.snapshot(tmp_path / ".buildfarm").state == "none"
    assert list(tmp_path.iterdir()) == []


def test_a_running_build_is_seen_from_outside_without_a_write(state_dir: Path) -> None:
    with Journal.open(state_dir) as journal:
        build = sample.begin(journal)
        journal.check_out(build, [sample.check_out(1)])
        before = contents(state_dir)
        rows = reader.snapshot(state_dir)
        assert contents(state_dir) == before
    assert rows.state == "running"
    assert rows.build is not None
    assert (rows.build.goals, rows.build.pid) == (sample.spec().goals, os.getpid())
    assert [(view.output, view.node, view.attempt) for view in rows.checked_out] == [("/tree/1.o", "pi3:3632", 1)]


def test_a_build_whose_process_is_gone_is_interrupted(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal.open(state_dir) as journal:
        sample.begin(journal)
    assert reader.snapshot(state_dir).state == "running"
    monkeypatch.setenv(BOOT_ID_VARIABLE, "after a reboot")
    assert reader.snapshot(state_dir).state == "interrupted"


def test_a_kill_takes_no_unit_from_a_nodes_count(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal.open(state_dir) as journal:
        build = sample.begin(journal)
        journal.set_nodes(
            build, [NodeStatus("pi3:3632", "pi3", 3632, "up", 4), NodeStatus("b:1", "b", 1, "up", 4, done=7)]
        )
        for step in (1, 2, 3):
            journal.check_out(build, [sample.check_out(step)])
        journal.check_in(build, [sample.check_in(1), sample.check_in(2)])
    monkeypatch.setenv(BOOT_ID_VARIABLE, "after a reboot")
    assert {node.host: node.done for node in reader.snapshot(state_dir).nodes} == {"pi3": 2, "b": 7}


def test_a_build_that_was_killed_had_run_until_its_last_sign_of_life(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long nothing had come back, and no units' times were known to estimate the rest from."""
    with Journal.open(state_dir) as journal:
        first = journal.begin_build(sample.spec(), started=1000.0, token="t")
        journal.check_out(first, [sample.check_out(1)])
        build = journal.begin_build(sample.spec(), started=2000.0, token="t")
        journal.check_out(build, [sample.check_out(1)])
    os.utime(state_dir / "clock", (5000.0, 5000.0))
    monkeypatch.setenv(BOOT_ID_VARIABLE, "after a reboot")
    assert reader.snapshot(state_dir).last_heard_at == 5000.0
    assert reader.snapshot(state_dir, first).last_heard_at == sample.check_out(1).time


def test_attempts_that_did_not_count_are_told_by_how_they_ended(state_dir: Path) -> None:
    with Journal.open(state_dir) as journal:
        build = sample.begin(journal)
        assert reader.snapshot(state_dir).retries == ()
        journal.check_out(build, [sample.check_out(1), sample.check_out(2)])
        for number, outcome in enumerate(("lost", "cancelled", "late", "lost"), 1):
            journal.check_out(build, [replace(sample.check_out(1), attempt=number)])
            assert not any(view.waits for view in reader.snapshot(state_dir).checked_out)
            journal.attempt_end(build, AttemptEnd(1, number, "pi3:3632", 5.0, outcome, "x"))
            assert [view.output for view in reader.snapshot(state_dir).checked_out if view.waits] == ["/tree/1.o"]
        journal.check_in(build, [sample.check_in(2)])
    rows = reader.snapshot(state_dir)
    assert (rows.counters.retried, dict(rows.retries)) == (1, {"lost": 2, "late": 1})


def test_a_pid_that_now_belongs_to_another_process_does_not_run_the_build(state_dir: Path) -> None:
    with Journal.open(state_dir) as journal:
        sample.begin(journal)
        journal.select("UPDATE build SET pid_start = pid_start - 1")
    assert reader.snapshot(state_dir).state == "interrupted"


@pytest.mark.parametrize("state", [BuildState.COMPLETE, BuildState.FAILED, BuildState.INTERRUPTED])
def test_a_build_that_ended_says_how(state_dir: Path, state: BuildState) -> None:
    with Journal.open(state_dir) as journal:
        journal.end_build(sample.begin(journal), state, 2, 5000.0)
    rows = reader.snapshot(state_dir)
    assert rows.state == state.value
    assert rows.build is not None and (rows.build.exit_status, rows.build.ended) == (2, 5000.0)


def as_nobody(state_dir: Path) -> str:
    """The state as a user sees it who may read and not write."""
    code = (
        "import os, sys; from pathlib import Path; os.setgid(65534); os.setuid(65534);"
        "from buildfarm.state import reader; rows = reader.snapshot(Path(sys.argv[1]));"
        "print(rows.state, rows.counters.checked_out, rows.problem)"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", f"import shutil, tempfile, buildfarm.state.reader; {code}", str(state_dir)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_who_may_only_read_sees_the_same_with_and_without_a_log() -> None:
    with tempfile.TemporaryDirectory() as tree:
        Path(tree).chmod(0o755)
        see_as_nobody(Path(tree) / ".buildfarm")


def see_as_nobody(state_dir: Path) -> None:
    journal = Journal.open(state_dir)
    state_dir.chmod(0o755)
    build = sample.begin(journal)
    journal.check_out(build, [sample.check_out(1)])
    assert as_nobody(state_dir) == "running 1 None"
    (state_dir / "state.db-shm").unlink()  # as after a crash of the machine
    assert as_nobody(state_dir) == "running 1 None"
    journal.close()
    assert not (state_dir / "state.db-wal").exists()
    assert as_nobody(state_dir) == "running 1 None"
    (state_dir / "state.db").chmod(0o600)
    assert "Permission denied" in as_nobody(state_dir) or "unable to open" in as_nobody(state_dir)


def test_status_of_a_hundred_thousand_steps_is_cheap(state_dir: Path) -> None:
    count = 100_000
    with Journal.open(state_dir) as journal:
        build = sample.begin(journal)
        journal.check_out(build, [sample.check_out(n) for n in range(50)])
        journal.select(
            "WITH RECURSIVE n(i) AS (VALUES (50) UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1)"
            " INSERT INTO step (id, build, kind, state, command, output, fingerprint, attempt, lookahead, started,"
            " temporaries) SELECT step.id + i, build, kind, state, command, output || i, fingerprint, attempt,"
            " lookahead, started, temporaries FROM step JOIN n WHERE step.id = (SELECT min(id) FROM step)",
            (count,),
        )
        journal.select("UPDATE step SET state = 'done' WHERE id >= (SELECT min(id) FROM step) + 50")

    def least(work: Callable[[], object]) -> float:
        """Seconds of processor time: what it costs when nobody disturbs it."""
        spent = []
        for _ in range(5):
            started = time.process_time()
            work()
            spent.append(time.process_time() - started)
        return min(spent)

    rows = reader.snapshot(state_dir)
    assert (rows.counters.done, rows.counters.checked_out, len(rows.checked_out)) == (count - 50, 50, 50)
    with contextlib.closing(sqlite3.connect(state_dir / "state.db")) as plain:
        counting = least(lambda: plain.execute("SELECT state, output, count(*) FROM step GROUP BY 1").fetchall())
    assert least(lambda: reader.snapshot(state_dir)) < counting, "it looks at every step"


def test_status_imports_nothing_from_outside_the_standard_library() -> None:
    code = "import sys, json, buildfarm.state.reader; print(json.dumps([n for n in sys.modules]))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    standard = set(sys.stdlib_module_names) | {"__main__", "__mp_main__"}
    foreign = {name.partition(".")[0] for name in loaded} - standard
    assert {name for name in foreign if not name.startswith(("_", "sitecustomize", "usercustomize"))} == {"buildfarm"}


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("gcc -c a.c -o a.o", "a.o"),
        ("gcc -c src/a.c", "src/a.c"),
        ("gcc -o /dev/null -c -x c /dev/null -fno-stack-protector", "/dev/null"),
        ("gcc --version", "--version"),
    ],
)
def test_a_step_without_outputs_is_called_by_what_it_reads(words: str, name: str) -> None:
    assert named_output(words.split(), "/here") == os.path.join("/here", name)
