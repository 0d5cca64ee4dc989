"""Getting bytes onto the disk, and telling on what kind of file system they are.

It wraps fsync(2) and syncfs(2) and reads mount tables; it knows nothing of builds or databases.  Measured on
ext4: one `syncfs` for a batch of 16 renamed objects before the commit keeps every one of them through a cut of
power, as does `fsync` + rename + directory `fsync` per object; rename alone keeps none.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")

# SQLite's WAL needs memory shared between processes (https://sqlite.org/wal.html, "all processes using a
# database must be on the same host computer"); these file systems are on another one, or can't map shared.
UNSUITABLE_FOR_WAL = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "virtiofs",
        "afs",
        "ceph",
        "glusterfs",
        "fuse.glusterfs",
        "fuse.sshfs",
        "fuse.davfs",
        "fuse.s3fs",
        "lustre",
        "gpfs",
        "beegfs",
        "ocfs2",
        "gfs2",
        "vboxsf",
        "vmhgfs",
        "fuse.vmhgfs-fuse",
        "ncpfs",
        "coda",
        "pvfs2",
        "orangefs",
    }
)


def fsync(path: str | Path) -> None:
    """Make a file's bytes durable, or the names in a directory; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def syncfs(path: str | Path) -> None:
    """Make durable all that was written so far on the file system of `path`; raises OSError.

    syncfs(2) tells of failed writes since Linux 5.8; where the call is missing, `os.sync` does more, not less.
    """
    import ctypes  # a few ms that `status` does without

    function = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if function is None:
        os.sync()
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if function(ctypes.c_int(descriptor)) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), os.fspath(path))
    finally:
        os.close(descriptor)


def filesystem_type(path: str | Path, mountinfo: Path = MOUNTINFO) -> str:
    """The type of the file system that holds `path`, as mountinfo names it; empty when it can't be told.

    The last of the longest mount points that lead to `path` holds it (proc(5), /proc/PID/mountinfo).
    """
    real = os.fsencode(os.path.realpath(path))
    try:
        lines = mountinfo.read_bytes().splitlines()
    except OSError:
        return ""
    best, kind = b"", ""
    for line in lines:
        head, _, tail = line.partition(b" - ")
        fields = head.split(b" ")
        if len(fields) < 5 or not tail:
            continue
        point = _unescape(fields[4])
        inside = point == b"/" or real == point or real.startswith(point + b"/")
        if inside and len(point) >= len(best):
            best, kind = point, tail.split(b" ")[0].decode("ascii", "replace")
    return kind


def _unescape(field: bytes) -> bytes:
    """Mountinfo writes blank, tab, newline and backslash as three octal digits."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field)


def suits_wal(kind: str) -> bool:
    """Whether SQLite's write-ahead log works on a file system of this type."""
    return kind not in UNSUITABLE_FOR_WAL


def touch(path: Path) -> int:
    """Write a byte into a file and return its mtime in ns: this moment by the clock of its file system."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.pwrite(descriptor, b"\n", 0)
        return os.fstat(descriptor).st_mtime_ns
    finally:
        os.close(descriptor)


def clock_offset_ns() -> int:
    """Wall clock minus time since boot: it changes only when somebody sets the clock (clock_gettime(2))."""
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
