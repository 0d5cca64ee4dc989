"""What a compiled unit needs on its last way: a place beside its place, a record, and somebody who still waits.

It answers no stub: `units` and `several` do.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from buildfarm.conductor.delivery import UNORDINARY, Placement, last_by_its_time, ordinary, place
from buildfarm.conductor.evidence import appearance
from buildfarm.conductor.task import Compiled, Task
from buildfarm.dispatch import modules, palette
from buildfarm.dispatch.prepared import CannotTravel
from buildfarm.dispatch.stamps import same
from buildfarm.graph.fortran import scan_unit
from buildfarm.make.server import StubCall
from buildfarm.model import CheckIn, StepState, Unit


async def placed(task: Task, compiled: Compiled, token: str) -> Placement:
    """The result written beside its places.  Raises CannotTravel, OSError; nothing stays behind then.

    Made ahead, it was looked at before the recipe could make its output a link.
    """
    if not all(ordinary(path) for path in task.outputs):
        raise CannotTravel(UNORDINARY)
    placement = place(task.outputs[0], compiled.object, compiled.made, token, task.step)
    placement = await last_by_its_time(placement)
    if not same(compiled.seen):
        # An edit before this moment makes the result stale; one after it makes the source newer for make.
        placement.discard()
        raise CannotTravel("a source changed while it was compiled")
    return placement


def arrival(task: Task, compiled: Compiled, placement: Placement) -> CheckIn:
    """The journal's record that the result is in its place."""
    return CheckIn(
        step=task.step,
        state=StepState.DONE,
        time=time.time(),
        seconds=compiled.seconds,
        outputs=placement.records,
        stderr=palette.plain(compiled.stderr),
        bytes_sent=compiled.bytes_sent,
        bytes_received=compiled.bytes_received,
        inputs=compiled.inputs,
        seen=appearance(task.unit, task.invocation.cwd, task.invocation.env, compiled.inputs, compiled.seen),
        attempt=compiled.attempt,
        kept=task.kept,
    )


async def while_wanted(call: StubCall, work: asyncio.Task[Any]) -> bool:
    """Wait for `work`; False: the stub is gone, and the work was cancelled."""
    call.when_lost(work.cancel)
    try:
        await asyncio.wait((work,))
    finally:
        call.when_lost(None)
        if not work.done():
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
    return not (work.cancelled() and call.is_lost)


def module_files(unit: Unit, cwd: str) -> tuple[str, ...]:
    """The module files that a local compile of a Fortran unit may write, as absolute paths."""
    try:
        text = Path(cwd, unit.source).read_text(encoding="latin-1")
    except OSError:
        return ()
    directory = modules.final_directory(unit, cwd)
    return tuple(os.path.join(directory, name) for name in scan_unit(text, unit).possible_module_files)
