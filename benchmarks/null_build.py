"""A build with nothing to do, and one with one changed file: what buildfarm adds to make."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import projects
from benchmarks.frame import (
    PAIRS,
    BenchmarkError,
    Measure,
    alternate,
    buildfarm,
    environment,
    measure,
    pairs_of,
    table,
)
from tests.farm import Farm

NOTHING, ONE = "nothing", "one file"


def run(*, quick: bool) -> str:
    """Two nodes are in the host list; the tree is complete.  One file: one compile of one line, and the link."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="bf-bench-") as name, Farm(2, 4) as farm:
        for units in (50,) if quick else (50, 500):
            tree = projects.small(Path(name) / str(units), units).root
            subprocess.run(["make", "-j4"], cwd=tree, env=environment(), capture_output=True, check=True)
            ours = buildfarm("run", "-C", str(tree), "--verify", "0", "--hosts", farm.hosts, "-j4")
            for what, before in ((NOTHING, _nothing), (ONE, _change)):
                runs = alternate(
                    partial(_build, ours, tree, before),
                    partial(_build, ["make", "-j4"], tree, before),
                    2 if quick else 2 * PAIRS + 1,
                )
                for figure, of in (("seconds", lambda m: m.seconds), ("CPU seconds", lambda m: m.cpu)):
                    found = pairs_of(runs, of)
                    own, peer = sorted(found.ours)[len(found.ours) // 2], sorted(found.peer)[len(found.peer) // 2]
                    rows.append([what, str(units), figure, f"{peer:.3f}", f"{own:.3f}", found.extra.text(3)])
    return table(["changed", "units", "figure", "make", "buildfarm run", "extra, median (spread)"], rows)


def _build(command: list[str], tree: Path, before: Callable[[Path], None]) -> Measure:
    before(tree)
    taken = measure(command, cwd=tree)
    done = subprocess.run(["make", "-q"], cwd=tree, env=environment(), capture_output=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"{' '.join(command)} left something to do:\n{taken.output[-1000:]}")
    return taken


def _nothing(tree: Path) -> None:
    """Leave it as it is."""


def _change(tree: Path) -> None:
    """Make one source newer than its object, whatever the file system's clock resolves."""
    source, unit = tree / "u00007.c", tree / "u00007.o"
    later = unit.stat().st_mtime_ns + 1_000_000
    with open(source, "a") as text:
        text.write("\n")
    os.utime(source, ns=(later, later))
