"""Open the journal's database: make it, check that it is whole and ours, set it aside when it is not.

It knows the schema as a text and nothing of what the rows mean.

Theory of operation.  A new database is made under another name, closed, and renamed into place, so that no
crash leaves one half made: whatever stands at `state.db` and is not a whole database of ours was damaged, and
is moved aside (never deleted) as `state.db.broken-<time>`.  `application_id` says that it is ours,
`user_version` which schema it has; a zero-byte file would open as an empty database
(https://sqlite.org/fileformat2.html, sections 1.3 and 1.5), which is why both are checked.  An older schema gets what
it lacks (`schema-N.sql`), in one transaction, once it is known to be whole.  A newer schema is
the one thing that is neither repaired nor set aside: a newer buildfarm needs it.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from pathlib import Path

from buildfarm.errors import MachineError, StateError
from buildfarm.state import durable
from buildfarm.state.place import APPLICATION_ID, SCHEMA_VERSION, SIDE_FILES, Place

BUSY_SECONDS = 10.0


class DamageError(Exception):
    """The file is no whole database of ours; the text says in what way."""


def open_database(place: Place) -> tuple[sqlite3.Connection, Path | None]:
    """The connection, and where the damaged database that stood in its place was moved, if one was.

    Raises StateError for a newer schema, MachineError where the disk is full or not writable.
    """
    broken = None
    try:
        if not place.database.exists():
            _create(place)
        try:
            return _connect(place), None
        except DamageError:
            broken = _set_aside(place.database)
            _create(place)
            return _connect(place), broken
    except DamageError as error:
        raise MachineError(
            f"{place.database}: a fresh database can't be read back: {error}",
            hint="check this disk: `dmesg` and its free space",
        ) from error
    except (OSError, sqlite3.Error) as error:
        raise MachineError(
            f"{place.database}: {error}", hint="check the free space and the permissions of this directory"
        ) from error


class JournalError(MachineError):
    """This could not be committed; nothing of it is claimed."""


def is_damaged(error: sqlite3.Error) -> bool:
    """Whether the file's content is at fault, which the next build mends."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def given_up(database: Path, error: sqlite3.Error) -> JournalError:
    """What to say where the database can't do what was asked of it."""
    mended = "start again: the journal is mended then"
    return JournalError(
        f"{database}: {error}",
        hint=mended if is_damaged(error) else "free space on its disk, then `buildfarm resume`",
    )


def schema(version: int = SCHEMA_VERSION) -> str:
    """What makes a database of this version."""
    return "".join(_addition(number) for number in range(1, version + 1))


def _addition(version: int) -> str:
    name = "schema.sql" if version == 1 else f"schema-{version}.sql"
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _create(place: Place) -> None:
    """Make the database; the disk is waited for once, before it has its name, and not with each step of SQLite's."""
    database = place.database
    fresh = database.with_name(f"{database.name}.new")
    for path in _with_side_files(fresh) + _with_side_files(database)[1:]:
        path.unlink(missing_ok=True)  # a log without its database would be taken for the new one's
    connection = sqlite3.connect(fresh, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = MEMORY")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.executescript(f"BEGIN;\n{schema()}\nPRAGMA user_version = {SCHEMA_VERSION};\nCOMMIT;")
        connection.execute(f"PRAGMA journal_mode = {place.journal_mode}")  # WAL is a property of the file
    finally:
        connection.close()
    durable.fsync(fresh)
    os.replace(fresh, database)
    durable.fsync(database.parent)


def _connect(place: Place) -> sqlite3.Connection:
    """Raises DamageError, StateError, or what hinders any database here (OSError, sqlite3.OperationalError)."""
    with place.database.open("r+b") as file:  # says "permission denied" in the system's own words
        start = file.read(16)
    if start != b"SQLite format 3\0":
        raise DamageError("no SQLite database" if start else "zero bytes")
    _check_length(place.database)
    connection = sqlite3.connect(place.database, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        _check(connection, place.database)
        connection.execute(f"PRAGMA journal_mode = {place.journal_mode}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -16384")
    except sqlite3.DatabaseError as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError) and _hinders(error):
            raise
        raise DamageError(str(error)) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _check_length(database: Path) -> None:
    """A cut in the last page would go unseen by SQLite's own check.

    Page size and count are at offsets 16 and 28 of the header (https://sqlite.org/fileformat2.html, section
    1.3).  While there is a log the file may be shorter: a checkpoint may have been cut off, and is done again.
    """
    log = database.with_name(database.name + SIDE_FILES[0])
    if log.exists() and log.stat().st_size > 0:
        return
    with database.open("rb") as file:
        header = file.read(32)
        size = file.seek(0, os.SEEK_END)
    page_size, pages = int.from_bytes(header[16:18]), int.from_bytes(header[28:32])
    page_size = 65536 if page_size == 1 else page_size
    if size != page_size * pages:
        raise DamageError(f"{size} bytes instead of {page_size * pages}")


def _check(connection: sqlite3.Connection, database: Path) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id != APPLICATION_ID:
        raise DamageError(f"application_id {application_id:#x} is not buildfarm's")
    if version > SCHEMA_VERSION:
        raise StateError(
            f"{database}: written by a newer buildfarm (schema {version}; this one reads up to {SCHEMA_VERSION})",
            hint=f"upgrade buildfarm, or move {database} away to start afresh",
        )
    (report,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if report != "ok":
        raise DamageError(report)
    if version < 1 or _fingerprint(connection) != _expected_fingerprint(version):
        raise DamageError(f"not the tables of schema {version}")
    if version < SCHEMA_VERSION:
        _upgrade(connection, version)


def _upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Add what the schemas since `version` have added; all of it or nothing."""
    additions = "".join(_addition(number) for number in range(version + 1, SCHEMA_VERSION + 1))
    connection.executescript(f"BEGIN IMMEDIATE;\n{additions}\nPRAGMA user_version = {SCHEMA_VERSION};\nCOMMIT;")


def _fingerprint(connection: sqlite3.Connection) -> str:
    rows = connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name"
    ).fetchall()
    return hashlib.blake2b(repr(rows).encode()).hexdigest()


def _expected_fingerprint(version: int) -> str:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.executescript(schema(version))
        return _fingerprint(connection)
    finally:
        connection.close()


def _hinders(error: sqlite3.OperationalError) -> bool:
    """Whether the fault lies with the machine (full, locked, read-only), not with the file's content.

    SQLite's primary result code is the low byte: https://sqlite.org/rescode.html, section 4.
    """
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_IOERR,
    )


def _set_aside(database: Path) -> Path:
    """Move the database and what belongs to it out of the way; the name tells when."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    broken = database.with_name(f"{database.name}.broken-{stamp}")
    count = 1
    while broken.exists():
        count += 1
        broken = database.with_name(f"{database.name}.broken-{stamp}.{count}")
    for source, suffix in zip(_with_side_files(database), ("", *SIDE_FILES), strict=True):
        if source.exists():
            source.rename(broken.with_name(broken.name + suffix))
    return broken


def _with_side_files(database: Path) -> list[Path]:
    return [database, *(database.with_name(database.name + suffix) for suffix in SIDE_FILES)]
