"""The journal: what is put in comes out again, byte for byte, and counts right."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from buildfarm.model import AttemptEnd, BuildState, Kind, NodeStatus, OutputRecord
from buildfarm.state import reader
from buildfarm.state.claims import read_rows
from buildfarm.state.database import JournalError
from buildfarm.state.journal import BUILDS_KEPT, Journal
from buildfarm.state.steps import step_number
from buildfarm.state.views import Counters
from tests import state_samples as sample
from tests.state_samples import ODD


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / ".buildfarm"


def test_a_build_comes_back_as_it_was_asked_for_whatever_bytes_it_holds(state_dir: Path) -> None:
    with Journal.open(state_dir) as journal:
        number = sample.begin(journal)
    with Journal.open(state_dir) as journal:
        row = journal.last_build()
    assert row is not None
    assert (row.id, row.state, row.token, row.started) == (number, BuildState.RUNNING, "feed", 1000.0)
    assert row.spec == sample.spec()
    assert row.owner.pid == os.getpid()
    assert row.owner.is_alive()


def test_the_state_directory_ignores_itself_in_git(state_dir: Path) -> None:
    Journal.open(state_dir).close()
    assert (state_dir / ".gitignore").read_text() == "*\n"


def test_a_build_that_still_stood_as_running_is_interrupted_by_the_next(state_dir: Path) -> None:
    with Journal.open(state_dir) as journal:
        first = sample.begin(journal)
        second = sample.begin(journal, resumed_from=first)
        assert second == first + 1
        older, newer = journal.build(first), journal.last_build()
    assert older is not None and newer is not None
    assert older.state is BuildState.INTERRUPTED
    assert newer.resumed_from == first


def test_counters_follow_every_kind_of_step(state_dir: Path) -> None:
    with Journal.open(state_dir) as journal:
        build = sample.begin(journal)
        journal.check_out(
            build,
            [
                sample.check_out(1),
                sample.check_out(2, node=None),
                sample.check_out(3, lookahead=True),
                sample.check_out(4),
                sample.check_out(5),
                sample.check_out(6, "/tree/prog", kind=Kind.LINK, node=None),
                sample.check_out(7, "/tree/lib.a", kind=Kind.ARCHIVE, node=None),
            ],
        )
        journal.attempt_end(build, AttemptEnd(1, 1, "pi3:3632", 1.0, "lost", "closed after 12 of 4096 bytes"))
        journal.check_out(build, [sample.check_out(1, node="pi5:3632", attempt=2)])
        journal.attempt_end(build, AttemptEnd(2, 1, None, 1.0, "cancelled", "won elsewhere"))
        journal.check_out(build, [sample.check_out(2, node=None, attempt=2)])
        assert journal.check_in(build, [sample.check_in(n) for n in (1, 2, 3)]) == 3
        journal.check_in(
            build,
            [
                sample.failure(4),
                sample.check_in(
                    6,
                ),
            ],
        )
        journal.set_totals(build, 9, True)
        journal.set_reused(build, 4)
    counters = reader.snapshot(state_dir).counters
    assert counters == Counters(
        total=9,
        total_is_final=True,
        done=3,
        checked_out=1,
        failed=1,
        remote=2,
        local=1,
        lookahead=1,
        retried=1,
        reused=4,
        links_done=1,
        links_running=1,
    )


def test_the_second_result_of_a_step_does_not_count(state_dir: Path) -> None:
    with Journal.open(state_dir) as journal:
        build = sample.begin(journal)
        journal.check_out(build, [sample.check_out(1)])
        assert journal.check_in(build, [sample.check_in(1)]) == 1
        assert journal.check_in(build, [sample.check_in(1, seconds=99.0)]) == 0
        journal.check_out(build, [sample.check_out(2)])
        assert journal.arrive(build, sample.check_in(2))
        assert not journal.arrive(build, sample.check_in(2, seconds=99.0)), "nor one that comes before the barrier"
        assert journal.check_in_arrived(build, [2]) == {2}
        assert journal.durations_by_output() == {"/tree/1.o": 2.0, "/tree/2.o": 2.0}


def test_a_barrier_checks_in_what_has_arrived_and_not_what_left_again(state_dir: Path) -> None:
    with Journal.open(state_dir) as journal:
        build = sample.begin(journal)
        journal.check_out(build, [sample.check_out(n, temporaries=(f".{n}.1",)) for n in range(4)])
        for step in (1, 2, 3):
            journal.arrive(build, sample.check_in(step))
        journal.check_out(
            build, [sample.check_out(2, attempt=2, temporaries=(".2.2", ODD)), sample.check_out(4, "/tree/3.o")]
        )
        assert journal.check_in_arrived(build, [0, 1, 2, 3]) == {1, 3}
        assert set(sample.checked_in(journal)) == {"/tree/1.o"}
        assert journal.check_in_arrived(build, [1, 3]) == set()
        assert read_rows(journal).temporaries == (".0.1", ".2.1", ".2.2", ODD)
    states = {step.argv[2]: (step.state, step.attempts[-1].outcome) for step in reader.steps(state_dir, build)}
    assert states == {
        "0.c": ("checked_out", None),
        "1.c": ("done", "done"),
        "2.c": ("checked_out", None),
        "3.c": ("done", "done"),
        "4.c": ("checked_out", None),
    }


def test_a_late_check_in_never_takes_an_output_from_the_step_that_claimed_it_after(state_dir: Path) -> None:
    with Journal.open(state_dir) as journal:
        build = sample.begin(journal)
        journal.check_out(build, [sample.check_out(1, "/tree/lib.a", kind=Kind.ARCHIVE)])
        journal.check_out(build, [sample.check_out(2, "/tree/lib.a", kind=Kind.ARCHIVE)])
        journal.check_in(build, [sample.check_in(1, OutputRecord("/tree/lib.a", 1, 1, "old"))])
        assert sample.checked_in(journal) == {}
        journal.check_in(build, [sample.check_in(2, OutputRecord("/tree/lib.a", 2, 2, "new"))])
        (known,) = sample.checked_in(journal).values()
    assert known.record is not None
    assert (known.record.digest, known.step) == ("new", step_number(build, 2))


def test_outputs_outlive_their_builds_and_round_trip_odd_paths(state_dir: Path) -> None:
    path = f"/tree/{ODD}.o"
    with Journal.open(state_dir) as journal:
        build = sample.begin(journal)
        journal.check_out(build, [sample.check_out(1, path, argv=("gcc", ODD, ""))])
        journal.check_in(build, [sample.check_in(1, OutputRecord(path, 1, 2, "d"), inputs=(ODD, "/h.h"))])
        journal.end_build(build, BuildState.COMPLETE, 0, 3000.0)
        for _ in range(2 * BUILDS_KEPT):
            sample.begin(journal)
        assert set(sample.checked_in(journal)) == {path}
        assert journal.inputs_read(build) == {ODD, "/h.h"}
    assert reader.steps(state_dir, build) == ()


def test_explain_tells_a_steps_whole_story(state_dir: Path) -> None:
    path = f"/tree/{ODD}.o"
    with Journal.open(state_dir) as journal:
        build = sample.begin(journal)
        journal.check_out(build, [sample.check_out(1, path, "/tree/m.mod", argv=("gcc", ODD, ""))])
        journal.attempt_end(build, AttemptEnd(1, 1, "pi3:3632", 5.0, "refused", f"said {ODD}"))
        journal.check_out(build, [sample.check_out(1, path, "/tree/m.mod", node="pi5:3632", attempt=2)])
        records = (OutputRecord(path, 1, 2, "d"), OutputRecord("/tree/m.mod", 1, 2, "d"))
        journal.check_in(build, [sample.check_in(1, *records, inputs=("/tree/1.c", "/h.h"))])
    (step,) = reader.story(state_dir, path)
    assert reader.story(state_dir, "/tree/m.mod") == (step,)
    assert (step.output, step.argv, step.inputs) == (path, ("gcc", ODD, ""), ("/tree/1.c", "/h.h"))
    assert (step.node, step.attempt, step.state) == ("pi5:3632", 2, "done")
    assert [(a.attempt, a.outcome) for a in step.attempts] == [(1, "refused"), (2, "done")]


@pytest.mark.parametrize("arrives_first", [True, False])
def test_an_attempt_that_lost_the_race_has_ended_with_it(state_dir: Path, arrives_first: bool) -> None:
    with Journal.open(state_dir) as journal:
        build = sample.begin(journal)
        for attempt, node in ((1, "pi3:3632"), (2, "pi5:3632")):
            journal.check_out(build, [sample.check_out(1, "/tree/a.o", node=node, attempt=attempt)])
        record = sample.check_in(1, OutputRecord("/tree/a.o", 1, 2, "d"), attempt=1)
        if arrives_first:
            journal.arrive(build, record)
            journal.check_in_arrived(build, [1])
        else:
            journal.check_in(build, [record])
    (step,) = reader.steps(state_dir, build)
    assert [(a.attempt, a.outcome, a.ended) for a in step.attempts] == [
        (1, "done", record.time),
        (2, "superseded", record.time),
    ]


def test_the_attempt_that_won_is_the_one_that_counts(state_dir: Path) -> None:
    with Journal.open(state_dir) as journal:
        build = sample.begin(journal)
        journal.check_out(build, [sample.check_out(1, node="slow:1")])
        journal.check_out(build, [sample.check_out(1, node="fast:1", attempt=2)])
        journal.check_in(build, [sample.check_in(1, attempt=1)])
    (step,) = reader.steps(state_dir)
    assert (step.node, step.attempt, step.started) == ("slow:1", 1, 1001.0)


def test_durations_lean_towards_the_last_build(state_dir: Path) -> None:
    with Journal.open(state_dir) as journal:
        for seconds in (4.0, 2.0):
            build = sample.begin(journal)
            journal.check_out(build, [sample.check_out(1)])
            journal.check_in(build, [sample.check_in(1, seconds=seconds)])
        assert journal.durations_by_output() == {"/tree/1.o": 3.0}


def test_nodes_and_estimate_are_what_was_set_last(state_dir: Path) -> None:
    with Journal.open(state_dir) as journal:
        build = sample.begin(journal)
        journal.set_nodes(build, [NodeStatus("a:1", "a", 1, "up", 4), NodeStatus("b:1", "b", 1, "up", 4)])
        journal.set_nodes(build, [NodeStatus("a:1", "a", 1, "down", 4, reason=f"no {ODD}", languages=("c",))])
        journal.set_eta(build, 40.5, 1234.0)
    rows = reader.snapshot(state_dir)
    assert [(node.key, node.state, node.languages) for node in rows.nodes] == [("a:1", "down", "c")]
    assert (rows.eta_seconds, rows.eta_at) == (40.5, 1234.0)


def test_what_raises_in_a_transaction_leaves_nothing(state_dir: Path) -> None:
    with Journal.open(state_dir) as journal:
        build = sample.begin(journal)
        with pytest.raises(ZeroDivisionError), journal.transaction():
            journal.check_out(build, [sample.check_out(1)])
            journal.check_in(build, [sample.check_in(1, inputs=("/tree/1.c",))])
            raise ZeroDivisionError
        assert journal.inputs_read(0) == set()
        journal.check_out(build, [sample.check_out(1)])
        journal.check_in(build, [sample.check_in(1, inputs=("/tree/1.c",))])
        assert journal.inputs_read(0) == {"/tree/1.c"}


def test_a_barrier_only_moves_forward_unless_the_clock_was_set_back(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def barrier() -> int:
        row = journal.last_build()
        assert row is not None
        return row.barrier_ns

    with Journal.open(state_dir) as journal:
        build = sample.begin(journal)
        start = barrier()
        journal.set_barrier(build, start - 50)
        assert barrier() == start
        journal.set_barrier(build, start + 50)
        assert barrier() == start + 50
        monkeypatch.setattr("buildfarm.state.durable.clock_offset_ns", lambda: 0)
        journal.set_barrier(build, start - 7)
        assert barrier() == start - 7


def test_a_database_that_fails_is_told_as_the_machines_trouble_and_is_no_bug(state_dir: Path) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    with pytest.raises(JournalError, match="disk I/O error") as told, Journal.open(state_dir):
        raise error
    assert told.value.exit_code == 71


def test_a_tree_with_a_path_that_is_too_long_for_sqlite_has_its_journal_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    state_dir = tmp_path / ("d" * 200) / ("e" * 200) / ("f" * 200) / ".buildfarm"
    state_dir.parent.mkdir(parents=True)
    with Journal.open(state_dir) as journal:
        sample.begin(journal)
        assert journal.notice is not None and "too long" in journal.notice
        assert journal.path.is_relative_to(tmp_path / "home")
    assert reader.snapshot(state_dir).build is not None
