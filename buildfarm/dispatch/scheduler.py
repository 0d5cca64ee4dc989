"""Who compiles what, and when: a pure state machine, events in, actions out.

It knows no asyncio, socket, disk or clock; `now` (monotonic seconds) comes in with each event.  The conductor feeds
`handle()` and performs what it returns.

Theory of operation.  A unit is `WAITING` in one queue, ordered by *demanded or pressing before other lookahead*, then
the longest remaining path, then the order of arrival; or `RUNNING`, with one attempt or, for a straggler, two; or
gone: a straggler that no other node is free for, on a node that has gone silent, is taken back to this machine.
After every event `_assign()` fills free slots from the head of the queue, so no event needs to know what it frees.
An attempt is known by (unit, attempt number); an end that names an attempt which is not in flight is stale and
changes nothing but the node's record.

Invariants, held by the property tests: a node never has more attempts than usable slots, save while its slots
shrink; a unit is never started twice on one node at a time; every submitted unit ends in exactly one of Settled
(success), RunHere, GiveUp or a withdrawal; no unit waits while a node that may take it has a free slot, save one that
a faster node, full now, should have done sooner.

It is one thing, and so one file: every event may free a slot, and every free slot may concern every unit.  What it is
told and what it asks for are in `events`, how long a unit should take in `expectations`, a node's record in `health`.

Rejected: a queue per node with work stealing.  It needs no central order, but the order is what we have (critical
path), and one master sees all.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import field, replace
from enum import Enum, auto

from buildfarm.dispatch.events import (
    Action,
    Cancel,
    Declined,
    Demand,
    Event,
    Failed,
    GiveUp,
    Join,
    LocalSlotFreed,
    Press,
    Probe,
    Probed,
    Quarantine,
    RunHere,
    Settled,
    Start,
    Submit,
    Succeeded,
    Tick,
    Unsettled,
    Withdraw,
)
from buildfarm.dispatch.expectations import STRAGGLER_FLOOR, Expectations
from buildfarm.dispatch.health import NOT_PROBED, Health, Standing
from buildfarm.model import Node, NodeStatus
from buildfarm.value import dataclass

BACKOFF_SECONDS = 60.0  # distcc's own DISTCC_BACKOFF_PERIOD default (src/backoff.c)
SUSPICION_FACTOR = 4.0  # an attempt that lost after so many times what the winner took is the node's fault
FASTER = 1.15  # times: less of a difference in speed is noise, and not worth waiting for
SOONER = 0.95  # of the time that a free slot would need: the gain for which a unit waits for a faster one
MOST_HELD = 32  # units that wait for faster slots at a time


class _Life(Enum):
    WAITING = auto()  # in the queue
    RUNNING = auto()  # at least one attempt in flight


@dataclass(slots=True)
class _Flight:
    node: str
    since: float


@dataclass(slots=True)
class _Entry:
    submit: Submit
    demanded: bool
    pressing: bool
    arrived: int
    since: float
    life: _Life = _Life.WAITING
    attempts: int = 0
    flights: dict[int, _Flight] = field(default_factory=dict)
    avoid: set[str] = field(default_factory=set)  # nodes where it failed
    unfit: set[str] = field(default_factory=set)  # nodes that have not its compiler
    last_reason: str = ""

    def key(self) -> tuple[bool, float, int]:
        return (not (self.demanded or self.pressing), -self.submit.priority, self.arrived)


@dataclass(slots=True)
class _Release:
    """A slot in use: when it should be free again."""

    at: float
    speed: float
    key: str


@dataclass(slots=True)
class _Member:
    node: Node
    health: Health
    flights: set[tuple[int, int]] = field(default_factory=set)
    heard: float = 0.0  # when anything last came from it

    def free(self) -> int:
        return self.health.usable - len(self.flights)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the user may set."""

    fallback_local: bool = True
    backoff: float = BACKOFF_SECONDS  # DISTCC_BACKOFF_PERIOD
    io_timeout: float | None = None  # DISTCC_IO_TIMEOUT, seconds; None: from history
    remote_attempts: int = 4  # of one unit, before the master takes it
    patience: float = 60.0  # with no fallback: how long a unit waits for any node to come up, seconds
    local_slots: int = 0  # `localhost/N`: units that the master compiles while all nodes are full
    hedge: bool = True  # second attempts of stragglers
    cores: int = 1  # units that the master takes back from silent nodes at a time


