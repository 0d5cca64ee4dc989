"""Cuts of power at any write, in write order and with what was not flushed lost at random."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from buildfarm.state.digest import digest_file
from tests.farm import Farm
from tests.faults import disk, room
from tests.faults.disk import LoggedDisk, Replay
from tests.faults.matrix import Finding, fault

GROUP = "Power cut"
SEED = 11
CUTS = int(os.environ.get("FAULTS_POWER_CUTS", "120"))
RESUMES = int(os.environ.get("FAULTS_POWER_RESUMES", "12"))  # of the cuts, how many are resumed to the end
TREES = 4
SETTLE = 7.0  # seconds after the build: ext4 commits its metadata every 5

_IN_PLACE = """
import sqlite3, sys
from hashlib import blake2b
db = sqlite3.connect(sys.argv[1] + "/journal.db", isolation_level=None)
db.execute("PRAGMA journal_mode=WAL"); db.execute("PRAGMA synchronous=FULL")
db.execute("CREATE TABLE output (path, digest)")
for n in range(60):
    path, data = f"{sys.argv[1]}/{n}.o", bytes([n + 1]) * 30000
    open(path, "wb").write(data)
    db.execute("INSERT INTO output VALUES (?, ?)", (path, blake2b(data, digest_size=16).hexdigest()))
"""


def _cuts(first: int, last: int, count: int) -> list[int]:
    return sorted({first + round((last - first) * i / (count - 1)) for i in range(count)})


def _broken(database: Path) -> tuple[int, list[str]]:
    """How many outputs a journal calls checked in, and which of them are not there whole."""
    if not database.exists():
        return 0, []
    with tempfile.TemporaryDirectory() as directory:
        for suffix in ("", "-wal"):
            source = database.with_name(database.name + suffix)
            if source.exists():
                shutil.copy(source, Path(directory) / source.name)
        connection = sqlite3.connect(Path(directory) / database.name)
        try:
            ours = database.name == "state.db"
            rows = connection.execute(
                f"SELECT path, digest FROM output {'WHERE standing = ' + repr('checked_in') if ours else ''}"
            ).fetchall()
        except sqlite3.Error:
            return 0, []
        finally:
            connection.close()
    bad = []
    for path, digest in rows:
        try:
            whole = digest_file(os.fsdecode(path)) == digest
        except OSError:
            whole = False
        if not whole:
            bad.append(os.path.basename(os.fsdecode(path)))
    return len(rows), bad


def _control(directory: Path) -> tuple[int, int]:
    """The negative control: an in-place writer with a durable journal; (cuts, cuts that found a broken row)."""
    with LoggedDisk(directory) as logged:
        os.sync()
        first = logged.entries()
        subprocess.run([sys.executable, "-c", _IN_PLACE, str(logged.point)], check=True)
        time.sleep(SETTLE)
        last = logged.entries()
    replay, caught = Replay(directory, logged.log_file), 0
    moments = _cuts(first, last, 20)
    for moment in moments:
        with replay.mounted(moment, logged.point, None) as trouble:
            caught += bool(not trouble and _broken(logged.point / "journal.db")[1])
    replay.close()
    disk.free(directory)
    return len(moments), caught


def _plain(directory: Path, hosts: str) -> str:
    with LoggedDisk(directory) as logged:
        trees = [room.write(logged.point / f"p{n}") for n in range(TREES)]
        os.sync()
        first = logged.entries()
        for tree in trees:
            room.plain(tree, hosts)
        time.sleep(SETTLE)
        last = logged.entries()
    replay = Replay(directory, logged.log_file)
    words: dict[str, int] = {}
    for moment in _cuts(first, last, 10):
        with replay.mounted(moment, logged.point, None) as trouble:
            for tree in () if trouble else trees:
                if list(tree.glob("*.o")):
                    kind = _kind(room.aftermath(tree))
                    words[kind] = words.get(kind, 0) + 1
    replay.close()
    disk.free(directory)
    return "; ".join(f"{count} times the next make {kind}" for kind, count in words.items())


def _kind(aftermath: str) -> str:
    if "fails" in aftermath:
        return "fails"
    return "says all is well over wrong files" if "wrong" in aftermath else "ends well"


def _stage(directory: Path, cuts: int, resumes: int, plain: bool) -> Finding:
    controls, caught = _control(directory)
    dice = random.Random(SEED)
    seen = 0
    with Farm(count=1, jobs=2) as farm:
        make = _plain(directory, farm.hosts) if plain else "as in the full row"
        with LoggedDisk(directory) as logged:
            trees = [room.write(logged.point / f"p{n}") for n in range(TREES)]
            os.sync()
            first = logged.entries()
            for tree in trees:
                result = room.run(tree, farm.hosts)
                assert result.code == 0, result.stderr
            time.sleep(SETTLE)
            last = logged.entries()
        replay = Replay(directory, logged.log_file)
        moments = _cuts(first, last, cuts)
        resumed = 0
        for number, moment in enumerate(moments):
            lossy = number % 2 == 1
            with replay.mounted(moment, logged.point, dice if lossy else None) as trouble:
                if trouble:
                    return Finding(make, f"write {moment}: ext4 could not be mounted: {trouble}", False)
                for tree in trees:
                    rows, bad = _broken(tree / ".buildfarm" / "state.db")
                    seen += rows
                    if bad:
                        return Finding(make, f"write {moment}: checked in and not whole: {', '.join(bad)}", False)
                if number % max(1, cuts // resumes) == 1:
                    tree = next((t for t in reversed(trees) if (t / ".buildfarm" / "state.db").exists()), trees[0])
                    before = room.checked_in(tree)
                    result = room.resume(tree, farm.hosts, BUILDFARM_BOOT_ID="after the cut")
                    if result.code == 66:
                        result = room.run(tree, farm.hosts, BUILDFARM_BOOT_ID="after the cut")
                    held, words = room.judged(tree, result, before)
                    resumed += 1
                    if not held:
                        return Finding(make, f"write {moment}, resumed: {words}", False)
        replay.close()
    ours = (
        f"{len(moments)} cuts, half of them with unflushed writes lost at random:"
        f" {seen} checked-in outputs looked at, all whole;"
        f" {resumed} of the cuts resumed: make's bytes, nothing checked in made again."
        f" Negative control (an in-place writer with a durable journal): broken in {caught} of {controls} cuts"
    )
    return Finding(make, ours, caught > 0)


HOW = (
    "`qemu-storage-daemon` with blklogwrites, FUSE export, loop device, ext4;"
    " the log of writes is replayed up to a cut, then mounted"
)


@fault(GROUP, f"at {CUTS} writes", HOW, needs=(*disk.NEEDS, "distcc"))
def power_cut(directory: Path) -> Finding:
    return _stage(directory, CUTS, RESUMES, True)
