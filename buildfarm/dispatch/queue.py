"""The units in the scheduler's hands, and the order in which those that wait are given slots.

It knows no node and decides nothing else; who starts, ends and withdraws units is `scheduler`.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import field

from buildfarm.dispatch.events import Submit
from buildfarm.value import dataclass

Rank = tuple[bool, float, int]  # less goes first


@dataclass(slots=True)
class Attempt:
    """A try at a unit that is under way."""

    node: str
    since: float


@dataclass(eq=False, slots=True)
class UnitState:
    """A unit from its submission to its end: it waits while no attempt is under way, and runs while one is."""

    submit: Submit
    arrival: int  # rising
    since: float  # when it last began to wait, or make for it
    demanded: bool
    pressing: bool
    attempts: dict[int, Attempt] = field(default_factory=dict)  # those under way, by number
    begun: int = 0  # attempts so far, and the number of the last
    avoid: set[str] = field(default_factory=set)  # nodes where it failed
    unfit: set[str] = field(default_factory=set)  # nodes that have not its compiler
    last_reason: str = ""

    @property
    def waits(self) -> bool:
        return not self.attempts

    @property
    def is_choosy(self) -> bool:
        """Whether a node that takes others of its language may be none for it."""
        return bool(self.avoid or self.unfit)

    def rank(self) -> Rank:
        """What make waits for and what presses, then the longest remaining path, then the order of arrival."""
        return (not (self.demanded or self.pressing), -self.submit.priority, self.arrival)


class Queue:
    """The units that wait.

    A unit that moves up is pushed again, and its old place is left to be passed over, as is that of a unit which has
    gone: nothing is ever searched for.
    """

    def __init__(self, units: Mapping[int, UnitState]) -> None:
        """`units` has all that are not gone, by number, and is the caller's to change."""
        self._units = units
        self._heap: list[tuple[Rank, int]] = []

    def push(self, unit: UnitState) -> None:
        heapq.heappush(self._heap, (unit.rank(), unit.submit.unit))

    def pop(self) -> UnitState | None:
        """Take out the first; None: nobody waits."""
        while self._heap:
            rank, number = heapq.heappop(self._heap)
            unit = self._units.get(number)
            if unit is not None and unit.waits and unit.rank() == rank:
                return unit
        return None
