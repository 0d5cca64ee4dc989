"""The journal of one tree: what was checked out, what was checked in, durably, in SQLite.

One connection writes, and all calls on it come from one thread at a time (writer.py owns it during a build);
each public method is one transaction unless it runs inside `transaction()`.  It decides nothing: recovery.py
reads it and judges, reader.py reads it for `status`.  It is one file because it is the whole of what a build may
say to its journal; how a step changes the tables is in steps.py.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from buildfarm.model import (
    AttemptEnd,
    BuildSpec,
    BuildState,
    CheckIn,
    CheckOut,
    NodeStatus,
    Planning,
    StepState,
)
from buildfarm.state import database, durable, place
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
from buildfarm.state.lineage import LINEAGE
from buildfarm.state.place import CLOCK
from buildfarm.state.salvage import salvage
from buildfarm.state.steps import StepTable, step_number
from buildfarm.value import dataclass

CLOCK_STEP_NS = 10_000_000  # less is the jitter of reading two clocks, more a clock that was set
BUILDS_KEPT = 10  # builds whose steps stay for `explain` and `report`


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

    @property
    def salvaged(self) -> bool:
        """Whether the row was saved from a damaged journal, so that records of its outputs may be lost."""
        return self.clock_ns == 0


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
        self._steps = StepTable(connection)
        self._waits_for_disk = True  # as the database was opened

    @classmethod
    def open(cls, state_dir: Path) -> Journal:
        """Open or make the journal in `state_dir` (the tree's `.buildfarm`).

        Damage is set aside and told in `healed`.  Raises StateError (a newer schema), MachineError (full disk,
        unwritable directory).
        """
        place.prepare_directory(state_dir)
        found = place.find_place(state_dir)
        connection, broken = database.open_database(found)
        journal = cls(connection, state_dir, found.database)
        journal.notice = found.notice
        if broken is not None:
            saved = salvage(broken, connection, journal.first_seen_ns)
            journal.healed = f"{found.database} was damaged and is now {broken.name}; " + (
                "its last build and outputs were saved from it" if saved else "nothing in it was readable"
            )
        return journal

    @property
    def first_seen_ns(self) -> int:
        """When buildfarm first came to this tree, by the tree's own clock."""
        return (self.state_dir / ".gitignore").stat().st_mtime_ns

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Raises JournalError for a database that failed inside."""
        self.close()
        if isinstance(error, sqlite3.OperationalError) or (
            isinstance(error, sqlite3.Error) and database.is_damaged(error)
        ):
            raise database.given_up(self.path, error) from error

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
            self._steps.forget_cache()
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
            self._steps.forget_cache()
            if self._connection.in_transaction:  # a full disk has already undone it all
                self._connection.execute("ROLLBACK TO part")
                self._connection.execute("RELEASE part")
            raise
        self._connection.execute("RELEASE part")

    def set_synchronous(self, full: bool) -> None:
        """Whether commits from here on wait for the disk.  Only between transactions."""
        if full is not self._waits_for_disk:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
            self._waits_for_disk = full

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

    def end_build(self, build: int, state: BuildState, exit_status: int | None, ended: float | None = None) -> None:
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
        return BuildRow(row[0], BuildState(row[1]), spec, row[8], ProcessIdentity(row[9], row[10], row[11]), *row[12:])

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

    def set_planning(self, build: int, planning: Planning) -> None:
        """What the plans were worth so far."""
        with self.transaction():
            self._connection.execute(
                "UPDATE progress SET asked = ?, foreseen = ?, predicted = ?, wasted = ?, instances = ?,"
                " plan_seconds = ? WHERE build = ?",
                (
                    planning.asked,
                    planning.foreseen,
                    planning.predicted,
                    planning.wasted,
                    planning.instances,
                    planning.seconds,
                    build,
                ),
            )

    def set_aside(self, build: int, step: int, state: StepState, time: float) -> None:
        """A step made ahead of make has ended: HELD (its result is in the store) or DROPPED."""
        with self.transaction():
            self._steps.set_aside(build, step, state, time)

    def set_barrier(self, build: int, barrier_ns: int | None = None) -> None:
        """All that was written up to `barrier_ns` (the tree's own clock; now) is whole and durable.

        It only moves forward, unless the clock was set back.
        """
        now, clock_ns = self._clock()
        with self.transaction():
            self._connection.execute(
                "UPDATE progress SET clock_ns = :clock, barrier_ns ="
                " CASE WHEN :clock < clock_ns - :step THEN :barrier ELSE max(barrier_ns, :barrier) END"
                " WHERE build = :build",
                {
                    "clock": clock_ns,
                    "step": CLOCK_STEP_NS,
                    "barrier": now if barrier_ns is None else barrier_ns,
                    "build": build,
                },
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
                self._steps.check_out(build, step)

    def attempt_end(self, build: int, end: AttemptEnd) -> None:
        """An attempt came to nothing; its step stays checked out."""
        with self.transaction():
            self._steps.attempt_end(build, end)

    def arrive(self, build: int, step: CheckIn) -> bool:
        """The outputs are in place and hashed, but not yet known to be on the disk; the step stays checked out.

        A kill of the build loses nothing of it, a cut of power leaves it to the sweep's hash.  False: it does not
        count, as a second result of the same step.
        """
        with self.transaction():
            return self._steps.take_in(build, step)

    def check_in_arrived(self, build: int, steps: Iterable[int]) -> set[int]:
        """Journal that the outputs of these steps are durable now; those that had not arrived are not in the answer."""
        with self.transaction():
            rows = self._steps.close([step_number(build, step) for step in steps], StepState.DONE)
        return {row - step_number(build, 0) for row in rows}

    def check_in(self, build: int, steps: Sequence[CheckIn]) -> int:
        """Journal that these steps are done, their outputs durable, or failed for good; how many counted."""
        with self.transaction():
            counted = [step for step in steps if self._steps.take_in(build, step)]
            for state in {step.state for step in counted}:
                self._steps.close([step_number(build, step.step) for step in counted if step.state is state], state)
        return len(counted)

    def settle_sweep(
        self, *, dropped: Sequence[str], restored: Sequence[str], adopted: Sequence[int], swept: Sequence[int]
    ) -> None:
        """Journal what a sweep has done: output paths and row numbers of steps, as recovery.py found them.

        `dropped` outputs are known no more, `restored` ones stand as checked in before, `adopted` steps are done,
        the other `swept` ones ended with their build.  What was running is interrupted.
        """
        with self.transaction():
            self._steps.settle(dropped, restored, adopted, swept)
            self._connection.execute("UPDATE build SET state = 'interrupted' WHERE state = 'running'")

    # --- what is known -----------------------------------------------------------------------------------

    def durations_by_output(self) -> dict[str, float]:
        """Recorded seconds of each step, by the absolute path of its main output."""
        return {unpack(o): s for o, s in self._connection.execute("SELECT output, seconds FROM duration")}

    def inputs_read(self, since_build: int) -> set[str]:
        """Absolute paths that a checked-in step of this or a later build had read."""
        rows = self._connection.execute("SELECT path FROM input WHERE build >= ?", (since_build,))
        return {unpack(path) for (path,) in rows}

    def is_unsettled(self) -> bool:
        """Whether a step or an output is left for a sweep to judge, though its build may have ended by itself."""
        (found,) = self._connection.execute(
            "SELECT EXISTS (SELECT 1 FROM step WHERE state = 'checked_out')"
            " OR EXISTS (SELECT 1 FROM output WHERE standing <> 'checked_in')"
        ).fetchone()
        return bool(found)

    def stored_uses(self) -> dict[str, int]:
        """When each file of the object store was last used, as a rising number."""
        return dict(self._connection.execute("SELECT name, used FROM stored"))

    def set_stored(self, name: str, used: int | None) -> None:
        """A file of the object store was used, or for None is gone."""
        with self.transaction():
            if used is None:
                self._connection.execute("DELETE FROM stored WHERE name = ?", (name,))
            else:
                self._connection.execute("INSERT OR REPLACE INTO stored VALUES (?, ?)", (name, used))

    def select(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> sqlite3.Cursor:
        """For the other files of this package that read the tables."""
        return self._connection.execute(sql, parameters)

    # --- upkeep ------------------------------------------------------------------------------------------

    def _forget_old_steps(self, build: int) -> None:
        """Steps of builds long gone, but none that a sweep has still to see or that this build continues."""
        self._connection.execute(
            "DELETE FROM step WHERE build <= ? AND state <> 'checked_out'"
            f" AND build NOT IN ({LINEAGE} SELECT id FROM lineage)",
            (build - BUILDS_KEPT, build),
        )
        self._connection.execute(
            "DELETE FROM command WHERE ? AND NOT EXISTS (SELECT 1 FROM step WHERE command = command.id)",
            (build % BUILDS_KEPT == 0,),
        )

    def _clock(self) -> tuple[int, int]:
        """This moment by the clock of the tree's file system, and wall clock minus time since boot."""
        return durable.touch(self.state_dir / CLOCK), durable.clock_offset_ns()
