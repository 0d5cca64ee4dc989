"""Looks over this machine as a master: tools, file system, SQLite, disk, memory, limits.

It asks no node (`survey`), changes nothing, and only says what it saw; `doctor` prints it.
"""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from pathlib import Path

from buildfarm.conductor.limits import files_needed
from buildfarm.conductor.room import memory_available
from buildfarm.dispatch import lzo
from buildfarm.state import durable
from buildfarm.value import dataclass

DISK_BYTES = 500 << 20
MEMORY_BYTES = 300 << 20
_PACKAGES = {"make": "make", "gcc": "gcc", "g++": "g++", "gfortran": "gfortran", "objcopy": "binutils"}
_NEEDED = ("make", "gcc")
# Two connections that commit at once could lose a commit until these (sqlite.org/src, "WAL-reset bug").
_SQLITE_SOUND = ((3, 44, 6), (3, 50, 7), (3, 51, 3))


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.  `fix` is a command or a setting where there is one; with `ok` it is advice."""

    subject: str
    ok: bool
    says: str
    fix: str | None = None


def examine(where: Path, environment: Mapping[str, str], *, slots: int, ssh: bool) -> list[Check]:
    """Everything about this machine for builds in `where` on a farm of so many slots."""
    return [
        *_tools(environment, ssh=ssh),
        *_directory(where),
        _sqlite(),
        *_memory(),
        *_files(slots),
        _packing(),
    ]


def _tools(environment: Mapping[str, str], *, ssh: bool) -> list[Check]:
    checks = []
    for tool, package in _PACKAGES.items():
        path = shutil.which(tool, path=environment.get("PATH"))
        fix = f"sudo apt install {package}"
        if path is None:
            if tool in _NEEDED:
                checks.append(Check(tool, False, "not on PATH", fix))
            continue
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, errors="replace").stdout
        version = (said.splitlines() or ["says nothing to --version"])[0]
        gnu = tool != "make" or "GNU Make" in version
        checks.append(Check(tool, gnu, f"{path}: {version}", None if gnu else "sudo apt install make   (GNU make)"))
    if ssh and shutil.which("ssh", path=environment.get("PATH")) is None:
        checks.append(Check("ssh", False, "not on PATH", "sudo apt install openssh-client"))
    return checks


def _directory(where: Path) -> list[Check]:
    checks = []
    if not os.access(where, os.W_OK | os.X_OK):
        fix = f"sudo chown -R $USER {where}"
        if os.statvfs(where).f_flag & os.ST_RDONLY:
            fix = f"its file system is mounted read-only: sudo mount -o remount,rw $(findmnt -no TARGET -T {where})"
        checks.append(Check("directory", False, f"{where} is not writable", fix))
    kind = durable.filesystem_type(where)
    if durable.suits_wal(kind):
        checks.append(Check("filesystem", True, f"{where} is on {kind}"))
    else:
        state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        advice = f"build on a local disk if you can; the journal is kept in {state}/buildfarm"
        checks.append(Check("filesystem", True, f"{where} is on {kind}, which is slow for builds", advice))
    free = shutil.disk_usage(where).free
    enough = free >= DISK_BYTES
    checks.append(
        Check("disk", enough, f"{free >> 20} MB free", None if enough else f"free some space: du -xh {where} | sort -h")
    )
    return checks


def _sqlite() -> Check:
    version = sqlite3.sqlite_version_info
    sound = (
        any(version[:2] == fixed[:2] and version >= fixed for fixed in _SQLITE_SOUND) or version >= _SQLITE_SOUND[-1]
    )
    note = "" if sound else "; it can lose commits of two writers at once, of which buildfarm never has two"
    return Check("sqlite", version >= (3, 35), f"{sqlite3.sqlite_version}{note}")


def _memory() -> list[Check]:
    available = memory_available()
    if available is None:
        return []
    cores = len(os.sched_getaffinity(0))
    says = f"{available >> 20} MB available, {cores} cores"
    if available < MEMORY_BYTES * cores:
        return [
            Check(
                "memory",
                True,
                says,
                "links are done one at a time; large ones may need swap: sudo apt install zram-tools",
            )
        ]
    return [Check("memory", True, says)]


def _files(slots: int) -> list[Check]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = files_needed(slots)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return [Check("open files", True, f"limit {soft}")]
    if hard == resource.RLIM_INFINITY or hard >= needed:
        return [Check("open files", True, f"limit {soft}, raised to {needed} while a build runs")]
    fix = f"echo '* hard nofile {needed}' | sudo tee -a /etc/security/limits.conf   (then log in again)"
    return [Check("open files", False, f"limit {hard}, {slots} slots need {needed}", fix)]


def _packing() -> Check:
    engine = lzo.engine()
    if engine == "liblzo2":
        return Check("packing", True, "liblzo2")
    return Check("packing", True, f"{engine}: texts travel unpacked", "on a slow network: sudo apt install liblzo2-2")
