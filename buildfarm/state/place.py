"""Where a tree's database is, and what tells it from any other file.

It decides between the tree and this machine's own disk, by the kind of file system; it opens no database.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from buildfarm.errors import MachineError, NoStateHere
from buildfarm.home import own_directory
from buildfarm.state import durable
from buildfarm.state.digest import digest_bytes
from buildfarm.state.encoding import pack, unpack
from buildfarm.value import dataclass

APPLICATION_ID = 0x42464A31  # "BFJ1"
SCHEMA_VERSION = 2
DATABASE = "state.db"
CLOCK = "clock"  # in `.buildfarm`: the last sign of life of a build is its mtime
POINTER = "state.path"  # in `.buildfarm`, when the database can't be: where it is
CLOSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})  # not for this user, or for nobody
LONGEST = 500  # bytes of the database's path: SQLite's limit is 512, its side files' names included (MAX_PATHNAME)
SIDE_FILES = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tree's database is.  `notice` is what the user should be told about it, once."""

    database: Path
    journal_mode: str  # WAL, or TRUNCATE where WAL does not work
    notice: str | None = None


def prepare_directory(state_dir: Path) -> None:
    """Make `.buildfarm` with a `.gitignore` of its own; raises MachineError where it can't be written.

    NoStateHere is one: where this user may not.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        ignore = state_dir / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="ascii")
    except OSError as error:
        hint = "make the directory writable for this user, or free space on its disk"
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            hint = f"move {state_dir} away: it is no directory"
        raise (NoStateHere if error.errno in CLOSED else MachineError)(
            f"{state_dir}: can't keep buildfarm's state here: {error.strerror}",
            hint=hint,
        ) from error


def find_place(state_dir: Path) -> Place:
    """The place of the database: in `state_dir`, or on this machine's own disk when the tree is on another's.

    On NFS and its like WAL does not work, and SQLite opens no path of more than 512 bytes; then the database goes to
    `$XDG_STATE_HOME/buildfarm/<hash of the tree's path>/` and `state_dir` gets a pointer to it.  Where that is no
    local disk either, it stays beside the tree with a rollback journal, which needs no shared memory.  Raises
    MachineError.
    """
    kind = durable.filesystem_type(state_dir)
    is_long = len(os.fsencode(os.path.realpath(state_dir / DATABASE))) > LONGEST
    if durable.suits_wal(kind) and not is_long:
        return Place(state_dir / DATABASE, "WAL")
    home = own_directory("state")
    tree = digest_bytes(pack(os.path.realpath(state_dir.parent)))
    place = home / tree
    try:
        place.mkdir(parents=True, exist_ok=True)
        local = durable.suits_wal(durable.filesystem_type(place))
    except OSError:
        local = False
    if not local:
        return Place(
            state_dir / DATABASE,
            "TRUNCATE",
            f"{state_dir} is on {kind} and so is {home.parent}: the journal is kept there without a write-ahead log; "
            "set XDG_STATE_HOME to a directory on a local disk",
        )
    database = place / DATABASE
    try:
        if read_pointer(state_dir) != database:
            (state_dir / POINTER).write_bytes(pack(os.fspath(database)) + b"\n")
    except OSError as error:
        raise MachineError(f"{state_dir / POINTER}: {error.strerror}") from error
    why = "has too long a path for SQLite" if is_long else f"is on {kind}"
    return Place(database, "WAL", f"{state_dir} {why}: the journal is kept in {database}")


def read_pointer(state_dir: Path) -> Path | None:
    """Where the pointer file sends readers; None: there is none."""
    try:
        text = (state_dir / POINTER).read_bytes().removesuffix(b"\n")
    except OSError:
        return None
    return Path(unpack(text)) if text else None
