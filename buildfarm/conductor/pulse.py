"""Keeps what `status` in another process shows of a running build up to date: nodes at work, and seconds left.

It estimates nothing itself; the numbers are the farm's and the live view's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from buildfarm.conductor.farm import Farm
from buildfarm.conductor.foresight import Foresight
from buildfarm.conductor.ledger import Ledger
from buildfarm.conductor.lookahead import Lookahead
from buildfarm.model import NodeStatus
from buildfarm.report.eta import Outlook
from buildfarm.report.progress import Progress
from buildfarm.state import reader

PULSE_SECONDS = 2.0  # each beat may cost a commit, and an SD card is slow


async def pulse(
    farm: Farm, ledger: Ledger, progress: Progress, foresight: Foresight, lookahead: Lookahead, state_dir: Path
) -> None:
    """Write nodes and ETA to the journal whenever they have changed, and show them in the view, until cancelled."""
    missing: Mapping[str, float] | None = None
    told: tuple[NodeStatus, ...] | None = None
    told_eta: float | None = None
    while True:
        statuses = farm.statuses()
        progress.stand(statuses)
        news = tuple(replace(status, mean_seconds=None) for status in statuses)
        if news != told:
            told = news
            ledger.nodes(statuses)
        now = time.time()
        if missing is None and foresight.asked:
            missing = await asyncio.to_thread(reader.missing_outputs, state_dir, ledger.build)
        slots = sum(status.slots for status in statuses if status.state in ("up", "busy")) or 1
        progress.look(look_out(foresight, ledger, missing or {}, slots, lookahead.enabled, now))
        eta = progress.eta_seconds(now)
        if eta != told_eta:
            told_eta = eta
            ledger.eta(eta, now)
        await asyncio.sleep(PULSE_SECONDS)


def look_out(
    foresight: Foresight, ledger: Ledger, missing: Mapping[str, float], slots: int, ahead: bool, now: float
) -> Outlook:
    """What is made and what is left, as plans and history expect; `missing` as `reader.missing_outputs` has it.

    `ahead`: modules are made early, and a unit need not wait for the code of another one.
    """
    view = foresight.view
    over = [(unit.seconds, ledger.over[mark]) for mark, unit in view.units.items() if mark in ledger.over]
    made, spent = sum(expected for expected, _ in over), sum(took for _, took in over)
    # What an attempt has had of its expected seconds, at the speed of those that have ended.
    speed = made / spent if spent else 1.0
    had = {name: seconds * speed for name, seconds in ledger.under_way(now).items()}
    begun = left = path = 0.0
    for mark, unit in view.units.items():
        if mark not in ledger.over:
            begun += min(unit.seconds, had.get(mark, 0.0))
            left += max(0.0, unit.seconds - had.get(mark, 0.0))
            path = max(path, (unit.path if ahead else unit.remaining) - had.get(mark, 0.0))
    for output, seconds in view.links.items():
        if output not in ledger.linked:
            path = max(path, seconds - had.get(output, 0.0))
    hidden = 0.0
    if not view.is_final:
        hidden = sum(seconds for output, seconds in missing.items() if not foresight.is_known(output))
    return Outlook(now, len(over), made, spent, begun, left, path, hidden, view.recorded, slots)
