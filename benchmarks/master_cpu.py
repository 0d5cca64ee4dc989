"""What the master spends on a unit: user and system time of all that runs here, nodes and compilers apart.

Two sizes of the same project are built in each run; a unit's cost is the slope between them, and what is left at none
is told as the start: importing, probing and planning are paid once, units thousands of times.

Peers: make + distcc on the same nodes, plain, with `,lzo`, and in pump mode, its include server counted.  Debian 12's
include server fails with "PY_SSIZE_T_CLEAN macro must be defined" and preprocesses everything here; `DISTCC_PUMP`
names another pump (docs/performance.md says how it is made).  For Fortran, which distcc does not send, the peer is make
with local compiles.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import projects
from benchmarks.farm import forget, on_nodes, replaying
from benchmarks.frame import PAIRS, BenchmarkError, Measure, Spread, buildfarm, environment, measure, table
from benchmarks.projects import Project
from tests.farm import Farm

NODES, JOBS = 2, 4
DELAY = 0.05  # seconds that a node "compiles"
SIZES = {"C": (40, 240), "C++": (20, 80), "Fortran": (20, 80)}  # a C++ unit is dear to record
QUICK_SIZES = (6, 18)
LANGUAGES: dict[str, Callable[[Path, int], Project]] = {
    "C": projects.c,
    "C++": projects.cxx,
    "Fortran": projects.fortran,
}
PUMP = os.environ.get("DISTCC_PUMP", "distcc-pump")


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of CPU for each unit more, and for none."""

    unit: float
    start: float
    peak_mb: float

    @classmethod
    def of(cls, small: tuple[int, Measure], large: tuple[int, Measure]) -> Cost:
        (few, cheap), (many, dear) = small, large
        unit = (dear.cpu - cheap.cpu) / (many - few) * 1000
        return cls(unit, cheap.cpu * 1000 - unit * few, dear.peak_kb / 1024)


Build = Callable[[Project, Farm], Measure]


def run(*, quick: bool) -> str:
    rows: list[Sequence[str]] = []
    with tempfile.TemporaryDirectory(prefix="bf-bench-") as name:
        for language, make_project in LANGUAGES.items():
            with ExitStack() as stack:
                pairs = []
                for units in QUICK_SIZES if quick else SIZES[language]:
                    project = make_project(Path(name) / f"{language}-{units}", units)
                    pairs.append(
                        (project, stack.enter_context(replaying(project, nodes=NODES, jobs=JOBS, delay=DELAY)))
                    )
                rows += _language(language, pairs, range(1, 2) if quick else range(PAIRS + 1))
    heads = [
        "language",
        "build",
        "ms a unit",
        "start, ms",
        "buildfarm to it: a unit, median (spread)",
        "the conductor, MB",
    ]
    return table(heads, rows)


def _language(language: str, both: Sequence[tuple[Project, Farm]], rounds: range) -> list[list[str]]:
    builds = dict(FORTRAN if language == "Fortran" else DISTCC)
    troubles = {name: why for name, build in builds.items() if (why := _trouble(name, build, *both[0]))}
    for name in troubles:
        del builds[name]
    found: dict[str, list[Cost]] = {name: [] for name in builds}
    for number in rounds:
        order = list(builds) if number % 2 else list(builds)[::-1]
        for name in order:
            small, large = ((project.units, builds[name](project, farm)) for project, farm in both)
            if number:  # the first round does not count
                found[name].append(Cost.of(small, large))
    rows = []
    for name, costs in found.items():
        ratio = Spread.of([ours.unit / peer.unit for ours, peer in zip(found[OURS], costs, strict=True)])
        rows.append(
            [
                language,
                name,
                Spread.of([cost.unit for cost in costs]).text(1),
                Spread.of([cost.start for cost in costs]).text(0),
                "" if name == OURS else ratio.text(),
                f"{Spread.of([cost.peak_mb for cost in costs]).median:.0f}" if name == OURS else "",
            ]
        )
    return rows + [[language, name, why, "", "", ""] for name, why in troubles.items()]


def _trouble(name: str, build: Build, project: Project, farm: Farm) -> str | None:
    """Why a peer's figures would mean nothing here."""
    if name != PUMP_MODE:
        return None
    try:
        output = build(project, farm).output
    except (BenchmarkError, OSError) as error:
        return f"does not work here: {str(error).splitlines()[-1][:100]}"
    if "failed to get includes" in output:
        return "its include server fails here: every unit is preprocessed on the master (set DISTCC_PUMP)"
    return None


def pump_works(project: Project, farm: Farm) -> bool:
    return _trouble(PUMP_MODE, _pump, project, farm) is None


def ours(project: Project, farm: Farm) -> Measure:
    """One whole build by buildfarm, which verifies nothing, as its peers; every unit must have gone to a node."""
    project.clean()
    forget(farm)
    words = ["run", "-C", str(project.root), "--verify", "0", "--hosts", farm.hosts, f"-j{NODES * JOBS + 2}"]
    found = measure(buildfarm(*words), cwd=project.root)
    on_nodes(farm, project.units, 0)
    return found


def _distcc(project: Project, farm: Farm) -> Measure:
    return distcc(project, farm, [], farm.hosts.replace(",lzo", ""))


def _distcc_lzo(project: Project, farm: Farm) -> Measure:
    return distcc(project, farm, [], farm.hosts)


def _pump(project: Project, farm: Farm) -> Measure:
    return distcc(project, farm, [PUMP], farm.hosts.replace(",lzo", ",cpp,lzo"))


def distcc(project: Project, farm: Farm, wrapper: list[str], hosts: str) -> Measure:
    """One whole build by make and distcc; every unit must have gone to a node."""
    project.clean()
    forget(farm)
    env = environment(DISTCC_HOSTS=hosts, DISTCC_DIR=str(farm.directory / "client"), DISTCC_VERBOSE="0")
    (farm.directory / "client").mkdir(exist_ok=True)
    words = [f"-j{NODES * JOBS + 2}", f"{project.variable}=distcc {project.compiler}"]
    found = measure([*wrapper, "make", *words], cwd=project.root, env=env)
    on_nodes(farm, project.units, 0)
    return found


def _local(project: Project, _: Farm) -> Measure:
    project.clean()
    return measure(["make", "-j2"], cwd=project.root)


OURS, PUMP_MODE = "buildfarm run", "make + distcc, pump"
DISTCC: dict[str, Build] = {
    OURS: ours,
    "make + distcc": _distcc,
    "make + distcc, lzo": _distcc_lzo,
    PUMP_MODE: _pump,
}
FORTRAN: dict[str, Build] = {OURS: ours, "make, compiling here": _local}
