"""How planning grows: `buildfarm plan` beside `make -n` of the same tree, up to 100,000 units and 500 instances.

Nothing is compiled.  A plan asks make for more than -n says (`-p --trace`), reads all of it and works the graph
through; what the conductor holds while it builds is `memory`'s.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import projects
from benchmarks.frame import PAIRS, BenchmarkError, Measure, Spread, alternate, buildfarm, measure, pairs_of, table

UNITS_EACH = 20  # of a recursive instance


@dataclass(frozen=True, slots=True)
class Size:
    """A tree; `instances` 0: all units are in the top-level Makefile."""

    units: int
    instances: int = 0

    def write(self, root: Path) -> None:
        if not self.instances:
            projects.small(root, self.units - 1)  # and its main program
            return
        root.mkdir(parents=True)
        names = [f"d{number:03}" for number in range(self.instances)]
        (root / "Makefile").write_text(
            f"PARTS = {' '.join(names)}\nall: $(PARTS)\n$(PARTS):\n\t$(MAKE) -C $@\n.PHONY: all $(PARTS)\n"
        )
        for name in names:
            projects.small(root / name, self.units // self.instances - 1)


SERIES = (
    (Size(1_000), Size(10_000), Size(100_000)),
    tuple(Size(count * UNITS_EACH, count) for count in (5, 50, 500)),
)
QUICK = ((Size(100), Size(1_000)), (Size(40, 2), Size(100, 5)))


def run(*, quick: bool) -> str:
    """Each row's memory a unit is the slope from the row before, so that the interpreter does not count."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="bf-bench-") as name:
        for series in QUICK if quick else SERIES:
            before: tuple[int, float] | None = None
            for size in series:
                root = Path(name) / f"{size.units}-{size.instances}"
                size.write(root)
                runs = alternate(
                    partial(_plan, root, size.units),
                    partial(measure, ["make", "-n"], cwd=root),
                    2 if quick else PAIRS,
                    warm=size.units < 50_000,  # a minute a pair
                )
                peak = Spread.of([mine.peak_kb for mine, _ in runs]).median
                rows.append(_row(size, runs, peak, before))
                before = (size.units, peak)
                shutil.rmtree(root)
    heads = [
        *("units", "instances of make", "make -n, s", "buildfarm plan, s", "ratio, median (spread)"),
        *("CPU ratio", "plan, ms a unit", "peak, MB", "KB a unit"),
    ]
    return table(heads, rows)


def _plan(root: Path, units: int) -> Measure:
    taken = measure(buildfarm("plan", "-C", str(root)), cwd=root)
    told = taken.output.count(".o ")  # a line for each unit, under the head
    if told < units:
        raise BenchmarkError(f"buildfarm plan named {told} of {units} units:\n{taken.output[-1000:]}")
    return taken


def _row(
    size: Size, runs: Sequence[tuple[Measure, Measure]], peak: float, before: tuple[int, float] | None
) -> list[str]:
    wall, cpu = pairs_of(runs, lambda m: m.seconds), pairs_of(runs, lambda m: m.cpu)
    return [
        f"{size.units:,}",
        str(size.instances + 1),
        Spread.of(wall.peer).text(),
        Spread.of(wall.ours).text(),
        wall.ratio.text(),
        cpu.ratio.text(),
        f"{Spread.of(wall.ours).median / size.units * 1000:.2f}",
        f"{peak / 1024:.0f}",
        f"{(peak - before[1]) / (size.units - before[0]):.1f}" if before else "",
    ]
