"""How good is the scheduler: simulated makespans beside distcc's policy and the lower bound.

It compiles nothing.  What decides here is the scheduler that builds use (`dispatch.scheduler`), driven with the clock
of a simulation, on durations recorded from real projects (`benchmarks/recorded/*.json`: CPU seconds of every unit, one
compile at a time, and which units must be there before).

The peer is distcc's policy (`src/where.c: dcc_lock_one`, `src/backoff.c`): units in make's order; the first host in
list order with a free slot; a host that failed gets nothing for 60 s.  The unit that it lost goes to the next free slot
(the stock client would compile it on the master, whose cores are in neither column).  The lower bound is max(critical
path on the fastest node, work / total speed); no schedule is shorter.

Where nodes fail, a quarter of them lose what they have at one moment and refuse from then on.  What a failure costs
hangs on what happened to run there, so those figures are means over several moments, the same for both policies.
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import frame
from buildfarm.dispatch import events
from buildfarm.dispatch.health import Fault
from buildfarm.dispatch.scheduler import Policy, Scheduler
from buildfarm.model import Node

RECORDED = Path(__file__).parent / "recorded"
SLOTS = (4, 8, 16, 32, 64, 128, 256)
SLOTS_A_NODE = 4
SPEEDS = (1.0, 0.6, 0.35)  # a Pi 5, a Pi 4, a Pi 3, in turn
LANGUAGES = frozenset({"c"})
BACKOFF = 60.0
PROBE_NOISE = 0.15  # by which a probe's time misses the node's speed, up and down in turn
MOMENTS = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the whole farm's lower bound, at which nodes fail
NOTICE = 0.5  # seconds until a broken connection is noticed


@dataclass(frozen=True, slots=True)
class Recorded:
    """A project: seconds of each unit on a node of speed 1, in make's order, and whom each waits for."""

    name: str
    seconds: tuple[float, ...]
    needs: tuple[tuple[int, ...], ...]

    @staticmethod
    def load(path: Path) -> Recorded:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Recorded(path.stem, tuple(document["seconds"]), tuple(tuple(needs) for needs in document["needs"]))

    def remaining(self) -> list[float]:
        """Seconds from each unit's start to the end along its longest path, on speed 1."""
        result = list(self.seconds)
        for unit in reversed(range(len(self.seconds))):  # whom it needs comes before it
            for needed in self.needs[unit]:
                result[needed] = max(result[needed], self.seconds[needed] + result[unit])
        return result


@dataclass(frozen=True, slots=True)
class Farm:
    """Nodes of given speeds; `fails` names those that break at `failing_at` seconds."""

    speeds: tuple[float, ...]
    slots_each: int = SLOTS_A_NODE
    fails: frozenset[int] = frozenset()
    failing_at: float = 0.0

    def lower_bound(self, project: Recorded) -> float:
        """No schedule on this farm, whole, can be shorter."""
        path = max(project.remaining()) / max(self.speeds)
        return max(path, sum(project.seconds) / (self.slots_each * sum(self.speeds)))


