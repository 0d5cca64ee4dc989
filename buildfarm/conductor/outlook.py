"""Which units are so long that they had better not wait until make asks for them.

It starts nothing (`lookahead` does) and knows only seconds as they are expected.

Theory of operation.  make asks in the order of its Makefiles, and what it waits for goes first.  A long unit that it
asks for late then ends alone, while the farm stands still.  So one whose remaining path is a good part of what the
farm needs for all that is to come presses: it goes with what make waits for.  The less is to come, the shorter what
presses; thus the farm runs out of long units before it runs out of short ones, as in the rule "longest processing
time first" (Graham, Bounds on Multiprocessing Timing Anomalies, 1969), and make has its results one by one.  Seconds
may be in any scale, because shares are compared; the sizes of sources do for them in a first build.

Rejected: all units, the longest first.  make then waits for short ones until the end, and asks for all of the
rest when the farm has nothing more to do.
"""

from __future__ import annotations

from collections.abc import Mapping

PRESSING = 0.3  # of the time that the farm needs for the rest; from 0.1 to 0.4 git, redis and LAPACK take as long


class Outlook:
    """What is foreseen and not begun."""

    def __init__(self) -> None:
        self._to_come: dict[str, float] = {}
        self._begun: set[str] = set()
        self._rest = 0.0  # seconds of all that is to come

    def foresee(self, to_come: Mapping[str, float]) -> None:
        """The plans name these units now, by fingerprint, with the seconds that each should take."""
        self._to_come = {mark: seconds for mark, seconds in to_come.items() if mark not in self._begun}
        self._rest = sum(self._to_come.values())

    def begun(self, mark: str) -> None:
        """A unit is under way, or done."""
        self._begun.add(mark)
        self._rest -= self._to_come.pop(mark, 0.0)

    def presses(self, seconds: float, slots: int) -> bool:
        """Whether a unit with `seconds` to the end of its path should go now, on a farm of so many slots."""
        return slots > 0 and seconds > PRESSING * self._rest / slots
