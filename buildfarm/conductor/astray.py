"""Leads make back to a recursive make that a dead build was in, where the Makefile itself has locked the way.

It judges no file for being half-written (`state.recovery` does).

Theory of operation.  Some Makefiles write down their settings and go on to build what depends on them, in one recipe:

    persist-settings:
            echo PREV_CFLAGS=$(CFLAGS) >> .make-settings
            cd ../deps && $(MAKE) lua

`.make-settings` is included, and where it names the flags of now the recipe is not run again.  Killed in `deps`, plain
make goes on to link libraries that nobody has made (redis does so).  What the recipe wrote is no target, so that
no rule of the sweep's takes it away.  It is found from its effect: something was under way that make would not make any
more, however much it made anew; and a file that make includes, that no rule makes and that came into being in
the dead build, before a step of it began, is what stands between: with the file away, make comes back.  Only what has
that effect goes, aside.  What came or was edited later is its author's, who may want just that.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from buildfarm.errors import MachineError
from buildfarm.state.claims import JournalRows, Standing
from buildfarm.state.recovery import SweepPlan
from buildfarm.value import dataclass

if TYPE_CHECKING:
    from buildfarm.conductor.suspects import Suspects

MOST = 4  # included files that are tried, each at the price of a plan
ORIGIN = "origin"  # a link beside the file that is away, to where it belongs: it is there before the file is moved


@dataclass(frozen=True, slots=True)
class Astray:
    """What make would not come back to, and the included files that may be the reason."""

    outputs: frozenset[str]
    included: tuple[str, ...]
    directory: str  # the build's
    words: tuple[str, ...]
    environment: Mapping[str, str]


def look_for(rows: JournalRows, sweep: SweepPlan, seen: Suspects) -> Astray | None:
    """What is to be tried after the sweep; mostly nothing.  `seen`: make's graph as the dead build left it."""
    build = rows.build
    if build is None:
        return None
    under_way = {claim.path for claim in rows.claims if claim.standing is Standing.PENDING}
    under_way.update(removal.path for removal in sweep.removed)
    outputs = frozenset(map(os.path.normpath, under_way)).difference(seen.files)
    if not outputs:
        return None
    made = {os.path.normpath(claim.path) for claim in rows.claims}
    made.update(seen.files)
    included = tuple(
        path
        for path in seen.makefiles
        if path not in made and build.started < _born(path) and _changed(path) < rows.last_check_out
    )
    if not 0 < len(included) <= MOST:
        return None
    spec = build.spec
    return Astray(outputs, included, spec.directory, tuple(spec.make_arguments), spec.environment)


def led_back(astray: Astray, aside: Path, note: Callable[[str], None]) -> bool:
    """Take the first included file away without which make comes back to what was under way; tell of it."""
    from buildfarm.conductor import suspects

    for path in astray.included:
        place = aside / "included" / os.path.basename(path)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            _make_way(place)
            os.symlink(path, aside / ORIGIN)
            os.rename(path, place)
        except OSError:
            put_back(aside)
            continue
        leads_back = False
        try:
            seen = suspects.find(astray.directory, astray.words, astray.environment)
            leads_back = not astray.outputs.isdisjoint(seen.files)
        finally:
            if not leads_back:
                put_back(aside)
        if leads_back:
            os.unlink(aside / ORIGIN)
            note(f"{path} moved to {place}: with it make would not go on with what was under way")
            return True
    return False


def put_back(aside: Path) -> None:
    """Bring back the file that is away while make is asked, also after a kill of who asked; where none is, do nothing.

    Raises MachineError if it can't be brought back.
    """
    origin = aside / ORIGIN
    try:
        path = os.readlink(origin)
    except OSError:
        return
    place = aside / "included" / os.path.basename(path)
    try:
        if place.exists() and not os.path.lexists(path):  # what has come there since is newer
            os.rename(place, path)
        os.unlink(origin)
    except OSError as error:
        raise MachineError(
            f"{path}: can't be brought back: {error.strerror}", hint=f"move {place} there, and remove {origin}"
        ) from error


def _make_way(place: Path) -> None:
    """What an earlier build has set aside there is kept under a name with a number.  Raises OSError."""
    if os.path.lexists(place):
        others = (f"{place}.{number}" for number in itertools.count(1))
        os.rename(place, next(other for other in others if not os.path.lexists(other)))


def _born(path: str) -> float:
    """When this file came into being, in seconds since the epoch; 0 where nobody knows (statx(2), stat(1))."""
    told = subprocess.run(["stat", "-c", "%.9W", "--", path], check=False, capture_output=True, text=True).stdout
    try:
        return float(told)
    except ValueError:
        return 0.0


def _changed(path: str) -> float:
    """When this file was last changed, in seconds since the epoch; infinite where nobody knows."""
    try:
        return os.stat(path).st_ctime
    except OSError:
        return float("inf")
