"""How long a unit should take on a node, and when it has taken too long.

It knows what earlier builds recorded (`Submit.estimate`) and what this one has learnt of each language; it starts and
cancels nothing (`scheduler` does).  Times are seconds; a node's speed divides them (`Health.speed`, never 0).
"""

from __future__ import annotations

from buildfarm.dispatch.events import Submit
from buildfarm.value import dataclass

DEFAULT_ESTIMATE = 3.0  # for a unit that nobody knows anything of
STRAGGLER_FACTOR = 2.5  # a second attempt once a unit has taken this many times its estimate ...
STRAGGLER_FLOOR = 5.0  # ... and at least this many seconds
DEADLINE_FACTOR = 10.0
DEADLINE_FLOOR = 60.0
DEADLINE_UNKNOWN = 300.0  # distcc's own DISTCC_IO_TIMEOUT default (src/io.c): the least for a unit with no record
HISTORY_ENOUGH = 5  # units of a language that must have come back before they tell of others


@dataclass(slots=True)
class _History:
    """What this build's units of one language took, on a node of speed 1."""

    count: int = 0
    mean: float = 0.0  # moving
    slowest: float = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.mean += (seconds - self.mean) / min(self.count, 20)
        self.slowest = max(self.slowest, seconds)


class Expectations:
    """What one build expects of its units."""

    def __init__(self) -> None:
        self._by_language: dict[str, _History] = {}

    def learn(self, language: str, seconds: float) -> None:
        """A unit of the language has taken so long, had it been on a node of speed 1."""
        self._by_language.setdefault(language, _History()).add(seconds)

    def seconds(self, unit: Submit, speed: float) -> float:
        """What the unit should take on a node of this speed."""
        expected = unit.estimate
        if expected is None:
            history = self._by_language.get(unit.language)
            expected = DEFAULT_ESTIMATE if history is None else history.mean
            if self._told(unit.language) is None:
                expected = max(expected, DEFAULT_ESTIMATE)  # a few long ones are a warning, a few short ones no promise
        return expected / speed

    def deadline(self, unit: Submit, speed: float) -> float:
        """After how long an attempt on a node of this speed is given up."""
        if unit.estimate is not None:
            return max(DEADLINE_FLOOR, DEADLINE_FACTOR * unit.estimate / speed)
        history = self._told(
            unit.language
        )  # of other units: it may lengthen, for the longest can come after short ones
        slowest = 0.0 if history is None else history.slowest
        return max(DEADLINE_UNKNOWN, 2 * DEADLINE_FACTOR * slowest / speed)

    def is_overdue(self, unit: Submit, speed: float, taken: float, crowding: float) -> bool:
        """Whether an attempt that has taken so long should have come back long ago; `crowding`: see `events.Tick`."""
        return taken >= crowding * max(STRAGGLER_FLOOR, STRAGGLER_FACTOR * self.seconds(unit, speed))

    def _told(self, language: str) -> _History | None:
        """What units of the language took, once enough have come back."""
        history = self._by_language.get(language)
        return history if history is not None and history.count >= HISTORY_ENOUGH else None
