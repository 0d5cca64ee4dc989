"""The writer groups commits, waits for barriers, and outlives a full disk."""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from buildfarm.model import CheckOut, Kind
from buildfarm.state import reader
from buildfarm.state.claims import Standing, read_rows
from buildfarm.state.database import JournalError
from buildfarm.state.journal import Journal
from buildfarm.state.writer import JournalWriter
from tests import state_samples as sample
from tests.farm import PATIENCE


class Barrier:
    """A durability barrier that a test lets through, or fails."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.reached = threading.Semaphore(0)
        self.failure: OSError | None = None

    def __call__(self, _: Path) -> None:
        self.reached.release()
        assert self.gate.acquire(timeout=PATIENCE)
        if self.failure is not None:
            raise self.failure


def checking_out(build: int, *steps: CheckOut) -> Callable[[Journal], None]:
    return lambda journal: journal.check_out(build, steps)


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / ".buildfarm"


@pytest.fixture
def journal(state_dir: Path) -> Iterator[Journal]:
    journal = Journal.open(state_dir)
    yield journal
    journal.close()


def test_what_was_acknowledged_can_be_read_by_another_process_at_once(journal: Journal, state_dir: Path) -> None:
    build = sample.begin(journal)
    with JournalWriter(journal, state_dir) as writer:
        for n in range(5):
            writer.submit(checking_out(build, sample.check_out(n))).result(PATIENCE)
            assert reader.snapshot(state_dir).counters.checked_out == n + 1


def test_everything_queued_goes_into_few_commits(journal: Journal, state_dir: Path) -> None:
    build = sample.begin(journal)
    with JournalWriter(journal, state_dir) as writer:
        futures = [writer.submit(checking_out(build, sample.check_out(n))) for n in range(500)]
        for future in futures:
            future.result(PATIENCE)
        assert writer.commits < 100
    assert reader.snapshot(state_dir).counters.checked_out == 500


def test_a_check_in_waits_for_its_barrier_and_check_outs_do_not(journal: Journal, state_dir: Path) -> None:
    barrier = Barrier()
    build = sample.begin(journal)
    with JournalWriter(journal, state_dir, barrier=barrier, hold=0.0) as writer:
        writer.submit(lambda j: j.check_out(build, [sample.check_out(1)])).result(PATIENCE)
        done = writer.check_in(build, sample.check_in(1))
        assert barrier.reached.acquire(timeout=PATIENCE)
        writer.submit(lambda j: j.check_out(build, [sample.check_out(2)])).result(PATIENCE)
        assert not done.done()
        arrived = writer.submit(lambda j: [claim.standing for claim in read_rows(j).claims]).result(PATIENCE)
        assert arrived == [Standing.ARRIVED, Standing.PENDING]
        assert [view.arrived for view in reader.snapshot(state_dir).checked_out] == [1, 0]
        barrier.gate.release()
        assert done.result(PATIENCE)
        assert reader.snapshot(state_dir).counters.done == 1


def test_a_flush_or_the_end_makes_the_barrier_at_once(journal: Journal, state_dir: Path) -> None:
    build = sample.begin(journal)
    barrier = Barrier()
    with JournalWriter(journal, state_dir, barrier=barrier, hold=3600.0) as writer:
        writer.submit(lambda j: j.check_out(build, [sample.check_out(n) for n in range(40)])).result(PATIENCE)
        held = [writer.check_in(build, sample.check_in(n)) for n in range(39)]
        assert not any(future.done() for future in held)
        barrier.gate.release()
        assert writer.flush(PATIENCE)
        assert all(future.result(0) for future in held)
        closing = writer.check_in(build, sample.check_in(39))
        barrier.gate.release()
    assert closing.result(0)


def test_a_failed_step_waits_for_no_barrier(journal: Journal, state_dir: Path) -> None:
    build = sample.begin(journal)
    with JournalWriter(journal, state_dir, hold=3600.0) as writer:
        writer.submit(lambda j: j.check_out(build, [sample.check_out(1)]))
        assert writer.check_in(build, sample.failure(1)).result(PATIENCE)
        (failed,) = reader.snapshot(state_dir).failures
    assert (failed.output, failed.exit_status, failed.stderr) == ("/tree/1.o", 1, b"bad.c:1: error\n")


def test_a_failed_barrier_claims_nothing_and_leaves_the_step_to_the_sweep(journal: Journal, state_dir: Path) -> None:
    barrier, told = Barrier(), list[str]()
    barrier.failure = OSError(errno.EIO, "Input/output error")
    build = sample.begin(journal)
    writer = JournalWriter(journal, state_dir, barrier=barrier, hold=0.0, on_trouble=told.append)
    writer.submit(lambda j: j.check_out(build, [sample.check_out(1)]))
    done = writer.check_in(build, sample.check_in(1))
    barrier.gate.release()
    with pytest.raises(OSError, match="Input/output"):
        done.result(PATIENCE)
    writer.close()
    assert any("may not be on the disk" in text for text in told)
    with Journal.open(state_dir) as again:
        assert sample.checked_in(again) == {}
        assert [claim.standing for claim in read_rows(again).claims] == [Standing.ARRIVED]


def test_one_operation_that_fails_takes_no_other_with_it(journal: Journal, state_dir: Path) -> None:
    def wrong(j: Journal) -> None:
        j.check_out(build, [sample.check_out(7)])
        raise ZeroDivisionError

    build = sample.begin(journal)
    with JournalWriter(journal, state_dir) as writer:
        good = [writer.submit(lambda j: j.check_out(build, [sample.check_out(1)]))]
        bad = writer.submit(wrong)
        unknown = writer.submit(lambda j: j.check_out(9999, [sample.check_out(1)]))
        good.append(writer.submit(lambda j: j.check_out(build, [sample.check_out(2)])))
        for future in good:
            future.result(PATIENCE)
        with pytest.raises(ZeroDivisionError):
            bad.result(PATIENCE)
        with pytest.raises(sqlite3.IntegrityError):
            unknown.result(PATIENCE)
        assert reader.snapshot(state_dir).counters.checked_out == 2


def test_a_caller_that_gave_up_waiting_does_not_stop_the_writer(journal: Journal, state_dir: Path) -> None:
    build = sample.begin(journal)
    entered, leave = threading.Event(), threading.Event()

    def slow(_: Journal) -> None:
        entered.set()
        assert leave.wait(PATIENCE)

    with JournalWriter(journal, state_dir) as writer:
        writer.submit(slow)
        assert entered.wait(PATIENCE)
        cancelled = writer.submit(lambda j: j.check_out(build, [sample.check_out(1)]))
        assert cancelled.cancel()
        leave.set()
        writer.submit(lambda j: None).result(PATIENCE)
        with pytest.raises(CancelledError):
            cancelled.result(0)
        assert reader.snapshot(state_dir).counters.checked_out == 1


class FullDisk:
    """Makes SQLite's own limit bite: the database may not grow by a page (the same SQLITE_FULL)."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def fill(self) -> None:
        (pages,) = self._journal.select("PRAGMA page_count").fetchone()
        self._journal.select(f"PRAGMA max_page_count = {pages}").fetchone()

    def free(self) -> None:
        self._journal.select("PRAGMA max_page_count = 1073741823").fetchone()


