"""Compiles units before make asks for them, on slots that would be idle, and keeps the results until it does.

It delivers nothing (`units` does, when make's own recipe makes the very same call) and plans nothing (`foresight`).

Theory of operation.  A foreseen unit is *known by its fingerprint*: directory, words, relevant environment.  It is
made as soon as what it reads is there, the longest remaining path first, in a share of the slots that leaves room
for what make asks for.  Its result goes to the store with the digests of all that it was made from.  When make asks,
the digests are compared; any difference, and the unit is made anew.  So a wrong guess costs slots, never truth.

Fortran goes in two phases.  First every foreseen unit's text is read, which tells who defines which module; then
each unit's `.mod` files are made in a private directory, along the chain; with them the code of all units can be
generated in parallel.  A module that came from a private file is compared with the one in the tree at delivery.

A failed lookahead is silent: make will ask, and the local compiler will say what is wrong.  One that fails for want
of a file is tried again, a few times, after something else has been made.
"""

from __future__ import annotations

import asyncio
import heapq
import os
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from buildfarm.conductor.evidence import Witness
from buildfarm.conductor.farm import Farm
from buildfarm.conductor.foresight import Foreseen, View
from buildfarm.conductor.ledger import Ledger
from buildfarm.conductor.making import Compiled, Maker, Modules, Task
from buildfarm.conductor.workbench import Urgency, Workbench
from buildfarm.dispatch.modules import SearchPath, final_directory
from buildfarm.dispatch.prepared import CannotTravel, Made
from buildfarm.graph.fingerprint import fingerprint
from buildfarm.model import Invocation, Unit
from buildfarm.state.store import ObjectStore, StoredResult

TICK = 0.2  # seconds between looks at what waits for a file
TRIES = 4
RESERVE = 8  # one slot in so many is left to what make asks for
WASTE_TOLERATED = 12  # results thrown away before lookahead asks itself whether it pays


@dataclass(frozen=True, slots=True)
class Ahead:
    """A result that still fits, ready for its place."""

    task: Task
    compiled: Compiled


@dataclass(eq=False, slots=True)
class _Entry:
    """One foreseen unit that make has not asked for."""

    foreseen: Foreseen
    urgency: Urgency
    modules: asyncio.Future[Modules | None]  # phase one; None: look in the tree
    job: asyncio.Task[None] | None = None
    task: Task | None = None
    result: Ahead | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    in_store: bool = False
    tries: int = 0
    wanted: bool = False  # make waits for it


