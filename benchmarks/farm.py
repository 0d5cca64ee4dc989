"""Gives real `distccd` daemons compilers that wait and answer recorded objects, so that few cores show a farm.

It measures nothing.  The daemons are those of the tests (`tests/farm.py`); what a unit compiles to is recorded by
plain make.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.frame import BenchmarkError, environment
from benchmarks.projects import Project
from tests.farm import Farm

MEMORY = Path("/dev/shm")
NAMES = ("gcc", "g++", "cc", "c++", "x86_64-linux-gnu-gcc", "x86_64-linux-gnu-g++")


@contextmanager
def replaying(project: Project, *, nodes: int, jobs: int, delay: float, options: str = ",lzo") -> Iterator[Farm]:
    """A farm whose compilers answer the objects that plain make makes of `project`, `delay` seconds after the call."""
    with tempfile.TemporaryDirectory(prefix="bf-recorded-") as name:
        home = Path(name)
        home.chmod(0o755)
        record(project, home / "objects")
        compiler = build_replay(home / "objects", home / "replay", delay)
        with answering(compiler, nodes=nodes, jobs=jobs, options=options) as farm:
            yield farm


def build_replay(objects: Path, compiler: Path, delay: float = 0.0) -> Path:
    """A compiler that answers from `objects`: NAME.o after NAME.us microseconds, else after `delay` seconds.

    It is static, for the dynamic linker takes longer than all that it does.
    """
    source = Path(__file__).with_name("replay.c")
    macros = [f'-DRECORDED="{objects}"', f"-DDELAY_US={int(delay * 1e6)}L"]
    subprocess.run(["gcc", "-O2", "-static", *macros, str(source), "-o", str(compiler)], check=True)
    return compiler


@contextmanager
def answering(compiler: Path, *, nodes: int, jobs: int, options: str = ",lzo") -> Iterator[Farm]:
    """A farm whose nodes have `compiler` under every compiler's name.

    Their temporary files are in memory: a real farm's nodes would not keep the master's disk busy with them.
    """
    with Farm(nodes, jobs, options=options, scratch=MEMORY if MEMORY.is_dir() else None) as farm:
        for node in farm.nodes:
            for tool in NAMES:
                shutil.copy(compiler, node.bin / tool)
        yield farm


def record(project: Project, into: Path) -> None:
    """Build `project` by plain make, keep its objects in `into`, and clean up."""
    into.mkdir(mode=0o755)
    done = subprocess.run(
        ["make", "-j2"], cwd=project.root, env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchmarkError(f"make: {done.stderr[-2000:]}")
    for unit in project.root.rglob("*.o"):
        shutil.copy(unit, into / unit.name)
        (into / unit.name).chmod(0o644)
    project.clean()


def on_nodes(farm: Farm, units: int, before: int) -> None:
    """Raises BenchmarkError unless the nodes compiled exactly `units` more than `before`."""
    farm.wait_compiles(before + units)
    found = len(farm.compiles()) - before
    if found != units:
        raise BenchmarkError(f"the nodes compiled {found} units instead of {units}")


def spent(farm: Farm) -> float:
    """CPU seconds that the daemons and their compilers have taken so far; those under way don't count.

    /proc/PID/stat's fields 14 to 17 (proc(5)): a process's own time, and its children's that it has waited for, so
    that a daemon's child that is gone counts with the daemon.
    """
    ticks = 0
    for node in farm.nodes:
        for pid in node.pids():
            with suppress(OSError):  # it has ended since, and its parent knows
                ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def forget(farm: Farm) -> None:
    """Empty the daemons' logs, which are read whole whenever compiles are counted."""
    for node in farm.nodes:
        os.truncate(node.log, 0)
