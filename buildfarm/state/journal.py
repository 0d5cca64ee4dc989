"""The journal of one tree: what was checked out, what was checked in, durably, in SQLite.

One connection writes, and all calls on it come from one thread at a time (writer.py owns it during a build);
each public method is one transaction unless it runs inside `transaction()`.  It decides nothing: recovery.py
reads it and judges, reader.py reads it for `status`.

An output belongs to the step that claimed it last.  A check-in by any other step is stale and leaves the
output's row alone, so a result of an earlier attempt or an orphan never passes for the newer one.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from buildfarm.model import (
    AttemptEnd,
    BuildSpec,
    BuildState,
    CheckIn,
    CheckOut,
    NodeStatus,
    OutputRecord,
    StepState,
)
from buildfarm.state import database
from buildfarm.state.encoding import (
    pack,
    pack_mapping,
    pack_words,
    plain,
    unpack,
    unpack_mapping,
    unpack_words,
)
from buildfarm.state.identity import ProcessIdentity

STEP_BITS = 32
BUILDS_KEPT = 10  # builds whose steps stay for `explain` and `report`
STDERR_KEPT = 64 * 1024  # bytes of a step's messages
NOT_RETRIES = frozenset({"cancelled", "late", "stale", "superseded"})  # attempt ends that are nobody's fault


@dataclass(frozen=True, slots=True)
class BuildRow:
    """A build as the journal has it.  `state` RUNNING with a dead `owner` means interrupted."""

    id: int
    state: BuildState
    spec: BuildSpec
    token: str
    owner: ProcessIdentity
    resumed_from: int | None
    started: float
    ended: float | None
    exit_status: int | None
    barrier_ns: int  # what was written before it, on the tree's own clock, was whole
    clock_ns: int  # wall clock minus time since boot, then


@dataclass(frozen=True, slots=True)
class CheckedIn:
    """An output whose check-in is the latest word on it."""

    record: OutputRecord
    build: int
    step: int
    time: float


class Journal:
    """Open it with `Journal.open`; `close` it or use it as a context manager.

    `healed` says what was set aside when it was opened, `notice` where the database is if not in the tree.
    """

    def __init__(self, connection: sqlite3.Connection, state_dir: Path, path: Path) -> None:
        self._connection = connection
        self.state_dir = state_dir
        self.path = path
        self.healed: str | None = None
        self.notice: str | None = None
        self._inputs: dict[str, int] = {}  # ids known to be marked with `_inputs_build`
        self._inputs_build = 0

    @classmethod
    def open(cls, state_dir: Path) -> Journal:
        """Open or make the journal in `state_dir` (the tree's `.buildfarm`).

        Damage is set aside and told in `healed`.  Raises StateError (a newer schema), MachineError (full disk,
        unwritable directory).
        """
        database.prepare_directory(state_dir)
        place = database.find_place(state_dir)
        connection, broken = database.open_database(place)
        journal = cls(connection, state_dir, place.database)
        journal.notice = place.notice
        if broken is not None:
            journal.healed = (
                f"{place.database} was damaged and is now {broken.name}; "
                "what it knew of earlier builds is made anew"
            )
        return journal

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- transactions ------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is done inside is durable together when it ends, or undone when it raises."""
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            self._inputs.clear()
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Inside a transaction: undo just this part when it raises."""
        self._connection.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            self._inputs.clear()
            if self._connection.in_transaction:  # a full disk has already undone it all
                self._connection.execute("ROLLBACK TO part")
                self._connection.execute("RELEASE part")
            raise
        self._connection.execute("RELEASE part")

    def set_synchronous(self, full: bool) -> None:
        """Whether commits from here on wait for the disk.  Only between transactions."""
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")

    # --- builds ------------------------------------------------------------------------------------------

    def begin_build(
        self,
        spec: BuildSpec,
        *,
        pid: int | None = None,
        started: float | None = None,
        resumed_from: int | None = None,
        token: str,
    ) -> int:
        """Start a build and return its number; what still stood as running is interrupted from now on.

        The caller holds the tree's lock.  `pid` is this process by default, `started` now.
        """
        who = ProcessIdentity.of(os.getpid() if pid is None else pid)
        began = time.time() if started is None else started
        with self.transaction():
            self._connection.execute("UPDATE build SET state = 'interrupted' WHERE state = 'running'")
            cursor = self._connection.execute(
                "INSERT INTO build (state, directory, goals, variables, make_arguments, options, environment,"
                " pid, pid_start, boot_id, token, resumed_from, started)"
                " VALUES ('running', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    pack(spec.directory),
                    pack_words(spec.goals),
                    pack_mapping(spec.variables),
                    pack_words(spec.make_arguments),
                    pack_mapping(spec.options),
                    pack_mapping(spec.environment),
                    who.pid,
                    who.start,
                    who.boot_id,
                    token,
                    resumed_from,
                    began,
                ),
            )
            build = cursor.lastrowid
            assert build is not None, "BUG: an INSERT without a row number"
            barrier_ns, clock_ns = self._clock()
            self._connection.execute(
                "INSERT INTO progress (build, barrier_ns, clock_ns) VALUES (?, ?, ?)",
                (build, barrier_ns, clock_ns),
            )
            self._forget_old_steps(build)
        return build

    def end_build(
        self, build: int, state: BuildState, exit_status: int | None, ended: float | None = None
    ) -> None:
        """Close a build; `ended` is now by default."""
        with self.transaction():
            self._connection.execute(
                "UPDATE build SET state = ?, exit_status = ?, ended = ? WHERE id = ?",
                (state.value, exit_status, time.time() if ended is None else ended, build),
            )

    def last_build(self) -> BuildRow | None:
        return self.build(None)

    def build(self, number: int | None) -> BuildRow | None:
        """The build of this number, or the last one for None; None when there is no such build."""
        row = self._connection.execute(
            "SELECT id, state, directory, goals, variables, make_arguments, options, environment, token,"
            " pid, pid_start, boot_id, resumed_from, started, ended, exit_status, barrier_ns, clock_ns"
            " FROM build JOIN progress ON build = id WHERE ? IS NULL OR id = ? ORDER BY id DESC LIMIT 1",
            (number, number),
        ).fetchone()
        if row is None:
            return None
        spec = BuildSpec(
            directory=unpack(row[2]),
            goals=unpack_words(row[3]),
            variables=unpack_mapping(row[4]),
            make_arguments=unpack_words(row[5]),
            options=unpack_mapping(row[6]),
            environment=unpack_mapping(row[7]),
        )
        return BuildRow(
            row[0], BuildState(row[1]), spec, row[8], ProcessIdentity(row[9], row[10], row[11]), *row[12:]
        )

    def set_totals(self, build: int, total: int, final: bool) -> None:
        """How many units the build has, as far as is known."""
        with self.transaction():
            self._connection.execute(
                "UPDATE progress SET total = ?, total_is_final = ? WHERE build = ?", (total, final, build)
            )

    def set_eta(self, build: int, seconds: float | None, at: float) -> None:
        """Seconds still to go, as estimated at the time `at`."""
        with self.transaction():
            self._connection.execute(
                "UPDATE progress SET eta_seconds = ?, eta_at = ? WHERE build = ?", (seconds, at, build)
            )

    def set_reused(self, build: int, units: int) -> None:
        """How many units of earlier builds were verified and kept."""
        with self.transaction():
            self._connection.execute("UPDATE progress SET reused = ? WHERE build = ?", (units, build))

    def set_barrier(self, build: int, barrier_ns: int | None = None) -> None:
        """All that was written before `barrier_ns` (the tree's own clock; now) is whole and durable."""
        now, clock_ns = self._clock()
        with self.transaction():
            self._connection.execute(
                "UPDATE progress SET barrier_ns = ?, clock_ns = ? WHERE build = ?",
                (now if barrier_ns is None else barrier_ns, clock_ns, build),
            )

    def set_nodes(self, build: int, nodes: Sequence[NodeStatus]) -> None:
        """What `status` and `nodes` show; nodes that are not named are no longer of this build."""
        with self.transaction():
            self._connection.execute("DELETE FROM node WHERE build = ?", (build,))
            self._connection.executemany(
                "INSERT OR REPLACE INTO node VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        build,
                        plain(n.key),
                        plain(n.host),
                        n.port,
                        n.state,
                        n.slots,
                        n.checked_out,
                        n.done,
                        n.failed,
                        plain(n.compiler),
                        plain(n.reason),
                        n.retry_at,
                        n.mean_seconds,
                        " ".join(n.languages),
                    )
                    for n in nodes
                ],
            )

    # --- steps -------------------------------------------------------------------------------------------

    def check_out(self, build: int, steps: Sequence[CheckOut]) -> None:
        """Journal that these steps, or another attempt at them, are about to start."""
        with self.transaction():
            for step in steps:
                self._check_out(build, step)

    def attempt_end(self, build: int, end: AttemptEnd) -> None:
        """An attempt came to nothing; its step stays checked out."""
        number = _number(build, end.step)
        with self.transaction():
            self._connection.execute(
                "UPDATE attempt SET ended = ?, outcome = ?, reason = ? WHERE step = ? AND attempt = ?",
                (end.time, end.outcome, plain(end.reason), number, end.attempt),
            )
            if end.outcome not in NOT_RETRIES:
                self._connection.execute("UPDATE step SET retried = 1 WHERE id = ?", (number,))

    def arrive(self, build: int, step: CheckIn) -> bool:
        """The outputs are in place and hashed, but not yet known to be on the disk; the step stays checked out.

        A kill of the build loses nothing of it, a cut of power leaves it to the sweep's hash.
        """
        return self._take_in(build, step, durable=False)

    def check_in(self, build: int, steps: Sequence[CheckIn]) -> int:
        """Journal that these steps are done, their outputs durable, or failed for good; how many counted.

        One that is not checked out any more does not count (a second result of the same step).
        """
        with self.transaction():
            return sum(self._take_in(build, step, durable=True) for step in steps)

    def _check_out(self, build: int, step: CheckOut) -> None:
        number = _number(build, step.step)
        execute = self._connection.execute
        main = pack(step.outputs[0]) if step.outputs else None
        known = execute("SELECT temporaries FROM step WHERE id = ?", (number,)).fetchone()
        if known is None:
            execute(
                "INSERT INTO step (id, build, kind, state, command, output, fingerprint, node, attempt,"
                " lookahead, started, reason, temporaries)"
                " VALUES (?, ?, ?, 'checked_out', ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    number,
                    build,
                    step.kind.value,
                    self._command(step.cwd, step.argv),
                    main,
                    step.fingerprint,
                    plain(step.node),
                    step.attempt,
                    step.lookahead,
                    step.time,
                    plain(step.reason),
                    pack_words(step.temporaries),
                ),
            )
        else:
            kept = dict.fromkeys((*unpack_words(known[0]), *step.temporaries))
            execute(
                "UPDATE step SET state = 'checked_out', node = ?, attempt = ?, started = ?, reason = ?,"
                " temporaries = ? WHERE id = ?",
                (plain(step.node), step.attempt, step.time, plain(step.reason), pack_words(kept), number),
            )
        execute(
            "INSERT OR REPLACE INTO attempt (step, attempt, node, started) VALUES (?, ?, ?, ?)",
            (number, step.attempt, plain(step.node), step.time),
        )
        self._connection.executemany(
            "INSERT OR REPLACE INTO output (path, step, standing, time) VALUES (?, ?, 'pending', ?)",
            [(pack(path), number, step.time) for path in step.outputs],
        )

    def _take_in(self, build: int, step: CheckIn, *, durable: bool) -> bool:
        number = _number(build, step.step)
        assert step.state in (StepState.DONE, StepState.FAILED), (
            f"BUG: step {number} checked in as {step.state}"
        )
        with self.transaction():
            attempt = self._connection.execute(
                "SELECT attempt.attempt, attempt.node, attempt.started FROM step JOIN attempt ON step.id = step"
                " WHERE step.id = ? AND state = 'checked_out' AND (? = 0 OR attempt.attempt = ?)"
                " ORDER BY attempt.ended IS NULL DESC, attempt.attempt DESC LIMIT 1",
                (number, step.attempt, step.attempt),
            ).fetchone()
            if attempt is None:
                return False
            self._connection.execute(
                "UPDATE step SET state = ?, attempt = ?, node = ?, started = ?, ended = ?, seconds = ?,"
                " exit_status = ?, bytes_sent = ?, bytes_received = ?, stderr = ?, inputs = ?,"
                " temporaries = CASE WHEN ? THEN x'' ELSE temporaries END WHERE id = ?",
                (
                    step.state.value if durable else StepState.CHECKED_OUT.value,
                    *attempt,
                    step.time,
                    step.seconds,
                    step.exit_status,
                    step.bytes_sent,
                    step.bytes_received,
                    step.stderr[:STDERR_KEPT] or None,
                    self._input_ids(build, step.inputs),
                    durable,
                    number,
                ),
            )
            if durable:
                self._connection.execute(
                    "UPDATE attempt SET ended = ?, outcome = ? WHERE step = ? AND attempt = ?",
                    (step.time, step.state.value, number, attempt[0]),
                )
            self._settle_outputs(number, step, durable=durable)
            if durable and step.state is StepState.DONE:
                self._learn_duration(number, step.seconds)
        return True

    def _settle_outputs(self, number: int, step: CheckIn, *, durable: bool) -> None:
        self._connection.executemany(
            "UPDATE output SET standing = ?, size = ?, mtime_ns = ?, digest = ?, time = ?"
            " WHERE path = ? AND step = ?",
            [
                (
                    "checked_in" if durable else "arrived",
                    o.size,
                    o.mtime_ns,
                    o.digest,
                    step.time,
                    pack(o.path),
                    number,
                )
                for o in step.outputs
            ],
        )
        if durable and step.exit_status >= 0:
            # What the step claimed and did not make, or made and then failed with, stays as make would leave
            # it.  A tool that a signal killed (a negative status) may have left half a file: it stays pending.
            self._connection.execute(
                "DELETE FROM output WHERE step = ? AND standing <> 'checked_in'", (number,)
            )

    def _learn_duration(self, number: int, seconds: float) -> None:
        self._connection.execute(
            "INSERT INTO duration (output, fingerprint, seconds)"
            " SELECT output, fingerprint, ? FROM step WHERE id = ? AND output IS NOT NULL"
            " ON CONFLICT (output) DO UPDATE SET"
            " fingerprint = excluded.fingerprint, seconds = (duration.seconds + excluded.seconds) / 2",
            (seconds, number),
        )

    def _command(self, cwd: str, argv: Sequence[str]) -> int:
        where, words = pack(cwd), pack_words(argv)
        digest = hashlib.blake2b(where + b"\0" + words, digest_size=16).digest()
        row = self._connection.execute("SELECT id FROM command WHERE digest = ?", (digest,)).fetchone()
        if row is not None:
            return int(row[0])
        cursor = self._connection.execute(
            "INSERT INTO command (digest, cwd, argv) VALUES (?, ?, ?)", (digest, where, words)
        )
        assert cursor.lastrowid is not None, "BUG: an INSERT without a row number"
        return cursor.lastrowid

    def _input_ids(self, build: int, paths: Sequence[str]) -> bytes | None:
        if self._inputs_build != build:
            self._inputs.clear()
            self._inputs_build = build
        for path in paths:
            if path not in self._inputs:
                (self._inputs[path],) = self._connection.execute(
                    "INSERT INTO input (path, build) VALUES (?, ?)"
                    " ON CONFLICT (path) DO UPDATE SET build = excluded.build RETURNING id",
                    (pack(path), build),
                ).fetchone()
        return struct.pack(f"<{len(paths)}I", *(self._inputs[path] for path in paths)) or None

    # --- what is known -----------------------------------------------------------------------------------

    def checked_in_outputs(self) -> dict[str, CheckedIn]:
        """By absolute path, every output whose latest word is its check-in, whichever build made it."""
        rows = self._connection.execute(
            "SELECT path, size, mtime_ns, digest, step, time FROM output WHERE standing = 'checked_in'"
        )
        return {
            (path := unpack(row[0])): CheckedIn(
                OutputRecord(path, row[1], row[2], row[3]),
                row[4] >> STEP_BITS,
                row[4] % (1 << STEP_BITS),
                row[5],
            )
            for row in rows
        }

    def durations_by_output(self) -> dict[str, float]:
        """Recorded seconds of each step, by the absolute path of its main output."""
        return {unpack(o): s for o, s in self._connection.execute("SELECT output, seconds FROM duration")}

    def durations_by_fingerprint(self) -> dict[str, float]:
        """The same by the step's fingerprint."""
        return dict(self._connection.execute("SELECT fingerprint, seconds FROM duration"))

    def inputs_read(self, since_build: int) -> set[str]:
        """Absolute paths that a checked-in step of this or a later build had read."""
        rows = self._connection.execute("SELECT path FROM input WHERE build >= ?", (since_build,))
        return {unpack(path) for (path,) in rows}

    def select(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> sqlite3.Cursor:
        """For the other files of this package that read the tables."""
        return self._connection.execute(sql, parameters)

    # --- upkeep ------------------------------------------------------------------------------------------

    def _forget_old_steps(self, build: int) -> None:
        """Steps of builds long gone, but none that a sweep has still to see."""
        self._connection.execute(
            "DELETE FROM step WHERE build <= ? AND state <> 'checked_out'", (build - BUILDS_KEPT,)
        )
        self._connection.execute(
            "DELETE FROM command WHERE ? AND NOT EXISTS (SELECT 1 FROM step WHERE command = command.id)",
            (build % BUILDS_KEPT == 0,),
        )

    def _clock(self) -> tuple[int, int]:
        """This moment by the clock of the tree's file system, and wall clock minus time since boot."""
        stamp = self.state_dir / "clock"
        stamp.touch()
        return stamp.stat().st_mtime_ns, time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _number(build: int, step: int) -> int:
    assert 0 <= step < 1 << STEP_BITS, f"BUG: step number {step}"
    return (build << STEP_BITS) + step
