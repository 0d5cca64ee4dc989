"""What files look like: their stamps, by which an edit is seen.

It reads no file.  A unit in C reads a hundred system headers, and each is looked at five times on the unit's way; so a
file or directory of the system's is looked at anew only when the kernel tells that anything has changed among them
(`vigil`), and in any case after `VIGIL_SECONDS`.  Of links, and where the kernel does not tell, a look counts for
`GLANCE_SECONDS`; an upgrade of packages during a build is noticed that much later there, an edit of the user's at once.

Not thread-safe.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Mapping
from functools import cache

from buildfarm.dispatch.vigil import Vigil

SYSTEM = ("/usr/include/", "/usr/lib/", "/usr/lib64/", "/usr/libexec/", "/usr/share/")
"""Where only packages put files.  `/usr/local` is the user's."""

GLANCE_SECONDS = 0.03  # less than make takes from one recipe's end to the next one's compile on a busy farm
VIGIL_SECONDS = 1.0  # the most that a look counts for: not all that may happen is told
RACY_NS = 20_000_000  # a file's or directory's time may lag behind the clock by a tick: what is younger proves nothing

Stamp = tuple[int, int, int, int]
"""mtime in ns, size, inode, ctime in ns; an edit may restore the others, never ctime."""

# By path, of the system's alone, with the time from which `VIGIL_SECONDS` count:
_glances: dict[str, tuple[float, Stamp | None, bool]] = {}
_identities: dict[str, tuple[float, tuple[int, int] | None]] = {}


@cache
def _vigil() -> Vigil:
    return Vigil()


def since() -> float:
    """Looks at the system's files that are not later than this (monotonic) count no more."""
    return max(time.monotonic() - VIGIL_SECONDS, _vigil().changed())


def begin(directory: str) -> float:
    """Before a look at this directory of the system's, or what is in it: the time from which it counts."""
    now = time.monotonic()
    return now if _vigil().covers(directory) else now - VIGIL_SECONDS + GLANCE_SECONDS


def earliest(paths: Iterable[str]) -> float:
    """The earliest look among those that are known of the system's files."""
    return min((_glances[path][0] for path in paths if path in _glances), default=float("inf"))


def stamp(path: str) -> Stamp | None:
    """The stamp of what is there; None: nothing is, or it can't be looked at."""
    return _look(path)[0]


def stamps(paths: Iterable[str]) -> dict[str, Stamp | None]:
    """The stamp of each."""
    found: dict[str, Stamp | None] = {}
    limit = since()
    for path in paths:
        known = _glances.get(path)
        found[path] = known[1] if known is not None and known[0] > limit else _look(path)[0]
    return found


def same(known: Mapping[str, Stamp | None]) -> bool:
    """Whether all looks as it did."""
    limit = since()
    for path, then in known.items():
        glance = _glances.get(path)
        now = glance[1] if glance is not None and glance[0] > limit else _look(path)[0]
        if now is not then and now != then:
            return False
    return True


def file_stamp(path: str) -> Stamp | None:
    """The same for a regular file; None for anything else."""
    found, regular = _look(path)
    return found if regular else None


def is_stream(path: str) -> bool:
    """Whether what is there is no regular file: a second reader finds a pipe empty, or waits for it."""
    found, regular = _look(path)
    return found is not None and not regular


def directory(path: str, limit: float | None = None) -> tuple[int, int] | None:
    """Which directory it is (device, inode); None: it is none.  `limit`: what `since` has just said."""
    system = f"{path}/".startswith(SYSTEM)
    begun = 0.0
    if system:
        known = _identities.get(path)
        if known is not None and known[0] > (since() if limit is None else limit):
            return known[1]
        begun = begin(path)
    try:
        status = os.stat(path)
        found = (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None
    except (OSError, ValueError):
        found = None
    if system:
        _identities[path] = begun, found
    return found


def _look(path: str) -> tuple[Stamp | None, bool]:
    if not path.startswith(SYSTEM):
        return _status(path)[:2]
    known = _glances.get(path)
    if known is not None and known[0] > since():
        return known[1], known[2]
    begun = begin(path.rpartition("/")[0])
    found, regular, link = _status(path, follow=False)
    if link:
        begun -= VIGIL_SECONDS - GLANCE_SECONDS  # what it leads to may be changed elsewhere
    if known is not None and known[1] == found:
        found = known[1]  # whoever keeps it keeps the same
    _glances[path] = begun, found, regular
    return found, regular


def _status(path: str, *, follow: bool = True) -> tuple[Stamp | None, bool, bool]:
    """The stamp, whether it is of a regular file, and, without `follow`, whether a link leads to that."""
    link = False
    try:
        status = os.stat(path, follow_symlinks=follow)
        if not follow and stat.S_ISLNK(status.st_mode):
            link = True
            status = os.stat(path)
    except (OSError, ValueError):
        return None, False, link
    found = (status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns)
    return found, stat.S_ISREG(status.st_mode), link
