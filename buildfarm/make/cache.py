"""Where what was compiled once is kept: the user's cache, or a private place beside temporary files.

A build as a service's user, in a container or with somebody else's HOME has no cache that it can write, one on a full
disk or without the right to execute has none of use, and make needs none.  It makes the directory and nothing in it.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from buildfarm.home import own_directory

ROOM_BYTES, ROOM_FILES = 4 << 20, 256  # more than all that is compiled and its links take


def cache_directory() -> Path:
    """The directory, there and of use if that can be had at all; who writes to it finds out."""
    own = own_directory("cache")
    return own if _is_usable(own) else private_directory() or own


def private_directory() -> Path | None:
    """The place beside the temporary files; None where there is none of use."""
    try:
        temporary = tempfile.gettempdir()
        if temporary not in _temporary_places() and os.path.samefile(temporary, os.curdir):
            return None  # the module's last resort; but that is somebody's tree
    except OSError:
        return None
    private = Path(temporary, f"buildfarm-cache-{os.geteuid()}")
    return private if _is_usable(private) and _is_private(private) else None


def _temporary_places() -> set[str]:
    """Where `tempfile` looks first (https://docs.python.org/3/library/tempfile.html#tempfile.gettempdir)."""
    named = {os.path.abspath(os.environ[name]) for name in ("TMPDIR", "TEMP", "TMP") if os.environ.get(name)}
    return named | {"/tmp", "/var/tmp", "/usr/tmp"}


def _is_usable(directory: Path) -> bool:
    """Whether files can be written there, fit there and may be executed there."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        disk = os.statvfs(directory)
    except OSError:
        return False
    blocks, files = (disk.f_bfree, disk.f_ffree) if os.geteuid() == 0 else (disk.f_bavail, disk.f_favail)
    return (
        os.access(directory, os.W_OK | os.X_OK, effective_ids=True)
        and not disk.f_flag & os.ST_NOEXEC
        and (blocks * disk.f_frsize >= ROOM_BYTES or not disk.f_blocks)  # statvfs(3): 0 where nothing is counted
        and (files >= ROOM_FILES or not disk.f_files)
    )


def _is_private(directory: Path) -> bool:
    """What lies there is executed: nobody else may have made it or write to it."""
    found = directory.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
