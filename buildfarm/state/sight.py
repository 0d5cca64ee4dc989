"""Files as they stand: what the sweep sees of them, and the hashes of those that it has to read.

It judges nothing (`recovery` does) and changes nothing.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from buildfarm.errors import MachineError
from buildfarm.state.digest import digest_file
from buildfarm.state.place import CLOCK
from buildfarm.value import dataclass

HASHERS = 4  # hashing runs outside Python's lock; more only makes a disk seek
_ARCHIVERS_OWN = re.compile(r"st[A-Za-z0-9]{6}")  # bucomm.c: make_tempname
_FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ARCHIVES = (b"", b"!<arch>\n", b"!<thin>\n")
LIFE_MARGIN_NS = 60_000_000_000  # a build shows a sign of life every 2 s


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it stands, links followed; `real` is where it really is."""

    real: str
    regular: bool
    size: int
    mtime_ns: int
    ctime_ns: int

    @property
    def changed_ns(self) -> int:
        """The later of both: `cp -p` sets mtime, nothing sets ctime."""
        return max(self.mtime_ns, self.ctime_ns)


Look = Callable[[str], Seen | None]
Hash = Callable[[Sequence[str]], Mapping[str, str | None]]


def look(path: str) -> Seen | None:
    """The file now; None: there is none.  Raises MachineError when it can't be told."""
    try:
        found = os.stat(path)
        real = os.path.realpath(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
            return None
        raise MachineError(
            f"{path}: can't tell whether it is whole: {error.strerror}", hint="make its directory readable"
        ) from error
    return Seen(real, stat.S_ISREG(found.st_mode), found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def beside_archive(archive: str, since: float) -> list[str]:
    """What a killed `ar` or `ranlib`, begun at `since` (seconds since the epoch), may have left beside its archive.

    binutils write the new archive as `stXXXXXX` there, which only its owner may read, and rename it at the end.
    """
    left = []
    try:
        with os.scandir(os.path.dirname(archive)) as entries:
            for entry in entries:
                if _ARCHIVERS_OWN.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    with open(entry.path, "rb") as file:
                        begins = file.read(8)
                    found = entry.stat()
                    if begins in _ARCHIVES and found.st_ctime >= since and not found.st_mode & _FOR_OTHERS:
                        left.append(entry.path)
    except OSError:
        pass  # what can't be looked at is left alone
    return left


def hash_files(paths: Sequence[str]) -> dict[str, str | None]:
    """BLAKE2b-128 of each file, several at a time; None where it can't be read."""

    def one(path: str) -> str | None:
        try:
            return digest_file(path)
        except OSError:
            return None

    if not paths:
        return {}
    from concurrent.futures import ThreadPoolExecutor  # 10 ms that a sweep with nothing to hash does without

    with ThreadPoolExecutor(min(HASHERS, os.cpu_count() or 1)) as pool:
        return dict(zip(paths, pool.map(one, paths), strict=True))


def last_sign_of_life(state_dir: Path) -> int | None:
    """Until when (ns, the tree's clock) a file can be the last build's; read it before the next build begins."""
    try:
        return (state_dir / CLOCK).stat().st_mtime_ns + LIFE_MARGIN_NS
    except OSError:
        return None
