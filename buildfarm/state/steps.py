"""The rows of steps, attempts and outputs: what each check-out, arrival and check-in changes in the tables.

It runs inside the journal's transactions and opens none.  It does not judge files (recovery.py) and does not
know the writer's threads.

An output belongs to the step that claimed it last; another step's word on it is stale and changes nothing, so a
result of an earlier attempt or of an orphan never passes for the newer one.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import struct
from collections.abc import Iterable, Sequence

from buildfarm.model import INTERRUPTED, NOT_RETRIES, AttemptEnd, CheckIn, CheckOut, Kind, StepState
from buildfarm.state.encoding import pack, pack_words, plain

STEP_BITS = 32  # a step's row number is build * 2^32 + the conductor's number
STDERR_KEPT = 64 * 1024  # bytes of a step's messages


def step_number(build: int, step: int) -> int:
    """The row number of a build's step."""
    assert 0 <= step < 1 << STEP_BITS, f"BUG: step number {step}"
    return (build << STEP_BITS) + step


class StepTable:
    """The statements on one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._inputs: dict[str, int] = {}  # rows of `input` known to be marked with `_inputs_build`
        self._inputs_build = 0

    def forget_cache(self) -> None:
        """After a rollback."""
        self._inputs.clear()

    def check_out(self, build: int, step: CheckOut) -> None:
        number = step_number(build, step.step)
        execute = self._connection.execute
        execute(
            "INSERT INTO step (id, build, kind, state, command, output, fingerprint, node, attempt,"
            " lookahead, started, reason, temporaries)"
            " VALUES (?, ?, ?, 'checked_out', ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET state = excluded.state, node = excluded.node, attempt = excluded.attempt,"
            " started = excluded.started, ended = NULL, reason = excluded.reason,"
            " temporaries = CAST(temporaries || excluded.temporaries AS BLOB),"
            " output = coalesce(output, excluded.output)",
            (
                number,
                build,
                step.kind.value,
                self._command(step.cwd, step.argv),
                pack(step.outputs[0]) if step.outputs else None,
                step.fingerprint,
                plain(step.node),
                step.attempt,
                step.lookahead,
                step.time,
                plain(step.reason),
                pack_words(step.temporaries),
            ),
        )
        execute(
            # A result that was held and now goes to its place is the attempt that it was: it keeps its start.
            "INSERT INTO attempt (step, attempt, node, started) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " node = excluded.node, ended = NULL, outcome = NULL, reason = NULL",
            (number, step.attempt, plain(step.node), step.time),
        )
        # The record of the check-in before stays in the row: it tells the sweep whether the step had begun.
        self._connection.executemany(
            "INSERT INTO output (path, step, standing, own_source, time) VALUES (?, ?, 'pending', ?, ?)"
            " ON CONFLICT (path) DO UPDATE SET step = excluded.step, standing = 'pending',"
            " own_source = excluded.own_source, time = excluded.time",
            [(pack(path), number, _is_own_source(step, path), step.time) for path in step.outputs],
        )

    def attempt_end(self, build: int, end: AttemptEnd) -> None:
        number = step_number(build, end.step)
        self._connection.execute(
            "UPDATE attempt SET ended = ?, outcome = ?, reason = ? WHERE step = ? AND attempt = ?",
            (end.time, end.outcome, plain(end.reason), number, end.attempt),
        )
        if end.outcome not in NOT_RETRIES:
            self._connection.execute("UPDATE step SET retried = 1 WHERE id = ?", (number,))

    def set_aside(self, build: int, step: int, state: StepState, time: float) -> None:
        assert state in (StepState.HELD, StepState.DROPPED), f"BUG: step {step} set aside as {state}"
        self._connection.execute(
            "UPDATE attempt SET ended = ?, outcome = ? WHERE step = ? AND ended IS NULL",
            (time, state.value, step_number(build, step)),
        )
        self._connection.execute(
            "UPDATE step SET state = ? WHERE id = ? AND state = 'checked_out'",
            (state.value, step_number(build, step)),
        )

    def take_in(self, build: int, step: CheckIn) -> bool:
        """A step has ended, its outputs not known to be on the disk; False: it is not checked out, or had ended."""
        number = step_number(build, step.step)
        attempt = self._connection.execute(
            "SELECT attempt.attempt, attempt.node, attempt.started FROM step JOIN attempt ON step.id = step"
            " WHERE step.id = ? AND state = 'checked_out' AND step.ended IS NULL AND (? = 0 OR attempt.attempt = ?)"
            " ORDER BY attempt.ended IS NULL DESC, attempt.attempt DESC LIMIT 1",
            (number, step.attempt, step.attempt),
        ).fetchone()
        if attempt is None:
            return False
        self._connection.execute(
            "UPDATE step SET attempt = ?, node = ?, started = ?, ended = ?, seconds = ?, exit_status = ?,"
            " bytes_sent = ?, bytes_received = ?, stderr = ?, inputs = ?, seen = ? WHERE id = ?",
            (
                *attempt,
                step.time,
                step.seconds,
                step.exit_status,
                step.bytes_sent,
                step.bytes_received,
                step.stderr[:STDERR_KEPT] or None,
                self._input_ids(build, step.inputs),
                step.seen,
                number,
            ),
        )
        self._take_in_outputs(number, step)
        self._connection.execute(
            "UPDATE attempt SET ended = ?, outcome = 'superseded' WHERE step = ? AND attempt <> ? AND ended IS NULL",
            (step.time, number, attempt[0]),
        )
        return True

    def close(self, numbers: Iterable[int], state: StepState) -> set[int]:
        """Of the steps in these rows that were taken in, DONE: their outputs are durable, or FAILED for good; which.

        A few statements for all of them: each would give way to the other threads twice.
        """
        assert state in (StepState.DONE, StepState.FAILED), f"BUG: steps closed as {state}"
        closed = self._connection.execute(
            "UPDATE step SET state = ?, temporaries = x'' WHERE id IN (SELECT value FROM json_each(?))"
            " AND state = 'checked_out' AND ended IS NOT NULL RETURNING id",
            (state.value, _json(numbers)),
        ).fetchall()
        found = {number for (number,) in closed}
        these = _json(found)
        self._connection.execute(
            "UPDATE output SET standing = 'checked_in' WHERE standing = 'arrived'"
            " AND step IN (SELECT value FROM json_each(?))",
            (these,),
        )
        self._connection.execute(
            "UPDATE attempt SET (ended, outcome) = (SELECT ended, state FROM step WHERE id = attempt.step)"
            " WHERE step IN (SELECT value FROM json_each(?))"
            " AND attempt = (SELECT attempt FROM step WHERE id = attempt.step)",
            (these,),
        )
        if state is StepState.DONE:
            self._connection.execute(
                "INSERT INTO duration (output, fingerprint, seconds) SELECT output, fingerprint, seconds FROM step"
                " WHERE id IN (SELECT value FROM json_each(?)) AND output IS NOT NULL"
                " ON CONFLICT (output) DO UPDATE SET"
                " fingerprint = excluded.fingerprint, seconds = (duration.seconds + excluded.seconds) / 2",
                (these,),
            )
        return found

    def settle(
        self, dropped: Iterable[str], restored: Iterable[str], adopted: Sequence[int], swept: Iterable[int]
    ) -> None:
        """See `Journal.settle_sweep`."""
        many = self._connection.executemany
        many("DELETE FROM output WHERE path = ?", [(pack(path),) for path in dropped])
        many("UPDATE output SET standing = 'checked_in' WHERE path = ?", [(pack(path),) for path in restored])
        many("UPDATE output SET standing = 'checked_in' WHERE step = ?", [(step,) for step in adopted])
        self.close(adopted, StepState.DONE)
        many("UPDATE attempt SET outcome = ? WHERE step = ? AND outcome IS NULL", [(INTERRUPTED, s) for s in swept])
        many(
            "UPDATE step SET state = 'swept', temporaries = x'' WHERE id = ? AND state = 'checked_out'",
            [(step,) for step in swept],
        )

    def _take_in_outputs(self, number: int, step: CheckIn) -> None:
        self._connection.executemany(
            "UPDATE output SET standing = 'arrived', size = ?, mtime_ns = ?, digest = ?, time = ?"
            " WHERE path = ? AND step = ?",
            [(o.size, o.mtime_ns, o.digest, step.time, pack(o.path), number) for o in step.outputs],
        )
        if step.exit_status >= 0 and not step.half_written:
            # What the step claimed and did not make, or made and then failed with, stays as make would leave
            # it.  A tool that a signal killed (a negative status) may have left half a file: it stays pending,
            # as does what a driver left whose assembler was killed.
            self._connection.execute("DELETE FROM output WHERE step = ? AND standing = 'pending'", (number,))

    def _command(self, cwd: str, argv: Sequence[str]) -> int:
        where, words = pack(cwd), pack_words(argv)
        digest = hashlib.blake2b(where + b"\0" + words, digest_size=16).digest()
        row = self._connection.execute(
            "INSERT INTO command (digest, cwd, argv) VALUES (?, ?, ?) ON CONFLICT (digest) DO NOTHING RETURNING id",
            (digest, where, words),
        ).fetchone()
        if row is None:
            row = self._connection.execute("SELECT id FROM command WHERE digest = ?", (digest,)).fetchone()
        return int(row[0])

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


def _json(numbers: Iterable[int]) -> str:
    return f"[{','.join(map(str, numbers))}]"


def _is_own_source(step: CheckOut, path: str) -> bool:
    """Whether the command of a compile or link names its output as an operand too (`gcc -c x.c -o x.c`)."""
    if step.kind not in (Kind.COMPILE, Kind.LINK):
        return False
    name = os.path.basename(path)
    previous = ""
    for word in step.argv[1:]:
        operand = word.endswith(name) and not word.startswith("-") and previous not in ("-o", "-MF", "-MT", "-MQ")
        if operand and os.path.normpath(os.path.join(step.cwd, word)) == os.path.normpath(path):
            return True
        previous = word
    return False
