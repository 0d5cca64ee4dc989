"""Does here what a job asks of a node: the same text, the same words, this machine's compiler.

It judges nothing (`conductor.trust` compares), and it is no way to build a unit: what comes out is only for
comparison.  It repeats the *job*, not the recipe's command, because the job is all that the node had: sources that
have changed since can't accuse it falsely.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from buildfarm.dispatch import local, protocol
from buildfarm.model import Job

PREPROCESSED = {".c": ".i", ".cc": ".ii", ".cpp": ".ii", ".cxx": ".ii", ".C": ".ii", ".m": ".mi"}
"""What distccd calls a text that came by protocol 1 or 2 (`src/filename.c: dcc_preproc_exten`)."""

NICENESS = "10"


async def compile_here(job: Job, tool_path: str, environment: Mapping[str, str], room: Path) -> bytes | None:
    """The object (or assembler text) that `tool_path` makes of the job; None: it fails.

    `room` is a private directory that does not exist yet; it is gone when this returns.  Raises OSError.
    """
    room.mkdir()
    try:
        argv = [tool_path, *job.argv[1:]]
        cwd = room
        if job.pump:
            cwd = _unpack(job, room)
        else:
            name, extension = os.path.splitext(argv[-3])
            argv[-3] = os.path.basename(name) + PREPROCESSED.get(extension, extension)
            (room / argv[-3]).write_bytes(protocol.plain(job))
        output = cwd / argv[argv.index("-o") + 1]
        if (nice := shutil.which("nice")) is not None:
            argv = [nice, "-n", NICENESS, *argv]
        finished = await local.run(argv, cwd=str(cwd), env=environment)
        return output.read_bytes() if finished.succeeded else None
    finally:
        shutil.rmtree(room, ignore_errors=True)


async def without_debug(content: bytes, tool_path: str, environment: Mapping[str, str], room: Path) -> bytes | None:
    """The object that `tool_path` made after `objcopy --strip-debug`; None: there is no objcopy, or it refuses.

    `room` as above.
    """
    room.mkdir()
    try:
        objcopy = await _objcopy(tool_path, environment, room)
        if objcopy is None:
            return None
        (room / "in.o").write_bytes(content)
        argv = [objcopy, "--strip-debug", "in.o", "out.o"]
        finished = await local.run(argv, cwd=str(room), env=environment)
        return (room / "out.o").read_bytes() if finished.succeeded else None
    finally:
        shutil.rmtree(room, ignore_errors=True)


async def _objcopy(tool_path: str, environment: Mapping[str, str], room: Path) -> str | None:
    """The compiler's own: a cross compiler's objects are nothing to this machine's (gcc's manual: -print-prog-name)."""
    told = await local.run([tool_path, "-print-prog-name=objcopy"], cwd=str(room), env=environment)
    name = os.fsdecode(told.stdout).strip() if told.succeeded else ""
    return shutil.which(name or "objcopy", path=environment.get("PATH"))


def _unpack(job: Job, room: Path) -> Path:
    """Lay out the files of a protocol-3 job below `room`; its directory there."""
    for sent in job.files:
        path = Path(f"{room}{sent.name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if sent.link is not None:
            path.symlink_to(f"{room}{sent.link}" if sent.link.startswith("/") else sent.link)
        else:
            path.write_bytes(sent.content)
    cwd = Path(f"{room}{job.cwd}")
    cwd.mkdir(parents=True, exist_ok=True)
    return cwd
