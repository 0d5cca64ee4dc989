"""Bytes on the wire and wall clock a unit, by the way that units travel, on a link of 100 Mbit/s.

All of it runs in a network namespace of its own (unshare(1), as root), whose loopback has an Ethernet's MTU and is
shaped by `tc tbf`; texts and objects share it.  Bytes are the interface's own count, with headers of TCP and IP and
the probes of nodes.  The peers are make + distcc by the same hosts; pump mode needs `DISTCC_PUMP` on Debian 12 (see
`master_cpu`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import master_cpu, projects
from benchmarks.farm import forget, on_nodes, replaying
from benchmarks.frame import PAIRS, ROOT, BenchmarkError, Measure, Spread, buildfarm, measure, table
from benchmarks.projects import Project
from tests.farm import Farm

NODES, JOBS, DELAY = 2, 4, 0.05
RATE = "100mbit"
_SETUP = 'ip link set lo mtu 1500 up && tc qdisc add dev lo root tbf rate {rate} burst 64kb latency 400ms && exec "$@"'


@dataclass(frozen=True, slots=True)
class Way:
    """One way for units to travel: by whom, and what the host list says of each node."""

    name: str
    options: str
    peer: bool = False
    pump: bool = False

    def build(self, project: Project, farm: Farm) -> Measure:
        hosts = farm.hosts.replace(",lzo", self.options)
        if self.peer:
            return master_cpu.distcc(project, farm, [master_cpu.PUMP] if self.pump else [], hosts)
        project.clean()
        forget(farm)
        words = ["run", "-C", str(project.root), "--verify", "0", "--hosts", hosts, f"-j{NODES * JOBS + 2}"]
        found = measure(buildfarm(*words), cwd=project.root)
        on_nodes(farm, project.units, 0)
        return found


REFERENCE = "make + distcc, lzo"
WAYS = (
    Way("make + distcc", "", peer=True),
    Way(REFERENCE, ",lzo", peer=True),
    Way("make + distcc, pump", ",cpp,lzo", peer=True, pump=True),
    Way("buildfarm, hosts without options", ""),
    Way("buildfarm, `,lzo`", ",lzo"),
    Way("buildfarm, `,lzo,cpp`", ",lzo,cpp"),
)


def run(*, quick: bool) -> str:
    """The table, made by a process in a namespace of its own."""
    if os.geteuid() or not all(map(shutil.which, ("unshare", "ip", "tc"))):
        raise BenchmarkError("a shaped link needs root, unshare, ip and tc (apt install iproute2 util-linux)")
    inside = [sys.executable, "-m", "benchmarks.network", *(["--quick"] if quick else [])]
    words = ["unshare", "--net", "sh", "-c", _SETUP.format(rate=RATE), "sh", *inside]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"in the network namespace: exit status {done.returncode}")
    return done.stdout


def measure_all(*, quick: bool) -> str:
    """What runs inside."""
    units, rounds = (8, range(1, 2)) if quick else (60, range(PAIRS + 1))
    rows = []
    with tempfile.TemporaryDirectory(prefix="bf-bench-") as name:
        for language, make_project in {"C": projects.c, "C++": projects.cxx}.items():
            project = make_project(Path(name) / language, units)
            with replaying(project, nodes=NODES, jobs=JOBS, delay=DELAY) as farm:
                rows += _language(language, project, farm, rounds)
    heads = ["language", "way", "KB a unit", "wall clock, ms a unit", "wall clock to `distcc, lzo`, median (spread)"]
    return table(heads, rows)


def _language(language: str, project: Project, farm: Farm, rounds: range) -> list[list[str]]:
    ways = [way for way in WAYS if not way.pump or master_cpu.pump_works(project, farm)]
    found: dict[str, list[tuple[float, float]]] = {way.name: [] for way in ways}
    for number in rounds:
        for way in ways if number % 2 else ways[::-1]:
            before = _bytes()
            taken = way.build(project, farm)
            if number:  # the first round does not count
                found[way.name].append(((_bytes() - before) / project.units, taken.seconds / project.units))
    rows = []
    for name, figures in found.items():
        ratio = Spread.of([mine[1] / other[1] for mine, other in zip(figures, found[REFERENCE], strict=True)])
        rows.append(
            [
                language,
                name,
                Spread.of([size / 1000 for size, _ in figures]).text(0),
                Spread.of([seconds * 1000 for _, seconds in figures]).text(0),
                "" if name == REFERENCE else ratio.text(),
            ]
        )
    return rows


def _bytes() -> int:
    """What loopback has sent so far; proc(5), for /sys may still be that of another namespace."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, figures = line.partition(":")
        if name.strip() == "lo":
            return int(figures.split()[8])
    raise BenchmarkError("no loopback in /proc/net/dev")


if __name__ == "__main__":
    print(measure_all(quick="--quick" in sys.argv), end="")
