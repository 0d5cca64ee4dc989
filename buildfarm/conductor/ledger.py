"""The conductor's pen: one place where facts go to the journal and, once they are facts, to the reporter.

It orders nothing and decides nothing.  A check-out is awaited (a unit must not leave before it is journaled); a
check-in is not (the writer makes it durable with its batch).  The reporter hears of it once the journal has it as
arrived: until then a crash costs that one unit again, and nobody has been told that it is done.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import field

from buildfarm.model import NOT_RETRIES, TRIAL, AttemptEnd, CheckIn, CheckOut, Kind, NodeStatus, Planning, StepState
from buildfarm.report.reporter import Reporter, Retry, Totals, UnitDone, UnitStarted
from buildfarm.state.journal import Journal
from buildfarm.state.taint import Taken, forget, take_back
from buildfarm.state.views import named_output
from buildfarm.state.writer import JournalWriter
from buildfarm.value import dataclass


@dataclass(slots=True)
class Tally:
    """Running counts of this build, for the closing line."""

    done: int = 0
    failed: int = 0
    remote: int = 0
    local: int = 0
    lookahead: int = 0
    kept: int = 0  # results of an earlier build that make has asked for
    retries: Counter[str] = field(default_factory=Counter)  # by the outcome of the attempt that did not count
    links: int = 0
    links_failed: int = 0
    unseen: int = 0  # objects that recipes compiled without a call that came


class Ledger:
    """Writes one build's story."""

    def __init__(self, writer: JournalWriter, build: int, reporter: Reporter) -> None:
        self._writer = writer
        self._build = build
        self._reporter = reporter
        self._open: dict[int, CheckOut] = {}
        self._last_step = 0
        self.over: dict[str, float] = {}  # seconds of the units that are done, failed, or held; by fingerprint
        self.linked: set[str] = set()  # main outputs of the link steps that are done
        self._from_nodes: dict[str, tuple[bool, bool]] = {}  # main outputs: whether counted as kept, as lookahead
        self._totals: Totals | None = None
        self._untold: dict[int, UnitDone] = {}  # by step: in place, and the journal does not have it yet
        self.tally = Tally()
        self.reused_units = 0

    @property
    def build(self) -> int:
        return self._build

    def new_step(self) -> int:
        self._last_step += 1
        return self._last_step

    async def check_out(self, record: CheckOut, *, output: str | None = None, again: bool = False) -> None:
        """In the journal when this returns, and durable if the step may write into the tree.

        `output` names a step that has none there (lookahead).  A cut of power may lose that it had left: nothing in the
        tree is at stake before it is checked out with its outputs.

        `again`: a result that was held goes to its place now; that is no news to the reporter.
        """
        self._open[record.step] = record
        at_stake = bool(record.outputs or record.temporaries)
        check_out = self._writer.submit(
            lambda journal: journal.check_out(self._build, [record]), durable=at_stake, prompt=True
        )
        await asyncio.wrap_future(check_out)
        if again:
            return
        self._reporter.unit_started(
            UnitStarted(
                step=record.step,
                output=output or _name(record),
                node=record.node,
                attempt=record.attempt,
                time=record.time,
                kind=record.kind,
                lookahead=record.lookahead,
                reason=record.reason,
            )
        )

    def set_aside(self, step: int, *, kept: bool) -> None:
        """A lookahead has ended: its result is held in the store, or came to nothing."""
        out = self._open.pop(step, None)
        if out is None:
            return
        now = time.time()
        if kept:
            self.over[out.fingerprint] = now - out.time
        state = StepState.HELD if kept else StepState.DROPPED
        self._record(lambda journal: journal.set_aside(self._build, step, state, now))
        self._reporter.set_aside(step, now)

    def check_in(self, record: CheckIn) -> Future[bool]:
        """The result is in place.  The future resolves when that is durable."""
        out = self._open.pop(record.step)
        self._count(out, record)
        if out.kind is Kind.COMPILE:
            self.over[out.fingerprint] = record.seconds
        elif record.state is StepState.DONE:
            self.linked.update(out.outputs[:1])
        self._untold[record.step] = UnitDone(
            step=record.step,
            output=_name(out),
            node=out.node,
            attempt=out.attempt,
            time=record.time,
            seconds=record.seconds,
            exit_status=record.exit_status,
            kind=out.kind,
            lookahead=out.lookahead,
            bytes_sent=record.bytes_sent,
            bytes_received=record.bytes_received,
            outputs=tuple(made.path for made in record.outputs),
            tries_out=out.reason == TRIAL,
            kept=record.kept,
        )
        loop = asyncio.get_running_loop()

        def on_arrival() -> None:
            with suppress(RuntimeError):  # the loop is closed: `tell_all` has told it
                loop.call_soon_threadsafe(self._tell, record.step)

        return self._writer.check_in(self._build, record, on_arrival)

    def _tell(self, step: int) -> None:
        event = self._untold.pop(step, None)
        if event is not None:
            self._reporter.unit_done(event)

    def tell_all(self) -> None:
        """The build ends: nothing of what is in place stays untold, even where the journal could not take it."""
        for step in list(self._untold):
            self._tell(step)

    def attempt_ended(
        self, step: int, attempt: int, node: str | None, outcome: str, reason: str, next_node: str | None = None
    ) -> None:
        """An attempt did not count; the unit goes to `next_node`, where that is known."""
        out = self._open.get(step)
        if out is None:
            return  # it had not been checked out yet
        now = time.time()
        record = AttemptEnd(step, attempt, node, now, outcome, reason)
        self._record(lambda journal: journal.attempt_end(self._build, record))
        if outcome not in NOT_RETRIES:
            self.tally.retries[outcome] += 1
        self._reporter.retry(Retry(step, _name(out), node, attempt, now, outcome, reason, next_node))

    def compile_failed(self, step: int, attempt: int, node: str, status: int) -> None:
        """The compiler on a node failed with this wait status; the verdict is still to come, here: it's no retry."""
        ended = f"the compiler ended with status {os.waitstatus_to_exitcode(status)}"
        record = AttemptEnd(step, attempt, node, time.time(), StepState.FAILED.value, ended)
        self._record(lambda journal: journal.attempt_end(self._build, record))

    def attempts(self, step: int) -> int:
        """How many attempts of a step have been journaled."""
        out = self._open.get(step)
        return out.attempt if out else 0

    def reused(self, units: int) -> None:
        """How many units of the interrupted build were verified and kept."""
        self.reused_units = units
        self._record(lambda journal: journal.set_reused(self._build, units))

    def forget(self, step: int) -> CheckOut | None:
        """The step is over without a result: make was killed, or nobody wants it."""
        return self._open.pop(step, None)

    def nodes(self, statuses: list[NodeStatus]) -> None:
        """Record the nodes' standing for `status`."""
        self._record(lambda journal: journal.set_nodes(self._build, statuses))

    def take_back(self, nodes: Sequence[str]) -> Future[Taken]:
        """The results of these nodes count no more; the future tells which they were."""
        return self._writer.submit(lambda journal: take_back(journal, self._build, nodes))

    def taken_away(self, taken: Taken) -> None:
        """What was taken back is gone from the tree, and make is about to run again."""
        of_before = 0  # made by an earlier build, which this one continues
        for output in taken.outputs:
            counted = self._from_nodes.pop(output, None)
            if counted is None:
                of_before += 1
            else:
                self._count_unit(*counted, remote=True, by=-1)
        if of_before:
            self.reused(max(0, self.reused_units - of_before))
        self.tally.failed = self.tally.links_failed = 0
        self._writer.submit(lambda journal: forget(journal, self._build, taken.outputs))

    def node_changed(self, status: NodeStatus) -> None:
        self._reporter.node_changed(status, time.time())

    def under_way(self, now: float) -> dict[str, float]:
        """How long the steps that are checked out have run, by fingerprint and by main output."""
        return {name: now - out.time for out in self._open.values() for name in (out.fingerprint, *out.outputs[:1])}

    def eta(self, seconds: float | None, now: float) -> None:
        """Seconds left as estimated at `now`, for `status` in another process."""
        self._record(lambda journal: journal.set_eta(self._build, seconds, now))

    def totals(self, totals: Totals) -> None:
        """What the DAG says of the whole; repeated values are dropped."""
        if totals == self._totals:
            return
        self._totals = totals
        self._record(lambda journal: journal.set_totals(self._build, totals.units, totals.is_final))
        self._reporter.totals(totals)

    def planning(self, planning: Planning) -> None:
        """What the plans were worth so far."""
        self._record(lambda journal: journal.set_planning(self._build, planning))

    def note(self, text: str) -> None:
        self._reporter.note(text)

    def _record(self, write: Callable[[Journal], object]) -> None:
        """Journal what a cut of power may take: nobody waits for it."""
        self._writer.submit(write, durable=False)

    def _count(self, out: CheckOut, record: CheckIn) -> None:
        tally = self.tally
        if out.kind is not Kind.COMPILE:
            if out.kind is not Kind.OTHER:
                tally.links += record.state is StepState.DONE
                tally.links_failed += record.state is StepState.FAILED
        elif record.state is StepState.FAILED:
            tally.failed += 1
        else:
            self._count_unit(record.kept, out.lookahead, remote=out.node is not None)
            if out.node is not None and out.outputs:
                self._from_nodes[out.outputs[0]] = record.kept, out.lookahead

    def _count_unit(self, kept: bool, lookahead: bool, *, remote: bool, by: int = 1) -> None:
        tally = self.tally
        if kept:
            tally.kept += by
            return
        tally.done += by
        tally.remote += by * remote
        tally.local += by * (not remote)
        tally.lookahead += by * lookahead


def _name(out: CheckOut) -> str:
    return out.outputs[0] if out.outputs else named_output(out.argv, out.cwd)
