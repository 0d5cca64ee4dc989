"""The farm in motion: performs what the scheduler decides, with tasks, probes and a clock.

It decides nothing itself and knows neither make nor the journal; what an attempt does is given by the unit's owner.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import field, replace
from typing import Protocol

from buildfarm.conductor.crowding import Crowding
from buildfarm.conductor.loop import now
from buildfarm.dispatch import events
from buildfarm.dispatch.health import ASKED_AGAIN, NOT_PROBED, Fault
from buildfarm.dispatch.scheduler import Policy, Scheduler
from buildfarm.model import Answer, Node, NodeStatus
from buildfarm.value import dataclass

TICK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Valid:
    """The attempt's object is verified."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class Faulty:
    """The attempt ended through the node's fault."""

    fault: Fault
    reason: str
    damaged: bool = False  # a whole answer, damaged after the compiler was done with it


@dataclass(frozen=True, slots=True)
class Doubtful:
    """The node says that the unit does not compile; the local compiler must say so too."""

    reason: str
    stderr: bytes = b""  # the node's words
    status: int | None = None  # the compiler's wait status there, if it is the compiler who failed


@dataclass(frozen=True, slots=True)
class Unfit:
    """The node has not the compiler that this unit needs."""

    reason: str


AttemptResult = Valid | Faulty | Doubtful | Unfit
Attempt = Callable[[Node, int, float], Awaitable[AttemptResult]]
"""Makes one attempt: node, number of the attempt, deadline in seconds."""


@dataclass(frozen=True, slots=True)
class Won:
    """A node compiled it."""

    answer: Answer
    node: Node
    attempt: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CompileHere:
    """The master must compile it.  `slot`: in a slot of the host list's `localhost/N`, to be given back."""

    reason: str
    slot: bool = False
    stderr: bytes = b""  # what a node said of the unit, if one did
    status: int | None = None  # and the wait status with which its compiler failed
    hung: bool = False  # a node's compiler did not end on it


@dataclass(frozen=True, slots=True)
class Stranded:
    """Nobody may compile it (`--fallback never`)."""

    reason: str


Settlement = Won | CompileHere | Stranded


class Observer(Protocol):
    """Who is told what happens on the farm."""

    def attempt_ended(
        self, unit: int, attempt: int, node: str | None, outcome: str, reason: str, next_node: str | None = None
    ) -> None: ...

    def compile_failed(self, unit: int, attempt: int, node: str, status: int) -> None:
        """The compiler on a node failed with this wait status."""

    def node_changed(self, status: NodeStatus) -> None: ...


@dataclass(slots=True)
class _Ticket:
    unit: int
    attempt: Attempt
    future: asyncio.Future[Settlement]
    tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    valid: dict[int, Won] = field(default_factory=dict)
    stderr: bytes = b""
    status: int | None = None


