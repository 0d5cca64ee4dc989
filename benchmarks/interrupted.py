"""Makes a tree whose build was interrupted half-way, of any size, through the journal's own interface.

Building 20,000 units to interrupt them would take minutes a run; the journal does not see the difference.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from benchmarks import projects
from benchmarks.frame import environment
from benchmarks.projects import Project
from buildfarm.model import BuildSpec, BuildState, CheckIn, CheckOut, Kind, OutputRecord, StepState
from buildfarm.state.digest import digest_file
from buildfarm.state.journal import Journal

IN_FLIGHT = 8


def tree(root: Path, units: int, hosts: str) -> Project:
    """`units` C units of one line; the first half is compiled and checked in, eight more are checked out."""
    project = projects.small(root, units)
    sources = sorted(root.glob("u*.c"))
    done = sources[: units // 2]
    subprocess.run(["gcc", "-O2", "-Wall", "-I.", "-c", done[0].name, "-o", "first.o"], cwd=root, check=True)
    content = (root / "first.o").read_bytes()
    (root / "first.o").unlink()
    for source in done:
        source.with_suffix(".o").write_bytes(content)
    interrupt(project, [source.with_suffix(".o") for source in done], hosts)
    return project


def interrupt(project: Project, done: list[Path], hosts: str) -> None:
    """Write the journal of a build that has checked in `done`."""
    root = project.root
    spec = BuildSpec(str(root), (), {}, (), {"hosts": hosts, "jobs": "8"}, environment())
    digest = digest_file(done[0])
    outs = [
        _check_out(number, root, path)
        for number, path in enumerate([*done, *(root / f"missing{n}.o" for n in range(IN_FLIGHT))], 1)
    ]
    ins = [
        CheckIn(number, StepState.DONE, time.time(), 1.0, outputs=(_record(path, digest),))
        for number, path in enumerate(done, 1)
    ]
    with Journal.open(root / ".buildfarm") as journal:
        build = journal.begin_build(spec, started=time.time(), resumed_from=None, token="benchmark")
        journal.check_out(build, outs)
        journal.check_in(build, ins)
        journal.end_build(build, BuildState.INTERRUPTED, None)


def _check_out(number: int, root: Path, path: Path) -> CheckOut:
    argv = ("gcc", "-O2", "-Wall", "-I.", "-c", f"{path.stem}.c", "-o", path.name)
    return CheckOut(
        step=number,
        kind=Kind.COMPILE,
        cwd=str(root),
        argv=argv,
        outputs=(str(path),),
        fingerprint=f"{number:032x}",
        node="127.0.0.1:3632",
        attempt=1,
        time=time.time(),
    )


def _record(path: Path, digest: str) -> OutputRecord:
    status = os.stat(path)
    return OutputRecord(str(path), status.st_size, status.st_mtime_ns, digest)
