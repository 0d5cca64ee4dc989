"""A disk whose power can be cut at any write: qemu's blklogwrites under ext4, and the replay of its log.

`qemu-storage-daemon` exports an image as a file through FUSE and logs every write and flush in the order in which
they came; a loop device and ext4 stand on it.  `Log.images` then makes the disk as it was after any of them.  The log's
format is the kernel's (Documentation/admin-guide/device-mapper/log-writes.rst).
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.matrix import NotHere

SIZE = 160 << 20
SECTOR = 512
MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD = 1, 2, 4
NEEDS = ("root", "qemu-storage-daemon", "losetup", "mkfs.ext4", "/dev/fuse", "/dev/loop-control")


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotHere(f"`{' '.join(words[:3])} ...` does not work here: {done.stderr.strip()[:100]}")
    return done.stdout.strip()


class LoggedDisk:
    """A mounted ext4 at `point` whose writes are logged; use as a context manager, then read `log`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.point = directory / "mnt"
        self.log_file = directory / "log.img"
        self._loop = ""
        self._daemon: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> LoggedDisk:
        here = self._directory
        self.point.mkdir(exist_ok=True)
        for name, size in (("disk.img", SIZE), ("log.img", 8 << 30), ("dev.raw", 0)):
            with open(here / name, "wb") as file:
                file.truncate(size)
        words = ["qemu-storage-daemon"]
        for name, path in (("image", "disk.img"), ("log", "log.img")):
            words += ["--blockdev", f"driver=file,node-name={name},filename={here / path},locking=off"]
        words += ["--blockdev", f"driver=blklogwrites,node-name=logged,file=image,log=log,log-sector-size={SECTOR}"]
        words += ["--export", f"type=fuse,id=e,node-name=logged,mountpoint={here / 'dev.raw'},writable=on"]
        self._daemon = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            self._attach()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _attach(self) -> None:
        assert self._daemon is not None, "BUG: no daemon"
        end = time.monotonic() + 10
        while (self._directory / "dev.raw").stat().st_size != SIZE:
            if self._daemon.poll() is not None or time.monotonic() > end:
                raise NotHere("qemu-storage-daemon exports nothing through FUSE here")
            time.sleep(0.02)
        self._loop = _run("losetup", "-f", "--show", str(self._directory / "dev.raw"))
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", self._loop)
        _run("mount", self._loop, str(self.point))

    def __exit__(self, *_: object) -> None:
        unmount(self.point)
        if self._loop:
            subprocess.run(["losetup", "-d", self._loop], capture_output=True, check=False)
        if self._daemon is not None:
            time.sleep(0.2)
            self._daemon.send_signal(signal.SIGTERM)
            try:
                self._daemon.wait(20)
            except subprocess.TimeoutExpired:
                self._daemon.kill()
                self._daemon.wait()
            assert self._daemon.stderr is not None
            self._daemon.stderr.close()

    def entries(self) -> int:
        """How many writes and flushes the log holds now."""
        os.sync()
        return len(read_log(self.log_file))


@dataclass(frozen=True, slots=True)
class Entry:
    """One write or flush; `offset` of its data in the log, sizes in bytes."""

    at: int
    size: int
    flags: int
    offset: int


def read_log(path: Path) -> list[Entry]:
    """The log's entries in their order, as far as they were written."""
    found: list[Entry] = []
    with open(path, "rb") as log:
        magic, _, _, sector = struct.unpack_from("<QQQI", log.read(SECTOR))
        assert magic == MAGIC and sector == SECTOR, "not a log of writes"
        position = SECTOR
        while True:
            log.seek(position)
            first, count, flags, _ = struct.unpack("<QQQQ", log.read(32))
            if not (first or count or flags):
                return found
            size = 0 if flags & DISCARD else count * SECTOR
            found.append(Entry(first * SECTOR, size, flags, position + SECTOR))
            position += SECTOR + size


class Replay:
    """Makes the disk of any moment anew, in ascending order of moments."""

    def __init__(self, directory: Path, log: Path) -> None:
        self.entries = read_log(log)
        self._log = open(log, "rb")  # noqa: SIM115
        self._safe = directory / "safe.img"  # up to the last flush
        self._directory = directory
        with open(self._safe, "wb") as file:
            file.truncate(SIZE)
        self._done = 0

    def close(self) -> None:
        self._log.close()

    @contextmanager
    def mounted(self, moment: int, point: Path, dice: random.Random | None) -> Iterator[str]:
        """The disk after the first `moment` entries, mounted; or why it could not be.

        With `dice`, half of the writes after the last flush are lost, else none.
        """
        flushed = max((n + 1 for n in range(moment) if self.entries[n].flags & FLUSH), default=0)
        self._apply(self._safe, range(self._done, flushed), None)
        self._done = max(self._done, flushed)
        cut = self._directory / f"cut-{moment}.img"  # each its own: a mount that lingers must not write into the next
        subprocess.run(["cp", "--sparse=always", str(self._safe), str(cut)], check=True)
        self._apply(cut, range(flushed, moment), dice)
        loop = _run("losetup", "-f", "--show", str(cut))
        done = subprocess.run(["mount", loop, str(point)], capture_output=True, text=True, check=False)
        try:
            yield done.stderr.strip() if done.returncode else ""
        finally:
            if done.returncode == 0:
                unmount(point)
            subprocess.run(["losetup", "-d", loop], capture_output=True, check=False)
            cut.unlink()

    def _apply(self, image: Path, numbers: range, dice: random.Random | None) -> None:
        with open(image, "r+b") as file:
            for number in numbers:
                entry = self.entries[number]
                if entry.size and not (dice is not None and not entry.flags & FUA and dice.random() < 0.5):
                    self._log.seek(entry.offset)
                    file.seek(entry.at)
                    file.write(self._log.read(entry.size))


def unmount(point: Path) -> None:
    """Unmount; what still works there is given two seconds to end."""
    end = time.monotonic() + 2
    while subprocess.run(["umount", str(point)], capture_output=True, check=False).returncode:
        if time.monotonic() > end:
            subprocess.run(["umount", "-l", str(point)], capture_output=True, check=False)
            return
        time.sleep(0.05)


def free(directory: Path) -> None:
    """Remove the big files."""
    for path in directory.glob("*.img"):
        path.unlink()
    shutil.rmtree(directory / "mnt", ignore_errors=True)
