"""What a build that has run could have taken: its longest chain, and its makespan on other numbers of slots.

It knows steps by number, their seconds, and which one had to wait for which; no make, no nodes, no clock.

An edge says that its second step reads what the first one makes.  By its `share` it can begin when that part of the
first one's seconds is over: 1 for an object or a program, less for a Fortran module, whose file is there long before
the code is (`-fsyntax-only` makes it in 7 to 10 % of the time).
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import field

from buildfarm.value import dataclass

MODULE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Edge:
    before: int
    after: int
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Work:
    """Steps `0 .. len(seconds) - 1`; `here`: those that only this machine can do (links, archives)."""

    seconds: Sequence[float]
    edges: Sequence[Edge]
    here: frozenset[int] = frozenset()
    _after: dict[int, list[Edge]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for edge in self.edges:
            self._after.setdefault(edge.before, []).append(edge)

    def after(self, step: int) -> Sequence[Edge]:
        return self._after.get(step, ())

    def order(self) -> list[int]:
        """Every step behind those that it waits for.  Steps on a cycle, which no real build has, are left out."""
        waiting = [0] * len(self.seconds)
        for edge in self.edges:
            waiting[edge.after] += 1
        ready = [step for step, count in enumerate(waiting) if not count]
        for step in ready:
            for edge in self.after(step):
                waiting[edge.after] -= 1
                if not waiting[edge.after]:
                    ready.append(edge.after)
        return ready

    def remaining(self) -> list[float]:
        """For each step the seconds from its start to the end of all that waits for it."""
        left = list(self.seconds)
        for step in reversed(self.order()):
            for edge in self.after(step):
                left[step] = max(left[step], edge.share * self.seconds[step] + left[edge.after])
        return left

    def longest_chain(self) -> list[int]:
        """The steps of the longest chain, the first one first; its seconds are `remaining()` of that one."""
        left = self.remaining()
        if not left:
            return []
        step = max(range(len(left)), key=left.__getitem__)
        chain = [step]
        while left[step] > self.seconds[step] + 1e-9:
            step = next(
                edge.after
                for edge in self.after(step)
                if edge.share * self.seconds[step] + left[edge.after] >= left[step] - 1e-9
            )
            chain.append(step)
        return chain

    def with_seconds(self, changed: Mapping[int, float]) -> Work:
        return Work([changed.get(step, old) for step, old in enumerate(self.seconds)], self.edges, self.here)

    def makespan(self, slots: int, cores: int) -> float:
        """Seconds on `slots` equal slots and, for what stays here, `cores`; the longest remaining chain goes first.

        Without slots everything runs on the cores.
        """
        left = self.remaining()
        waiting = [0] * len(self.seconds)
        for edge in self.edges:
            waiting[edge.after] += 1
        queues: dict[bool, list[tuple[float, int]]] = {True: [], False: []}
        free = {True: max(1, cores), False: slots}

        def admit(step: int) -> None:
            heapq.heappush(queues[step in self.here or not slots], (-left[step], step))

        for step, count in enumerate(waiting):
            if not count:
                admit(step)
        # (time, what, here): a step is released by an edge, or (step < 0) a slot falls free.
        events: list[tuple[float, int, bool]] = []
        now = end = 0.0
        while True:
            for here, queue in queues.items():
                while queue and free[here]:
                    _, step = heapq.heappop(queue)
                    free[here] -= 1
                    over = now + self.seconds[step]
                    end = max(end, over)
                    heapq.heappush(events, (over, -1, here))
                    for edge in self.after(step):
                        heapq.heappush(events, (now + edge.share * self.seconds[step], edge.after, here))
            if not events:
                return end
            now, released, here = heapq.heappop(events)
            if released < 0:
                free[here] += 1
                continue
            waiting[released] -= 1
            if not waiting[released]:
                admit(released)
