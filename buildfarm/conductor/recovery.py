"""What a new build inherits from the one before: orphans are ended, half-written files swept, the rest is kept.

The judgement is `state.recovery`'s; this module brings it what it needs and tells the user what was done.

Make is asked about its targets only where a build was interrupted: after one that ended by itself nothing can be
half-written, and a build must not pay for a plan that nobody needs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from buildfarm.conductor.astray import Astray, led_back, look_for, put_back
from buildfarm.errors import MachineError
from buildfarm.make import orphans
from buildfarm.model import BuildState
from buildfarm.report.text import count
from buildfarm.request import RunRequest
from buildfarm.state import recovery
from buildfarm.state.claims import JournalRows, read_rows
from buildfarm.state.durable import clock_offset_ns
from buildfarm.state.identity import boot_id
from buildfarm.state.journal import BUILDS_KEPT, Journal
from buildfarm.state.lock import TreeLock
from buildfarm.state.removal import perform
from buildfarm.state.sight import last_sign_of_life
from buildfarm.value import dataclass

ORPHANS_SECONDS = 10.0
ASIDE = "removed"  # in `.buildfarm`: what the last sweep took away by make's word alone


@dataclass(frozen=True, slots=True)
class Findings:
    """What a sweep would do now, and why.  Nothing was touched to find it out."""

    sweep: recovery.SweepPlan
    unvouched: tuple[recovery.Removal, ...] = ()  # targets of make's that no step wrote
    orphans: tuple[int, ...] = ()  # processes of the dead build that still run
    lost: bool = False  # a build died here and its journal is gone
    troubles: tuple[str, ...] = ()  # what make could not tell of its targets
    astray: Astray | None = None  # make may not come back to what was under way


def examine(
    journal: Journal,
    lock: TreeLock,
    request: RunRequest,
    *,
    running: tuple[int, ...] = (),
    settled_ns: int | None = None,
) -> Findings:
    """Judge every file that the last build may have left half-written.  The caller holds the tree's lock.

    `running`: processes of that build that ran until now, so that no file is too young to be theirs.  `settled_ns`:
    what `settled` said of them.
    """
    last = journal.last_build()
    this_boot, clock_ns = boot_id(), clock_offset_ns()
    if last is None and lock.left_behind is None:
        return Findings(recovery.SweepPlan(None, False, False))
    if last is not None and last.state not in (BuildState.RUNNING, BuildState.INTERRUPTED):
        rows = read_rows(journal, settled=last.id % BUILDS_KEPT == 0)
        return Findings(recovery.plan_sweep(rows, boot_id=this_boot, clock_ns=clock_ns))

    from buildfarm.conductor import suspects  # a plan of everything, which a build that ended does without

    if last is None:
        assert lock.left_behind is not None, "BUG: a dead build that left nothing"
        rows = JournalRows(None)
        seen = suspects.find(str(request.directory), request.make_words, request.environment)
        same_boot = lock.left_behind.boot_id == this_boot
        gone = recovery.unvouched(
            seen.files,
            rows,
            since_ns=journal.first_seen_ns,
            verified=suspects.is_whole if same_boot else _never,
        )
        nothing = recovery.SweepPlan(None, True, not same_boot)
        return Findings(nothing, tuple(gone), running, True, seen.troubles)
    rows = read_rows(journal)
    spec = last.spec
    seen = suspects.find(spec.directory, spec.make_arguments, spec.environment)
    is_whole = suspects.is_whole if last.salvaged and last.owner.boot_id == this_boot else _never
    makefiles, made = frozenset(seen.makefiles), recovery.made_as(rows.claims)
    gone = recovery.unvouched(
        seen.files,
        rows,
        since_ns=max(recovery.trusted_before(last, this_boot, clock_ns), settled_ns or 0),
        until_ns=None if running else last_sign_of_life(journal.state_dir),
        verified=lambda path: is_whole(path) or (path in makefiles and made(path)),
    )
    repeated = seen.repeated([removal.path for removal in gone])
    sweep = recovery.plan_sweep(
        rows,
        boot_id=this_boot,
        clock_ns=clock_ns,
        recipe_continues=seen.continues,
        recipe_repeats=lambda path: os.path.normpath(path) in repeated,
        settled_ns=settled_ns,
    )
    return Findings(sweep, tuple(gone), running, False, seen.troubles, look_for(rows, sweep, seen))


def left_running(journal: Journal, lock: TreeLock) -> tuple[int, ...]:
    """The processes of a dead build that still run."""
    return tuple(pid for token in _tokens(journal, lock) for pid in orphans.find(token))


def settled(journal: Journal, running: tuple[int, ...]) -> int | None:
    """Up to when (ns, the tree's clock) a make that has outlived its conductor has finished what it made; or None.

    To be asked before it is ended.
    """
    last = journal.last_build()
    if not running or last is None or last.owner.boot_id != boot_id():
        return None
    from buildfarm.conductor.survivors import settled_until

    return settled_until(running, last.spec, journal.state_dir)


def recover(journal: Journal, lock: TreeLock, request: RunRequest, note: Callable[[str], None]) -> int:
    """Leave a tree in which make finds nothing half-written; how many units of the dead build were verified and kept.

    The caller holds the tree's lock.

    Raises MachineError when a process or a file of the dead build can't be got rid of.
    """
    aside = journal.state_dir / ASIDE
    put_back(aside)
    running = left_running(journal, lock)
    settled_ns = settled(journal, running)
    if running:
        _end_orphans(journal, lock)
    found = examine(journal, lock, request, running=running, settled_ns=settled_ns)
    asked_again = (*found.sweep.unfinished, *found.sweep.repeated)
    rescued = _rescue(journal, asked_again) if asked_again else 0
    removed = perform(found.sweep, journal, request.directory, found.unvouched, aside=aside)
    if found.astray is not None:
        led_back(found.astray, aside, note)
    if found.lost or found.sweep.interrupted:
        note(tell(found, removed, str(aside), rescued))
    return found.sweep.kept_units if found.sweep.interrupted else 0


def _rescue(journal: Journal, steps: tuple[int, ...]) -> int:
    """Put what these steps have made into the store, as far as it can be vouched for; how many results those were."""
    from buildfarm.conductor.rescue import rescue
    from buildfarm.state.results import results

    last = journal.last_build()
    assert last is not None, "BUG: steps of no build"
    return rescue(results(journal, steps), last.spec.environment, journal.state_dir)


def tell(found: Findings, removed: int, aside: str, rescued: int = 0) -> str:
    """What a sweep has done, in words that claim no more than it knows.

    `removed` files went, those that no step of ours made into the directory `aside`, those of `rescued` units into
    the store.  Whether they were half-written nobody knows: after a kill of the conductor alone make goes on, and what
    it makes may well be whole.
    """
    moved = min(removed, len(found.unvouched))
    parts = []
    if not found.lost:
        parts.append(f"{count(found.sweep.kept_units, 'unit')} kept")
    if removed > moved:
        parts.append(f"{count(removed - moved, 'file')} removed that can't be vouched for")
    if rescued:
        parts.append(f"{count(rescued, 'result')} kept for recipes that run again")
    if moved:
        parts.append(f"{count(moved, 'file')} moved to {aside}: written after its last checkpoint by no step of ours")
    what = "a build died here and its journal is lost" if found.lost else "the last build was interrupted"
    return f"{what}: {'; '.join(parts) or 'nothing had to go'}"


def _never(_: str) -> bool:
    return False


def _tokens(journal: Journal, lock: TreeLock) -> list[str]:
    """The marks that processes of an interrupted build carry."""
    tokens = {lock.left_token}
    last = journal.last_build()
    if last is not None and last.state in (BuildState.RUNNING, BuildState.INTERRUPTED):
        tokens.add(last.token)
    return sorted(tokens - {""})


def _end_orphans(journal: Journal, lock: TreeLock) -> None:
    begun = time.monotonic()
    left: list[int] = []
    for token in _tokens(journal, lock):
        left += orphans.end(token, max(1.0, begun + ORPHANS_SECONDS - time.monotonic()))
    if left:
        raise MachineError(
            f"processes of the interrupted build still run and can't be ended: {', '.join(map(str, left))}",
            hint="wait until they are gone (they may hang in a disk or network access), then try again",
        )
