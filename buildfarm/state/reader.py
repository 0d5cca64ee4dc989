"""What `status`, `report` and `explain` show of the journal: every question that a reader may ask of it.

It works while a build runs, after a crash and in a directory that can't be written (`readonly`), judges no files and
repairs nothing.  It imports only the standard library and what of ours does so too, because `status` must start fast.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildfarm.state.encoding import pack, unpack, unpack_mapping, unpack_words
from buildfarm.state.identity import ProcessIdentity
from buildfarm.state.place import CLOCK
from buildfarm.state.readonly import read
from buildfarm.state.views import (
    AttemptView,
    BuildView,
    CheckedOutView,
    Counters,
    Delivered,
    FailureView,
    NodeView,
    StatusRows,
    StepView,
    named_output,
)

if TYPE_CHECKING:
    from buildfarm.model import BuildSpec, OutputRecord


def snapshot(state_dir: Path, build: int | None = None) -> StatusRows:
    """A build (the last one by default) of the tree whose `.buildfarm` this is.

    Raises StateError for a newer schema only.
    """
    return read(
        state_dir,
        lambda db: _status(db, build, state_dir),
        StatusRows("none"),
        lambda problem: StatusRows("none", problem=problem),
    )


def steps(state_dir: Path, build: int | None = None) -> tuple[StepView, ...]:
    """All steps of a build (the last one by default) in the order of their start."""
    condition = "build = coalesce(?, (SELECT max(id) FROM build))"
    return read(state_dir, lambda db: _steps(db, condition, (build,)), (), lambda _: ())


def outputs(state_dir: Path) -> dict[str, tuple[str, ...]]:
    """By the main output of the step that made them last, all paths that are known to come with it."""
    return read(state_dir, _outputs, {}, lambda _: {})


def written(state_dir: Path) -> tuple[str, ...]:
    """Every path that a step of a build that is kept has written."""
    query = "SELECT path FROM output"
    return read(state_dir, lambda db: tuple(unpack(path) for (path,) in db.execute(query)), (), lambda _: ())


def unseen(state_dir: Path) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Objects that the builds which made them last have compiled past buildfarm, and programs that may have done it."""

    def rows(db: sqlite3.Connection) -> tuple[tuple[str, tuple[str, ...]], ...]:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version < 2:
            return ()
        query = "SELECT path, via FROM unseen ORDER BY path"
        return tuple((unpack(path), unpack_words(via)) for path, via in db.execute(query))

    return read(state_dir, rows, (), lambda _: ())


def durations(state_dir: Path) -> dict[str, float]:
    """Seconds by absolute output, of all builds."""
    query = "SELECT output, seconds FROM duration"
    return read(state_dir, lambda db: {unpack(path): seconds for path, seconds in db.execute(query)}, {}, lambda _: {})


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

    return read(state_dir, missing, {}, lambda _: {})


