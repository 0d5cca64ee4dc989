"""A whole build on the same nodes, beside make + distcc: wall clock, with compilers that wait as real ones work."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from benchmarks import projects
from benchmarks.farm import on_nodes, replaying
from benchmarks.frame import (
    PAIRS,
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
from tests.farm import Farm


def run(*, quick: bool) -> str:
    """Each compile takes half a second on its node."""
    rows = []
    units, delay = (24, 0.2) if quick else (120, 0.5)
    with tempfile.TemporaryDirectory(prefix="bf-bench-") as name:
        project = projects.c(Path(name) / "c", units)
        for nodes, jobs in ((2, 4),) if quick else ((2, 4), (4, 8)):
            with replaying(project, nodes=nodes, jobs=jobs, delay=delay) as farm:
                slots = nodes * jobs
                runs = alternate(
                    partial(_ours, project, farm),
                    partial(_peer, project, farm, slots),
                    2 if quick else PAIRS,
                )
            found = pairs_of(runs, lambda m: m.seconds)
            rows.append(
                [
                    str(slots),
                    f"{units * delay / slots:.2f}",
                    Spread.of(found.peer).text(),
                    Spread.of(found.ours).text(),
                    found.ratio.text(),
                ]
            )
    heads = [
        "slots",
        "nodes' work alone, s",
        "make -jSLOTS + distcc, s",
        "buildfarm run, s",
        "ratio, median (spread)",
    ]
    return table(heads, rows)


def _ours(project: Project, farm: Farm) -> Measure:
    project.clean()
    before = len(farm.compiles())
    found = measure(buildfarm("run", "-C", str(project.root), "--hosts", farm.hosts), cwd=project.root)
    on_nodes(farm, project.units, before)
    return found


def _peer(project: Project, farm: Farm, slots: int) -> Measure:
    project.clean()
    before = len(farm.compiles())
    env = environment(DISTCC_HOSTS=farm.hosts, DISTCC_DIR=str(farm.directory / "client"))
    (farm.directory / "client").mkdir(exist_ok=True)
    found = measure(["make", f"-j{slots}", "CC=distcc gcc"], cwd=project.root, env=env)
    on_nodes(farm, project.units, before)
    return found
