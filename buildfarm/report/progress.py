"""Turns a build's events into the numbers that a view shows: done, in flight, speed and ETA.

It is pure: time comes with the events and with the question, nothing is drawn here.

Theory of operation.  An attempt is in flight from its `UnitStarted` to the `UnitDone` of its step or its own
`Retry`, so a straggler's second attempt shows on both nodes until one wins.  Units that resume has verified
count as done from the start.  The ETA is `eta`'s, from plans and history; where no plan tells, what is left over the
recent rate of completions (measured up to *now*, so that it grows while nothing comes back).  While the totals may
still grow it is what the build takes at least.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from buildfarm.model import NOT_RETRIES, Kind, NodeStatus
from buildfarm.report.eta import ENOUGH, Eta, Outlook, by_flight
from buildfarm.report.reporter import BuildStarted, Retry, Summary, Totals, UnitDone, UnitStarted
from buildfarm.report.text import relative
from buildfarm.value import dataclass

LOCAL_NAME = "this machine"


@dataclass(frozen=True, slots=True)
class Running:
    """One attempt in flight."""

    output: str  # relative to the build's directory
    seconds: float  # since its check-out
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node's line, or this machine's."""

    name: str
    state: str  # as NodeStatus.state
    slots: int
    running: tuple[Running, ...] = ()  # the longest running first
    done: int = 0
    failed: int = 0
    per_minute: float | None = None  # units a minute since the build began
    reason: str | None = None
    retry_in_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class View:
    """All that a view of a build shows at one moment."""

    done: int
    total: int
    total_is_final: bool
    failed: int
    in_flight: int
    elapsed_seconds: float
    eta_seconds: float | None
    nodes: tuple[NodeView, ...]
    links: int = 0  # steps that are no units
    retried: int = 0


@dataclass(slots=True)
class _Tally:
    status: NodeStatus
    done: int = 0
    failed: int = 0


class Progress:
    """The model of one build; it takes a reporter's events (it is a `Reporter`) and answers `view(now)`."""

    def __init__(self) -> None:
        self._started: BuildStarted | None = None
        self._totals = Totals(units=0)
        self._in_flight: dict[tuple[int, int], UnitStarted] = {}
        self._nodes: dict[str | None, _Tally] = {}
        self._eta = Eta()
        self._recent: deque[float] = deque(maxlen=32)
        self._compile_seconds = 0.0
        self.done = 0
        self.failed = 0
        self.links = 0
        self.retried = 0

    # --- events in -----------------------------------------------------------------------------------------

    def started(self, event: BuildStarted) -> None:
        self._started = event
        self.done = event.reused
        for node in event.nodes:
            self._nodes[node.key] = _Tally(node)
        self._nodes[None] = _Tally(
            NodeStatus(key=LOCAL_NAME, host="localhost", port=0, state="up", slots=event.local_slots)
        )

    def totals(self, event: Totals) -> None:
        self._totals = event

    def stand(self, nodes: Sequence[NodeStatus]) -> None:
        """How these nodes stand at this moment; what is news of that was told by `node_changed`."""
        for node in nodes:
            if node.key in self._nodes:
                self._nodes[node.key].status = node

    def look(self, outlook: Outlook) -> None:
        """What plans and history expect at this moment."""
        self._eta.look(outlook)

    def unit_started(self, event: UnitStarted) -> None:
        self._in_flight[event.step, event.attempt] = event

    def unit_done(self, event: UnitDone) -> None:
        for key in [key for key in self._in_flight if key[0] == event.step]:
            del self._in_flight[key]
        if event.kind is not Kind.COMPILE:
            self.links += event.kind is not Kind.OTHER
            return
        tally = self._nodes.get(event.node)
        if event.exit_status:
            self.failed += 1
            if tally:
                tally.failed += 1
            return
        self.done += 1
        self._recent.append(event.time)
        self._compile_seconds += event.seconds
        if tally:
            tally.done += 1

    def retry(self, event: Retry) -> None:
        self._in_flight.pop((event.step, event.attempt), None)
        if event.outcome not in NOT_RETRIES:
            self.retried += 1

    def node_changed(self, node: NodeStatus, time: float) -> None:
        if node.key in self._nodes:
            self._nodes[node.key].status = node
        else:
            local = self._nodes.pop(None, None)
            self._nodes[node.key] = _Tally(node)
            if local:
                self._nodes[None] = local  # this machine stays the last line

    def set_aside(self, step: int, time: float) -> None:
        for key in [key for key in self._in_flight if key[0] == step]:
            del self._in_flight[key]

    def note(self, text: str) -> None:
        """Nothing to count."""

    def finished(self, event: Summary) -> None:
        self._in_flight.clear()

    # --- numbers out ---------------------------------------------------------------------------------------

    @property
    def total(self) -> int:
        """Units of the build as far as they are known; never less than what has been seen of them."""
        compiling = len({step for (step, _), unit in self._in_flight.items() if unit.kind is Kind.COMPILE})
        return max(self._totals.units, self.done + self.failed + compiling)

    @property
    def total_is_final(self) -> bool:
        return self._totals.is_final

    def eta_seconds(self, now: float) -> float | None:
        """Seconds left at `now`, at least those while totals are not final; None where too little is known."""
        left = self.total - self.done - self.failed
        if left <= 0 and not self.total_is_final:
            return None
        compiled = max(1, self.done - (self._started.reused if self._started else 0))
        mean = self._compile_seconds / compiled
        under_way = [now - unit.time for unit in self._in_flight.values()]
        planned = self._eta.seconds(now, under_way, mean)
        if planned is not None:
            return planned
        if len(self._recent) < ENOUGH:
            return None
        if left <= 0:
            return 0.0
        window = max(now - self._recent[0], 1e-3)
        return max(left * window / (len(self._recent) - 1), by_flight(under_way, mean))

    def view(self, now: float) -> View:
        """The state of things at `now`, seconds since the epoch."""
        begun = self._started.time if self._started else now
        elapsed = max(0.0, now - begun)
        directory = self._started.directory if self._started else "/"
        running: dict[str | None, list[Running]] = {}
        for unit in sorted(self._in_flight.values(), key=lambda unit: unit.time):
            running.setdefault(unit.node, []).append(
                Running(relative(unit.output, directory), max(0.0, now - unit.time), unit.attempt)
            )
        compiling = sum(unit.kind is Kind.COMPILE for unit in self._in_flight.values())
        return View(
            done=self.done,
            total=self.total,
            total_is_final=self._totals.is_final,
            failed=self.failed,
            in_flight=compiling,
            elapsed_seconds=elapsed,
            eta_seconds=self.eta_seconds(now),
            nodes=tuple(
                self._node_view(tally, tuple(running.get(key, ())), elapsed, now) for key, tally in self._nodes.items()
            ),
            links=self.links,
            retried=self.retried,
        )

    def _node_view(self, tally: _Tally, running: tuple[Running, ...], elapsed: float, now: float) -> NodeView:
        status = tally.status
        return NodeView(
            name=status.key,
            state=status.state,
            slots=status.slots,
            running=running,
            done=tally.done,
            failed=tally.failed,
            per_minute=60 * tally.done / elapsed if tally.done and elapsed > 0 else None,
            reason=status.reason,
            retry_in_seconds=None if status.retry_at is None else max(0.0, status.retry_at - now),
        )