def farms(slots: int, *, mixed: bool, failing: bool, project: Recorded) -> list[Farm]:
    """A farm of `slots` in nodes of four; with `failing` one for each moment."""
    count = max(1, slots // SLOTS_A_NODE)
    speeds = tuple(SPEEDS[i % len(SPEEDS)] if mixed else 1.0 for i in range(count))
    whole = Farm(speeds)
    if not failing or count < 2:
        return [whole]
    broken, bound = frozenset(range(1, count, 4)), whole.lower_bound(project)
    return [Farm(speeds, SLOTS_A_NODE, broken, moment * bound) for moment in MOMENTS]


def mean(policy: Callable[[Recorded, Farm], float], project: Recorded, machines: list[Farm]) -> float:
    """The makespan of a policy, over all these farms."""
    return sum(policy(project, one) for one in machines) / len(machines)


class Clock:
    """Events in the order of their time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, do))

    def run(self, finished: Callable[[], bool]) -> float:
        while not finished():
            assert self._events, "BUG: the simulated build hangs"
            self.now, _, do = heapq.heappop(self._events)
            do()
        return self.now


class Order:
    """Which units may begin: make's part."""

    def __init__(self, project: Recorded) -> None:
        self._missing = [len(needs) for needs in project.needs]
        self._users: list[list[int]] = [[] for _ in project.seconds]
        for unit, needs in enumerate(project.needs):
            for needed in needs:
                self._users[needed].append(unit)
        self.left = len(project.seconds)

    def first(self) -> list[int]:
        return [unit for unit, missing in enumerate(self._missing) if not missing]

    def done(self, unit: int) -> list[int]:
        """Who may begin now."""
        self.left -= 1
        ready = []
        for user in self._users[unit]:
            self._missing[user] -= 1
            if not self._missing[user]:
                ready.append(user)
        return ready


def ours(project: Recorded, machines: Farm) -> float:
    """The makespan of the scheduler that builds use."""
    clock, order, remaining = Clock(), Order(project), project.remaining()
    nodes = tuple(Node(f"node{i}", slots=machines.slots_each) for i in range(len(machines.speeds)))
    index = {node.key: i for i, node in enumerate(nodes)}
    scheduler = Scheduler(Policy(fallback_local=False, patience=1e9))
    live: set[tuple[int, int]] = set()

    def is_broken(key: str, at: float) -> bool:
        return index[key] in machines.fails and at >= machines.failing_at

    def feed(event: events.Event) -> None:
        for action in scheduler.handle(event, clock.now):
            match action:
                case events.Start():
                    start(action)
                case events.Cancel(unit, attempt):
                    live.discard((unit, attempt))
                case events.Settled(unit):
                    for ready in order.done(unit):
                        submit(ready)
                case events.Probe(node=key):
                    clock.after(0.05, partial(probed, key))
                case _:
                    raise AssertionError(f"BUG: {action}")

    def probed(key: str) -> None:
        broken = is_broken(key, clock.now)
        seconds = 0.02 / machines.speeds[index[key]] * (1 + PROBE_NOISE * (-1) ** index[key])
        feed(events.Probed(key, LANGUAGES, "gcc", "no connection" if broken else None, seconds=seconds))

    def submit(unit: int) -> None:
        feed(events.Submit(unit, "c", project.seconds[unit], remaining[unit]))

    def start(action: events.Start) -> None:
        key = (action.unit, action.attempt)
        live.add(key)
        seconds = project.seconds[action.unit] / machines.speeds[index[action.node]]
        if is_broken(action.node, clock.now):
            clock.after(0.01, lambda: lost(key, Fault.REFUSED))
        elif is_broken(action.node, clock.now + seconds):
            clock.after(machines.failing_at - clock.now + NOTICE, lambda: lost(key, Fault.LOST))
        else:
            clock.after(seconds, lambda: succeeded(key, seconds))

    def succeeded(key: tuple[int, int], seconds: float) -> None:
        if key in live:
            live.discard(key)
            feed(events.Succeeded(*key, seconds))

    def lost(key: tuple[int, int], fault: Fault) -> None:
        if key in live:
            live.discard(key)
            feed(events.Failed(*key, fault, "gone"))

    def tick() -> None:
        feed(events.Tick())
        clock.after(0.5, tick)

    feed(events.Join(nodes))
    for unit in order.first():
        submit(unit)
    tick()
    return clock.run(lambda: not order.left) - 0.05  # the probes' time is no scheduling


def distcc(project: Recorded, machines: Farm) -> float:
    """The makespan of distcc's policy."""
    clock, order = Clock(), Order(project)
    free = [machines.slots_each] * len(machines.speeds)
    shunned = [0.0] * len(machines.speeds)
    waiting: list[int] = []

    def begin() -> None:
        while waiting:
            node = next((i for i, n in enumerate(free) if n and shunned[i] <= clock.now), None)
            if node is None:
                return
            free[node] -= 1
            start(waiting.pop(0), node)

    def start(unit: int, node: int) -> None:
        seconds = project.seconds[unit] / machines.speeds[node]
        broken = node in machines.fails
        if broken and clock.now >= machines.failing_at:
            clock.after(0.01, lambda: lost(unit, node))
        elif broken and clock.now + seconds > machines.failing_at:
            clock.after(machines.failing_at - clock.now + NOTICE, lambda: lost(unit, node))
        else:
            clock.after(seconds, lambda: done(unit, node))

    def done(unit: int, node: int) -> None:
        free[node] += 1
        waiting.extend(order.done(unit))
        begin()

    def lost(unit: int, node: int) -> None:
        free[node] += 1
        shunned[node] = clock.now + BACKOFF
        clock.after(BACKOFF, begin)
        waiting.insert(0, unit)
        begin()

    waiting.extend(order.first())
    begin()
    return clock.run(lambda: not order.left)


def projects() -> list[Recorded]:
    return [Recorded.load(path) for path in sorted(RECORDED.glob("*.json"))]


def shuffled(project: Recorded, seed: int) -> Recorded:
    """The same project with other neighbours in make's order, for tests: whom a unit needs stays before it."""
    rng = random.Random(seed)
    seconds = list(project.seconds)
    free = [unit for unit, needs in enumerate(project.needs) if not needs]
    values = [seconds[unit] for unit in free]
    rng.shuffle(values)
    for unit, value in zip(free, values, strict=True):
        seconds[unit] = value
    return Recorded(project.name, tuple(seconds), project.needs)


def run(*, quick: bool) -> str:
    """The table."""
    rows = []
    for project in projects():
        for mixed, failing, label in ((False, False, "alike"), (True, False, "mixed"), (True, True, "mixed, failing")):
            for slots in SLOTS[::3] if quick else SLOTS:
                machines = farms(slots, mixed=mixed, failing=failing, project=project)
                bound = machines[0].lower_bound(project)
                mine, peer = mean(ours, project, machines), mean(distcc, project, machines)
                rows.append(
                    (
                        project.name,
                        label,
                        str(slots),
                        f"{bound:.2f}",
                        f"{mine:.2f}",
                        f"{percent:+d} %" if (percent := round(100 * (mine / bound - 1))) else "0 %",
                        f"{peer:.2f}",
                    )
                )
    head = ("project", "nodes", "slots", "lower bound s", "buildfarm s", "above it", "distcc's policy s")
    return frame.table(head, rows)
