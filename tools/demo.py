"""`make demo`: builds a climate model on two nodes, kills the build half-way, resumes it, and runs the model.

It shows and checks; it measures nothing worth quoting, because both nodes are on this machine and share its cores.  The
nodes are real `distccd` daemons on loopback ports of their own (`tests/farm.py`), ended by their pids whatever
happens.  Without distccd the build runs on this machine alone; without gfortran a small C project takes the model's
place, which may be built before it can be killed.
"""

from __future__ import annotations

import contextlib
import filecmp
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.farm import Farm
from tests.tool import environment

SAMPLES = Path(__file__).resolve().parent.parent / "sample_projects"
BUILDFARM = Path(sys.executable).with_name("buildfarm")
DEADLINE = 100.0  # seconds for any step
SLOTS = 2  # of each node
SOURCES = (".c", ".f", ".F", ".f90", ".F90")
MADE = (".o", ".a", ".mod", ".smod")


class DemoError(Exception):
    """Something that the demo promises did not happen."""


def main() -> int:
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="buildfarm-demo-") as place, nodes() as hosts:
            show(Path(place), hosts)
    except DemoError as failure:
        print(f"\nThe demo failed: {failure}")
        return 1
    print(f"\nAll of that took {time.monotonic() - began:.0f} s.")
    return 0


@contextlib.contextmanager
def nodes() -> Iterator[str]:
    """The host list of two nodes, alive within the block; an empty one where distccd is missing."""
    if shutil.which("distccd") is None:
        print("distccd is missing (`make tools` says why): this machine builds alone.")
        yield ""
        return
    with Farm(count=2, jobs=SLOTS) as farm:
        print(f"Two nodes: stock distccd on {farm.nodes[0].address} and {farm.nodes[1].address}, {SLOTS} slots each.")
        yield farm.hosts


