"""All that make says in a dry run, as one text: the product never holds it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from buildfarm.graph.makedb import Cut, MakeDatabase, Reader
from buildfarm.make.dryrun import DryRunOutput, dry_run
from buildfarm.make.instance import MakeInstance
from buildfarm.value import dataclass


def parse(text: str, cut: Cut | None = None) -> MakeDatabase:
    """What `makedb` makes of a whole text."""
    reader = Reader(cut)
    reader.read(os.fsencode(text))
    return reader.database()


@dataclass(frozen=True, slots=True)
class HeardRun(DryRunOutput):
    """What a dry run said, and its `text` without records."""

    text: str
    pieces: tuple[bytes, ...]


async def heard_run(
    instance: MakeInstance,
    timeout: float = 60,
    *,
    tree: str | None = None,
    library: Path | None = None,
    confiner: Path | None = None,
) -> HeardRun:
    """`dry_run`, listened to."""
    pieces: list[bytes] = []
    output = await dry_run(instance, timeout, pieces.append, tree=tree, library=library, confiner=confiner)
    told = {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
    return HeardRun(**told, text=os.fsdecode(b"".join(pieces)), pieces=tuple(pieces))