def big(n: int) -> tuple[str, ...]:
    return ("gcc", "-c", f"{n}.c", "-D" + "x" * 20000, "-o", f"/tree/{n}.o")


def test_a_full_disk_is_told_waited_for_and_nothing_is_lost_or_claimed(journal: Journal, state_dir: Path) -> None:
    told, freed = list[str](), threading.Event()
    trouble = threading.Event()
    disk = FullDisk(journal)
    build = sample.begin(journal)

    def on_trouble(text: str) -> None:
        told.append(text)
        trouble.set()
        if text:
            assert freed.wait(PATIENCE)
            disk.free()  # on the writer's own thread

    with JournalWriter(journal, state_dir, on_trouble=on_trouble, pause=0.0) as writer:
        writer.submit(lambda _: disk.fill()).result(PATIENCE)
        futures = [writer.submit(checking_out(build, sample.check_out(n, argv=big(n)))) for n in range(20)]
        assert trouble.wait(PATIENCE)
        assert "full" in writer.trouble
        assert not any(future.done() for future in futures)
        assert reader.snapshot(state_dir).counters.checked_out == 0
        freed.set()
        for future in futures:
            future.result(PATIENCE)
    assert told[-1] == ""
    assert reader.snapshot(state_dir).counters.checked_out == 20


