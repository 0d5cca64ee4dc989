"""What the conductor holds: peak memory for each unit that it knows of, and for each that is in flight.

Each figure is a slope between two builds that stand still, because their nodes take an hour for a unit: few and many
units in the plan with the same slots; few and many slots with the same units, which are of everyday size.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import projects
from benchmarks.farm import answering, build_replay
from benchmarks.frame import PAIRS, BenchmarkError, Spread, table
from benchmarks.projects import Project
from benchmarks.under_way import going_on
from tests.farm import Farm

HOUR = 3600.0
PATIENCE = 300.0
KNOWN, QUICK_KNOWN = (2_000, 20_000), (50, 500)
FLYING, QUICK_FLYING = (8, 128), (2, 8)
STILL = 2.0  # seconds in which the peak has not grown


def run(*, quick: bool) -> str:
    """Two rows."""
    known, flying = (QUICK_KNOWN, QUICK_FLYING) if quick else (KNOWN, FLYING)
    rounds = 1 if quick else PAIRS
    with tempfile.TemporaryDirectory(prefix="bf-bench-") as name:
        room = Path(name)
        room.chmod(0o755)
        trees = {units: projects.small(room / f"known-{units}", units - 1) for units in known}
        everyday = projects.c(room / "everyday", max(flying) + 16)
        by_known = [[_peak(trees[units], 4, room) for units in known] for _ in range(rounds)]
        by_flying = [[_peak(everyday, slots, room) for slots in flying] for _ in range(rounds)]
    rows = []
    for what, sizes, peaks in (("known", known, by_known), ("in flight", flying, by_flying)):
        few, many = sizes
        slopes = [(high - low) / (many - few) for low, high in peaks]
        last = [high / 1024 for _, high in peaks]
        rows.append([f"{few:,} and {many:,} units {what}", Spread.of(slopes).text(1), Spread.of(last).text(0)])
    return table(["between", "KB a unit, median (spread)", "peak of the larger, MB"], rows)


def _peak(project: Project, slots: int, room: Path) -> int:
    """The conductor's peak in KiB when `slots` units are in flight, the plan is whole, and nothing moves."""
    project.clean()
    objects = room / "objects"
    objects.mkdir(exist_ok=True)
    for path in project.root.glob("*.c"):
        (objects / f"{path.stem}.o").touch()  # what is recorded is not compiled by the real compiler
    compiler = build_replay(objects, room / "replay", 0)
    for told in project.root.glob("*.c"):
        (objects / f"{told.stem}.us").write_text(str(int(HOUR * 1e6)))
    with answering(compiler, nodes=1, jobs=slots) as farm, _standing(project, farm, slots) as pid:
        return _settled(lambda: _high_water(pid))


@contextmanager
def _standing(project: Project, farm: Farm, slots: int) -> Iterator[int]:
    """A build whose slots are all taken; its conductor's pid."""
    words = ["run", "-C", str(project.root), "--verify", "0", "--hosts", farm.hosts, f"-j{slots + 2}"]
    with going_on(words, PATIENCE) as build:
        farm.wait_started(slots, PATIENCE)
        build.wait_for(project.root, lambda found: bool(found["units"]["total_is_final"]), "it was not planned whole")
        yield build.pid


def _settled(figure: Callable[[], int]) -> int:
    """The figure, once it has stood still for a while."""
    end = time.monotonic() + PATIENCE
    last, since = figure(), time.monotonic()
    while time.monotonic() < since + STILL:
        if time.monotonic() > end:
            raise BenchmarkError("the conductor's memory grows without end")
        time.sleep(0.1)
        now = figure()
        if now != last:
            last, since = now, time.monotonic()
    return last


def _high_water(pid: int) -> int:
    """VmHWM in KiB (proc(5))."""
    with open(f"/proc/{pid}/status") as text:
        return next(int(line.split()[1]) for line in text if line.startswith("VmHWM"))
