"""What the sweep reads from the journal: every output that a step has claimed, and the last build.

It reads; recovery.py judges.
"""

from __future__ import annotations

from enum import StrEnum

from buildfarm.model import OutputRecord
from buildfarm.state.encoding import unpack, unpack_words
from buildfarm.state.journal import BuildRow, Journal
from buildfarm.state.lineage import LINEAGE
from buildfarm.value import dataclass


class Standing(StrEnum):
    """How far an output's step has come with it."""

    PENDING = "pending"  # checked out
    ARRIVED = "arrived"  # in place and hashed; a cut of power could still take it
    CHECKED_IN = "checked_in"  # and durable


@dataclass(frozen=True, slots=True)
class Claim:
    """One output.  `record` is what was checked in; of a pending one, what was checked in before."""

    path: str
    step: int  # the step's row number
    standing: Standing
    record: OutputRecord | None
    own_source: bool = False  # the step's command names it as an operand too
    again: bool = False  # pending, and a step of the same build had made it before: a recipe of several commands


@dataclass(frozen=True, slots=True)
class JournalRows:
    """All that a sweep needs to know of the journal."""

    build: BuildRow | None
    claims: tuple[Claim, ...] = ()
    temporaries: tuple[str, ...] = ()  # of steps that are checked out
    archives: tuple[tuple[str, float], ...] = ()  # that are being written, and since when (seconds since the epoch)
    open_steps: tuple[int, ...] = ()
    chain_units: frozenset[int] = frozenset()  # compile steps of the last build and those it continued
    inputs_read: frozenset[str] = frozenset()  # by the last build's checked-in steps
    last_check_out: float = 0.0  # of the last build: seconds since the epoch


def read_rows(journal: Journal, *, settled: bool = True) -> JournalRows:
    """Everything at once, as it stands.  `settled` False: only the outputs of steps that have not ended as they should.

    A build that ended by itself has few of those, and thousands of the others.
    """
    build = journal.last_build()
    if build is None:
        return JournalRows(None)
    claims = tuple(
        Claim(
            path := unpack(raw),
            step,
            Standing(standing),
            None if digest is None else OutputRecord(path, size, mtime_ns, digest),
            bool(own_source),
            bool(again),
        )
        for raw, step, standing, size, mtime_ns, digest, own_source, again in journal.select(
            "SELECT path, step, standing, size, mtime_ns, digest, own_source, standing = 'pending' AND EXISTS (SELECT 1"
            " FROM step AS before JOIN step AS own ON own.id = output.step WHERE before.output = output.path"
            " AND before.build = own.build AND before.state = 'done' AND before.id < own.id) FROM output"
            " WHERE ? OR step IN (SELECT step FROM output WHERE standing <> 'checked_in') ORDER BY step, path",
            (settled,),
        )
    )
    unfinished = journal.select("SELECT id, temporaries FROM step WHERE state = 'checked_out'").fetchall()
    temporaries = tuple(dict.fromkeys(path for _, words in unfinished for path in unpack_words(words)))
    open_steps = tuple(step for step, _ in unfinished)
    archives = tuple(
        (unpack(path), started)
        for path, started in journal.select(
            "SELECT output, started FROM step WHERE state = 'checked_out' AND kind = 'archive' AND output IS NOT NULL"
        )
    )
    if not settled:
        return JournalRows(build, claims, temporaries, archives, open_steps)
    units = journal.select(
        f"{LINEAGE} SELECT step.id FROM step JOIN lineage ON build = lineage.id WHERE kind = 'compile'",
        (build.id,),
    )
    (last_check_out,) = journal.select("SELECT max(started) FROM step WHERE build = ?", (build.id,)).fetchone()
    return JournalRows(
        build,
        claims,
        temporaries,
        archives,
        open_steps,
        frozenset(step for (step,) in units),
        frozenset(journal.inputs_read(build.id)),
        last_check_out or 0.0,
    )