class Scheduler:
    """The farm's units in hand and its nodes.  `handle()` is the only way in."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self._units: dict[int, _Entry] = {}
        self._nodes: dict[str, _Member] = {}
        self._slots: int | None = None  # None: to be counted
        self._queue: list[tuple[tuple[bool, float, int], int]] = []
        self._arrivals = 0
        self._local = 0  # units in local slots
        self._expectations = Expectations()
        self._overdue: list[int] = []  # units that make waits for and that should have come back long ago

    # -- what others may look at ----------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        return sum(1 for entry in self._units.values() if entry.life is _Life.WAITING)

    @property
    def running(self) -> int:
        return sum(1 for entry in self._units.values() if entry.life is _Life.RUNNING)

    @property
    def slots(self) -> int:
        """Usable slots now: what they are after the last event."""
        if self._slots is None:
            self._slots = sum(member.health.usable for member in self._nodes.values())
        return self._slots

    @property
    def free_slots(self) -> int:
        return sum(max(0, member.free()) for member in self._nodes.values())

    def node(self, key: str) -> Node:
        """The configured node.  Raises KeyError for one that was never named."""
        return self._nodes[key].node

    def can_take(self, language: str) -> bool:
        """Whether a unit of this language could go to a node now or after a first probe that is not late."""
        return any(self._could(member, language) for member in self._nodes.values())

    def compiling(self, language: str) -> list[tuple[Node, int]]:
        """The nodes that are up and compile this language, and their usable slots."""
        return [
            (member.node, member.health.usable)
            for member in self._nodes.values()
            if member.health.usable and language in member.health.languages
        ]

    def statuses(self) -> list[NodeStatus]:
        """Every node's standing, in the order of the host list."""
        result = []
        for key, member in self._nodes.items():
            health = member.health
            state = str(health.standing)
            asked = health.standing in (Standing.UNPROBED, Standing.SILENT)
            if asked:
                state = "down"
            elif health.standing is Standing.UP and member.free() <= 0:
                state = "busy"
            result.append(
                NodeStatus(
                    key=key,
                    host=member.node.host,
                    port=member.node.port,
                    state=state,
                    slots=health.learned_slots,
                    checked_out=len(member.flights),
                    done=health.done,
                    failed=health.failed,
                    compiler=health.compiler,
                    reason=health.reason or (NOT_PROBED if asked else None),
                    retry_at=health.retry_at,
                    mean_seconds=health.mean_seconds,
                    languages=tuple(sorted(health.languages)),
                )
            )
        return result

    # -- the one way in ---------------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take in one event; return what must be done, in order."""
        actions: list[Action] = []
        self._slots = None
        match event:
            case Submit():
                self._submit(event, now)
            case Demand(unit):
                self._demand(unit)
            case Press(unit):
                self._press(unit)
            case Withdraw(unit):
                self._withdraw(unit, actions)
            case Succeeded():
                self._succeeded(event, now, actions)
            case Failed():
                self._failed(event, now, actions)
            case Unsettled():
                self._unsettled(event, now, actions)
            case Declined():
                self._declined(event, now)
            case Join(nodes, local_slots):
                self._join(nodes)
                if local_slots is not None:
                    self.policy = replace(self.policy, local_slots=local_slots)
            case Probed():
                self._probed(event, now, actions)
            case Quarantine(key, reason):
                self._nodes[key].health.quarantine(reason)
                self._recall(key, now, actions)
            case LocalSlotFreed():
                self._local -= 1
            case Tick():
                for member in self._nodes.values():
                    member.health.notice_silence(now)
                self._overdue = [
                    unit for unit, entry in self._units.items() if entry.demanded and self._late(entry, now)
                ]
        self._probes(now, actions)
        self._assign(now, actions)
        self._keep(actions)
        self._strand(now, actions)
        if isinstance(event, Tick):
            self._hedge(now, actions)
            self._relieve(now, actions)
        return actions

    # -- units --------------------------------------------------------------------------------------------------

    def _submit(self, event: Submit, now: float) -> None:
        assert event.unit not in self._units, f"BUG: unit {event.unit} submitted twice"
        self._arrivals += 1
        entry = _Entry(event, event.demanded, event.pressing, self._arrivals, now)
        self._units[event.unit] = entry
        self._enqueue(event.unit, entry)

    def _enqueue(self, unit: int, entry: _Entry) -> None:
        entry.life = _Life.WAITING
        heapq.heappush(self._queue, (entry.key(), unit))

    def _demand(self, unit: int) -> None:
        entry = self._units.get(unit)
        if entry is None or entry.demanded:
            return
        entry.demanded = True
        if entry.life is _Life.WAITING and not entry.pressing:  # else it has its place
            heapq.heappush(self._queue, (entry.key(), unit))

    def _press(self, unit: int) -> None:
        entry = self._units.get(unit)
        if entry is None or entry.demanded or entry.pressing:
            return
        entry.pressing = True
        if entry.life is _Life.WAITING:
            heapq.heappush(self._queue, (entry.key(), unit))

    def _withdraw(self, unit: int, actions: list[Action]) -> None:
        entry = self._units.pop(unit, None)
        if entry is not None:
            self._cancel_flights(unit, entry, actions)

    def _land(self, unit: int, attempt: int) -> tuple[_Entry, _Flight] | None:
        """Take a flight down.  None: it is stale, and the slot was freed before."""
        entry = self._units.get(unit)
        if entry is None or attempt not in entry.flights:
            return None
        flight = entry.flights.pop(attempt)
        self._nodes[flight.node].flights.discard((unit, attempt))
        return entry, flight

    def _cancel_flights(self, unit: int, entry: _Entry, actions: list[Action]) -> None:
        for attempt, flight in sorted(entry.flights.items()):
            self._nodes[flight.node].flights.discard((unit, attempt))
            actions.append(Cancel(unit, attempt, flight.node))
        entry.flights.clear()

    def _succeeded(self, event: Succeeded, now: float, actions: list[Action]) -> None:
        landed = self._land(event.unit, event.attempt)
        if landed is None:
            return
        entry, flight = landed
        member = self._nodes[flight.node]
        member.heard = now
        member.health.succeeded(entry.submit.estimate or 0.0, event.seconds, len(member.flights) + 1)
        self._expectations.learn(entry.submit.language, event.seconds * member.health.speed)
        for lost in entry.flights.values():
            taken = now - lost.since
            if taken >= max(STRAGGLER_FLOOR, SUSPICION_FACTOR * event.seconds):
                quick = f"{flight.node} had made it in {event.seconds:.1f} s"
                reason = f"still had no answer after {taken:.0f} s when {quick}"
                self._nodes[lost.node].health.suspect(f"{lost.node}: {reason}")
        self._cancel_flights(event.unit, entry, actions)
        del self._units[event.unit]
        actions.append(Settled(event.unit, event.attempt))

    def _failed(self, event: Failed, now: float, actions: list[Action]) -> None:
        landed = self._land(event.unit, event.attempt)
        if landed is None:
            return
        entry, flight = landed
        self._nodes[flight.node].health.faulted(event.fault, event.reason, now, self.policy.backoff)
        entry.avoid.add(flight.node)
        entry.last_reason = event.reason
        if entry.flights:
            return  # the other attempt may still win
        if entry.attempts >= self.policy.remote_attempts and self.policy.fallback_local:
            del self._units[event.unit]
            actions.append(RunHere(event.unit, f"{entry.attempts} attempts failed, the last: {event.reason}"))
        else:
            entry.since = now
            self._enqueue(event.unit, entry)

    def _unsettled(self, event: Unsettled, now: float, actions: list[Action]) -> None:
        landed = self._land(event.unit, event.attempt)
        if landed is None:
            return
        entry, flight = landed
        self._nodes[flight.node].heard = now
        self._cancel_flights(event.unit, entry, actions)
        del self._units[event.unit]
        actions.append(RunHere(event.unit, event.reason))

    def _recall(self, key: str, now: float, actions: list[Action]) -> None:
        """Take every attempt off a node that is out; what has no other attempt waits again."""
        member = self._nodes[key]
        for unit, attempt in sorted(member.flights):
            entry = self._units[unit]
            del entry.flights[attempt]
            entry.avoid.add(key)
            entry.last_reason = member.health.reason or ""
            out = member.health.standing is Standing.QUARANTINED
            actions.append(Cancel(unit, attempt, key, entry.last_reason, "corrupt" if out else "lost"))
            if not entry.flights:
                entry.since = now
                self._enqueue(unit, entry)
        member.flights.clear()

    def _declined(self, event: Declined, now: float) -> None:
        landed = self._land(event.unit, event.attempt)
        if landed is None:
            return
        entry, flight = landed
        entry.unfit.add(flight.node)
        entry.last_reason = event.reason
        if not entry.flights:
            self._enqueue(event.unit, entry)

    # -- nodes --------------------------------------------------------------------------------------------------

    def _join(self, nodes: Iterable[Node]) -> None:
        named = {node.key: node for node in nodes}
        for key, member in self._nodes.items():
            if key not in named and member.health.standing is not Standing.QUARANTINED:
                member.health.drain()
        ordered: dict[str, _Member] = {}
        for key, node in named.items():
            known = self._nodes.get(key)
            if known is None:
                ordered[key] = _Member(node, Health(node.slots))
                continue
            known.node = node
            known.health.slots = node.slots
            if known.health.standing is Standing.DRAINING:
                known.health.standing = Standing.UNPROBED
            ordered[key] = known
        for key, member in self._nodes.items():
            ordered.setdefault(key, member)
        self._nodes = ordered

    def _probed(self, event: Probed, now: float, actions: list[Action]) -> None:
        """A node that fails its probe loses what it still has: nobody answers there."""
        member = self._nodes[event.node]
        health = member.health
        if event.error is None:
            member.heard = now
            health.probe_seconds = event.seconds
            health.probe_passed(event.languages, event.compiler, event.remark)
            self._guess_speeds()
            return
        if event.quarantine:
            health.probing = False
            health.quarantine(event.error)
        else:
            health.probe_failed(event.error, now, self.policy.backoff)
        if health.standing is not Standing.DRAINING:
            self._recall(event.node, now, actions)

    def _guess_speeds(self) -> None:
        """Until its units tell, a node's speed is guessed from how long it took to answer its probe."""
        known = [m.health.probe_seconds for m in self._nodes.values() if m.health.probe_seconds]
        for member in self._nodes.values():
            if member.health.probe_seconds:
                member.health.guess_speed(min(known) / member.health.probe_seconds)

    def _probes(self, now: float, actions: list[Action]) -> None:
        for key, member in self._nodes.items():
            if member.health.due(now):
                member.health.probe_started(now)
                actions.append(Probe(key, again=member.health.standing is Standing.SILENT))

    def _could(self, member: _Member, language: str) -> bool:
        health = member.health
        if health.standing is Standing.UP:
            return language in health.languages
        return health.may_turn_out_well

    # -- filling slots --------------------------------------------------------------------------------------------

    def _pick(self, entry: _Entry) -> _Member | None:
        """The free node that should finish the unit first, avoiding those where it failed while others exist."""
        best: _Member | None = None
        best_rank: tuple[bool, float, float] | None = None
        busy_elsewhere = {flight.node for flight in entry.flights.values()}
        for key, member in self._nodes.items():
            if key in busy_elsewhere or key in entry.unfit or member.free() <= 0:
                continue
            if entry.submit.language not in member.health.languages:
                continue
            load = len(member.flights) / max(1, member.health.usable)
            rank = (key in entry.avoid, -round(member.health.speed, 1), load)
            if best_rank is None or rank < best_rank:
                best, best_rank = member, rank
        if best is not None and best.node.key in entry.avoid and self._untried(entry):
            return None
        return best

    def _untried(self, entry: _Entry) -> bool:
        """Whether a node exists that may take the unit and has not failed it."""
        return any(
            key not in entry.avoid and key not in entry.unfit and self._could(member, entry.submit.language)
            for key, member in self._nodes.items()
        )

    def _start(self, unit: int, entry: _Entry, member: _Member, now: float, actions: list[Action]) -> None:
        entry.attempts += 1
        entry.life = _Life.RUNNING
        entry.flights[entry.attempts] = _Flight(member.node.key, now)
        member.flights.add((unit, entry.attempts))
        deadline = self.policy.io_timeout
        if deadline is None:
            deadline = self._expectations.deadline(entry.submit, member.health.speed)
        actions.append(Start(unit, entry.attempts, member.node.key, deadline))

    def _late(self, entry: _Entry, now: float) -> bool:
        """Whether its one attempt should have come back long ago."""
        return len(entry.flights) == 1 and all(
            self._is_overdue(entry, flight, flight.since, now) for flight in entry.flights.values()
        )

    def _silent(self, entry: _Entry, now: float) -> bool:
        """Whether it is under way, and nothing has come from where it is for the time in which it should have."""
        return bool(entry.flights) and all(
            self._is_overdue(entry, flight, self._last_sign(flight), now) for flight in entry.flights.values()
        )

    def _is_overdue(self, entry: _Entry, flight: _Flight, since: float, now: float) -> bool:
        speed = self._nodes[flight.node].health.speed
        return self._expectations.is_overdue(entry.submit, speed, now - since)

    def _last_sign(self, flight: _Flight) -> float:
        """When its node last gave a sign of life, or the flight began."""
        return max(flight.since, self._nodes[flight.node].heard)

    def _assign(self, now: float, actions: list[Action]) -> None:
        held: list[tuple[tuple[bool, float, int], int]] = []
        releases: list[_Release] | None = None
        patient = 0
        blocked: set[str] = set()  # languages for which no slot is free
        while self._queue and self.free_slots > 0:
            key, unit = heapq.heappop(self._queue)
            entry = self._units.get(unit)
            if entry is None or entry.life is not _Life.WAITING or entry.key() != key:
                continue  # withdrawn, started, or queued again under another key
            if entry.submit.language in blocked and not entry.avoid and not entry.unfit:
                held.append((key, unit))
                continue
            member = self._pick(entry)
            if member is not None and entry.submit.estimate is not None and patient < MOST_HELD:
                if releases is None:
                    releases = self._releases(now)
                if self._sooner_elsewhere(entry.submit.estimate, entry, member, now, releases):
                    patient += 1
                    held.append((key, unit))
                    continue
            if not entry.demanded and self._rescue(now, actions):
                heapq.heappush(self._queue, (key, unit))
                continue
            if member is None:
                if not entry.avoid and not entry.unfit:
                    blocked.add(entry.submit.language)
                held.append((key, unit))
            else:
                self._start(unit, entry, member, now, actions)
        for item in held:
            heapq.heappush(self._queue, item)

    def _releases(self, now: float) -> list[_Release]:
        """When each slot in use should be free, where nodes differ in speed; an overdue one: nobody knows, so late."""
        speeds = [member.health.speed for member in self._nodes.values() if member.health.usable]
        if not speeds or max(speeds) < FASTER * min(speeds):
            return []
        found = []
        for key, member in self._nodes.items():
            if member.health.standing is not Standing.UP or len(member.flights) < member.health.usable:
                continue
            for unit, attempt in member.flights:
                entry = self._units[unit]
                since = entry.flights[attempt].since
                end = since + self._expectations.seconds(entry.submit, member.health.speed)
                found.append(_Release(end if end > now else now + (now - since), member.health.speed, key))
        return found

    def _sooner_elsewhere(
        self, seconds: float, entry: _Entry, member: _Member, now: float, releases: list[_Release]
    ) -> bool:
        """Whether the unit would be done sooner if it waited for a faster node; that slot is then spoken for."""
        here = seconds / member.health.speed
        best: _Release | None = None
        for release in releases:
            if release.speed < FASTER * member.health.speed or release.key in entry.avoid | entry.unfit:
                continue
            if best is None or release.at + seconds / release.speed < best.at + seconds / best.speed:
                best = release
        if best is None or best.at + seconds / best.speed - now > SOONER * here:
            return False
        best.at += seconds / best.speed
        return True

    def _keep(self, actions: list[Action]) -> None:
        """Give what make waits for to free local slots, once the nodes are full."""
        passed = []
        while self._queue and self._local < self.policy.local_slots:
            key, unit = heapq.heappop(self._queue)
            entry = self._units.get(unit)
            if entry is None or entry.life is not _Life.WAITING or entry.key() != key:
                continue
            if entry.demanded:
                del self._units[unit]
                self._local += 1
                actions.append(RunHere(unit, "all nodes are full and localhost has a slot", slot=True))
                continue
            passed.append((key, unit))
            if not entry.pressing:
                break
        for item in passed:
            heapq.heappush(self._queue, item)

    def _strand(self, now: float, actions: list[Action]) -> None:
        """Send away units that no node can take: to the master, or with no fallback, after a while, nowhere."""
        for unit, entry in list(self._units.items()):
            if entry.life is not _Life.WAITING or self._has_place(entry):
                continue
            reason = self._why_none(entry)
            if self.policy.fallback_local:
                del self._units[unit]
                actions.append(RunHere(unit, reason))
            elif now - entry.since >= self.policy.patience or self._all_out():
                del self._units[unit]
                actions.append(GiveUp(unit, reason))

    def _has_place(self, entry: _Entry) -> bool:
        """Whether a node may take the unit, now or after a first probe that is not late."""
        language = entry.submit.language
        return any(key not in entry.unfit and self._could(member, language) for key, member in self._nodes.items())

    def _all_out(self) -> bool:
        return all(member.health.standing is Standing.QUARANTINED for member in self._nodes.values())

    def _why_none(self, entry: _Entry) -> str:
        if not self._nodes:
            return "no nodes are configured"
        if any(member.health.standing is Standing.UP for member in self._nodes.values()):
            return entry.last_reason if entry.unfit else f"no node compiles {entry.submit.language}"
        return f"no node is up{': ' + entry.last_reason if entry.last_reason else ''}"

    def _rescue(self, now: float, actions: list[Action]) -> bool:
        """A second attempt of one unit that make waits for, before lookahead goes on; whether there was one."""
        while self.policy.hedge and self._overdue:
            unit = self._overdue.pop()
            entry = self._units.get(unit)
            if entry is not None and self._late(entry, now) and self._try_twice(unit, entry, now, actions):
                return True
        return False

    def _hedge(self, now: float, actions: list[Action]) -> None:
        """Second attempts of stragglers on idle nodes, when nothing else waits."""
        if not self.policy.hedge or self.free_slots == 0 or self.waiting:
            return
        for unit, entry in self._units.items():
            if self._late(entry, now):
                self._try_twice(unit, entry, now, actions)

    def _try_twice(self, unit: int, entry: _Entry, now: float, actions: list[Action]) -> bool:
        """Start a second attempt on a node that is about as fast as the first one's."""
        (flight,) = entry.flights.values()
        member = self._pick(entry)
        if member is None or member.health.speed < 0.9 * self._nodes[flight.node].health.speed:
            return False
        self._start(unit, entry, member, now, actions)
        return True

    def _relieve(self, now: float, actions: list[Action]) -> None:
        """Ask nodes that have gone silent while make waits, and compile here what they may never bring back.

        A node with room for a question is only asked: if it lives, it goes on with its long unit and nothing is lost.
        From a full one, whose `distccd --jobs` may hear no question, and from one that does not answer, units are
        taken back, as many as there are cores.  The node's attempt is dropped, rather than left to race: the
        compiler that runs here writes into the place itself, where no second result may come.

        How long is silence: what makes a straggler, counted from the node's last sign of life.  That is the unit's
        own estimate, or the pace of this build's units; where too few have come back, `DEFAULT_ESTIMATE` at least.
        """
        for unit, entry in list(self._units.items()):
            if not entry.demanded or not self._silent(entry, now):
                continue
            members = [self._nodes[flight.node] for flight in entry.flights.values()]
            for member in members:
                if member.free() > 0:
                    member.health.ask_again()
            if any(member.health.may_turn_out_well for member in members):
                continue
            if self.policy.fallback_local and self._local < self.policy.cores:
                self._take_back(unit, entry, now, actions)
        self._probes(now, actions)

    def _take_back(self, unit: int, entry: _Entry, now: float, actions: list[Action]) -> None:
        """Compile here what its nodes have been silent about."""
        for attempt, flight in sorted(entry.flights.items()):
            member = self._nodes[flight.node]
            member.flights.discard((unit, attempt))
            entry.last_reason = f"{flight.node}: no word for {now - self._last_sign(flight):.0f} s"
            member.health.suspect(entry.last_reason)
            actions.append(Cancel(unit, attempt, flight.node, entry.last_reason))
        del self._units[unit]
        self._local += 1
        actions.append(RunHere(unit, entry.last_reason, slot=True))
