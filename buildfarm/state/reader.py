"""Read the journal without touching it: what `status`, `report` and `explain` show.

It works while a build runs, after a crash and in a directory that can't be written.  It imports only the
standard library and what of ours does so too, because `status` must start fast; it does not judge files and
never repairs.  It is one file because it is all that a reader may ask of the journal.

How it opens (https://sqlite.org/wal.html, "Read-only databases"): `mode=ro`; where that fails because the log's
shared memory can't be made, `immutable=1` if there is no log, else a private copy of database and log.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote_from_bytes

from buildfarm.errors import StateError
from buildfarm.state.encoding import pack, unpack, unpack_mapping, unpack_words
from buildfarm.state.identity import ProcessIdentity
from buildfarm.state.place import APPLICATION_ID, DATABASE, SCHEMA_VERSION, SIDE_FILES, read_pointer

if TYPE_CHECKING:
    from buildfarm.model import BuildSpec, OutputRecord

T = TypeVar("T")

BUSY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class BuildView:
    """The last build.  Times are seconds since the epoch."""

    id: int
    goals: tuple[str, ...]
    variables: Mapping[str, str]
    directory: str
    pid: int
    exit_status: int | None
    started: float
    ended: float | None
    resumed_from: int | None


@dataclass(frozen=True, slots=True)
class Counters:
    """Units, and links and archives, of the last build."""

    total: int | None = None  # None: not known yet
    total_is_final: bool = False
    done: int = 0
    checked_out: int = 0
    failed: int = 0
    remote: int = 0
    local: int = 0
    lookahead: int = 0
    retried: int = 0
    reused: int = 0
    links_done: int = 0
    links_running: int = 0
    asked: int = 0
    foreseen: int = 0
    predicted: int = 0
    wasted: int = 0
    instances: int = 0
    plan_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as the build last saw it; fields as in `model.NodeStatus`."""

    key: str
    host: str
    port: int
    state: str
    slots: int
    checked_out: int
    done: int
    failed: int
    compiler: str | None
    reason: str | None
    retry_at: float | None
    mean_seconds: float | None
    languages: str  # separated by blanks


@dataclass(frozen=True, slots=True)
class CheckedOutView:
    """A step under way, or under way when its build died."""

    output: str
    kind: str
    node: str | None
    attempt: int
    started: float
    arrived: int  # 1: in place already, waiting for a barrier


@dataclass(frozen=True, slots=True)
class FailureView:
    output: str
    argv: tuple[str, ...]
    cwd: str
    exit_status: int
    stderr: bytes


@dataclass(frozen=True, slots=True)
class StatusRows:
    """One consistent view of the last build.

    `state` is that of the status document; a build that calls itself running and whose process is gone is
    `interrupted`.  `problem` says why there is nothing to show of a journal that is there.
    """

    state: str
    build: BuildView | None = None
    counters: Counters = Counters()
    nodes: tuple[NodeView, ...] = ()
    checked_out: tuple[CheckedOutView, ...] = ()
    failures: tuple[FailureView, ...] = ()
    eta_seconds: float | None = None  # as estimated at `eta_at`
    eta_at: float | None = None
    last_step_at: float | None = None  # of an interrupted build: when the journal last heard of one of its steps
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class AttemptView:
    attempt: int
    node: str | None
    started: float
    ended: float | None
    outcome: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class StepView:
    """One step with its whole story; for `explain`, `report` and the trace."""

    build: int
    step: int
    kind: str
    state: str
    output: str | None
    argv: tuple[str, ...]
    cwd: str
    fingerprint: str
    node: str | None
    attempt: int
    lookahead: bool
    started: float
    ended: float | None
    seconds: float | None
    exit_status: int | None
    bytes_sent: int | None
    bytes_received: int | None
    reason: str | None
    stderr: bytes
    inputs: tuple[str, ...]
    attempts: tuple[AttemptView, ...]


@dataclass(frozen=True, slots=True)
class Delivered:
    """A unit as it was checked in."""

    inputs: tuple[str, ...]  # absolute, the source first
    seen: str  # what they looked like then, as a digest
    outputs: tuple[OutputRecord, ...]


def snapshot(state_dir: Path, build: int | None = None) -> StatusRows:
    """A build (the last one by default) of the tree whose `.buildfarm` this is.

    Raises StateError for a newer schema only.
    """
    return _read(
        state_dir,
        lambda db: _status(db, build),
        StatusRows("none"),
        lambda problem: StatusRows("none", problem=problem),
    )


