"""Tells which units need not be made ahead although a plan names them: their objects stand as they were checked in.

It decides nothing about make: what make asks for is made, whatever is said here.

Theory of operation.  A dry run takes every recipe that would run for one that changes its target.  With `FLAGS: FORCE`,
whose recipe writes only what has changed, every object that depends on `FLAGS` is stale for `make -n`, and none for
make: git, the kernel and redis build so.  Their units would be compiled on nodes once more in each build and nobody
would ask for them.  A unit *stands* if the journal knows its very call (by fingerprint), what it wrote is there as it
was checked in, and what it has read looks as it did at the delivery (`evidence.appearance`).  One that has read what
another foreseen unit is about to write (a module) stands only if that one stands.  If make asks for units that were
said to stand, its reasons are not in the sources, and `lookahead` believes the plan again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from buildfarm.conductor.evidence import appearance
from buildfarm.dispatch.stamps import stamps
from buildfarm.model import OutputRecord

if TYPE_CHECKING:
    from buildfarm.conductor.foresight import Foreseen
    from buildfarm.state.views import Delivered

MOST = 5_000  # units that are compared in one build, at some 0.2 ms each
AT_ONCE = 16  # before the loop serves others


class Standing:
    """What one build finds in its tree of the builds before."""

    def __init__(self, read: Callable[[], Mapping[str, Delivered]]) -> None:
        """`read` gives what the journal knows of delivered units, by fingerprint; called once at most, in a thread."""
        self._read = read
        self._delivered: Mapping[str, Delivered] | None = None
        self._looks: dict[str, bool] = {}  # by fingerprint: whether the unit's own files look as they did

    async def among(self, units: Mapping[str, Foreseen], asked: Iterable[str]) -> frozenset[str]:
        """The fingerprints of those that stand.  What make has asked for is not looked at: it is being made."""
        asked = frozenset(asked)
        candidates = set()
        for number, (mark, foreseen) in enumerate(units.items()):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            if mark not in asked and await self._looks_as_it_did(mark, foreseen):
                candidates.add(mark)
        if candidates:
            self._leave_out_dependents(candidates, units.keys() - candidates)
        return frozenset(candidates)

    async def _looks_as_it_did(self, mark: str, foreseen: Foreseen) -> bool:
        outputs = foreseen.call.outputs
        if not outputs or not os.path.exists(outputs[0]):
            return False
        known = self._looks.get(mark)
        if known is None:
            if len(self._looks) >= MOST:
                return False
            if self._delivered is None:
                self._delivered = await asyncio.to_thread(self._read)
            known = self._looks[mark] = self._compare(self._delivered.get(mark), foreseen)
        return known

    def _compare(self, delivered: Delivered | None, foreseen: Foreseen) -> bool:
        unit = foreseen.call.call.unit
        if delivered is None or unit is None or not all(map(_is_there, delivered.outputs)):
            return False
        call, inputs = foreseen.call, delivered.inputs
        return appearance(unit, os.path.realpath(call.cwd), call.environment, inputs, stamps(inputs)) == delivered.seen

    def _leave_out_dependents(self, candidates: set[str], others: Iterable[str]) -> None:
        """Take those away that have read what units that do not stand are going to write anew."""
        assert self._delivered is not None, "BUG: candidates of an unread journal"
        fresh = [self._delivered[mark] for mark in others if mark in self._delivered]
        while fresh and candidates:
            threatened = {record.path for delivered in fresh for record in delivered.outputs}
            fresh = []
            for mark in tuple(candidates):
                if not threatened.isdisjoint(self._delivered[mark].inputs):
                    candidates.remove(mark)
                    fresh.append(self._delivered[mark])


def _is_there(record: OutputRecord) -> bool:
    try:
        status = os.stat(record.path)
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (record.size, record.mtime_ns)
