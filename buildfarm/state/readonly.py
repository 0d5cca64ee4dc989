"""Opens the journal without touching it, for one consistent look.

It knows no table.  How it opens (https://sqlite.org/wal.html, "Read-only databases"): `mode=ro`; where that fails
because the log's shared memory can't be made, `immutable=1` if there is no log, else a private copy of database and
log.
"""

from __future__ import annotations

import errno
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote_from_bytes

from buildfarm.errors import StateError
from buildfarm.state.encoding import pack
from buildfarm.state.place import APPLICATION_ID, DATABASE, SCHEMA_VERSION, SIDE_FILES, read_pointer

T = TypeVar("T")

BUSY_SECONDS = 5.0


def read(state_dir: Path, query: Callable[[sqlite3.Connection], T], nothing: T, broken: Callable[[str], T]) -> T:
    """What `query` finds; `nothing` where there is no journal; `broken(problem)` where it can't be read.

    Raises StateError for one that a newer buildfarm has written.
    """
    database = read_pointer(state_dir) or state_dir / DATABASE
    try:
        database.stat()
    except (FileNotFoundError, NotADirectoryError):
        return nothing
    except OSError as error:
        return broken(f"{database}: {error.strerror}")
    failure: Exception | None = None
    for way in (_in_place, _immutable, _copied):
        try:
            with way(database) as connection:
                _check(connection, database)
                return query(connection)
        except StateError:
            raise
        except (sqlite3.OperationalError, OSError) as error:
            failure = error
        except (sqlite3.DatabaseError, ValueError, TypeError, struct.error) as error:
            return broken(f"{database}: {error}; the next build moves it aside and saves what it can")
    return broken(f"{database}: {failure}")


@contextmanager
def _in_place(database: Path) -> Iterator[sqlite3.Connection]:
    with closing(_connect(_uri(database, "mode=ro"))) as connection:
        yield connection


@contextmanager
def _immutable(database: Path) -> Iterator[sqlite3.Connection]:
    log = database.with_name(database.name + SIDE_FILES[0])
    if log.exists() and log.stat().st_size > 0:
        raise OSError(errno.EBUSY, f"{log.name} holds commits")
    with closing(_connect(_uri(database, "mode=ro&immutable=1"))) as connection:
        yield connection


@contextmanager
def _copied(database: Path) -> Iterator[sqlite3.Connection]:
    import shutil  # rarely needed, and `status` must start fast
    import tempfile

    with tempfile.TemporaryDirectory(prefix="buildfarm-") as scratch:
        copy = Path(scratch) / database.name
        log = database.with_name(database.name + SIDE_FILES[0])
        if log.exists():
            shutil.copyfile(log, copy.with_name(log.name))
        shutil.copyfile(database, copy)
        with closing(_connect(_uri(copy, "mode=rw"))) as connection:
            yield connection


def _uri(database: Path, options: str) -> str:
    return f"file:{quote_from_bytes(pack(str(database.absolute())))}?{options}"


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute("BEGIN")  # one snapshot for all that is read
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, database: Path) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id != APPLICATION_ID:
        raise ValueError("not a journal of buildfarm's")
    if version > SCHEMA_VERSION:
        raise StateError(
            f"{database}: written by a newer buildfarm (schema {version}; this one reads up to {SCHEMA_VERSION})",
            hint="upgrade buildfarm",
        )
