"""Remembers the objects that builds have compiled past buildfarm, for `doctor`.

It finds none: the conductor does, by its plans and by a look at the tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from buildfarm.state.encoding import pack, pack_words, unpack
from buildfarm.state.journal import Journal

STEPS_OF_A_BUILD = 1 << 32  # schema.sql: a step's id is its build's times this, and its number


def record(journal: Journal, build: int, paths: Iterable[str], via: Sequence[str]) -> None:
    """`build` has compiled these (absolute) unseen; what a step has made since it was unseen counts no more.

    `via`: programs of that build whose own calls can't be seen.
    """
    with journal.transaction():
        for path in paths:
            journal.select(
                "INSERT INTO unseen (path, build, via) VALUES (?1, ?2, ?3)"
                " ON CONFLICT (path) DO UPDATE SET build = ?2, via = ?3",
                (pack(path), build, pack_words(via)),
            )
        journal.select(
            "DELETE FROM unseen WHERE EXISTS (SELECT 1 FROM output WHERE output.path = unseen.path"
            " AND output.step >= (unseen.build + 1) * ?)",
            (STEPS_OF_A_BUILD,),
        )


def claimed(journal: Journal) -> tuple[frozenset[str], frozenset[str]]:
    """The paths and the digests of everything that steps have made."""
    rows = journal.select("SELECT path, digest FROM output", ()).fetchall()
    return frozenset(unpack(path) for path, _ in rows), frozenset(digest for _, digest in rows if digest is not None)
