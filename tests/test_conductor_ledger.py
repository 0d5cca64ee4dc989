"""The conductor's pen: what is told to reporters has been journaled."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from buildfarm.conductor.ledger import Ledger
from buildfarm.report.reporter import Reporter, UnitDone, UnitStarted
from buildfarm.state import reader
from buildfarm.state.claims import Standing, read_rows
from buildfarm.state.journal import Journal
from buildfarm.state.taint import Taken
from buildfarm.state.writer import JournalWriter
from tests import state_samples as sample
from tests.farm import PATIENCE


class Listener:
    """Asks the journal, whenever it hears of a check-in, what that knows of it."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self.found: list[list[Standing]] = []

    def unit_started(self, _: UnitStarted) -> None:
        pass

    def unit_done(self, _: UnitDone) -> None:
        journal = Journal.open(self._state_dir)
        self.found.append([claim.standing for claim in read_rows(journal).claims])
        journal.close()


def test_a_check_in_is_told_when_the_journal_would_keep_it_after_a_kill(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    build = sample.begin(journal)
    listener = Listener(tmp_path)

    async def scenario() -> None:
        with JournalWriter(journal, tmp_path, hold=3600.0) as writer:  # no barrier before the end
            ledger = Ledger(writer, build, cast(Reporter, listener))
            await ledger.check_out(sample.check_out(1))
            ledger.check_in(sample.check_in(1))
            async with asyncio.timeout(PATIENCE):
                while not listener.found:
                    await asyncio.sleep(0)

    asyncio.run(scenario())
    assert listener.found == [[Standing.ARRIVED]]


def test_only_what_may_write_into_the_tree_waits_for_the_disk_before_it_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.open(tmp_path)
    build = sample.begin(journal)
    waited = list[bool]()
    monkeypatch.setattr(journal, "set_synchronous", waited.append)
    known = list[str | None]()

    async def scenario() -> None:
        with JournalWriter(journal, tmp_path) as writer:
            ledger = Ledger(writer, build, cast(Reporter, Listener(tmp_path)))
            for left in (replace(sample.check_out(1, lookahead=True), outputs=()), sample.check_out(2)):
                await ledger.check_out(left, output="/tree/1.o")
                known.extend(out.output for out in reader.snapshot(tmp_path).checked_out[len(known) :])
                if left.step == 1:
                    assert waited == [False]

    asyncio.run(scenario())
    assert waited[1] is True
    assert len(known) == 2, "one left that the journal did not know"


def test_an_attempt_that_had_not_left_is_no_retry(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    build = sample.begin(journal)
    with JournalWriter(journal, tmp_path) as writer:
        ledger = Ledger(writer, build, cast(Reporter, None))  # who must not be told
        ledger.attempt_ended(1, 1, "pi3:3632", "corrupt", "it lies")
    assert not ledger.tally.retries


def test_what_the_journal_could_not_take_is_told_at_the_end(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    build = sample.begin(journal)
    listener = Listener(tmp_path)

    async def scenario() -> int:
        with JournalWriter(journal, tmp_path, hold=3600.0) as writer:
            ledger = Ledger(writer, build, cast(Reporter, listener))
            await ledger.check_out(sample.check_out(1))
            ledger.check_in(sample.check_in(1))
            ledger.tell_all()  # in the same turn of the loop: no commit can have been heard of
            return len(listener.found)

    assert asyncio.run(scenario()) == 1
    assert len(listener.found) == 1, "told twice"


def test_what_is_taken_back_counts_no_more_where_it_was_counted(tmp_path: Path) -> None:
    """A liar has made a unit of this build, one that lay in the store, and one of a build that was interrupted."""
    journal = Journal.open(tmp_path)
    build = sample.begin(journal)

    async def scenario() -> tuple[int, ...]:
        with JournalWriter(journal, tmp_path, barrier=lambda _: None) as writer:
            ledger = Ledger(writer, build, cast(Reporter, Listener(tmp_path)))
            ledger.reused(1)
            for step in (1, 2, 3):
                await ledger.check_out(sample.check_out(step, tmp_path / f"{step}.o", node="pi3:3632", lookahead=True))
                ledger.check_in(replace(sample.check_in(step), kept=step == 2))
            ledger.taken_away(Taken(tuple(str(tmp_path / name) for name in ("1.o", "2.o", "old.o"))))
            tally = ledger.tally
            return tally.done, tally.remote, tally.lookahead, tally.kept, ledger.reused_units

    assert asyncio.run(scenario()) == (1, 1, 1, 0, 0)
