"""Who compiles what, and when: a pure state machine, events in, actions out.

It knows no asyncio, socket, disk or clock; `now` (monotonic seconds) comes in with each event.  The conductor feeds
`handle()` and performs what it returns.

Theory of operation.  A unit has two states, and each change of them is one method:

    WAITING -> RUNNING  `_start`: an attempt leaves for a node (a straggler gets a second one)
    RUNNING -> WAITING  `_came_to_nothing`: the last attempt under way has failed, was declined or was recalled
    either  -> gone     `_leave`: by exactly one of Settled, RunHere and GiveUp, or by a withdrawal

All that wait are in one queue: what make waits for and what presses before other lookahead, then the longest
remaining path, then the order of arrival.  After every event free slots are filled from its head, so no event needs
to know what it frees.  An attempt is known by (unit, attempt number); an end that names an attempt which is not under
way is stale and changes nothing.

Invariants, held by the property tests: a node never has more attempts than usable slots, save while its slots
shrink; a unit is never started twice on one node at a time; every submitted unit is gone in the end, and by one way;
no unit waits while a node that may take it has a free slot, save one that a faster node, full now, should have done
sooner.

It is one thing, and so one file: every event may free a slot, and every free slot may concern every unit.  What it is
told and what it asks for are in `events`, the units and their order in `queue`, the nodes and which is best in
`roster`, a node's record in `health`, how long a unit should take in `expectations`, and when slots come free in
`forecast`.

Rejected: a queue per node with work stealing.  It needs no central order, but the order is what we have (critical
path), and one master sees all.
"""

from __future__ import annotations

from dataclasses import replace

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
from buildfarm.dispatch.forecast import Forecast
from buildfarm.dispatch.health import Fault, Standing
from buildfarm.dispatch.queue import Attempt, Queue, UnitState
from buildfarm.dispatch.roster import NodeState, Roster
from buildfarm.model import Node, NodeStatus
from buildfarm.value import dataclass

BACKOFF_SECONDS = 60.0  # distcc's own DISTCC_BACKOFF_PERIOD default (src/backoff.c)
SUSPICION_FACTOR = 4.0  # an attempt that lost after so many times what the winner took is the node's fault
AS_FAST = 0.9  # of the first attempt's node: the least speed at which a second attempt may overtake it
MOST_HELD = 32  # units that wait for faster slots at a time


@dataclass(frozen=True, slots=True)
class Policy:
    """What the user may set."""

    fallback_local: bool = True
    backoff: float = BACKOFF_SECONDS  # DISTCC_BACKOFF_PERIOD
    io_timeout: float | None = None  # DISTCC_IO_TIMEOUT, seconds; None: from history
    remote_attempts: int = 4  # of one unit, before the master takes it; with no fallback, if it is late, nobody does
    patience: float = 60.0  # with no fallback: how long a unit waits for any node to come up, seconds
    local_slots: int = 0  # `localhost/N`: units that the master compiles while all nodes are full
    hedge: bool = True  # second attempts of stragglers
    cores: int = 1  # units that the master takes back from silent nodes at a time


