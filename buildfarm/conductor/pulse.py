"""Keeps what `status` in another process shows of a running build up to date: nodes at work, and seconds left.

It estimates nothing itself; the numbers are the farm's and the live view's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from buildfarm.conductor.farm import Farm
from buildfarm.conductor.foresight import View
from buildfarm.conductor.ledger import Ledger
from buildfarm.model import NodeStatus
from buildfarm.report.progress import Progress

PULSE_SECONDS = 2.0  # each beat may cost a commit, and an SD card is slow


async def pulse(farm: Farm, ledger: Ledger, progress: Progress, view: Callable[[], View]) -> None:
    """Write nodes and ETA to the journal whenever they have changed, until cancelled.  `view`: what is foreseen."""
    told: tuple[NodeStatus, ...] | None = None
    told_eta: float | None = None
    while True:
        statuses = farm.statuses()
        news = tuple(replace(status, mean_seconds=None) for status in statuses)
        if news != told:
            told = news
            ledger.nodes(statuses)
        now = time.time()
        remaining = {mark: foreseen.remaining for mark, foreseen in view().units.items()}
        progress.path_left(ledger.path_left(remaining, now), now)
        eta = progress.eta_seconds(now)
        if eta != told_eta:
            told_eta = eta
            ledger.eta(eta, now)
        await asyncio.sleep(PULSE_SECONDS)
