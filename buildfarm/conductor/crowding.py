"""How crowded this machine's processors are, by which its patience with silent nodes is measured.

It knows no node.  Where twenty processes want each processor, an answer is asked for late, heard late, and a unit
that is taken back from a silent node is compiled here twenty times as slowly: so to wait as much longer is right even
if the node is dead, and that it only seemed to be is then the likelier.
"""

from __future__ import annotations

import os
from collections.abc import Callable

MOST = 5.0  # times the usual patience: who is dead must be found in the end, here too
MEMORY = 0.8  # weight of the past at each look, of two a second: a burst of a moment delays nobody for long


def runnable() -> int | None:
    """How many threads want a processor or have one now (proc(5), loadavg); None where the kernel does not say."""
    try:
        with open("/proc/loadavg", "rb") as file:
            return int(file.read().split()[3].partition(b"/")[0])
    except (OSError, ValueError, IndexError):
        return None


class Crowding:
    """A moving mean over the looks that are taken."""

    def __init__(self, wanting: Callable[[], int | None] = runnable) -> None:
        self._wanting = wanting
        self._processors = os.cpu_count() or 1  # all, as loadavg counts who wants any of them
        self._mean = 1.0

    def look(self) -> float:
        """How many want each processor: at least 1, at most `MOST`."""
        now = min(max((self._wanting() or 0) / self._processors, 1.0), MOST)
        self._mean += (1 - MEMORY) * (now - self._mean)
        return self._mean