class Farm:
    """Drives one `Scheduler`.  Lives inside the conductor's TaskGroup."""

    def __init__(
        self,
        policy: Policy,
        probe: Callable[[Node, bool], Awaitable[events.Probed]],
        observer: Observer,
        tasks: asyncio.TaskGroup,
        convict: Callable[[str, str], None],
    ) -> None:
        """`probe` is told the node, and whether it was up a moment ago (`events.Probe.again`).

        `convict(node, reason)` is called when what a node has sent was damaged there or on the way.
        """
        self._scheduler = Scheduler(policy)
        self._probe = probe
        self._observer = observer
        self._tasks = tasks
        self._convict = convict
        self._tickets: dict[int, _Ticket] = {}
        self._crowding = Crowding()
        self._told: dict[str, tuple[object, ...]] = {}
        self._ticker: asyncio.Task[None] | None = None
        self._probes: set[asyncio.Task[None]] = set()

    @property
    def free_slots(self) -> int:
        return self._scheduler.free_slots

    @property
    def slots(self) -> int:
        return self._scheduler.slots

    def statuses(self) -> list[NodeStatus]:
        """Every node's standing; when it is asked again is told by the wall's clock, as whoever reads it has no other.

        To a tenth of a second, so that two looks tell the same.
        """
        ahead = time.time() - now()
        return [
            status if status.retry_at is None else replace(status, retry_at=round(status.retry_at + ahead, 1))
            for status in self._scheduler.statuses()
        ]

    def can_take(self, language: str) -> bool:
        """Whether a node compiles this language, or may turn out to once its probe is back."""
        return self._scheduler.can_take(language)

    def compiling(self, language: str) -> list[tuple[Node, int]]:
        """The nodes that are up and compile this language, and their usable slots."""
        return self._scheduler.compiling(language)

    def join(self, nodes: tuple[Node, ...], local_slots: int | None = None) -> None:
        """Make the host list `nodes`: new ones are probed, missing ones drain; `local_slots` None: as before."""
        self._feed(events.Join(nodes, local_slots))
        if self._ticker is None:
            self._ticker = self._tasks.create_task(self._tick())

    def quarantine(self, node: str, reason: str) -> None:
        self._feed(events.Quarantine(node, reason))

    async def compile(self, submit: events.Submit, attempt: Attempt) -> Settlement:
        """Have a unit compiled; returns when the first valid result is in or no node can take it."""
        ticket = _Ticket(submit.unit, attempt, asyncio.get_running_loop().create_future())
        self._tickets[submit.unit] = ticket
        self._feed(submit)
        try:
            return await ticket.future
        except asyncio.CancelledError:
            self._feed(events.Withdraw(submit.unit))
            raise
        finally:
            self._tickets.pop(submit.unit, None)

    def local_slot_freed(self) -> None:
        """A unit that the master took in a local slot has ended."""
        self._feed(events.LocalSlotFreed())

    def demand(self, unit: int) -> None:
        """Make now waits for a unit that was submitted as lookahead."""
        self._feed(events.Demand(unit))

    def press(self, unit: int) -> None:
        """A unit that was submitted as lookahead now goes with what make waits for."""
        self._feed(events.Press(unit))

    async def close(self) -> None:
        """Stop the clock and every probe.  Units still in flight belong to their callers."""
        pending = [*self._probes, *([self._ticker] if self._ticker else [])]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    # -- performing -------------------------------------------------------------------------------------------

    def _feed(self, event: events.Event) -> None:
        self._perform(event, self._scheduler.handle(event, now()))

    def _perform(self, event: events.Event, actions: list[events.Action]) -> None:
        for action in actions:
            match action:
                case events.Start():
                    ticket = self._tickets[action.unit]
                    node = self._scheduler.node(action.node)
                    ticket.tasks[action.attempt] = self._tasks.create_task(
                        self._attempt(ticket, node, action.attempt, action.deadline)
                    )
                case events.Cancel(unit, attempt):
                    cancelled = self._tickets.get(unit)
                    task = cancelled.tasks.pop(attempt, None) if cancelled else None
                    if task is not None:
                        task.cancel()
                    if action.reason is not None:
                        self._observer.attempt_ended(
                            unit, attempt, action.node, action.outcome, action.reason, _next(unit, actions)
                        )
                case events.Settled(unit, attempt):
                    self._settle(unit, self._tickets[unit].valid[attempt])
                case events.RunHere(unit, reason, slot, hung):
                    known = self._tickets.get(unit)
                    stderr, status = (known.stderr, known.status) if known else (b"", None)
                    self._settle(unit, CompileHere(reason, slot, stderr, status, hung))
                case events.GiveUp(unit, reason):
                    self._settle(unit, Stranded(reason))
                case events.Probe(key, again):
                    probing = self._tasks.create_task(self._probe_node(self._scheduler.node(key), again))
                    self._probes.add(probing)
                    probing.add_done_callback(self._probes.discard)
        if not isinstance(event, events.Submit | events.Succeeded | events.Demand | events.Press | events.Withdraw):
            self._tell()

    def _settle(self, unit: int, settlement: Settlement) -> None:
        ticket = self._tickets.get(unit)
        if ticket is not None and not ticket.future.done():
            ticket.future.set_result(settlement)
        elif isinstance(settlement, CompileHere) and settlement.slot:
            self.local_slot_freed()

    async def _attempt(self, ticket: _Ticket, node: Node, attempt: int, deadline: float) -> None:
        unit = ticket.unit
        started = now()
        try:
            result = await ticket.attempt(node, attempt, deadline)
        except Exception as error:  # a bug of ours may cost speed, never the build
            result = Doubtful(_bug(error))
        seconds = now() - started
        ticket.tasks.pop(attempt, None)
        match result:
            case Valid(answer):
                ticket.valid[attempt] = Won(answer, node, attempt, seconds)
                self._feed(events.Succeeded(unit, attempt, seconds))
            case Faulty(fault, reason, damaged):
                event = events.Failed(unit, attempt, fault, reason)
                actions = self._scheduler.handle(event, now())
                self._observer.attempt_ended(unit, attempt, node.key, str(fault), reason, _next(unit, actions))
                self._perform(event, actions)
                if damaged:
                    self._convict(node.key, reason)
            case Unfit(reason):
                self._feed(events.Declined(unit, attempt, reason))
            case Doubtful(reason, stderr, status):
                ticket.stderr, ticket.status = stderr, status
                if status is not None:
                    self._observer.compile_failed(unit, attempt, node.key, status)
                self._feed(events.Unsettled(unit, attempt, reason))

    async def _probe_node(self, node: Node, again: bool) -> None:
        try:
            probed = await self._probe(node, again)
        except OSError as error:  # no room or no descriptor here: that may cost speed, never the build
            probed = events.Probed(node.key, error=f"it could not be asked: {error.strerror or error}")
        except Exception as error:
            probed = events.Probed(node.key, error=_bug(error))
        self._feed(probed)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._feed(events.Tick(self._crowding.look()))

    def _tell(self) -> None:
        """Report nodes whose standing is another than was last reported; pauses and counts are no news."""
        for status in self.statuses():
            news = (status.state, status.reason, status.slots, status.compiler)
            if status.reason not in (NOT_PROBED, ASKED_AGAIN) and self._told.get(status.key) != news:
                self._told[status.key] = news
                self._observer.node_changed(status)


def _bug(error: Exception) -> str:
    return f"BUG: {type(error).__name__}: {error}"


def _next(unit: int, actions: list[events.Action]) -> str | None:
    """Where these actions send the unit, for the message; None: it waits, or another attempt is under way."""
    for action in actions:
        if isinstance(action, events.Start) and action.unit == unit:
            return action.node
        if isinstance(action, events.RunHere) and action.unit == unit:
            return "this machine"
    return None
