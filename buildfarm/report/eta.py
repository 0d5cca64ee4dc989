"""Estimates how long a build still takes, from what the plans and the history expect and from its own pace.

It is pure: what is left comes as numbers, time as an argument.  It plans nothing and remembers no unit.

Theory of operation.  Every unit has *expected* seconds: as recorded by an earlier build, else by the size of its
source.  They are right relative to each other, while machines and load differ; so the pace of the last minute is
measured in expected seconds made per second, and the seconds that units took over those that were expected scale the
path.  The estimate is the greatest of three bounds:

- what is left, and what the history says that no plan knows yet, over the pace, measured up to *now*, so that it
  grows while nothing comes back;
- the longest path through what is left;
- what the attempts under way still need, if they are average (one that has run longer than that needs half as long
  again as it has run, for all that is known).

Before there is a pace a history alone can speak: no farm is faster than all of its slots at work.  Without either the
estimate is unknown; a number that jumps is worse than none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from buildfarm.value import dataclass

WINDOW = 60.0
"""Seconds over which the pace is measured: nodes join and leave, and the first units are no sample."""

ENOUGH = 3
"""Units that must have come back before their pace is spoken of."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is made and what is left at one moment, in expected seconds."""

    time: float  # seconds since the epoch
    units: int = 0  # that are made
    made: float = 0.0  # what was expected of them
    spent: float = 0.0  # what they took
    begun: float = 0.0  # of the others, what attempts under way have had of it
    left: float = 0.0  # of the others, the rest
    path: float = 0.0  # the longest path through them, links included where they were ever measured
    hidden: float = 0.0  # of units that builds of the same goals had, that are missing, and that no plan knows yet
    recorded: bool = False  # most of `left` was measured in an earlier build
    slots: int = 1  # that may work on it

    @property
    def done(self) -> float:
        """Expected seconds that are over."""
        return self.made + self.begun


class Eta:
    """The estimate of one build."""

    def __init__(self) -> None:
        self._looks: deque[Outlook] = deque()
        self._begun = 0.0

    def look(self, outlook: Outlook) -> None:
        """Take a newer outlook."""
        if not self._looks:
            self._begun = outlook.time
        self._looks.append(outlook)
        while len(self._looks) > 2 and outlook.time - self._looks[1].time >= WINDOW:
            self._looks.popleft()

    def seconds(self, now: float, under_way: Sequence[float], mean: float) -> float | None:
        """Seconds left at `now`; `under_way`: how long each attempt has run, `mean`: how long those took that ended.

        None: unknown, or no plan was ever told of.
        """
        if not self._looks:
            return None
        first, last = self._looks[0], self._looks[-1]
        since = now - last.time
        work = last.left + last.hidden
        if last.units < ENOUGH or not last.made:
            if not (last.recorded and work):
                return None
            return max(0.0, work / max(1, last.slots) - since, last.path - since)
        if last.done <= first.done:  # nothing has come back in all that time
            first = Outlook(self._begun)
        pace = (last.done - first.done) / max(now - first.time, 1e-3)
        by_work = work / pace - since
        by_path = last.path * last.spent / last.made - since
        return max(0.0, by_work, by_path, by_flight(under_way, mean))


def by_flight(under_way: Sequence[float], mean: float) -> float:
    """Seconds until the last of the attempts under way has ended, if they are average."""
    return max((max(mean - seconds, 0.5 * seconds) for seconds in under_way), default=0.0)
