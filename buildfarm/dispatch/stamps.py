"""What files look like: their stamps, by which an edit is seen.

It reads no file.  A unit in C reads a hundred system headers, and each is looked at five times on the unit's way; so on
a busy farm a file or directory of the system's is looked at anew only after `GLANCE_SECONDS`.  An upgrade of packages
during a build is noticed that much later; an edit of the user's at once.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Mapping

SYSTEM = ("/usr/include/", "/usr/lib/", "/usr/lib64/", "/usr/libexec/", "/usr/share/")
"""Where only packages put files.  `/usr/local` is the user's."""

GLANCE_SECONDS = 0.03  # less than make takes from one recipe's end to the next one's compile on a busy farm

Stamp = tuple[int, int, int, int]
"""mtime in ns, size, inode, ctime in ns; an edit may restore the others, never ctime."""

_glances: dict[str, tuple[float, Stamp | None, bool]] = {}  # by path, of the system's alone
_identities: dict[str, tuple[float, tuple[int, int] | None]] = {}


def stamp(path: str) -> Stamp | None:
    """The stamp of what is there; None: nothing is, or it can't be looked at."""
    return _look(path)[0]


def stamps(paths: Iterable[str]) -> dict[str, Stamp | None]:
    """The stamp of each."""
    found: dict[str, Stamp | None] = {}
    since = time.monotonic() - GLANCE_SECONDS
    for path in paths:
        known = _glances.get(path)
        found[path] = known[1] if known is not None and known[0] > since else _look(path)[0]
    return found


def same(known: Mapping[str, Stamp | None]) -> bool:
    """Whether all looks as it did."""
    since = time.monotonic() - GLANCE_SECONDS
    for path, then in known.items():
        glance = _glances.get(path)
        now = glance[1] if glance is not None and glance[0] > since else _look(path)[0]
        if now is not then and now != then:
            return False
    return True


def file_stamp(path: str) -> Stamp | None:
    """The same for a regular file; None for anything else."""
    found, regular = _look(path)
    return found if regular else None


def directory(path: str) -> tuple[int, int] | None:
    """Which directory it is (device, inode); None: it is none."""
    system = path.startswith(SYSTEM)
    now = time.monotonic() if system else 0.0
    if system:
        known = _identities.get(path)
        if known is not None and now - known[0] < GLANCE_SECONDS:
            return known[1]
    try:
        status = os.stat(path)
        found = (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None
    except (OSError, ValueError):
        found = None
    if system:
        _identities[path] = now, found
    return found


def _look(path: str) -> tuple[Stamp | None, bool]:
    if not path.startswith(SYSTEM):
        return _status(path)
    now = time.monotonic()
    known = _glances.get(path)
    if known is not None and now - known[0] < GLANCE_SECONDS:
        return known[1], known[2]
    found, regular = _status(path)
    if known is not None and known[1] == found:
        found = known[1]  # whoever keeps it keeps the same
    _glances[path] = now, found, regular
    return found, regular


def _status(path: str) -> tuple[Stamp | None, bool]:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None, False
    found = (status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns)
    return found, stat.S_ISREG(status.st_mode)