def test_closing_while_the_disk_is_full_fails_what_waits_and_claims_nothing(journal: Journal, state_dir: Path) -> None:
    disk = FullDisk(journal)
    build = sample.begin(journal)
    writer = JournalWriter(journal, state_dir, pause=0.0)
    writer.submit(lambda _: disk.fill()).result(PATIENCE)
    out = writer.submit(lambda j: j.check_out(build, [sample.check_out(n, argv=big(n)) for n in range(9)]))
    held = writer.check_in(build, sample.check_in(1))
    writer.close(timeout=0.2)
    for future in (out, held):
        with pytest.raises(JournalError):
            future.result(PATIENCE)
    with pytest.raises(JournalError):
        writer.submit(lambda j: None)
    assert reader.snapshot(state_dir).counters.checked_out == 0


def test_a_barrier_moves_the_bound_of_what_other_recipes_wrote(journal: Journal, state_dir: Path) -> None:
    build = sample.begin(journal)
    row = journal.last_build()
    assert row is not None
    bound = row.barrier_ns + 1_000_000_000
    with JournalWriter(journal, state_dir, recipes_since=lambda: bound) as writer:
        writer.submit(lambda j: j.check_out(build, [sample.check_out(1, kind=Kind.LINK)]))
        writer.check_in(build, sample.check_in(1))
        assert writer.flush(PATIENCE)
        after = writer.submit(lambda j: j.last_build()).result(PATIENCE)
    assert after is not None and after.barrier_ns == bound


def test_trouble_that_does_not_end_fails_what_waits_with_what_to_do(journal: Journal, state_dir: Path) -> None:
    disk = FullDisk(journal)
    build = sample.begin(journal)
    with JournalWriter(journal, state_dir, pause=0.0, patience=0.0) as writer:
        writer.submit(lambda _: disk.fill()).result(PATIENCE)
        out = writer.submit(lambda j: j.check_out(build, [sample.check_out(n, argv=big(n)) for n in range(9)]))
        with pytest.raises(JournalError, match="full") as caught:
            out.result(PATIENCE)
        assert caught.value.hint is not None and "free space" in caught.value.hint
        writer.submit(lambda _: disk.free()).result(PATIENCE)
        writer.submit(checking_out(build, sample.check_out(1))).result(PATIENCE)
    assert reader.snapshot(state_dir).counters.checked_out == 1


def test_a_database_damaged_while_it_is_open_fails_at_once_and_heals_at_the_next_start(
    journal: Journal, state_dir: Path
) -> None:
    build = sample.begin(journal)
    journal.check_out(build, [sample.check_out(n) for n in range(500)])
    journal.select("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    journal.select("PRAGMA shrink_memory").fetchone()
    with (state_dir / "state.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 4096 * 30)
    told = list[str]()
    writer = JournalWriter(journal, state_dir, on_trouble=told.append)
    with pytest.raises(JournalError, match="malformed") as caught:
        writer.submit(checking_out(build, *(sample.check_out(n) for n in range(500, 900)))).result(PATIENCE)
    assert caught.value.hint is not None and "start again" in caught.value.hint
    writer.close(timeout=5.0)
    assert told
    with Journal.open(state_dir) as healed:
        assert healed.healed is not None
        sample.begin(healed)
