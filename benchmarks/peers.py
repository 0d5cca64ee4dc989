"""The same project by the other tools that people use: a whole build on the same nodes, and what the master spends.

Each tool is a row, paired with buildfarm.  make alone compiles on this machine; ninja and ccache stand in front of
distcc; a second `ccache` row finds everything in its cache, which no farm can beat; icecream has its own daemons
(`icecream.py`).  A tool that is not installed is named so.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks import icecream, master_cpu, projects
from benchmarks.farm import forget, on_nodes, replaying
from benchmarks.frame import Measure, Spread, alternate, environment, measure, pairs_of, table
from benchmarks.projects import Project
from tests.farm import Farm

JOBS = ["-j10"]
Build = Callable[[Project, Farm], Measure]


def run(*, quick: bool) -> str:
    units, pairs = icecream.size(quick=quick)
    rows = []
    with tempfile.TemporaryDirectory(prefix="bf-bench-") as name:
        project = projects.c(Path(name) / "c", units)
        write_ninja(project)
        with replaying(project, nodes=2, jobs=4, delay=master_cpu.DELAY) as farm:
            for what, (tool, build) in PEERS.items():
                if shutil.which(tool) is None:
                    rows.append([what, f"{tool} is not installed", "", "", ""])
                    continue
                runs = alternate(partial(master_cpu.ours, project, farm), partial(build, project, farm), pairs)
                rows.append(_row(what, runs, units))
    lack = icecream.missing()
    what = "make + icecream"
    rows.append([what, lack, "", "", ""] if lack else _row(what, icecream.pairs(quick=quick), units))
    heads = ["peer", "wall clock, s", "buildfarm to it", "master's CPU, ms a unit", "buildfarm to it"]
    return table(heads, rows)


def _row(what: str, runs: Sequence[tuple[Measure, Measure]], units: int) -> list[str]:
    wall, cpu = pairs_of(runs, lambda m: m.seconds), pairs_of(runs, lambda m: m.cpu / units * 1000)
    return [what, Spread.of(wall.peer).text(), wall.ratio.text(), Spread.of(cpu.peer).text(1), cpu.ratio.text()]


def write_ninja(project: Project) -> None:
    """What the Makefile says, for ninja."""
    sources = sorted(path.name for path in project.root.glob("*.c"))
    objects = [source.removesuffix(".c") + ".o" for source in sources]
    lines = ["rule cc", "  command = distcc gcc -O2 -Wall -I. -c $in -o $out"]
    lines += ["rule link", "  command = gcc -o $out $in -lm"]
    lines += [f"build {object_}: cc {source}" for source, object_ in zip(sources, objects, strict=True)]
    lines += [f"build program: link {' '.join(objects)}"]
    (project.root / "build.ninja").write_text("\n".join(lines) + "\n")


def _alone(project: Project, _: Farm) -> Measure:
    project.clean()
    return measure(["make", "-j2"], cwd=project.root)


def _ninja(project: Project, farm: Farm) -> Measure:
    _clean(project, farm)
    (project.root / ".ninja_log").unlink(missing_ok=True)
    return _on_nodes(project, farm, measure(["ninja", *JOBS], cwd=project.root, env=_far(farm)))


def _ccache_cold(project: Project, farm: Farm) -> Measure:
    _clean(project, farm)
    shutil.rmtree(farm.directory / "ccache", ignore_errors=True)
    return _on_nodes(project, farm, _ccache(project, farm))


def _ccache_warm(project: Project, farm: Farm) -> Measure:
    if not (farm.directory / "ccache").exists():
        _ccache_cold(project, farm)
    _clean(project, farm)
    return _ccache(project, farm)


def _ccache(project: Project, farm: Farm) -> Measure:
    env = {**_far(farm), "CCACHE_DIR": str(farm.directory / "ccache"), "CCACHE_PREFIX": "distcc"}
    return measure(["make", *JOBS, "CC=ccache gcc"], cwd=project.root, env=env)


def _clean(project: Project, farm: Farm) -> None:
    project.clean()
    forget(farm)


def _on_nodes(project: Project, farm: Farm, taken: Measure) -> Measure:
    on_nodes(farm, project.units, 0)
    return taken


def _far(farm: Farm) -> dict[str, str]:
    (farm.directory / "client").mkdir(exist_ok=True)
    return environment(DISTCC_HOSTS=farm.hosts, DISTCC_DIR=str(farm.directory / "client"))


PEERS: dict[str, tuple[str, Build]] = {
    "make alone, compiling here, -j2": ("make", _alone),
    "ninja + distcc": ("ninja", _ninja),
    "make + ccache + distcc, empty cache": ("ccache", _ccache_cold),
    "make + ccache, everything in the cache": ("ccache", _ccache_warm),
}
"""What it is: the program that must be there, and how it builds."""
