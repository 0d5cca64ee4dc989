"""Who a process is, beyond its pid: this boot's id and the process's start time.

A pid alone lies after a reboot and after it has been given to another process.  This file reads /proc and
decides nothing; it imports only the standard library, because `status` reads it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from buildfarm.value import dataclass

BOOT_ID_VARIABLE = "BUILDFARM_BOOT_ID"


def boot_id(environment: Mapping[str, str] | None = None) -> str:
    """This boot's random id (random(4), /proc/sys/kernel/random/boot_id); BUILDFARM_BOOT_ID overrides it.

    Empty where there is no /proc: two empty ids are never taken for the same boot.
    """
    value = (os.environ if environment is None else environment).get(BOOT_ID_VARIABLE)
    if value:
        return value
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().decode().strip()
    except OSError:
        return ""


def process_start(pid: int) -> int | None:
    """When `pid` started, in clock ticks after boot (proc(5), stat field 22); None: there is no such process.

    A zombie has ended: None.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()  # the name before it may hold blanks and brackets
    if fields[0] in (b"Z", b"X"):
        return None
    return int(fields[19])


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process, told apart from every other that has had or will have its pid."""

    pid: int
    start: int  # clock ticks after boot
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        """The identity of a living process; `start` is 0 where /proc can't tell."""
        return cls(pid, process_start(pid) or 0, boot_id())

    @classmethod
    def current(cls) -> ProcessIdentity:
        return cls.of(os.getpid())

    def is_alive(self) -> bool:
        """Whether that very process still runs.  A pid that was given to another does not count."""
        if not self.boot_id or self.boot_id != boot_id():
            return False
        start = process_start(self.pid)
        return start is not None and (self.start == 0 or start == self.start)
