"""What the master spends on a unit: user and system time of all that runs here, nodes and compilers apart.

Peers: make + distcc on the same nodes, plain with `,lzo` and in pump mode (its include server counted); for Fortran,
which distcc can't send, make with local compiles.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
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

NODES, JOBS = 2, 4
DELAY = 0.05  # seconds that a node "compiles"
LANGUAGES: dict[str, Callable[[Path, int], Project]] = {
    "C": projects.c,
    "C++": projects.cxx,
    "Fortran": projects.fortran,
}


def run(*, quick: bool) -> str:
    rows: list[Sequence[str]] = []
    units = 12 if quick else 60
    pairs = 2 if quick else PAIRS
    with tempfile.TemporaryDirectory(prefix="bf-bench-") as name:
        for language, make_project in LANGUAGES.items():
            project = make_project(Path(name) / language, units)
            with replaying(project, nodes=NODES, jobs=JOBS, delay=DELAY) as farm:
                peers = (
                    {"make, local": _local}
                    if language == "Fortran"
                    else {
                        "make + distcc": _distcc,
                        "make + distcc, pump": _pump,
                    }
                )
                for peer, build in peers.items():
                    if trouble := _trouble(peer, build, project, farm):
                        rows.append([language, peer, trouble, "", "", ""])
                        continue
                    runs = alternate(
                        partial(ours, project, farm),
                        partial(build, project, farm),
                        pairs,
                    )
                    rows.append(_row(language, peer, runs, project.units))
    heads = [
        "language",
        "peer",
        "peer, ms a unit",
        "buildfarm, ms a unit",
        "ratio, median (spread)",
        "conductor, MB",
    ]
    return table(heads, rows)


def _trouble(peer: str, build: Callable[[Project, Farm], Measure], project: Project, farm: Farm) -> str | None:
    """Why a peer's figures would mean nothing here."""
    if "pump" not in peer:
        return None
    if "failed to get includes" in build(project, farm).output:
        return "its include server fails here (no unit travels unpreprocessed)"
    return None


def _row(language: str, peer: str, runs: list[tuple[Measure, Measure]], units: int) -> list[str]:
    found = pairs_of(runs, lambda m: m.cpu / units * 1000)
    memory = Spread.of([mine.peak_kb / 1024 for mine, _ in runs]).median
    return [
        language,
        peer,
        Spread.of(found.peer).text(1),
        Spread.of(found.ours).text(1),
        found.ratio.text(),
        f"{memory:.0f}",
    ]


def ours(project: Project, farm: Farm) -> Measure:
    """One whole build by buildfarm; every unit must have gone to a node."""
    project.clean()
    before = len(farm.compiles())
    found = measure(
        buildfarm("run", "-C", str(project.root), "--hosts", farm.hosts, f"-j{NODES * JOBS + 2}"),
        cwd=project.root,
    )
    on_nodes(farm, project.units, before)
    return found


def _distcc(project: Project, farm: Farm) -> Measure:
    return distcc(project, farm, [], farm.hosts)


def _pump(project: Project, farm: Farm) -> Measure:
    return distcc(project, farm, ["distcc-pump"], farm.hosts.replace(",lzo", ",cpp,lzo"))


def distcc(project: Project, farm: Farm, wrapper: list[str], hosts: str) -> Measure:
    """One whole build by make and distcc; every unit must have gone to a node."""
    project.clean()
    before = len(farm.compiles())
    env = environment(DISTCC_HOSTS=hosts, DISTCC_DIR=str(farm.directory / "client"), DISTCC_VERBOSE="0")
    (farm.directory / "client").mkdir(exist_ok=True)
    words = [f"-j{NODES * JOBS + 2}", f"{project.variable}=distcc {project.compiler}"]
    found = measure([*wrapper, "make", *words], cwd=project.root, env=env)
    on_nodes(farm, project.units, before)
    return found


def _local(project: Project, _: Farm) -> Measure:
    project.clean()
    return measure(["make", "-j2"], cwd=project.root)