def compiles(state_dir: Path) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Directory and words of the latest compile of every output that was made, in all builds that are kept."""
    query = (
        "SELECT cwd, argv FROM step JOIN command ON command.id = command WHERE step.id IN"
        " (SELECT max(id) FROM step WHERE kind = 'compile' AND state = 'done' AND output IS NOT NULL GROUP BY output)"
    )
    return read(
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

    return read(state_dir, rows, {}, lambda _: {})


def make_words(state_dir: Path) -> tuple[str, ...] | None:
    """What the last build handed to make, goals and variables included; None: there was none."""
    query = "SELECT make_arguments FROM build ORDER BY id DESC LIMIT 1"

    def words(db: sqlite3.Connection) -> tuple[str, ...] | None:
        row = db.execute(query).fetchone()
        return None if row is None else unpack_words(row[0])

    return read(state_dir, words, None, lambda _: None)


def identity(state_dir: Path) -> tuple[BuildSpec, str] | None:
    """What the last build was asked to do, and the token that its processes carry; None: there was none."""
    query = "SELECT directory, make_arguments, environment, token FROM build ORDER BY id DESC LIMIT 1"

    from buildfarm.model import BuildSpec  # most who read need none

    def asked(db: sqlite3.Connection) -> tuple[BuildSpec, str] | None:
        row = db.execute(query).fetchone()
        if row is None:
            return None
        return BuildSpec(unpack(row[0]), (), {}, unpack_words(row[1]), {}, unpack_mapping(row[2])), row[3]

    return read(state_dir, asked, None, lambda _: None)


def story(state_dir: Path, output: str) -> tuple[StepView, ...]:
    """Every step whose main output was `output` (absolute, normal) or what was last made with it, the latest first.

    However its recipe spells that (`./a.o`); and those that were to make it ahead of make when their build died: they
    claimed no output.
    """

    def found(db: sqlite3.Connection) -> tuple[StepView, ...]:
        paths = [pack(output), *_spelled_otherwise(db, output)]
        these = f"({', '.join('?' * len(paths))})"
        condition = (
            f"output IN {these} OR output IN (SELECT step.output FROM output JOIN step ON step.id = output.step"
            f" WHERE path IN {these}) OR (output IS NULL"
            f" AND state = 'swept' AND fingerprint IN (SELECT fingerprint FROM step WHERE output IN {these}))"
        )
        return _steps(db, condition, (*paths, *paths, *paths))[::-1]

    return read(state_dir, found, (), lambda _: ())


def _spelled_otherwise(db: sqlite3.Connection, output: str) -> list[bytes]:
    """The paths that are not normal and, as text, mean `output`."""
    query = "SELECT output FROM step WHERE output IS NOT NULL UNION SELECT path FROM output"
    name = b"/" + os.path.basename(pack(output))
    paths = [path for (path,) in db.execute(query) if path.endswith(name) and (b"/." in path or b"//" in path)]
    return [path for path in paths if os.path.normpath(path) == pack(output) and path != pack(output)]


def _status(db: sqlite3.Connection, build_id: int | None, state_dir: Path) -> StatusRows:
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
        "SELECT output, kind, node, attempt, started, ended IS NOT NULL,"
        " NOT EXISTS (SELECT 1 FROM attempt WHERE step = step.id AND outcome IS NULL), lookahead, cwd, argv FROM step"
        " JOIN command ON command.id = command WHERE build = ? AND state = 'checked_out' ORDER BY started",
        (build.id,),
    )
    failed = db.execute(
        "SELECT output, argv, cwd, exit_status, stderr, reason FROM step JOIN command ON command.id = command"
        " WHERE build = ? AND state = 'failed' ORDER BY ended",
        (build.id,),
    ).fetchall()
    return StatusRows(
        state,
        build,
        Counters(progress[0], bool(progress[1]), *progress[2:18]),
        stood if state != "interrupted" else _caught_up(db, build.id, stood),
        tuple(
            CheckedOutView(_output(output, cwd, argv), kind, node, attempt, started, *map(bool, flags))
            for output, kind, node, attempt, started, *flags, cwd, argv in under_way
        ),
        tuple(_failures(failed)),
        progress[18],
        progress[19],
        _retries(db, build.id) if progress[8] else (),
        _last_heard_at(db, build.id, state_dir) if state == "interrupted" else None,
    )


def _failures(rows: Sequence[tuple[Any, ...]]) -> Iterator[FailureView]:
    """Those that somebody must see to: a step that tries something out may fail."""
    if not rows:
        return
    from buildfarm.model import TRIAL  # most who read need none

    for output, argv, cwd, exit_status, stderr, reason in rows:
        if reason != TRIAL:
            yield FailureView(_output(output, cwd, argv), unpack_words(argv), unpack(cwd), exit_status, stderr or b"")


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


def _retries(db: sqlite3.Connection, build: int) -> tuple[tuple[str, int], ...]:
    """How many attempts of a build ended in which way that did not count."""
    from buildfarm.model import NOT_RETRIES  # most builds have none
    from buildfarm.state.steps import step_number

    query = (
        "SELECT outcome, count(*) FROM attempt WHERE step >= ? AND step < ? AND outcome IS NOT NULL"
        f" AND outcome NOT IN ({', '.join('?' * len(NOT_RETRIES))}) GROUP BY outcome"
    )
    return tuple(db.execute(query, (step_number(build, 0), step_number(build + 1, 0), *NOT_RETRIES)))


def _last_heard_at(db: sqlite3.Connection, build: int, state_dir: Path) -> float | None:
    """When a build that is gone last gave a sign of life, by its steps and, if it is the last one, by its clock."""
    query = "SELECT max(max(started, coalesce(ended, started))), (SELECT max(id) FROM build) FROM step WHERE build = ?"
    seconds, last = db.execute(query, (build,)).fetchone()
    heard = [] if seconds is None else [float(seconds)]
    if build == last:
        with suppress(OSError):
            heard.append((state_dir / CLOCK).stat().st_mtime)
    return max(heard, default=None)


def _caught_up(db: sqlite3.Connection, build: int, nodes: tuple[NodeView, ...]) -> tuple[NodeView, ...]:
    """Nodes' standing is written now and then, steps always: after a kill the steps tell what a node has done."""
    done = dict(
        db.execute(
            "SELECT node, count(*) FROM step WHERE build = ? AND kind = 'compile' AND state = 'done' GROUP BY node",
            (build,),
        )
    )
    return tuple(replace(node, done=max(node.done, done.get(node.key, 0))) for node in nodes)
