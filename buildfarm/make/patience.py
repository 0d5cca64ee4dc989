"""How long a dry run may take: counted by processor time, so that a busy machine cuts off none that gets on.

It ends nothing itself.  A makefile that loops has used its time one day; one that waits uses none; one that does a
little now and then, for ever, is what the last bound is for.
"""

from __future__ import annotations

import os

LONGEST = 10  # times the processor time, by the clock
STANDSTILL = 0.01  # of the time since the last look: who uses less only waits
_TICKS = os.sysconf("SC_CLK_TCK")  # a second


class Patience:
    """With one command, for `seconds` of the processor time of all that it runs."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._elapsed = 0.0
        self._used = 0.0

    def left(self, elapsed: float, used: float) -> float:
        """Seconds until this is to be asked again; 0: its time is over.

        `elapsed` is in seconds since its start, `used` in seconds of processor time.
        """
        waited = elapsed - self._elapsed
        got_on = abs(used - self._used)  # less than before: a process has ended that nobody waited for
        self._elapsed, self._used = elapsed, used
        left = min(self._seconds - used, LONGEST * self._seconds - elapsed)
        if left <= 0 or got_on < STANDSTILL * waited:
            return 0.0
        return max(left, self._seconds / 10)


def processor_time(session: int) -> float:
    """Seconds that the processes of a session have used, with those that they have waited for (proc(5), stat)."""
    ticks = 0
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                text = file.read()
        except OSError:
            continue
        fields = text[text.rindex(b")") + 2 :].split()  # the name before it may hold blanks and brackets
        if int(fields[3]) == session:
            ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS
