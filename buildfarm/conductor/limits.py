"""What a build needs of what a process may have (setrlimit(2)): open files, threads, the journal's size.

It raises the soft limit of open files as far as the farm needs and the hard limit lets it, and says so where there is
too little of anything for any farm: short of it in the middle, each part would fail in its own way.  make is started
with the limit that the user set (`MakeProcess.start`).
"""

from __future__ import annotations

import os
import resource
import threading

from buildfarm.errors import MachineError, NoStateHere

FILES_A_SLOT = 4  # a connection, two memory files and a pipe, at most
FILES_BESIDE = 200
LEAST_FILES = 48  # with two slots and a handful that the caller left open, a build was seen to end well with 22
LEAST_SIZE = 32 << 20  # bytes; the journal of 20,000 units, its log and a large object
THREADS_BESIDE = 4  # the journal's two, the live view's, one in reserve; asyncio's pool has as many as it likes
MANY_PROCESSES = 4096  # a user who may have so many is not asked


def files_needed(slots: int) -> int:
    """What `ulimit -n` should be on a farm of so many slots."""
    return FILES_BESIDE + FILES_A_SLOT * slots


def make_room(slots: int) -> tuple[int, int]:
    """Let this process open what a farm of so many slots needs; the limits (soft, hard) that were set before.

    Raises MachineError where not even a small farm has enough.
    """
    soft, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= files_needed(slots):
        return before
    wanted = files_needed(slots) if hard == resource.RLIM_INFINITY else min(hard, files_needed(slots))
    if wanted < LEAST_FILES:
        raise MachineError(
            f"open files: the limit is {hard}, and a build on {slots} slots needs {files_needed(slots)}",
            hint=f"ulimit -n {files_needed(slots)}; `buildfarm doctor` tells what to do where that is refused",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    return before


def require_journal() -> None:
    """Raises NoStateHere where no file may become as large as a journal does."""
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if soft != resource.RLIM_INFINITY and soft < LEAST_SIZE:
        raise NoStateHere(f"file size: the limit is {soft} bytes, too little for a journal", hint="ulimit -f unlimited")


def require_threads() -> None:
    """Raises MachineError where the threads of a build can't be had, if limits are such that this may be."""
    processes, memory, data = (
        resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_NPROC, resource.RLIMIT_AS, resource.RLIMIT_DATA)
    )
    unlimited = resource.RLIM_INFINITY
    if (processes == unlimited or processes >= MANY_PROCESSES) and memory == data == unlimited:
        return
    done = threading.Event()
    try:
        for _ in range(min(32, (os.cpu_count() or 1) + 4) + THREADS_BESIDE):  # `ThreadPoolExecutor`, `max_workers`
            threading.Thread(target=done.wait, daemon=True).start()
    except RuntimeError as error:
        raise MachineError(
            f"{error}: the limit is {processes} processes, or memory's is too low",
            hint="ulimit -u, ulimit -v and ulimit -d tell and set them",
        ) from error
    finally:
        done.set()
