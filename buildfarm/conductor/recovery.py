"""What a new build inherits from the one before: orphans are ended, half-written files swept, the rest is kept.

The judgement is `state.recovery`'s; this module brings it what it needs and tells the user what was done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from buildfarm.errors import MachineError
from buildfarm.make import orphans
from buildfarm.model import BuildState
from buildfarm.request import RunRequest
from buildfarm.state import recovery
from buildfarm.state.claims import read_rows
from buildfarm.state.identity import boot_id
from buildfarm.state.journal import Journal

ORPHANS_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Recovered:
    """What is left of earlier builds."""

    reused: int = 0  # units that were verified and kept
    durations: Mapping[str, float] = field(default_factory=dict)  # seconds, by absolute output path


def recover(journal: Journal, request: RunRequest, note: Callable[[str], None]) -> Recovered:
    """Leave a tree in which make finds nothing half-written.  The caller holds the tree's lock.

    Raises MachineError when a process or a file of the dead build can't be got rid of.
    """
    last = journal.last_build()
    if last is None:
        return Recovered()
    if last.state is BuildState.RUNNING or last.state is BuildState.INTERRUPTED:
        left = orphans.end(last.token, ORPHANS_SECONDS)
        if left:
            raise MachineError(
                f"processes of the interrupted build still run and can't be ended: {', '.join(map(str, left))}",
                hint="wait until they are gone (they may hang in a disk or network access), then try again",
            )
    plan = recovery.plan_sweep(
        read_rows(journal),
        boot_id=boot_id(),
        clock_ns=time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME),
    )
    removed = recovery.perform(plan, journal, request.directory)
    if plan.interrupted:
        note(f"the last build was interrupted: {plan.kept_units} units kept, {removed} half-made files removed")
    return Recovered(plan.kept_units if plan.interrupted else 0, journal.durations_by_output())
