"""The conductor's event loop: its clock stands still while the process does.

*Theory of operation.*  A build that is stopped (Ctrl-Z, a debugger, a machine that swaps) goes on minutes later, and
every deadline has passed by then, although the answers lie in the sockets: all nodes in use would be found late.  So
`time()`, which all timers of asyncio go by, leaves out the seconds in which the loop did not turn.  They show in the
one place to which it always comes back, the selector: longer asleep than was asked for, of which nothing counts, or
longer away than any of our own work takes, of which no more than that counts, at once, for timers set next.  (A
machine that is suspended stops CLOCK_MONOTONIC itself: time(7).)  SIGCONT was not taken for this: it tells when a
stop has ended, not when it began, and nothing of other standstills.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from selectors import SelectorKey

STANDSTILL = 1.0  # seconds: what a busy machine's delays and our own work stay below


class _Selector(selectors.DefaultSelector):
    """Counts the seconds in which nobody could turn the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = 0.0
        self._left = time.monotonic()  # when it last let the loop go

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        came = time.monotonic()
        self.lost += self.astray(came)
        ready = super().select(timeout)
        self._left = time.monotonic()
        overslept = 0.0 if timeout is None else self._left - came - max(timeout, 0.0)
        if overslept > STANDSTILL:
            self.lost += self._left - came  # no timer is due before what has come meanwhile was heard
            ready = ready or super().select(0)  # woken by SIGCONT, it has not looked
        return ready

    def astray(self, now: float) -> float:
        """Seconds since it let the loop go, beyond those that our own work may take."""
        return max(0.0, now - self._left - STANDSTILL)


class Loop(asyncio.SelectorEventLoop):
    """As asyncio's own, but for the clock."""

    def __init__(self) -> None:
        self._counting = _Selector()
        super().__init__(self._counting)

    def time(self) -> float:
        """Monotonic seconds in which it could turn."""
        now = super().time()
        return now - self._counting.lost - self._counting.astray(now)


def now() -> float:
    """The running loop's time, by which whatever a stop would lengthen is measured."""
    return asyncio.get_running_loop().time()
