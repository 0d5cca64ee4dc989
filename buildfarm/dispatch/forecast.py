"""When full nodes have a slot free again, and whether a unit had better wait for one of those.

It starts nothing; how long a unit should take is `expectations`'.  A forecast is made for one moment, and each unit
that is told to wait takes the slot which it waits for out of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from buildfarm.dispatch.expectations import Expectations
from buildfarm.dispatch.health import Standing
from buildfarm.dispatch.queue import UnitState
from buildfarm.dispatch.roster import NodeState, Roster
from buildfarm.value import dataclass

FASTER = 1.15  # times: less of a difference in speed is noise, and not worth waiting for
SOONER = 0.95  # of the time that a free slot would need: the gain for which a unit waits for a faster one


@dataclass(slots=True)
class _Slot:
    """A slot in use."""

    free_at: float
    node: str
    speed: float

    def would_end(self, seconds: float) -> float:
        """When a unit of so many seconds (at speed 1) would be done in it."""
        return self.free_at + seconds / self.speed


class Forecast:
    """The slots of full nodes, where nodes differ in speed."""

    def __init__(self, roster: Roster, units: Mapping[int, UnitState], expectations: Expectations, now: float) -> None:
        self._now = now
        self._slots: list[_Slot] = []
        speeds = [node.health.speed for node in roster if node.health.usable]
        if not speeds or max(speeds) < FASTER * min(speeds):
            return
        for node in roster:
            if node.health.standing is not Standing.UP or node.free_slots > 0:
                continue
            speed = node.health.speed
            for number, attempt in node.attempts:
                unit = units[number]
                since = unit.attempts[attempt].since
                end = since + expectations.seconds(unit.submit, speed)
                # Of an overdue attempt nobody knows: it is taken to be half-way.
                self._slots.append(_Slot(end if end > now else now + (now - since), node.key, speed))

    def has_sooner(self, unit: UnitState, seconds: float, free: NodeState) -> bool:
        """Whether a unit of so many seconds (at speed 1) is done sooner if it waits for a node faster than `free`."""
        best: _Slot | None = None
        for slot in self._slots:
            if slot.speed < FASTER * free.health.speed or slot.node in unit.avoid or slot.node in unit.unfit:
                continue
            if best is None or slot.would_end(seconds) < best.would_end(seconds):
                best = slot
        if best is None or best.would_end(seconds) - self._now > SOONER * seconds / free.health.speed:
            return False
        best.free_at = best.would_end(seconds)
        return True
