"""Runs make by itself and waits for it, where this machine can't hold a farm: never worse than make.

No call is heard and nothing is journaled of what make does; the tree's lock is held and the build is in the journal, so
that what a kill leaves half-written is swept as ever, by make's own word.
"""

from __future__ import annotations

import select
import signal
import time
from collections.abc import Sequence

from buildfarm.make.prelude import StopSignals
from buildfarm.make.process import MakeProcess

POLL_SECONDS = 0.02  # at the end of a make that has not told that it ended: descriptors are scarce here
SIGINT_PATIENCE = 0.5  # a terminal's Ctrl-C reaches make by itself; a lone `kill -INT` is passed on after this


def run(process: MakeProcess, numbers: Sequence[signal.Signals]) -> tuple[int, signal.Signals | None]:
    """make's exit status (negative: a signal's number), and the signal that asked us to stop, if one did."""
    signals = StopSignals(numbers)
    signals.hear()
    passed = 0
    try:
        process.start()
        while (status := process.poll()) is None:
            select.select([signals.descriptor], [], [], POLL_SECONDS)
            for number in signals.heard[passed:]:
                passed += 1
                if number in (signal.SIGINT, signal.SIGQUIT) and passed == 1:
                    time.sleep(SIGINT_PATIENCE)
                process.signal(number)
    finally:
        signals.close()
    return status, signals.heard[0] if signals.heard else None
