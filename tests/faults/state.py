"""State that is damaged between two runs, in every way that we could think of."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.farm import Farm, wait_until
from tests.faults import room
from tests.faults.matrix import Finding, NotHere, fault
from tests.tool import buildfarm, environment

GROUP = "State"
Damage = Callable[[Path], None]


def _damaged(directory: Path, damage: Damage, *, code: int = 0, keeps: bool = True) -> Finding:
    """Kill a build, damage its state, run again; `code` is what the next run must say at first."""
    with Farm(count=1, jobs=2, gated=True) as farm:
        tree = room.fresh(directory, "p")
        farm.close_gate(after=8)  # or a quick machine is done before it can be killed
        with room.starting(tree, farm.hosts) as build:
            wait_until(lambda: len(room.checked_in(tree)) >= 4, "four check-ins")
            build.kill_all()
        farm.open_gate()
        before = room.checked_in(tree)
        for half in ("table.txt", "program"):
            (tree / half).unlink(missing_ok=True)
        (tree / "table.txt").write_text("row 1\n")  # as a recipe would have left it
        alone = directory / "alone"
        shutil.copytree(tree, alone, ignore=shutil.ignore_patterns(".buildfarm"))
        make = f"keeps no state; {room.aftermath(alone)}"
        damage(tree / ".buildfarm")
        first = buildfarm("resume", "-C", str(tree), "--hosts", farm.hosts)
        if "Traceback" in first.stderr:
            return Finding(make, f"a bug: {first.stderr[-300:]}", False)
        if code:
            held = first.code == code and room.made_again(before) == []
            return Finding(make, f"exit {first.code}: {_first(first.stderr)}; nothing touched", held)
        held, words = room.judged(tree, first, before if keeps else {})
        if first.code == 66:
            again = room.run(tree, farm.hosts)
            held, words = room.judged(tree, again, before if keeps else {})
            words = f"`resume` says that nothing is known (66); `run`: {words}"
    return Finding(make, words, held)


def _first(text: str) -> str:
    return next((line for line in text.splitlines() if line), "")[:140].replace("/tmp/", "…/").strip()


def _database(change: Callable[[bytes], bytes]) -> Damage:
    def damage(state: Path) -> None:
        database = state / "state.db"
        connection = sqlite3.connect(database)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        database.write_bytes(change(database.read_bytes()))

    return damage


@fault(GROUP, "database truncated", "cut to half of its length")
def truncated(directory: Path) -> Finding:
    return _damaged(directory, _database(lambda data: data[: len(data) // 2]))


@fault(GROUP, "database with pages of garbage", "every fifth page overwritten by random bytes (seeded)")
def garbage_pages(directory: Path) -> Finding:
    dice = random.Random(3)

    def change(data: bytes) -> bytes:
        pages = [data[at : at + 4096] for at in range(0, len(data), 4096)]
        return b"".join(dice.randbytes(4096) if n % 5 == 4 else page for n, page in enumerate(pages))

    return _damaged(directory, _database(change))


@fault(GROUP, "database of zero bytes", "truncated to nothing", quick=True)
def zero_bytes(directory: Path) -> Finding:
    return _damaged(directory, _database(lambda _: b""))


@fault(GROUP, "a foreign database", "another program's SQLite file in its place")
def foreign(directory: Path) -> Finding:
    def damage(state: Path) -> None:
        for file in state.glob("state.db*"):
            file.unlink()
        connection = sqlite3.connect(state / "state.db")
        connection.execute("CREATE TABLE songs (title)")
        connection.commit()
        connection.close()

    return _damaged(directory, damage)


@fault(GROUP, "a newer schema", "`user_version` one higher: the one thing that is refused, exit 78", quick=True)
def newer(directory: Path) -> Finding:
    def damage(state: Path) -> None:
        connection = sqlite3.connect(state / "state.db")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.close()

    return _damaged(directory, damage, code=78)


@fault(GROUP, "write-ahead log cut off", "the log cut in the middle, the database left")
def log_cut(directory: Path) -> Finding:
    def damage(state: Path) -> None:
        log = state / "state.db-wal"
        if log.exists():
            os.truncate(log, log.stat().st_size // 2)

    return _damaged(directory, damage, keeps=False)


@fault(GROUP, "state directory emptied", "everything in `.buildfarm` but the lock's owner file is deleted")
def emptied(directory: Path) -> Finding:
    def damage(state: Path) -> None:
        for path in state.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in ("lock.owner", ".gitignore"):
                path.unlink()

    return _damaged(directory, damage)


@fault(
    GROUP,
    "stale lock and socket",
    "a lock's owner file of a dead process with a reused pid, junk, a socket nobody serves",
    quick=True,
)
def stale(directory: Path) -> Finding:
    def damage(state: Path) -> None:
        (state / "lock.owner").write_text(json.dumps({"pid": 1, "start": 7, "boot_id": "of another boot"}))
        (state / "work").mkdir(exist_ok=True)
        (state / "work" / "junk").write_bytes(b"\xff")
        with socket.socket(socket.AF_UNIX) as dead:
            os.chdir(state)
            try:
                dead.bind("socket")
            finally:
                os.chdir(Path(__file__).parents[2])

    return _damaged(directory, damage)


@fault(GROUP, "results in the store damaged", "every stored result is cut or overwritten")
def store(directory: Path) -> Finding:
    def damage(state: Path) -> None:
        for number, path in enumerate(sorted((state / "store").glob("*"))):
            path.write_bytes(path.read_bytes()[: 40 * number] if number % 2 else b"BFSTORE1" + bytes(200))

    return _damaged(directory, damage)


@fault(
    GROUP,
    "the tree is on another machine's disk",
    "`bindfs` calls itself `fuse.sshfs`, where SQLite's log does not work; all is killed in the middle, then resumed",
    needs=("root", "bindfs", "/dev/fuse"),
)
def network_disk(directory: Path) -> Finding:
    for name in ("behind", "tree", "home"):
        (directory / name).mkdir()
    mounted = subprocess.run(
        ["bindfs", "-o", "subtype=sshfs", str(directory / "behind"), str(directory / "tree")],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        raise NotHere(f"bindfs can't mount here: {mounted.stderr.strip()[:80]}")
    home = str(directory / "home")
    try:
        with Farm(count=1, jobs=2) as farm:
            tree = room.fresh(directory / "tree", "p")
            with room.starting(tree, farm.hosts, XDG_STATE_HOME=home) as build:
                pointer = tree / ".buildfarm" / "state.path"
                wait_until(pointer.exists, "the pointer to the journal", 60)
                database = Path(os.fsdecode(pointer.read_bytes()).strip())
                wait_until(lambda: len(room.checked_in(tree, database)) >= 4, "four check-ins", 60)
                build.kill_all()
            before = room.checked_in(tree, database)
            status = buildfarm("status", "-C", str(tree), env=environment(XDG_STATE_HOME=home))
            result = room.resume(tree, farm.hosts, XDG_STATE_HOME=home)
            held, words = room.judged(tree, result, before)
    finally:
        subprocess.run(["umount", "-l", str(directory / "tree")], check=False)
    told = "the journal is kept in" in result.stderr
    ours = f"journal on this machine's own disk{', told' if told else ', NOT TOLD'}; {words}"
    return Finding("keeps no state", ours, held and told and status.code == 4)