def steps(state_dir: Path, build: int | None = None) -> tuple[StepView, ...]:
    """All steps of a build (the last one by default) in the order of their start."""
    condition = "build = coalesce(?, (SELECT max(id) FROM build))"
    return _read(state_dir, lambda db: _steps(db, condition, (build,)), (), lambda _: ())


def outputs(state_dir: Path) -> dict[str, tuple[str, ...]]:
    """By the main output of the step that made them last, all paths that are known to come with it."""
    return _read(state_dir, _outputs, {}, lambda _: {})


def written(state_dir: Path) -> tuple[str, ...]:
    """Every path that a step of a build that is kept has written."""
    query = "SELECT path FROM output"
    return _read(state_dir, lambda db: tuple(unpack(path) for (path,) in db.execute(query)), (), lambda _: ())


def unseen(state_dir: Path) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Objects that the builds which made them last have compiled past buildfarm, and programs that may have done it."""

    def rows(db: sqlite3.Connection) -> tuple[tuple[str, tuple[str, ...]], ...]:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version < 2:
            return ()
        query = "SELECT path, via FROM unseen ORDER BY path"
        return tuple((unpack(path), unpack_words(via)) for path, via in db.execute(query))

    return _read(state_dir, rows, (), lambda _: ())


def durations(state_dir: Path) -> dict[str, float]:
    """Seconds by absolute output, of all builds."""
    query = "SELECT output, seconds FROM duration"
    return _read(state_dir, lambda db: {unpack(path): seconds for path, seconds in db.execute(query)}, {}, lambda _: {})


def missing_outputs(state_dir: Path, build: int) -> dict[str, float]:
    """Recorded seconds of the objects that earlier builds of the same goals and variables had and that are not there.

    Of the builds whose steps are kept; by absolute path.
    """
    query = (
        "SELECT DISTINCT step.output, duration.seconds FROM build AS this"
        " JOIN build AS other USING (directory, goals, variables) JOIN step ON step.build = other.id"
        " JOIN duration ON duration.output = step.output"
        " WHERE this.id = ? AND other.id < this.id AND step.kind = 'compile' AND step.state = 'done'"
    )

    def missing(db: sqlite3.Connection) -> dict[str, float]:
        found = ((unpack(path), seconds) for path, seconds in db.execute(query, (build,)))
        return {path: seconds for path, seconds in found if not os.path.lexists(path)}

    return _read(state_dir, missing, {}, lambda _: {})


def compiles(state_dir: Path) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Directory and words of the latest compile of every output that was made, in all builds that are kept."""
    query = (
        "SELECT cwd, argv FROM step JOIN command ON command.id = command WHERE step.id IN"
        " (SELECT max(id) FROM step WHERE kind = 'compile' AND state = 'done' AND output IS NOT NULL GROUP BY output)"
    )
    return _read(
        state_dir,
        lambda db: tuple((unpack(cwd), unpack_words(argv)) for cwd, argv in db.execute(query)),
        (),
        lambda _: (),
    )


def delivered(state_dir: Path) -> dict[str, Delivered]:
    """By fingerprint, the units that nodes have compiled and whose outputs no other step has claimed since."""

    def rows(db: sqlite3.Connection) -> dict[str, Delivered]:
        outputs: dict[int, list[OutputRecord]] = {}
        query = "SELECT step, path, size, mtime_ns, digest FROM output WHERE standing = 'checked_in'"
        for step, path, *record in db.execute(query):
            outputs.setdefault(step, []).append(OutputRecord(unpack(path), *record))
        names: dict[int, str] = {}
        query = (
            "SELECT id, fingerprint, output, inputs, seen FROM step WHERE kind = 'compile' AND state = 'done'"
            " AND seen IS NOT NULL AND inputs IS NOT NULL AND output IS NOT NULL ORDER BY id"
        )
        return {
            fingerprint: Delivered(_inputs(db, inputs, names), seen, tuple(outputs[step]))
            for step, fingerprint, output, inputs, seen in db.execute(query)
            if unpack(output) in (record.path for record in outputs.get(step, ()))
        }

    from buildfarm.model import OutputRecord  # most who read need none

    return _read(state_dir, rows, {}, lambda _: {})


