"""Puts a unit's results beside their places, for the stub to rename: verified bytes, whole or not at all.

It neither renames (the stub does, so that a stub that dies leaves no half delivery) nor journals.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from buildfarm.dispatch import modules
from buildfarm.dispatch.prepared import Made
from buildfarm.model import MODULE_SUFFIXES, OutputRecord
from buildfarm.state.digest import digest_bytes, digest_file
from buildfarm.value import dataclass

UNORDINARY = "its output is a link, no regular file, not ours to write, or in a directory that is not there"
ELF = b"\x7fELF"  # begins an object
TICK, TICKS = 0.004, 4  # seconds (CONFIG_HZ=250, the slowest common one 100); how many are waited for


@dataclass(frozen=True, slots=True)
class Placement:
    """Results under temporary names on the right file systems, and what they will be once renamed.

    The object's record is the first, its rename the last.
    """

    renames: tuple[tuple[str, str], ...]
    records: tuple[OutputRecord, ...]

    def discard(self) -> None:
        """Take the temporaries away again; those already renamed are gone by themselves."""
        for temporary, _ in self.renames:
            Path(temporary).unlink(missing_ok=True)


def temporary_name(output: str, token: str, step: int) -> str:
    """The private name of `output` while it is written: hidden, so that no `*.o` of a recipe matches it."""
    directory, name = os.path.split(output)
    return os.path.join(directory, f".{name[:180]}.bf-{token[:8]}-{step}")


def ordinary(output: str) -> bool:
    """Whether a rename does what the compiler does when it opens `output` for writing.

    It does not where the name is a link, has other hard links, is no regular file, or one that we may not write or
    may not give back to whose it is.
    """
    try:
        status = os.lstat(output)
    except FileNotFoundError:
        return os.path.isdir(os.path.dirname(output))
    except OSError:
        return False
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        return False
    if output.endswith(MODULE_SUFFIXES):
        return True  # gfortran itself renames
    return os.access(output, os.W_OK, effective_ids=True) and _can_be_given(status)


def _can_be_given(status: os.stat_result) -> bool:
    """Whether a file of ours can be given to the owner and the group of this one."""
    user, group = status.st_uid, status.st_gid
    return os.geteuid() == 0 or (os.geteuid() == user and (os.getegid() == group or group in os.getgroups()))


def place(output: str, content: bytes, made: Sequence[Made], token: str, step: int) -> Placement:
    """Write `content` beside `output`, and before it the files already made, which are renamed before it too.

    An object is the last file that a compiler writes, so make finds `a.o: a.d` up to date, and `a.mod: a.o ;` not; and
    a make that runs after a kill, without us, does not take an object for done whose module has not come.  A module
    file that says the same as the one in place is left untouched, as gfortran leaves it: its time matters to make.
    Raises OSError (disk full, no permission); nothing stays behind then.
    """
    renames: list[tuple[str, str]] = []
    records: list[OutputRecord] = []

    def add(final: str, data: bytes) -> None:
        beside = temporary_name(final, token, step)
        renames.append((beside, final))
        write(beside, data)
        if not final.endswith(MODULE_SUFFIXES):
            _take_after(beside, final, data)
        records.append(_record(beside, final, digest_bytes(data)))

    try:
        for item in made:
            if not item.final.endswith(MODULE_SUFFIXES) or modules.changed((item,)):
                add(item.final, item.read())
            else:
                records.append(_record(item.final, item.final, digest_file(item.final)))
        add(output, content)
    except OSError:
        Placement(tuple(renames), ()).discard()
        raise
    records.sort(key=lambda record: record.path != output)  # the object first
    return Placement(tuple(renames), tuple(records))


async def last_by_its_time(placement: Placement) -> Placement:
    """The placement, the object younger than its modules by their times too, as after a compile.

    The clock that gives files their times goes by ticks, and writing takes less than one.  Where the file system counts
    in more than ticks, the times stay equal.  Raises OSError; nothing stays behind then, or when cancelled.
    """
    built, *others = placement.records
    youngest = max((other.mtime_ns for other in others if other.path.endswith(MODULE_SUFFIXES)), default=0)
    beside, final = placement.renames[-1]
    try:
        for _ in range(TICKS):
            if built.mtime_ns != youngest:
                break
            await asyncio.sleep(TICK)
            os.utime(beside)
            built = _record(beside, final, built.digest)
    except BaseException:
        placement.discard()
        raise
    return replace(placement, records=(built, *others))


def write(path: str, content: bytes) -> None:
    """Write a new file whole; raises OSError, ENOSPC included."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)


def _take_after(fresh: str, before: str, content: bytes) -> None:
    """Give `fresh` mode and owner of the file that it replaces: a compiler writes into that one.

    Into assembler text and depfiles, that is, and empty objects: the assembler removes an object that is not empty, and
    makes a new one (binutils, bfd/cache.c: `bfd_open_file`).
    """
    try:
        old = os.lstat(before)
    except FileNotFoundError:
        return
    if old.st_size and content.startswith(ELF):
        return
    new = os.stat(fresh)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        os.chown(fresh, old.st_uid, old.st_gid)
    if stat.S_IMODE(old.st_mode) != stat.S_IMODE(new.st_mode):
        os.chmod(fresh, stat.S_IMODE(old.st_mode))


def _record(path: str, final: str, digest: str) -> OutputRecord:
    status = os.stat(path)
    return OutputRecord(final, status.st_size, status.st_mtime_ns, digest)
