"""How many files a build has open at once, and what this process may open.

It raises the soft limit as far as the farm needs and the hard limit lets it, and says so where there is too little for
any farm: short of descriptors in the middle, each part would fail in its own way.  make is started with the limit that
the user set (`MakeProcess.start`).
"""

from __future__ import annotations

import resource

from buildfarm.errors import MachineError

FILES_A_SLOT = 4  # a connection, two memory files and a pipe, at most
FILES_BESIDE = 200
LEAST_FILES = 48  # with two slots and a handful that the caller left open, a build was seen to end well with 22


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