class Scheduler:
    """The farm's units in hand and its nodes.  `handle()` is the only way in."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self._units: dict[int, UnitState] = {}
        self._queue = Queue(self._units)
        self._roster = Roster()
        self._expectations = Expectations()
        self._arrivals = 0
        self._local = 0  # units in local slots
        self._late: list[int] = []  # units that make waits for and that were overdue at the last tick
        self._slots: int | None = None  # None: to be counted
        self._crowding = 1.0  # as of the last tick

    # -- what others may look at ----------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        return sum(1 for unit in self._units.values() if unit.waits)

    @property
    def running(self) -> int:
        return len(self._units) - self.waiting

    @property
    def slots(self) -> int:
        """Usable slots now: what they are after the last event."""
        if self._slots is None:
            self._slots = self._roster.usable_slots
        return self._slots

    @property
    def free_slots(self) -> int:
        return self._roster.free_slots

    def node(self, key: str) -> Node:
        """The configured node.  Raises KeyError for one that was never named."""
        return self._roster[key].node

    def can_take(self, language: str) -> bool:
        """Whether a unit of this language could go to a node now or after a first probe that is not late."""
        return self._roster.can_take(language)

    def compiling(self, language: str) -> list[tuple[Node, int]]:
        """The nodes that are up and compile this language, and their usable slots."""
        return [
            (node.node, node.health.usable)
            for node in self._roster
            if node.health.usable and language in node.health.languages
        ]

    def statuses(self) -> list[NodeStatus]:
        """Every node's standing, in the order of the host list."""
        return [node.status() for node in self._roster]

    # -- the one way in ---------------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take in one event; return what must be done, in order."""
        actions: list[Action] = []
        self._slots = None
        match event:
            case Submit():
                self._submit(event, now)
            case Demand(number):
                self._demand(number, now)
            case Press(number):
                self._press(number)
            case Withdraw(number):
                if number in self._units:
                    self._leave(self._units[number], actions)
            case Succeeded():
                self._succeeded(event, now, actions)
            case Failed():
                self._failed(event, now, actions)
            case Unsettled():
                self._unsettled(event, now, actions)
            case Declined():
                self._declined(event, now)
            case Join(nodes, local_slots):
                self._roster.join(nodes)
                if local_slots is not None:
                    self.policy = replace(self.policy, local_slots=local_slots)
            case Probed():
                self._probed(event, now, actions)
            case Quarantine(key, reason):
                self._roster[key].health.quarantine(reason)
                self._recall(self._roster[key], now, actions)
            case LocalSlotFreed():
                self._local -= 1
            case Tick(crowding):
                self._crowding = crowding
                self._tick(now)
        self._probe(now, actions)
        self._fill_slots(now, actions)
        self._fill_local_slots(actions)
        self._dismiss(now, actions)
        if isinstance(event, Tick):
            self._hedge_idly(now, actions)
            self._relieve(now, actions)
        return actions

    def _tick(self, now: float) -> None:
        for node in self._roster:
            node.health.notice_silence(now, self._crowding)
        self._late = [number for number, unit in self._units.items() if unit.demanded and self._is_late(unit, now)]

    # -- a unit's transitions -----------------------------------------------------------------------------------

    def _submit(self, event: Submit, now: float) -> None:
        assert event.unit not in self._units, f"BUG: unit {event.unit} submitted twice"
        self._arrivals += 1
        unit = UnitState(event, self._arrivals, now, event.demanded, event.pressing)
        self._units[event.unit] = unit
        self._queue.push(unit)

    def _start(self, unit: UnitState, node: NodeState, now: float, actions: list[Action]) -> None:
        number = unit.submit.unit
        unit.begun += 1
        unit.attempts[unit.begun] = Attempt(node.key, now)
        node.attempts.add((number, unit.begun))
        deadline = self.policy.io_timeout
        if deadline is None:
            deadline = self._expectations.deadline(unit.submit, node.health.speed)
        actions.append(Start(number, unit.begun, node.key, deadline))

    def _end_attempt(self, number: int, attempt: int) -> tuple[UnitState, NodeState] | None:
        """Free the attempt's slot; `_came_to_nothing` or `_leave` follows.  None: it is stale, and was freed before."""
        unit = self._units.get(number)
        if unit is None or attempt not in unit.attempts:
            return None
        node = self._roster[unit.attempts.pop(attempt).node]
        node.attempts.discard((number, attempt))
        return unit, node

    def _came_to_nothing(self, unit: UnitState, reason: str, now: float) -> None:
        """One of its attempts has ended: it waits again, unless another is under way, which may still win."""
        unit.last_reason = reason
        if unit.waits:
            unit.since = now
            self._queue.push(unit)

    def _leave(self, unit: UnitState, actions: list[Action], by: RunHere | GiveUp | Settled | None = None) -> None:
        """The unit is gone, by this action or without one; what is still under way for it is cancelled."""
        number = unit.submit.unit
        for attempt, under_way in sorted(unit.attempts.items()):
            self._roster[under_way.node].attempts.discard((number, attempt))
            actions.append(Cancel(number, attempt, under_way.node))
        del self._units[number]
        if by is not None:
            actions.append(by)

    # -- what is told of units ----------------------------------------------------------------------------------

    def _demand(self, number: int, now: float) -> None:
        unit = self._units.get(number)
        if unit is None or unit.demanded:
            return
        unit.demanded = True
        if unit.waits:
            unit.since = now
        if unit.waits and not unit.pressing:  # else it has its place
            self._queue.push(unit)

    def _press(self, number: int) -> None:
        unit = self._units.get(number)
        if unit is None or unit.demanded or unit.pressing:
            return
        unit.pressing = True
        if unit.waits:
            self._queue.push(unit)

    def _succeeded(self, event: Succeeded, now: float, actions: list[Action]) -> None:
        ended = self._end_attempt(event.unit, event.attempt)
        if ended is None:
            return
        unit, node = ended
        node.heard = now
        node.health.succeeded(unit.submit.estimate or 0.0, event.seconds, len(node.attempts) + 1)
        self._expectations.learn(unit.submit.language, event.seconds * node.health.speed)
        for loser in unit.attempts.values():
            taken = now - loser.since
            if taken >= max(STRAGGLER_FLOOR, SUSPICION_FACTOR * event.seconds):
                quick = f"{node.key} had made it in {event.seconds:.1f} s"
                reason = f"still had no answer after {taken:.0f} s when {quick}"
                self._roster[loser.node].health.suspect(f"{loser.node}: {reason}")
        self._leave(unit, actions, Settled(event.unit, event.attempt))

    def _failed(self, event: Failed, now: float, actions: list[Action]) -> None:
        ended = self._end_attempt(event.unit, event.attempt)
        if ended is None:
            return
        unit, node = ended
        node.health.faulted(event.fault, event.reason, now, self.policy.backoff)
        unit.avoid.add(node.key)
        late = event.fault is Fault.LATE  # where a compiler hangs on it, it hangs again
        tried = unit.begun >= self.policy.remote_attempts
        reason = event.reason if unit.begun == 1 else f"{unit.begun} attempts failed, the last: {event.reason}"
        nowhere_else = late and not self._roster.can_take(unit.submit.language, without=unit.avoid | unit.unfit)
        if unit.waits and self.policy.fallback_local and (tried or nowhere_else):
            self._leave(unit, actions, RunHere(event.unit, reason, hung=late))
        elif unit.waits and tried and late:
            self._leave(unit, actions, GiveUp(event.unit, reason))
        else:
            self._came_to_nothing(unit, event.reason, now)

    def _unsettled(self, event: Unsettled, now: float, actions: list[Action]) -> None:
        ended = self._end_attempt(event.unit, event.attempt)
        if ended is None:
            return
        unit, node = ended
        node.heard = now
        self._leave(unit, actions, RunHere(event.unit, event.reason))

    def _declined(self, event: Declined, now: float) -> None:
        ended = self._end_attempt(event.unit, event.attempt)
        if ended is None:
            return
        unit, node = ended
        unit.unfit.add(node.key)
        self._came_to_nothing(unit, event.reason, now)

    # -- nodes --------------------------------------------------------------------------------------------------

    def _probe(self, now: float, actions: list[Action]) -> None:
        """Ask every node whose time has come."""
        for node in self._roster:
            if node.health.due(now):
                node.health.probe_started(now)
                actions.append(Probe(node.key, again=node.health.standing is Standing.SILENT))

    def _probed(self, event: Probed, now: float, actions: list[Action]) -> None:
        """A node that fails its probe loses what it still has: nobody answers there."""
        node = self._roster[event.node]
        health = node.health
        if event.error is None:
            node.heard = now
            health.probe_seconds = event.seconds
            health.probe_passed(event.languages, event.compiler, event.remark)
            self._roster.guess_speeds()
            return
        if event.quarantine:
            health.probing = False
            health.quarantine(event.error)
        else:
            health.probe_failed(event.error, now, self.policy.backoff)
        if health.standing is not Standing.DRAINING:
            self._recall(node, now, actions)

    def _recall(self, node: NodeState, now: float, actions: list[Action]) -> None:
        """Take every attempt off a node that is out."""
        reason = node.health.reason or ""
        outcome = "corrupt" if node.health.standing is Standing.QUARANTINED else "lost"
        for number, attempt in sorted(node.attempts):
            unit = self._units[number]
            del unit.attempts[attempt]
            unit.avoid.add(node.key)
            actions.append(Cancel(number, attempt, node.key, reason, outcome))
            self._came_to_nothing(unit, reason, now)
        node.attempts.clear()

    # -- filling slots ------------------------------------------------------------------------------------------

    def _fill_slots(self, now: float, actions: list[Action]) -> None:
        """Start waiting units, the first in the queue first, while there are free slots that may take them."""
        passed_over: list[UnitState] = []
        forecast: Forecast | None = None
        held = 0  # units that wait for faster slots
        full: set[str] = set()  # languages for which no slot is free
        while self.free_slots > 0 and (unit := self._queue.pop()) is not None:
            language, seconds = unit.submit.language, unit.submit.estimate
            if language in full and not unit.is_choosy:
                passed_over.append(unit)
                continue
            node = self._roster.pick(unit)
            if node is not None and seconds is not None and held < MOST_HELD:
                if forecast is None:
                    forecast = Forecast(self._roster, self._units, self._expectations, now)
                if forecast.has_sooner(unit, seconds, node):
                    held += 1
                    passed_over.append(unit)
                    continue
            if not unit.demanded and self._hedge_demanded(now, actions):
                self._queue.push(unit)  # its slot may be gone
            elif node is not None:
                self._start(unit, node, now, actions)
            else:
                if not unit.is_choosy:
                    full.add(language)
                passed_over.append(unit)
        for unit in passed_over:
            self._queue.push(unit)

    def _fill_local_slots(self, actions: list[Action]) -> None:
        """Give what make waits for to free local slots, once the nodes are full."""
        passed_over: list[UnitState] = []
        while self._local < self.policy.local_slots and (unit := self._queue.pop()) is not None:
            if unit.demanded:
                self._run_in_slot(unit, "all nodes are full and localhost has a slot", actions)
                continue
            passed_over.append(unit)
            if not unit.pressing:
                break  # behind it is lookahead alone
        for unit in passed_over:
            self._queue.push(unit)

    def _run_in_slot(self, unit: UnitState, reason: str, actions: list[Action]) -> None:
        """Compile it here, as one of so many at a time."""
        self._local += 1
        self._leave(unit, actions, RunHere(unit.submit.unit, reason, slot=True))

    def _dismiss(self, now: float, actions: list[Action]) -> None:
        """Send away units that no node can take: to the master, or with no fallback, after a while, nowhere."""
        waiting = [unit for unit in self._units.values() if unit.waits]
        taken = {language: self._roster.can_take(language) for language in {unit.submit.language for unit in waiting}}
        for unit in waiting:
            number, language = unit.submit.unit, unit.submit.language
            if taken[language] and (not unit.unfit or self._roster.can_take(language, without=unit.unfit)):
                continue
            reason = self._why_none(unit)
            if self.policy.fallback_local:
                self._leave(unit, actions, RunHere(number, reason))
            elif now - unit.since >= self.policy.patience or self._all_are_out():
                self._leave(unit, actions, GiveUp(number, reason))

    def _all_are_out(self) -> bool:
        return all(node.health.standing is Standing.QUARANTINED for node in self._roster)

    def _why_none(self, unit: UnitState) -> str:
        if not len(self._roster):
            return "no nodes are configured"
        if any(node.health.standing is Standing.UP for node in self._roster):
            return unit.last_reason if unit.unfit else f"no node compiles {unit.submit.language}"
        return f"no node is up{': ' + unit.last_reason if unit.last_reason else ''}"

    # -- stragglers and silent nodes ----------------------------------------------------------------------------

    def _is_late(self, unit: UnitState, now: float) -> bool:
        """Whether its one attempt should have come back long ago."""
        return len(unit.attempts) == 1 and all(
            self._is_overdue(unit, attempt, attempt.since, now) for attempt in unit.attempts.values()
        )

    def _hears_nothing(self, unit: UnitState, now: float) -> bool:
        """Whether it is under way, and nothing has come from where it is for the time in which it should have."""
        return not unit.waits and all(
            self._is_overdue(unit, attempt, self._last_sign(attempt), now) for attempt in unit.attempts.values()
        )

    def _is_overdue(self, unit: UnitState, attempt: Attempt, since: float, now: float) -> bool:
        speed = self._roster[attempt.node].health.speed
        return self._expectations.is_overdue(unit.submit, speed, now - since, self._crowding)

    def _last_sign(self, attempt: Attempt) -> float:
        """When its node last gave a sign of life, or the attempt began."""
        return max(attempt.since, self._roster[attempt.node].heard)

    def _hedge(self, unit: UnitState, now: float, actions: list[Action]) -> bool:
        """Start a second attempt on a node that is about as fast as the first one's; whether there is one."""
        (first,) = unit.attempts.values()
        node = self._roster.pick(unit)
        if node is None or node.health.speed < AS_FAST * self._roster[first.node].health.speed:
            return False
        self._start(unit, node, now, actions)
        return True

    def _hedge_demanded(self, now: float, actions: list[Action]) -> bool:
        """A second attempt of one unit that make waits for, before lookahead goes on; whether there was one."""
        while self.policy.hedge and self._late:
            unit = self._units.get(self._late.pop())
            if unit is not None and self._is_late(unit, now) and self._hedge(unit, now, actions):
                return True
        return False

    def _hedge_idly(self, now: float, actions: list[Action]) -> None:
        """Second attempts of stragglers on idle nodes, when nothing else waits."""
        if not self.policy.hedge or self.free_slots == 0 or self.waiting:
            return
        for unit in self._units.values():
            if self._is_late(unit, now):
                self._hedge(unit, now, actions)

    def _relieve(self, now: float, actions: list[Action]) -> None:
        """Ask nodes that have gone silent while make waits, and compile here what they may never bring back.

        A node with room for a question is only asked: if it lives, it goes on with its long unit and nothing is lost.
        From a full one, whose `distccd --jobs` may hear no question, and from one that does not answer, units are
        taken back, as many as there are cores.  The node's attempt is dropped, rather than left to race: the
        compiler that runs here writes into the place itself, where no second result may come.

        How long is silence: what makes a straggler, counted from the node's last sign of life.  That is the unit's
        own estimate, or the pace of this build's units; where too few have come back, `DEFAULT_ESTIMATE` at least.
        All of that times the crowding of this machine, which would compile it, or not hear the node, as much slower.

        Lookahead may be as long as it likes, unless make has waited for a slot as long as that.  Then a full node loses
        the one of it that is needed last, so that it can be asked: if it lives, what make waits for goes there.
        """
        for unit in [unit for unit in self._units.values() if unit.demanded]:
            if self._is_silent_about(unit, now) and self.policy.fallback_local and self._local < self.policy.cores:
                self._take_back(unit, now, actions)
        if self._make_has_waited(self._crowding * STRAGGLER_FLOOR, now):
            ahead = [unit for unit in self._units.values() if not unit.demanded]
            for unit in sorted(ahead, key=UnitState.rank, reverse=True):
                if self._is_silent_about(unit, now):
                    self._make_room(unit, now, actions)
        self._probe(now, actions)

    def _make_has_waited(self, seconds: float, now: float) -> bool:
        """Whether a unit that make waits for has had no slot for so long."""
        return any(unit.demanded and unit.waits and now - unit.since >= seconds for unit in self._units.values())

    def _is_silent_about(self, unit: UnitState, now: float) -> bool:
        """Whether nothing is heard of it and its nodes are full or don't answer; those that have room are asked."""
        if not self._hears_nothing(unit, now):
            return False
        nodes = [self._roster[attempt.node] for attempt in unit.attempts.values()]
        for node in nodes:
            if node.free_slots > 0:
                node.health.ask_again()
        return not any(node.health.may_turn_out_well for node in nodes)

    def _make_room(self, unit: UnitState, now: float, actions: list[Action]) -> None:
        """Let a unit that make does not wait for give way to a question to its nodes."""
        reason = "it gave way to what make waits for"
        for attempt, under_way in sorted(unit.attempts.items()):
            self._end_attempt(unit.submit.unit, attempt)
            self._roster[under_way.node].health.ask_again()
            actions.append(Cancel(unit.submit.unit, attempt, under_way.node, reason, "cancelled"))
        self._came_to_nothing(unit, reason, now)

    def _take_back(self, unit: UnitState, now: float, actions: list[Action]) -> None:
        """Compile here what its nodes have been silent about."""
        number = unit.submit.unit
        reason = ""
        for attempt, under_way in sorted(unit.attempts.items()):
            reason = f"{under_way.node}: no word for {now - self._last_sign(under_way):.0f} s"
            self._end_attempt(number, attempt)
            self._roster[under_way.node].health.suspect(reason)
            actions.append(Cancel(number, attempt, under_way.node, reason))
        self._run_in_slot(unit, reason, actions)
