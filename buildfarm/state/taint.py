"""Takes back what nodes that lied have made: the journal's part of it.

It removes no file and knows no make.  From the moment of `take_back` the outputs stand as *pending* without a record,
so that the sweep of any later build removes them, should this one die before it has done so itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from buildfarm.state.encoding import pack, plain, unpack
from buildfarm.state.journal import Journal
from buildfarm.state.lineage import LINEAGE
from buildfarm.value import dataclass


@dataclass(frozen=True, slots=True)
class Taken:
    """Results taken back: the units' main outputs (absolute); `scattered`: some are no more where they were put."""

    outputs: tuple[str, ...] = ()
    scattered: bool = False

    def __add__(self, other: Taken) -> Taken:
        return Taken((*self.outputs, *other.outputs), self.scattered or other.scattered)


def take_back(journal: Journal, build: int, nodes: Sequence[str]) -> Taken:
    """All units of `build`, and of the builds that it continues, that these nodes have compiled, are done no more."""
    marks = ",".join("?" * len(nodes))
    with journal.transaction():
        rows = journal.select(
            f"{LINEAGE} SELECT step.id, step.output, owner.id, owner.fingerprint = step.fingerprint"
            " FROM step JOIN lineage ON step.build = lineage.id"
            " LEFT JOIN output ON output.path = step.output LEFT JOIN step AS owner ON owner.id = output.step"
            f" WHERE step.kind = 'compile' AND step.output IS NOT NULL AND step.node IN ({marks})"
            " AND (step.state = 'done' OR (step.state = 'checked_out' AND output.standing = 'arrived'))",
            (build, *(plain(node) for node in nodes)),
        ).fetchall()
        for step, path, owner, _ in rows:
            journal.select("UPDATE step SET state = 'swept' WHERE id = ?", (step,))
            if owner == step:
                journal.select(
                    "UPDATE output SET standing = 'pending', size = NULL, mtime_ns = NULL, digest = NULL"
                    " WHERE path = ? AND step = ?",
                    (path, step),
                )
    return Taken(
        tuple(unpack(path) for step, path, owner, _ in rows if owner == step),
        # a path that another command has written since: the result was moved on by its recipe
        any(owner != step and not same for step, _, owner, same in rows),
    )


def forget(journal: Journal, build: int, paths: Sequence[str]) -> None:
    """These outputs are gone from the tree; what has failed in `build`, perhaps for their sake, is tried again."""
    with journal.transaction():
        for path in paths:
            journal.select("DELETE FROM output WHERE path = ? AND standing = 'pending'", (pack(path),))
        journal.select("UPDATE step SET state = 'swept' WHERE build = ? AND state = 'failed'", (build,))