def make_words(state_dir: Path) -> tuple[str, ...] | None:
    """What the last build handed to make, goals and variables included; None: there was none."""
    query = "SELECT make_arguments FROM build ORDER BY id DESC LIMIT 1"

    def words(db: sqlite3.Connection) -> tuple[str, ...] | None:
        row = db.execute(query).fetchone()
        return None if row is None else unpack_words(row[0])

    return _read(state_dir, words, None, lambda _: None)


def identity(state_dir: Path) -> tuple[BuildSpec, str] | None:
    """What the last build was asked to do, and the token that its processes carry; None: there was none."""
    query = "SELECT directory, make_arguments, environment, token FROM build ORDER BY id DESC LIMIT 1"

    from buildfarm.model import BuildSpec  # most who read need none

    def asked(db: sqlite3.Connection) -> tuple[BuildSpec, str] | None:
        row = db.execute(query).fetchone()
        if row is None:
            return None
        return BuildSpec(unpack(row[0]), (), {}, unpack_words(row[1]), {}, unpack_mapping(row[2])), row[3]

    return _read(state_dir, asked, None, lambda _: None)


def story(state_dir: Path, output: str) -> tuple[StepView, ...]:
    """Every step that had `output` (absolute, normal) for its main or another output, the latest first.

    However its recipe spells that (`./a.o`); and those that were to make it ahead of make when their build died: they
    claimed no output.
    """

    def found(db: sqlite3.Connection) -> tuple[StepView, ...]:
        paths = [pack(output), *_spelled_otherwise(db, output)]
        these = f"({', '.join('?' * len(paths))})"
        condition = (
            f"output IN {these} OR step.id IN (SELECT step FROM output WHERE path IN {these}) OR (output IS NULL"
            f" AND state = 'swept' AND fingerprint IN (SELECT fingerprint FROM step WHERE output IN {these}))"
        )
        return _steps(db, condition, (*paths, *paths, *paths))[::-1]

    return _read(state_dir, found, (), lambda _: ())


def _spelled_otherwise(db: sqlite3.Connection, output: str) -> list[bytes]:
    """The paths that are not normal and, as text, mean `output`."""
    query = "SELECT output FROM step WHERE output IS NOT NULL UNION SELECT path FROM output"
    name = b"/" + os.path.basename(pack(output))
    paths = [path for (path,) in db.execute(query) if path.endswith(name) and (b"/." in path or b"//" in path)]
    return [path for path in paths if os.path.normpath(path) == pack(output) and path != pack(output)]


def _read(state_dir: Path, query: Callable[[sqlite3.Connection], T], nothing: T, broken: Callable[[str], T]) -> T:
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
            failure = error
            break
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


def _status(db: sqlite3.Connection, build_id: int | None) -> StatusRows:
    row = db.execute(
        "SELECT id, goals, variables, directory, pid, exit_status, started, ended, resumed_from, state, pid_start,"
        " boot_id FROM build WHERE id = coalesce(?, (SELECT max(id) FROM build))",
        (build_id,),
    ).fetchone()
    if row is None:
        return StatusRows("none")
    build = BuildView(row[0], unpack_words(row[1]), unpack_mapping(row[2]), unpack(row[3]), *row[4:9])
    state = row[9]
    if state == "running" and not ProcessIdentity(build.pid, row[10], row[11]).is_alive():
        state = "interrupted"
    progress = db.execute(
        "SELECT total, total_is_final, done, checked_out, failed, remote, local, lookahead, retried, reused,"
        " links_done, links_running, asked, foreseen, predicted, wasted, instances, plan_seconds,"
        " eta_seconds, eta_at"
        " FROM progress WHERE build = ?",
        (build.id,),
    ).fetchone()
    if progress is None:
        raise ValueError("a build without its counters")
    nodes = db.execute(
        "SELECT key, host, port, state, slots, checked_out, done, failed, compiler, reason, retry_at,"
        " mean_seconds, languages FROM node WHERE build = ? ORDER BY key",
        (build.id,),
    )
    stood = tuple(NodeView(*node) for node in nodes)
    under_way = db.execute(
        "SELECT output, kind, node, attempt, started, ended IS NOT NULL, cwd, argv FROM step"
        " JOIN command ON command.id = command WHERE build = ? AND state = 'checked_out' ORDER BY started",
        (build.id,),
    )
    failed = db.execute(
        "SELECT output, argv, cwd, exit_status, stderr FROM step JOIN command ON command.id = command"
        " WHERE build = ? AND state = 'failed' ORDER BY ended",
        (build.id,),
    )
    return StatusRows(
        state,
        build,
        Counters(progress[0], bool(progress[1]), *progress[2:18]),
        stood if state != "interrupted" else _caught_up(db, build.id, stood),
        tuple(CheckedOutView(_output(out[0], out[6], out[7]), *out[1:6]) for out in under_way),
        tuple(
            FailureView(_output(f[0], f[2], f[1]), unpack_words(f[1]), unpack(f[2]), f[3], f[4] or b"") for f in failed
        ),
        progress[18],
        progress[19],
        _last_step_at(db, build.id) if state == "interrupted" else None,
    )