class Lookahead:
    """The units of one build that are made ahead."""

    def __init__(self, maker: Maker, farm: Farm, ledger: Ledger, store: ObjectStore, *, enabled: bool) -> None:
        self._maker = maker
        self._farm = farm
        self._ledger = ledger
        self._store = store
        self._enabled = enabled
        self._witness = Witness()
        self._entries: dict[str, _Entry] = {}
        self._asked: set[str] = set()
        self._heap: list[tuple[float, int, _Entry]] = []  # C and C++ units not begun
        self._parked: list[_Entry] = []  # wait for a file
        self._definers: dict[str, _Entry] = {}  # by the final path of a module file
        self._unread = 0
        self._all_read = asyncio.Event()
        self._all_read.set()
        self._gate = Workbench(self._share, open_to_demand=True)
        self._numbers = 0
        self._kept: list[Task] = []  # their private modules may be borrowed until the end
        self.delivered = 0
        self.wasted = 0

    # -- what others tell -------------------------------------------------------------------------------------

    def foresee(self, view: View) -> None:
        """The plans say more than before."""
        if not self._enabled:
            return
        for mark, foreseen in view.units.items():
            unit = foreseen.call.call.unit
            if mark in self._asked or unit is None or not foreseen.call.certain or not unit.may_travel:
                continue
            entry = self._entries.get(mark)
            if entry is not None:
                if not entry.wanted:
                    entry.urgency.value = -foreseen.remaining
                continue
            if mark in self._store:
                continue  # from an earlier build: looked at when make asks
            self._add(foreseen, unit)
        self.pump()

    def pump(self) -> None:
        """Begin what there is room for."""
        if self.wasted >= WASTE_TOLERATED and self.wasted > self.delivered:
            return
        room = 2 * self._share() + 2 - self._under_way()
        while room > 0 and self._heap:
            _, _, entry = heapq.heappop(self._heap)
            if self._entries.get(entry.foreseen.fingerprint) is not entry or entry.job is not None:
                continue
            if not self._ready(entry):
                self._parked.append(entry)
                continue
            entry.job = asyncio.create_task(self._guard(entry, self._make(entry)))
            room -= 1
        self._gate.admit()

    async def run(self) -> None:
        """Look again and again whether a file has come that somebody waits for, until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            parked, self._parked = self._parked, []
            for entry in parked:
                self._push(entry)
            self.pump()

    async def take(self, invocation: Invocation) -> Ahead | None:
        """Make asks for this call: the result made ahead, waited for if it is under way, if it still fits."""
        mark = fingerprint(invocation.cwd, invocation.argv, invocation.env)
        self._asked.add(mark)
        entry = self._entries.pop(mark, None)
        if entry is None:
            return await self._from_store(mark, invocation)
        if entry.job is None:
            return None
        entry.wanted = True
        entry.urgency.demand()
        if entry.task is not None:
            self._maker.demand(entry.task)
        self._gate.admit()
        self._maker.bench.admit()
        try:
            await asyncio.wait((entry.job,))
        except asyncio.CancelledError:  # make was killed; what is under way may still be of use
            entry.wanted = False
            self._entries[mark] = entry
            raise
        if entry.in_store:
            return await self._from_store(mark, invocation)
        if entry.result is None:
            return None
        if not self._witness.holds(entry.inputs):
            self._waste()
            return None
        return entry.result

    def settled(self, ahead: Ahead) -> None:
        """A result was delivered."""
        self.delivered += 1
        self._store.discard(ahead.task.fingerprint)
        self.pump()

    def made(self, invocation: Invocation, outputs: tuple[str, ...]) -> None:
        """Make's own request was served without lookahead; what it made is in the tree."""
        for path, entry in list(self._definers.items()):
            if entry.foreseen.call.outputs[:1] == outputs[:1]:
                if not entry.modules.done():
                    entry.modules.set_result(None)
                del self._definers[path]
        self.pump()

    async def close(self) -> None:
        """Stop everything; what is in the store stays there."""
        jobs = [entry.job for entry in self._entries.values() if entry.job is not None]
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        for task in self._kept:
            self._maker.discard(task)

    # -- making ahead -------------------------------------------------------------------------------------------

    def _share(self) -> int:
        slots = self._farm.slots
        return slots - slots // RESERVE

    def _under_way(self) -> int:
        return sum(1 for entry in self._entries.values() if entry.job is not None and not entry.job.done())

    def _add(self, foreseen: Foreseen, unit: Unit) -> None:
        entry = _Entry(foreseen, Urgency(-foreseen.remaining), asyncio.get_running_loop().create_future())
        self._entries[foreseen.fingerprint] = entry
        if unit.fortran is None:
            self._push(entry)
        else:
            self._unread += 1
            self._all_read.clear()
            entry.job = asyncio.create_task(self._guard(entry, self._make_in_phases(entry, unit)))

    def _push(self, entry: _Entry) -> None:
        self._numbers += 1
        heapq.heappush(self._heap, (entry.urgency.value, self._numbers, entry))

    def _ready(self, entry: _Entry) -> bool:
        """Whether the source and all that the plan says must be made first is there."""
        call = entry.foreseen.call
        assert call.call.unit is not None, "BUG: an entry without a unit"
        source = os.path.join(call.cwd, call.call.unit.source)
        return all(os.path.exists(path) for path in (source, *entry.foreseen.waits_for))

    async def _guard(self, entry: _Entry, work: Awaitable[bool]) -> None:
        """Run one entry's work; whatever happens, nobody waits for it in vain."""
        again = False
        try:
            again = not await work
        except (CannotTravel, OSError):
            again = True
        finally:
            if not entry.modules.done():
                entry.modules.set_result(None)
            if entry.task is not None:
                self._kept.append(entry.task)
        entry.tries += 1
        if again and not entry.wanted and entry.tries < TRIES and entry.foreseen.call.call.unit is not None:
            unit = entry.foreseen.call.call.unit
            if unit.fortran is None and self._entries.get(entry.foreseen.fingerprint) is entry:
                entry.job = None
                self._parked.append(entry)

    async def _begin(self, entry: _Entry) -> Task:
        call = entry.foreseen.call
        assert call.call.unit is not None, "BUG: an entry without a unit"
        invocation = Invocation(call.argv, os.path.realpath(call.cwd), call.environment)
        task = await self._maker.task(call.call.unit, invocation, call.outputs, urgency=entry.urgency, ahead=True)
        if isinstance(task, str):
            raise CannotTravel(task)
        entry.task = task
        return task

    async def _make(self, entry: _Entry) -> bool:
        """One C or C++ unit; False: try again later."""
        async with self._gate.place(entry.urgency):
            task = await self._begin(entry)
            result = await self._maker.compile(task)
        if not isinstance(result, Compiled):
            return False
        return await self._keep(entry, task, result, {})

    async def _make_in_phases(self, entry: _Entry, unit: Unit) -> bool:
        """One Fortran unit; False: it came to nothing."""
        try:
            task = await self._begin(entry)
            read = await self._maker.read(task)
            for name in read.text.scanned.possible_module_files:
                self._definers[os.path.join(final_directory(task.unit, task.invocation.cwd), name)] = entry
        finally:
            self._unread -= 1
            if not self._unread:
                self._all_read.set()
        await self._all_read.wait()
        borrowed = await self._borrow(entry, task, read)
        modules = await self._maker.make_modules(task, read, borrowed)
        if not entry.modules.done():
            entry.modules.set_result(modules)
        async with self._gate.place(entry.urgency):
            result = await self._maker.generate(task, modules)
        if not isinstance(result, Compiled):
            return False
        return await self._keep(entry, task, result, borrowed)

    async def _borrow(self, entry: _Entry, task: Task, read: Modules) -> dict[str, str]:
        """The private files of the modules that this unit uses and that are not in the tree yet."""
        scanned = read.text.scanned
        needed = (*(f"{name}.mod" for name in scanned.needed_modules), *scanned.needed_submodule_files)
        search = SearchPath.of(task.unit, task.invocation.cwd)
        borrowed: dict[str, str] = {}
        for name in needed:
            for directory in ("", *search.directories):
                path = os.path.normpath(os.path.join(task.invocation.cwd, directory, name))
                definer = self._definers.get(path)
                if definer is None or definer is entry:
                    continue
                modules = await definer.modules
                for made in modules.made if modules is not None else ():
                    borrowed[made.final] = made.temporary
                break
        return borrowed

    async def _keep(self, entry: _Entry, task: Task, result: Compiled, borrowed: Mapping[str, str]) -> bool:
        """Keep a result with the evidence of what it was made from; False: there is none, a file was changing."""
        evidence = self._witness.take(task.unit, task.invocation.cwd, result.inputs, borrowed, result.since_ns)
        if evidence is None:
            self._ledger.set_aside(task.step, kept=False)
            return False
        entry.inputs = evidence.inputs
        if entry.wanted:
            entry.result = Ahead(task, result)
            return True
        outputs = {task.outputs[0]: result.object}
        outputs.update({made.final: Path(made.temporary).read_bytes() for made in result.made})
        stored = StoredResult(
            outputs, evidence.inputs, result.stdout, result.stderr, seconds=result.seconds, node=result.node
        )
        entry.in_store = await asyncio.to_thread(self._store.put, task.fingerprint, stored)
        self._ledger.set_aside(task.step, kept=entry.in_store)
        return True

    async def _from_store(self, mark: str, invocation: Invocation) -> Ahead | None:
        if mark not in self._store:
            return None
        stored = await asyncio.to_thread(self._store.get, mark)
        if stored is None:
            return None
        if not self._witness.holds(stored.inputs):
            self._store.discard(mark)
            self._waste()
            return None
        main, *others = stored.outputs
        task = self._maker.stored_task(invocation, tuple(stored.outputs), mark)
        made = []
        for number, path in enumerate(others):
            temporary = task.workdir / str(number)
            temporary.write_bytes(stored.outputs[path])
            made.append(Made(str(temporary), path))
        compiled = Compiled(
            object=stored.outputs[main],
            stdout=stored.stdout,
            stderr=stored.stderr,
            made=tuple(made),
            inputs=tuple(path for path, digest in stored.inputs.items() if digest),
            node=stored.node,
            seconds=stored.seconds,
        )
        self._kept.append(task)
        return Ahead(task, compiled)

    def _waste(self) -> None:
        self.wasted += 1