def show(place: Path, hosts: str) -> None:
    sample = "minimodel" if shutil.which("gfortran") else "recursive"
    tree = place / sample
    peer = place / "by-make" / sample
    for copy in (tree, peer):
        shutil.copytree(
            SAMPLES / sample, copy, ignore=shutil.ignore_patterns(*(f"*{end}" for end in MADE), ".buildfarm")
        )
    units = sum(path.suffix in SOURCES for path in tree.rglob("*"))
    print(f"The project: a copy of sample_projects/{sample}, {units} sources, its Makefiles as they are.")

    heading("Build it, and pull the plug half-way")
    killed = build_and_kill(tree, hosts, units // 2)
    before = document(tree)["units"]
    heading("What is there, what is missing?")
    code = buildfarm("status", tree)
    if killed and code != 4:
        raise DemoError(f"status exits {code}, not 4, for an interrupted build")
    heading("Resume: the same build, only what is missing")
    began = time.monotonic()
    if (code := buildfarm("resume", tree)) != 0:
        raise DemoError(f"resume exits {code}")
    took = time.monotonic() - began
    buildfarm("status", tree)
    after = document(tree)["units"]

    heading("The same with plain make, beside it")
    files, different = compare(tree, peer)
    print(f"{files - len(different)} of {files} objects, modules, archives and programs have the same bytes")
    heading("Run it")
    run_program(tree)

    heading("In figures")
    compiled = after["remote"] + after["local"]
    if killed:
        print(f"checked in when it was killed  {before['done']} units of {units}")
        print(f"kept by resume                 {after['reused']}")
        if after["reused"] > before["done"]:
            print("                               (more: whole results that the kill kept from being checked in)")
        print(f"compiled by resume             {compiled}, in {took:.1f} s")
    print(f"of these                       {after['remote']} on nodes, {after['local']} here")
    if different:
        raise DemoError(f"not make's own bytes: {', '.join(different)}")
    if killed and after["reused"] < before["done"]:
        raise DemoError("a unit that was checked in was compiled again")


def build_and_kill(tree: Path, hosts: str, enough: int) -> bool:
    """Start a build and SIGKILL all of it once `enough` units are done; False if it ended before."""
    words = ["run", "-C", tree.name, "--silent", "--plain", "--hosts", hosts]
    print_command(words)
    build = subprocess.Popen(
        [BUILDFARM, *words],
        cwd=tree.parent,
        env=environment(),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + DEADLINE
        while document(tree)["units"]["done"] < enough:
            if (code := build.poll()) is not None:
                if code:
                    raise DemoError(f"the build exits {code}")
                break
            if time.monotonic() > end:
                raise DemoError(f"not half done after {DEADLINE:.0f} s")
            time.sleep(0.05)
    finally:
        killed = kill_session(build)
    if document(tree)["state"] == "complete":
        print("(it was done before it could be killed)")
        return False
    print(f"\n*** kill -9 of buildfarm, make, the compilers here: {killed} processes ***")
    return True


def kill_session(build: subprocess.Popen[bytes]) -> int:
    """SIGKILL every process of the build's session, its process group at one blow; how many there were."""
    killed: set[int] = set()
    while members := [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if in_session(pid, build.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(build.pid, signal.SIGKILL)
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed.update(members)
        build.poll()  # reaps the leader
    build.wait()
    return len(killed)


def in_session(pid: int, session: int) -> bool:
    """Whether a living process belongs to the session."""
    try:
        # After the name in parentheses: state, parent, group, session (proc(5)).
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return False
    return int(fields[3]) == session and fields[0] != "Z"


def buildfarm(name: str, tree: Path) -> int:
    """Run `buildfarm NAME -C TREE` for the reader; its exit code."""
    words = [name, "-C", tree.name, *(["--plain"] if name == "resume" else [])]
    print_command(words)
    return subprocess.run(
        [BUILDFARM, *words], cwd=tree.parent, env=environment(), stdin=subprocess.DEVNULL, check=False
    ).returncode


def document(tree: Path) -> dict[str, Any]:
    """The status document, schema 1; before the state exists its state is `none`."""
    done = subprocess.run(
        [BUILDFARM, "status", "-C", str(tree), "--json"], env=environment(), capture_output=True, text=True, check=False
    )
    parsed = json.loads(done.stdout)
    assert isinstance(parsed, dict)
    return parsed


def compare(tree: Path, peer: Path) -> tuple[int, list[str]]:
    """Build `peer` by plain make; how many files were made, and the names of those that differ in `tree`."""
    before = {path for path in peer.rglob("*") if path.is_file()}
    began = time.monotonic()
    subprocess.run(
        ["make", "-s", f"-j{os.cpu_count()}"], cwd=peer, env=environment(), stdout=subprocess.DEVNULL, check=True
    )
    print(f"$ make -j{os.cpu_count()}    # {time.monotonic() - began:.1f} s, this machine alone")
    made = sorted(str(path.relative_to(peer)) for path in peer.rglob("*") if path.is_file() and path not in before)
    return len(made), filecmp.cmpfiles(peer, tree, made, shallow=False)[1] + [
        name for name in made if not (tree / name).exists()
    ]


def run_program(tree: Path) -> None:
    """Run what was built through the project's own `make check`, and show what the program says."""
    done = subprocess.run(
        ["make", "-s", "check"], cwd=tree, env=environment(), capture_output=True, text=True, check=False
    )
    log = tree / "output.txt"
    lines = ((log.read_text() if log.exists() else "") + done.stdout).splitlines()
    if len(lines) > 60:
        lines[15:-32] = ["...", ""]
    print("\n".join(lines))
    if done.returncode:
        raise DemoError(f"the program is wrong:\n{done.stderr}")


def heading(text: str) -> None:
    print(f"\n=== {text} ===", flush=True)


def print_command(words: list[str]) -> None:
    print(f"$ buildfarm {shlex.join(words)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
