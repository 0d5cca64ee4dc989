"""Save from a damaged journal what can still be read of it: the last build, and what is known of outputs.

It believes nothing: every output that it saves is put down as *arrived*, which the sweep keeps only if its bytes
have the recorded hash, or *pending*, which goes.  Steps and statistics are lost.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import NoneType
from typing import Any

from buildfarm.state.place import APPLICATION_ID

BUILD_COLUMNS = (
    "id, state, directory, goals, variables, make_arguments, options, environment, pid, pid_start, boot_id, token,"
    " resumed_from, started, ended, exit_status"
)


BUILD_TYPES: tuple[type | tuple[type, ...], ...] = (
    *(int, str, bytes, bytes, bytes, bytes, bytes, bytes, int, int, str, str),
    *((int, NoneType), float, (float, NoneType), (int, NoneType)),
)
OUTPUT_COLUMNS = "path, step, standing, size, mtime_ns, digest, own_source, time"
OUTPUT_TYPES: tuple[type | tuple[type, ...], ...] = (
    *(bytes, int, str, (int, NoneType), (int, NoneType), (str, NoneType), int, float),
)


def salvage(broken: Path, connection: sqlite3.Connection, began_ns: int) -> bool:
    """Copy what is readable in `broken` into the fresh database of `connection`; whether a build was saved.

    The saved build stands as interrupted, so that the next sweep looks at everything, and what other recipes
    wrote after `began_ns` (the tree's clock) is trusted by nothing.
    """
    try:
        with closing(sqlite3.connect(broken, isolation_level=None)) as source:
            if source.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
                return False
            build = max(_rows(source, f"SELECT {BUILD_COLUMNS} FROM build", BUILD_TYPES), default=None)
            outputs = list(_rows(source, f"SELECT {OUTPUT_COLUMNS} FROM output", OUTPUT_TYPES))
    except sqlite3.Error:
        return False
    if build is None:
        return False
    connection.execute("BEGIN IMMEDIATE")
    try:
        marks = ", ".join("?" * len(build))
        connection.execute(f"INSERT INTO build ({BUILD_COLUMNS}) VALUES ({marks})", build)
        connection.execute("UPDATE build SET state = 'interrupted', ended = NULL, exit_status = NULL")
        connection.execute("INSERT INTO progress (build, barrier_ns, clock_ns) VALUES (?, ?, 0)", (build[0], began_ns))
        connection.executemany(
            f"INSERT OR REPLACE INTO output ({OUTPUT_COLUMNS})"
            " VALUES (?, ?, CASE ? WHEN 'checked_in' THEN 'arrived' ELSE ? END, ?, ?, ?, ?, ?)",
            [(path, step, standing, standing, *rest) for path, step, standing, *rest in outputs],
        )
        connection.execute("COMMIT")
    except sqlite3.Error:  # what was read is not what such a row can be
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        return False
    return True


def _rows(
    source: sqlite3.Connection, query: str, types: tuple[type | tuple[type, ...], ...]
) -> Iterator[tuple[Any, ...]]:
    """The rows up to the first that can't be read, without those that are not what such a row can be."""
    try:
        for row in source.execute(query):
            if all(isinstance(value, wanted) for value, wanted in zip(row, types, strict=True)):
                yield row
    except (sqlite3.Error, OverflowError, UnicodeDecodeError):
        return
