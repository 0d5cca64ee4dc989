"""How long ago the oldest recipe that still runs was started: the bound of what can be half-written.

A file that was last written before that moment belongs to a recipe that has ended.  This file reads /proc; it
knows neither what the recipes do nor which files they write.

A shell that waits for a sub-make, and a make itself, do not count: they write nothing meanwhile.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from buildfarm.state import durable
from buildfarm.state.identity import process_start

MAKES = frozenset({"make", "gmake"})
GRAIN_NS = 20_000_000  # start times come in ticks of 10 ms, files' times in ticks of 4


def oldest_start(make: int, clock: Path, others: Iterable[int] = ()) -> int | None:
    """When the oldest running recipe of this make started, in ns by the clock of the file system of `clock`.

    Now, when none runs; None, when that can't be told (no such process, or a kernel without
    CONFIG_PROC_CHILDREN).  `clock` is a file of ours that is written to.  `others` count as recipes too.
    """
    now = durable.touch(clock)  # before who runs is looked at: what begins later writes later
    since_boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)  # and no earlier, or all would seem to have begun later
    try:
        starts = [start for pid in (*_recipes(make, _name(make)), *others) if (start := process_start(pid)) is not None]
    except OSError:
        return None
    if process_start(make) is None:
        return None  # killed: its recipes are no longer its children, and may go on
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    ages = [since_boot - start * tick for start in starts]
    return now - max([0, *ages]) - GRAIN_NS


def _recipes(make: int, name: str) -> Iterator[int]:
    """Descendants that are no make and lead to none."""
    for child in _children(make):
        below, is_recipe = _walk(child, name)
        if is_recipe:
            yield child
        yield from below


def _walk(pid: int, name: str) -> tuple[list[int], bool]:
    """The recipe processes below `pid`, and whether `pid` is one itself."""
    try:
        is_make = _name(pid) in MAKES | {name}
        children = list(_children(pid))
    except OSError:  # ended meanwhile, with no start any more; but no make, so that its parent is a recipe still
        return [], True
    below: list[int] = []
    leads_to_make = is_make
    for child in children:
        deeper, is_recipe = _walk(child, name)
        below += deeper
        if is_recipe:
            below.append(child)
        else:
            leads_to_make = True
    return below, not leads_to_make


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_bytes().decode(errors="replace").strip()


def _children(pid: int) -> Iterator[int]:
    for number in Path(f"/proc/{pid}/task/{pid}/children").read_bytes().split():
        yield int(number)
