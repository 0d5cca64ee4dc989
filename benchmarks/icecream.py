"""The row of `peers` that icecream needs namespaces for: its scheduler and daemons, on two addresses of one machine.

icecream's client sends nothing to its own address, so the far daemon has a network of its own behind a pair of virtual
interfaces (as root).  icecream carries the compiler along in an archive; here that is the waiting one of the other
nodes, with the recorded objects.  Its client here is given no jobs of its own (`-m 0`), as distcc's is not.  The CPU
that scheduler and daemon spend on the master is counted.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks import master_cpu, projects
from benchmarks.farm import build_replay, record, replaying
from benchmarks.frame import PAIRS, ROOT, BenchmarkError, Measure, alternate, environment, measure
from benchmarks.projects import Project

TOOLS = ("icecc", "icecc-scheduler", "iceccd", "unshare", "ip")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_HERE, _FAR = "10.99.0.1", "10.99.0.2"
_TRUE = "int main(void) { return 0; }\n"
_REMOTE = "Remote compilation completed"  # the far daemon's log (icecream's daemon/serve.cpp)
_READY = "Connected to scheduler"
PATIENCE = 30.0  # seconds until the daemons know each other; they look every three
# A private /run: the daemons' socket is /run/icecc/iceccd.socket for every network.
_OWN_RUN = "mount -t tmpfs none /run && mkdir /run/icecc && chown icecc /run/icecc"
_SETUP = f'{_OWN_RUN} && ip link set lo up && exec "$@"'
_FAR_SETUP = f'{_OWN_RUN} && read -r _ && ip addr add {_FAR}/24 dev far && ip link set far up && exec "$@"'


def missing() -> str | None:
    """What this machine lacks, if anything."""
    if os.geteuid():
        return "needs root, for namespaces"
    return next((f"{tool} is not installed" for tool in TOOLS if shutil.which(tool, path=_PATH) is None), None)


def pairs(*, quick: bool) -> list[tuple[Measure, Measure]]:
    """Builds by buildfarm and by icecream in turns, measured in namespaces of their own.  Raises BenchmarkError."""
    inside = [sys.executable, "-m", "benchmarks.icecream", *(["--quick"] if quick else [])]
    words = ["unshare", "--net", "--mount", "sh", "-c", _SETUP, "sh", *inside]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"icecream in its namespaces: exit status {done.returncode}")
    return [(Measure(*mine), Measure(*other)) for mine, other in json.loads(done.stdout)]


def size(*, quick: bool) -> tuple[int, int]:
    """Units and pairs."""
    return (8, 1) if quick else (240, PAIRS)


@dataclass(frozen=True, slots=True)
class Icecream:
    """Scheduler and daemons that know each other."""

    log: Path
    archive: Path
    here: tuple[int, ...]  # pids of those that share the master

    def build(self, project: Project) -> Measure:
        """One whole build; every unit must have been compiled far away."""
        project.clean()
        before, spent = self._remote(), self._spent()
        env = environment(ICECC_VERSION=str(self.archive))
        jobs = master_cpu.NODES * master_cpu.JOBS + 2
        taken = measure(["make", f"-j{jobs}", "CC=icecc gcc"], cwd=project.root, env=env)
        end = time.monotonic() + PATIENCE
        while (found := self._remote() - before) < project.units and time.monotonic() < end:
            time.sleep(0.05)
        if found != project.units:
            raise BenchmarkError(f"icecream compiled {found} of {project.units} units far away: {taken.output[-1000:]}")
        return replace(taken, user=taken.user + self._spent() - spent, output="")

    def _remote(self) -> int:
        return self.log.read_text(errors="replace").count(_REMOTE)

    def _spent(self) -> float:
        """Seconds of CPU so far (proc(5): utime, stime, and those of children that were waited for)."""
        ticks = 0
        for pid in self.here:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(project: Project, room: Path) -> Iterator[Icecream]:
    """Daemons for `project`, in namespaces; ended by their pids.  Raises BenchmarkError."""
    log, jobs = room / "far.log", master_cpu.NODES * master_cpu.JOBS
    for name in ("here", "far"):
        (room / name).mkdir()
        shutil.chown(room / name, "icecc")
    shutil.chown(room, "icecc")
    archive = _archive(project, room)
    daemon = ["iceccd", "-s", _HERE, "-n", "bench", "-vv"]
    far_words = [*daemon, "-N", "far", "-m", str(jobs), "-b", str(room / "far"), "-l", str(log)]
    subprocess.run(["ip", "link", "add", "here", "type", "veth", "peer", "name", "far"], check=True)
    subprocess.run(["ip", "addr", "add", f"{_HERE}/24", "dev", "here"], check=True)
    subprocess.run(["ip", "link", "set", "here", "up"], check=True)
    with _started(["unshare", "--net", "--mount", "sh", "-c", _FAR_SETUP, "sh", *far_words], room) as far:
        _own_network(far.pid)
        subprocess.run(["ip", "link", "set", "far", "netns", str(far.pid)], check=True)
        with (
            _started(["icecc-scheduler", "-n", "bench", "-l", str(room / "scheduler.log")], room) as scheduler,
            _started(
                [*daemon, "-N", "here", "-m", "0", "-b", str(room / "here"), "-l", str(room / "here.log")], room
            ) as near,
        ):
            assert far.stdin is not None, "BUG: no pipe to the far side"
            far.stdin.write(b"\n")
            far.stdin.close()
            _await_ready(log, room / "here.log")
            yield Icecream(log, archive, (scheduler.pid, near.pid))


def _archive(project: Project, room: Path) -> Path:
    """What icecream calls an environment: the root directory in which the far daemon compiles."""
    root = room / "environment"
    for name in ("usr/bin", "bin", "tmp"):
        (root / name).mkdir(parents=True)
    record(project, root / "objects")
    build_replay(Path("/objects"), root / "usr/bin/gcc", master_cpu.DELAY)
    for name in ("bin/true", "usr/bin/as", "usr/bin/g++"):  # looked for before a compile (daemon/environment.cpp)
        subprocess.run(["gcc", "-static", "-xc", "-", "-o", root / name], input=_TRUE.encode(), check=True)
    archive = room / "environment.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(root, ".")
    return archive


@contextmanager
def _started(words: Sequence[str], room: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (room / "daemons").open("ab") as said:
        process = subprocess.Popen(
            words, env=environment(PATH=_PATH), stdin=subprocess.PIPE, stdout=said, stderr=said, cwd=room
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _own_network(pid: int) -> None:
    """Return once the process has left this network namespace."""
    mine = os.readlink("/proc/self/ns/net")
    end = time.monotonic() + PATIENCE
    while os.readlink(f"/proc/{pid}/ns/net") == mine:
        if time.monotonic() > end:
            raise BenchmarkError("unshare made no network namespace")
        time.sleep(0.01)


def _await_ready(*logs: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not all(log.exists() and _READY in log.read_text(errors="replace") for log in logs):
        if time.monotonic() > end:
            raise BenchmarkError("icecream's daemons did not find their scheduler")
        time.sleep(0.1)


def _measure_all(*, quick: bool) -> str:
    """What runs inside: the measures of `pairs` as JSON."""
    units, rounds = size(quick=quick)
    with tempfile.TemporaryDirectory(prefix="bf-bench-") as name:
        room = Path(name)
        room.chmod(0o755)
        project = projects.c(room / "c", units)
        (room / "icecream").mkdir()
        with (
            replaying(project, nodes=master_cpu.NODES, jobs=master_cpu.JOBS, delay=master_cpu.DELAY) as farm,
            running(project, room / "icecream") as icecream,
        ):
            runs = alternate(partial(master_cpu.ours, project, farm), partial(icecream.build, project), rounds)
    return json.dumps([[[m.seconds, m.user, m.system, m.peak_kb, ""] for m in pair] for pair in runs])


if __name__ == "__main__":
    print(_measure_all(quick="--quick" in sys.argv))
