"""How full the farm is kept where the farm is the limit: recorded projects on nodes that are eight times slower.

`makespan` has nodes as fast as the machine that the projects were recorded on, so that on many slots two cores, which
run the master and all the nodes' daemons, are the limit.  A shelf of small boards is slower than its master.  Here the
same compilers wait eight times as long, and what the cores have to do is what it was: what is left above the lower
bound is order, waiting and the master's share.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.farm import answering
from benchmarks.frame import PAIRS, Measure, Spread, table
from benchmarks.makespan import JOBS, ours, stage
from benchmarks.trees import Tree

PROJECTS = ("git", "redis", "lapack", "modele")
SLOWER = 8
SLOTS = 64


def run(*, quick: bool) -> str:
    """Each project alone, from nothing, without a peer: what it is compared with is the bound."""
    rows = []
    slots, runs = (8, 1) if quick else (SLOTS, PAIRS)
    with tempfile.TemporaryDirectory(prefix="bf-bench-") as name:
        room = Path(name)
        room.chmod(0o755)
        for project in PROJECTS:
            tree = Tree.load(project)
            tree = tree.first(1) if quick else tree.slower(SLOWER)
            made, compiler = stage(tree, room)
            with answering(compiler, nodes=slots // JOBS, jobs=JOBS) as farm:
                rows.append(_row(tree, slots, [ours(made, farm) for _ in range(runs)]))
    heads = [
        *("project", "slots", "lower bound, s", "buildfarm run, s", "above the bound"),
        *("master's CPU, s", "its nodes' CPU, s"),
    ]
    return table(heads, rows)


def _row(tree: Tree, slots: int, runs: list[Measure]) -> list[str]:
    bound, seconds = tree.bound(slots), Spread.of([taken.seconds for taken in runs])
    above = Spread(*(figure / bound for figure in (seconds.median, seconds.low, seconds.high)))
    return [
        f"{tree.name}, {len(tree.units):,} units, {tree.work:,.0f} s of work",
        str(slots),
        f"{bound:.1f}",
        seconds.text(1),
        above.text(),
        f"{Spread.of([taken.cpu for taken in runs]).median:.1f}",
        f"{Spread.of([taken.nodes for taken in runs]).median:.1f}",
    ]
