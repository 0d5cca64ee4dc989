"""Does what a sweep has found: files go, durably, and then the journal is settled.

It judges nothing; `recovery` has.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from buildfarm.errors import MachineError
from buildfarm.state import durable
from buildfarm.state.journal import Journal
from buildfarm.state.recovery import Removal, SweepPlan


def perform(
    plan: SweepPlan, journal: Journal, tree: Path, also: Iterable[Removal] = (), *, aside: Path | None = None
) -> int:
    """Remove what must go, make that durable, then settle the journal; how many files went.

    What goes by make's word alone (`also`) is moved into the directory `aside`, if one is given: no step of ours
    says that it may go.  Interrupted half-way it can simply be done again.  Raises MachineError when a file can't
    be removed: make would take it for whole.
    """
    count = 0
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)  # of the sweep before
    for removal in (*plan.removed, *also):
        try:
            if aside is None or removal in plan.removed or not _moved(removal.real, aside, count):
                os.unlink(removal.real)
            count += 1
        except FileNotFoundError:
            continue
        except OSError as error:
            raise MachineError(
                f"{removal.path}: {removal.reason}, and it can't be removed: {error.strerror}",
                hint="remove it by hand, or make its directory writable",
            ) from error
    if plan.adopted or plan.restored or count:
        try:
            durable.syncfs(tree)
        except OSError as error:
            raise MachineError(f"{tree}: {error.strerror}", hint="check this disk: `dmesg`") from error
    journal.settle_sweep(
        dropped=[*(removal.path for removal in plan.removed), *plan.forgotten],
        restored=plan.restored,
        adopted=plan.adopted,
        swept=plan.open_steps,
    )
    return count


def _moved(path: str, aside: Path, number: int) -> bool:
    """Whether the file could be moved into `aside`, under its own name in a directory of its own."""
    place = aside / str(number)
    try:
        place.mkdir(parents=True, exist_ok=True)
        Path(path).rename(place / os.path.basename(path))
    except FileNotFoundError:
        raise
    except OSError:
        return False  # another file system
    return True
