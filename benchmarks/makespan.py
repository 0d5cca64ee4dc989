"""Recorded real projects, built from nothing on 8 to 64 slots: wall clock beside make + distcc and the lower bound.

Real buildfarm, real make and real distccd; the nodes' compilers wait as long as the recorded compile took (scale 1) and
answer an object of the recorded size.  buildfarm has no memory of an earlier build and verifies nothing by a
second compile, as its peers don't.

Peers: for C `make -jN` + distcc with `,lzo`.  For Fortran, which distcc compiles where make runs, make with N local
cores simulated by the same waiting compiler: more than a user of distcc has.  LAPACK at 64 slots also beside the real
thing, `FC="distcc gfortran"`: distcc lets four compiles at a time run locally (its default, `src/hosts.c`), so four
cores are simulated.

The nodes' daemons, make and the preprocessor share this machine's cores, which is a second bound: no build that costs
that much CPU on both sides is shorter than that divided by the cores.  It holds for this build on this machine, not for
the farm: a build that costs less has a lower one.  The last column compares with the greater of the two.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks import frame
from benchmarks.farm import answering, build_replay, forget, spent
from benchmarks.frame import (
    BenchmarkError,
    Measure,
    Spread,
    alternate,
    buildfarm,
    environment,
    measure,
    pairs_of,
    table,
)
from benchmarks.projects import Project
from benchmarks.trees import Tree, clean, write, write_objects
from tests.farm import Farm

JOBS = 8  # slots of a node
FARMS = (8, 16, 32, 64)  # slots
GIVEN = 0.9  # of the units must have been compiled by nodes


@dataclass(frozen=True, slots=True)
class Case:
    project: str
    slots: int
    peer: str


DISTCC, CORES, DISTCC_FORTRAN = "make + distcc", "make, local cores simulated", "make + distcc, which compiles here"
CASES = (
    *(Case(project, slots, DISTCC) for project in ("git", "redis") for slots in FARMS),
    *(Case("lapack", slots, CORES) for slots in FARMS),
    Case("lapack", 64, DISTCC_FORTRAN),
    *(Case("modele", slots, CORES) for slots in FARMS),
)


def run(*, quick: bool) -> str:
    rows = []
    with tempfile.TemporaryDirectory(prefix="bf-bench-") as name:
        room = Path(name)
        room.chmod(0o755)
        for project in dict.fromkeys(case.project for case in CASES):
            tree = Tree.load(project)
            tree = tree.first(4) if quick else tree
            made, compiler = stage(tree, room)
            tools = room / f"{project}-tools"
            tools.mkdir()
            (tools / "gfortran").symlink_to(compiler)
            for case in CASES:
                if case.project != project or (quick and case.slots not in (8, 16)):
                    continue
                with answering(compiler, nodes=case.slots // JOBS, jobs=JOBS) as farm:
                    runs = alternate(
                        partial(ours, made, farm),
                        partial(PEERS[case.peer], made, farm, case.slots, tools),
                        1 if quick else frame.PAIRS,
                        warm=False,
                    )
                rows.append(_row(case, tree, runs))
    heads = [
        *("project", "slots", "lower bound, s", "peer", "peer, s", "buildfarm run, s"),
        *("ratio, median (spread)", "above the bound", "master's CPU, s: peer", "buildfarm"),
        *("its nodes' CPU, s", "all its CPU by cores, s", "above both bounds"),
    ]
    return table(heads, rows)


def stage(tree: Tree, room: Path) -> tuple[Project, Path]:
    """Write the tree below `room`, and the compiler that waits and answers for its units."""
    objects = room / f"{tree.name}-objects"
    write_objects(tree, objects)
    return write(tree, room / tree.name), build_replay(objects, room / f"{tree.name}-replay")


def _row(case: Case, tree: Tree, runs: list[tuple[Measure, Measure]]) -> list[str]:
    wall, cpu = pairs_of(runs, lambda m: m.seconds), pairs_of(runs, lambda m: m.cpu)
    bound, seconds = tree.bound(case.slots), Spread.of(wall.ours).median
    nodes = Spread.of([mine.nodes for mine, _ in runs]).median
    by_cores = Spread.of([mine.cpu + mine.nodes for mine, _ in runs]).median / len(os.sched_getaffinity(0))
    return [
        f"{case.project}, {len(tree.units):,} units, {tree.work:.0f} s of work",
        str(case.slots),
        f"{bound:.1f}",
        f"{case.peer}, -j{case.slots}",
        Spread.of(wall.peer).text(1),
        Spread.of(wall.ours).text(1),
        wall.ratio.text(),
        f"{seconds / bound:.2f}",
        f"{Spread.of(cpu.peer).median:.1f}",
        f"{Spread.of(cpu.ours).median:.1f}",
        f"{nodes:.1f}",
        f"{by_cores:.1f}",
        f"{seconds / max(bound, by_cores):.2f}",
    ]


def ours(project: Project, farm: Farm) -> Measure:
    """Build it with buildfarm on the farm's nodes.  Raises BenchmarkError when they hardly compiled."""
    clean(project.root)
    forget(farm)
    words = buildfarm("run", "-C", str(project.root), "--verify", "0", "--plain", "--hosts", farm.hosts)
    before = spent(farm)
    taken = measure(words, cwd=project.root)
    taken = replace(taken, nodes=spent(farm) - before)
    if (on_nodes := len(farm.compiles())) < GIVEN * project.units:
        raise BenchmarkError(f"only {on_nodes} of {project.units} units went to nodes:\n{taken.output[-1000:]}")
    return taken


def _distcc(project: Project, farm: Farm, slots: int, _: Path) -> Measure:
    clean(project.root)
    forget(farm)
    taken = _make(project, slots, _far(farm), f"CC=distcc {project.compiler}")
    if (on_nodes := len(farm.compiles())) < GIVEN * project.units:
        raise BenchmarkError(f"only {on_nodes} of {project.units} units went to nodes:\n{taken.output[-1000:]}")
    return taken


def _distcc_fortran(project: Project, farm: Farm, slots: int, tools: Path) -> Measure:
    clean(project.root)
    return _make(project, slots, {**_far(farm), **_near(tools)}, "FC=distcc gfortran")


def _cores(project: Project, _: Farm, slots: int, tools: Path) -> Measure:
    clean(project.root)
    return _make(project, slots, _near(tools))


PEERS: dict[str, Callable[[Project, Farm, int, Path], Measure]] = {
    DISTCC: _distcc,
    DISTCC_FORTRAN: _distcc_fortran,
    CORES: _cores,
}


def _make(project: Project, slots: int, surroundings: dict[str, str], *words: str) -> Measure:
    return measure(["make", f"-j{slots}", *words], cwd=project.root, env=environment(**surroundings))


def _far(farm: Farm) -> dict[str, str]:
    client = farm.directory / "client"
    client.mkdir(exist_ok=True)
    return {"DISTCC_HOSTS": farm.hosts, "DISTCC_DIR": str(client)}


def _near(tools: Path) -> dict[str, str]:
    return {"PATH": f"{tools}:{environment()['PATH']}"}