def named_output(argv: Sequence[str], cwd: str) -> str:
    """How a step is called that claims no output in the tree: by what `-o` names, else by its source.

    A lookahead claims none, nor does a compile to `/dev/null`.
    """
    words = list(pairwise(argv))
    named = next((after for word, after in words if word == "-o" and not after.startswith("/dev/")), None)
    if named is None:
        plain = [word for before, word in words if not word.startswith("-") and before != "-o"]
        likely = (word for word in reversed(plain) if "." in os.path.basename(word))
        named = next(likely, (plain or [*argv] or [""])[-1])  # options may come after the source
    return os.path.join(cwd, named)


def _output(output: bytes | None, cwd: bytes, argv: bytes) -> str:
    return named_output(unpack_words(argv), unpack(cwd)) if output is None else unpack(output)


def _outputs(db: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    query = "SELECT step.output, path FROM output JOIN step ON output.step = step.id WHERE step.output IS NOT NULL"
    for main, path in db.execute(query):
        found[unpack(main)] = (*found.get(unpack(main), ()), unpack(path))
    return found


def _steps(db: sqlite3.Connection, condition: str, parameters: tuple[object, ...]) -> tuple[StepView, ...]:
    rows = db.execute(
        "SELECT step.id, build, kind, state, output, argv, cwd, fingerprint, node, attempt, lookahead, started,"
        " ended, seconds, exit_status, bytes_sent, bytes_received, reason, stderr, inputs"
        f" FROM step JOIN command ON command.id = command WHERE {condition} ORDER BY build, started, step.id",
        parameters,
    ).fetchall()
    names: dict[int, str] = {}
    return tuple(
        StepView(
            build=r[1],
            step=r[0] & 0xFFFFFFFF,
            kind=r[2],
            state=r[3],
            output=None if r[4] is None else unpack(r[4]),
            argv=unpack_words(r[5]),
            cwd=unpack(r[6]),
            fingerprint=r[7],
            node=r[8],
            attempt=r[9],
            lookahead=bool(r[10]),
            started=r[11],
            ended=r[12],
            seconds=r[13],
            exit_status=r[14],
            bytes_sent=r[15],
            bytes_received=r[16],
            reason=r[17],
            stderr=r[18] or b"",
            inputs=_inputs(db, r[19] or b"", names),
            attempts=tuple(
                AttemptView(*attempt)
                for attempt in db.execute(
                    "SELECT attempt, node, started, ended, outcome, reason FROM attempt WHERE step = ?"
                    " ORDER BY attempt",
                    (r[0],),
                )
            ),
        )
        for r in rows
    )


def _inputs(db: sqlite3.Connection, packed: bytes, names: dict[int, str]) -> tuple[str, ...]:
    numbers = struct.unpack(f"<{len(packed) // 4}I", packed)
    for number in numbers:
        if number not in names:
            (path,) = db.execute("SELECT path FROM input WHERE id = ?", (number,)).fetchone()
            names[number] = unpack(path)
    return tuple(names[number] for number in numbers)


def _last_step_at(db: sqlite3.Connection, build: int) -> float | None:
    query = "SELECT max(max(started, coalesce(ended, started))) FROM step WHERE build = ?"
    (seconds,) = db.execute(query, (build,)).fetchone()
    return None if seconds is None else float(seconds)


def _caught_up(db: sqlite3.Connection, build: int, nodes: tuple[NodeView, ...]) -> tuple[NodeView, ...]:
    """Nodes' standing is written now and then, steps always: after a kill the steps tell what a node has done."""
    done = dict(
        db.execute(
            "SELECT node, count(*) FROM step WHERE build = ? AND kind = 'compile' AND state = 'done' GROUP BY node",
            (build,),
        )
    )
    return tuple(replace(node, done=max(node.done, done.get(node.key, 0))) for node in nodes)
