"""A build with nothing to do: what buildfarm adds to make."""

from __future__ import annotations

import subprocess
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import projects
from benchmarks.frame import PAIRS, alternate, buildfarm, environment, measure, pairs_of, table
from tests.farm import Farm


def run(*, quick: bool) -> str:
    """Two nodes are in the host list; the tree is complete."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="bf-bench-") as name, Farm(2, 4) as farm:
        for units in (50,) if quick else (50, 500):
            tree = projects.small(Path(name) / str(units), units).root
            subprocess.run(["make", "-j4"], cwd=tree, env=environment(), capture_output=True, check=True)
            ours = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, "-j4")
            runs = alternate(
                partial(measure, ours, cwd=tree),
                partial(measure, ["make", "-j4"], cwd=tree),
                2 if quick else 2 * PAIRS + 1,
            )
            for figure, of in (("seconds", lambda m: m.seconds), ("CPU seconds", lambda m: m.cpu)):
                found = pairs_of(runs, of)
                own, peer = sorted(found.ours)[len(found.ours) // 2], sorted(found.peer)[len(found.peer) // 2]
                rows.append([str(units), figure, f"{peer:.3f}", f"{own:.3f}", found.extra.text(3)])
    return table(["units", "figure", "make", "buildfarm run", "extra, median (spread)"], rows)
