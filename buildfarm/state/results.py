"""What the journal knows of compiles whose results a sweep finds whole: enough to use them as if made ahead of make.

It reads; whether such a result still fits is the caller's to find out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from buildfarm.model import OutputRecord
from buildfarm.state.encoding import unpack, unpack_words
from buildfarm.state.journal import Journal
from buildfarm.state.steps import STDERR_KEPT
from buildfarm.value import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """A compile that a node has done and that came into its place."""

    fingerprint: str
    cwd: str
    argv: tuple[str, ...]
    node: str
    seconds: float
    stderr: bytes
    inputs: tuple[str, ...]  # absolute, the source first
    seen: str  # what they looked like then, as a digest
    outputs: tuple[OutputRecord, ...]  # the object first


def results(journal: Journal, steps: Iterable[int]) -> list[Result]:
    """Of these rows of steps, those that nodes have compiled and of which all is recorded."""
    found = []
    for step in steps:
        row = journal.select(
            "SELECT fingerprint, cwd, argv, node, seconds, stderr, inputs, seen, output FROM step"
            " JOIN command ON command.id = command"
            " WHERE step.id = ? AND kind = 'compile' AND node IS NOT NULL AND seen IS NOT NULL AND inputs IS NOT NULL",
            (step,),
        ).fetchone()
        if row is None or len(row[5] or b"") >= STDERR_KEPT:
            continue
        records = journal.select(
            "SELECT path, size, mtime_ns, digest FROM output WHERE step = ? AND digest IS NOT NULL"
            " ORDER BY path <> ?, path",
            (step, row[8]),
        )
        outputs = tuple(OutputRecord(unpack(path), *rest) for path, *rest in records)
        if not outputs or outputs[0].path != unpack(row[8]):
            continue
        found.append(
            Result(
                fingerprint=row[0],
                cwd=unpack(row[1]),
                argv=unpack_words(row[2]),
                node=row[3],
                seconds=row[4],
                stderr=row[5] or b"",
                inputs=_inputs(journal, row[6]),
                seen=row[7],
                outputs=outputs,
            )
        )
    return found


def _inputs(journal: Journal, packed: bytes) -> tuple[str, ...]:
    paths = []
    for (number,) in struct.iter_unpack("<I", packed):
        (path,) = journal.select("SELECT path FROM input WHERE id = ?", (number,)).fetchone()
        paths.append(unpack(path))
    return tuple(paths)
