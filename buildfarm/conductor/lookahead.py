"""Compiles units before make asks for them, on slots that would be idle, and keeps the results until it does.

It delivers nothing (`units` does, when make's own recipe makes the very same call) and plans nothing (`foresight`).  It
is one thing, a guess from when it is foreseen until make asks for it, and long for all that may become of it.

Theory of operation.  A foreseen unit is *known by its fingerprint*: directory, words, relevant environment.  It is
made as soon as what it reads is there, the longest remaining path first, in a share of the slots that leaves room for
what make asks for, and after that, unless it is so long that it would be the last (`outlook`).  Its result goes to
the store with the digests of all that it was made from.  When make asks, the digests are compared; any difference,
and the unit is made anew.  So a wrong guess costs slots, never truth.

Fortran units go in two phases (`phases`), also those that make asks for before they were foreseen: others wait for
their modules.  So the results of an earlier build are looked at as soon as they are foreseen, and lend theirs; in
other languages nobody needs them before make asks.

An entry is, one after the other: *foreseen*, in the queue or parked until a file has come; *under way*, once it has a
job; *over*, with its result in the store, or in hand if make has asked meanwhile, or with none.  A failed lookahead is
silent: make will ask, and the local compiler will say what is wrong.  One that fails for want of a file is foreseen
again, a few times, after something else has been made.
"""

from __future__ import annotations

import asyncio
import heapq
import os
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import field, replace

from buildfarm.conductor import held
from buildfarm.conductor.evidence import Witness
from buildfarm.conductor.farm import CompileHere, Farm, Stranded
from buildfarm.conductor.foresight import Foreseen, View
from buildfarm.conductor.ledger import Ledger
from buildfarm.conductor.lending import NO_SEAT, Seat
from buildfarm.conductor.making import Maker
from buildfarm.conductor.outlook import Outlook
from buildfarm.conductor.phases import Chapter, Phases
from buildfarm.conductor.searched import is_vague
from buildfarm.conductor.task import Compiled, Modules, Task
from buildfarm.conductor.workbench import Urgency, Workbench
from buildfarm.dispatch.prepared import CannotTravel
from buildfarm.dispatch.stamps import Stamp, stamps
from buildfarm.graph.classify import stays
from buildfarm.model import MODULE_SUFFIXES, Invocation, Unit
from buildfarm.state.store import ObjectStore, StoredResult
from buildfarm.value import dataclass

TICK = 0.2  # seconds between looks at what waits for a file
TRIES = 4
RESERVE = 16  # one slot in so many is left to what make asks for
DOUBTS = 4  # units that stand and that make asks for all the same, before the plan is believed against `standing`
WASTE_TOLERATED = 12  # results thrown away before lookahead asks itself whether it pays


@dataclass(frozen=True, slots=True)
class Ahead:
    """A result that still fits, ready for its place."""

    task: Task
    compiled: Compiled


@dataclass(frozen=True, slots=True)
class Declined:
    """Make asked, and no node gave a result: the master must compile it, or nobody may."""

    task: Task
    verdict: CompileHere | Stranded


@dataclass(eq=False, slots=True)
class _Entry:
    """One unit that is made before make asks for it, or in phases as make asks."""

    mark: str  # the fingerprint
    unit: Unit
    invocation: Invocation
    outputs: tuple[str, ...]
    urgency: Urgency
    waits_for: tuple[str, ...] = ()
    draft: str = ""  # prints the source, which make's recipe will write
    seconds: float = 0.0  # expected
    wanted: bool = False  # make waits for it
    coding: bool = False  # a Fortran unit whose modules are made: nobody waits for its code but make
    sent: bool = False  # in its place on a node, or on its way there
    job: asyncio.Task[None] | None = None
    task: Task | None = None
    result: Ahead | Declined | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    in_store: bool = False
    kept: bool = False  # what is in the store is an earlier build's
    tries: int = 0
    seat: Seat = NO_SEAT  # of the call for which it was begun


class Lookahead:
    """The units of one build that are made ahead."""

    def __init__(self, maker: Maker, farm: Farm, ledger: Ledger, store: ObjectStore, *, enabled: bool) -> None:
        self._maker = maker
        self._farm = farm
        self._ledger = ledger
        self._store = store
        self.enabled = enabled  # whether anything is made before make asks
        self._stopping = False  # the build is told to stop
        self._witness = Witness()
        self.phases = Phases(maker)
        self._entries: dict[str, _Entry] = {}
        self._asked: set[str] = set()
        self._view = View()
        self._doubts = 0  # see `DOUBTS`
        self._queue: list[tuple[float, int, _Entry]] = []  # C and C++ units not begun
        self._parked: list[_Entry] = []  # wait for a file
        self._running = 0
        self._jobs: set[asyncio.Task[None]] = set()
        self._gate = Workbench(self._share, open_to_demand=True)
        self._outlook = Outlook()
        self._sent: dict[_Entry, None] = {}  # those sent that don't press, mostly the longest first
        self._numbers = 0
        self._over: list[Task] = []  # whose private modules may be borrowed until the end
        self.delivered = 0
        self.wasted = 0

    # -- what others tell -------------------------------------------------------------------------------------

    def enable(self) -> None:
        """There are nodes now."""
        self.enabled = True

    def foresee(self, view: View) -> None:
        """The plans say more than before."""
        self._view = view
        if not self.enabled or self._stopping:
            return
        standing = view.standing if self._doubts < DOUBTS else frozenset()
        to_come: dict[str, float] = {}
        for mark, foreseen in view.units.items():
            unit = foreseen.call.call.unit
            if mark in self._asked or mark in standing:
                continue
            if unit is None or not foreseen.call.certain or not foreseen.call.alone or stays(unit):
                continue
            entry = self._entries.get(mark)
            if entry is not None:
                entry.seconds = foreseen.seconds
                entry.urgency.path = _path(entry, foreseen)
            elif unit.fortran is not None or mark not in self._store:  # else it is looked at when make asks
                self._add(foreseen, unit)
            else:
                continue
            to_come[mark] = foreseen.seconds
        self._outlook.foresee(to_come)
        self.pump()

    def pump(self) -> None:
        """Begin what there is room for."""
        if self._stopping:
            return
        if self.wasted >= WASTE_TOLERATED and self.wasted > self.delivered:
            return
        room = 2 * self._share() + 2 - self._running
        while room > 0 and self._queue:
            _, _, entry = heapq.heappop(self._queue)
            if self._entries.get(entry.mark) is not entry or entry.job is not None:
                continue
            if not self._ready(entry):
                self._parked.append(entry)
                continue
            self._begin_job(entry, self._make(entry))
            room -= 1
        self._gate.admit()
        self._press()

    async def run(self) -> None:
        """Look again and again whether a file has come that somebody waits for, until cancelled or stopping."""
        while True:
            await asyncio.sleep(TICK)
            if self._stopping:
                return
            parked, self._parked = self._parked, []
            for entry in parked:
                if entry.unit.fortran is None:
                    self._push(entry)
                elif self._entries.get(entry.mark) is not entry:
                    continue
                elif self._ready(entry):
                    self._begin_phases(entry)
                else:
                    self._parked.append(entry)
            self.pump()

    def pass_by(self, invocation: Invocation, unit: Unit) -> bool:
        """Make asks for this call; whether nothing is known of it, so that it is to be made now."""
        if not self.enabled:
            return True
        mark = self._maker.toolbox.mark(invocation)
        entry = self._entries.get(mark)
        if unit.fortran is not None or (entry is not None and entry.job is not None) or mark in self._store:
            return False
        self._note_asked(mark)
        self._entries.pop(mark, None)
        return True

    def urgency(self, invocation: Invocation, unit: Unit) -> Urgency:
        """That of a call which make asks for and of which nothing was begun; of Fortran only the code needs a slot."""
        foreseen = self._view.units.get(self._maker.toolbox.mark(invocation))
        if foreseen is None:
            return Urgency()
        return Urgency(foreseen.remaining if unit.fortran is None else foreseen.seconds)

    async def take(
        self, invocation: Invocation, unit: Unit, outputs: tuple[str, ...], seat: Seat = NO_SEAT
    ) -> Ahead | Declined | None:
        """Make asks for this call: what was made ahead, waited for if it is under way, if it still fits.

        None: nothing is known of it; make it now.  A Fortran unit is never unknown: it is made in phases here.
        """
        if not self.enabled:
            return None
        mark = self._maker.toolbox.mark(invocation)
        self._note_asked(mark)
        if unit.fortran is not None and outputs:  # else it tries something out (`-o /dev/null`)
            self.phases.asked(outputs[0])
        entry = self._entries.pop(mark, None)
        if entry is None or entry.job is None or entry.kept:
            stored = await self._from_store(mark, invocation, unit, seat, kept=True)
            if stored is not None or unit.fortran is None or stays(unit):
                return stored
            entry = _Entry(mark, unit, invocation, outputs, self.urgency(invocation, unit), wanted=True, seat=seat)
            entry.seconds = entry.urgency.path
            self._begin_phases(entry)
            meanwhile = NO_SEAT  # what it does here it does for this call
        else:
            self._want(entry)
            meanwhile = seat
        assert entry.job is not None, "BUG: nothing to wait for"
        try:
            async with meanwhile.away():
                await asyncio.wait((entry.job,))
        except asyncio.CancelledError:  # make was killed; what is under way may still be of use
            entry.wanted = False
            self._entries[mark] = entry
            raise
        if entry.in_store:
            return await self._from_store(mark, invocation, unit, seat, kept=entry.kept)
        if isinstance(entry.result, Ahead) and entry.result.task.ahead:
            await self._in_order(unit, outputs[0], entry.inputs, seat)
            seen = _stamps(entry.inputs)
            if not self._witness.holds(entry.inputs, named=unit.depfile is not None):
                self.wasted += 1
                self._ledger.set_aside(entry.result.task.step, kept=False)
                return None
            return replace(entry.result, compiled=replace(entry.result.compiled, seen=seen))
        return entry.result

    async def take_all(self, calls: Sequence[tuple[Invocation, Unit]]) -> list[tuple[Task, Compiled]]:
        """Make asks for these by one call: what the store holds of all of them, in order; nothing if one lacks."""
        marks = [self._maker.toolbox.mark(invocation) for invocation, _ in calls]
        if not all(mark in self._store for mark in marks):
            return []
        found: list[tuple[Task, Compiled]] = []
        for mark, (invocation, unit) in zip(marks, calls, strict=True):
            held = await self._from_store(mark, invocation, unit, None, kept=True)
            if held is None:
                return []
            found.append((held.task, held.compiled))
        return found

    def settled(self, ahead: Ahead) -> None:
        """A result was delivered."""
        if ahead.task.ahead:
            self.delivered += 1
            self._store.discard(ahead.task.fingerprint)
        self.pump()

    def made(self, outputs: tuple[str, ...]) -> None:
        """Make's request was served; what the unit writes is in the tree."""
        if outputs:
            self.phases.in_tree(outputs[0])
        self.pump()

    async def discard(self, *tasks: Task) -> None:
        """Tasks of make's calls are over: their private files go, but modules may be borrowed until the end."""
        self._over += (task for task in tasks if task.unit.fortran is not None)
        await self._maker.discard(*(task for task in tasks if task.unit.fortran is None))

    async def checkpoint(self, seconds: float) -> None:
        """Begin nothing more, and wait, at most `seconds`, for what is on a node; it goes to the store."""
        self._stopping = True
        jobs = [entry.job for entry in self._entries.values() if entry.sent and entry.job is not None]
        if jobs:
            await asyncio.wait(jobs, timeout=seconds)

    async def close(self) -> None:
        """Stop everything, for good; what is in the store stays there."""
        self.enabled, self._stopping = False, True  # plans and files still come: nobody would end what they begin
        jobs = tuple(self._jobs)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await self._maker.discard(*self._over)

    def _note_asked(self, mark: str) -> None:
        self._asked.add(mark)
        self._outlook.begun(mark)
        if mark in self._view.standing:
            self._doubts += 1
            if self._doubts == DOUBTS:
                self.foresee(self._view)

    # -- making ahead -------------------------------------------------------------------------------------------

    def _share(self) -> int:
        if self._stopping:
            return 0
        slots = self._farm.slots
        return slots - slots // RESERVE

    def _add(self, foreseen: Foreseen, unit: Unit) -> None:
        call = foreseen.call
        invocation = Invocation(call.argv, os.path.realpath(call.cwd), call.environment)
        if self._maker.toolbox.is_script(call.argv[0], invocation):
            self._asked.add(foreseen.fingerprint)  # make never will: what comes is what the script calls
            return
        if is_vague(unit):
            return  # nobody could vouch for the result
        entry = _Entry(
            foreseen.fingerprint,
            unit,
            invocation,
            call.outputs,
            Urgency(demanded=False),
            foreseen.waits_for,
            call.draft,
        )
        entry.seconds = foreseen.seconds
        entry.urgency.path = _path(entry, foreseen)
        self._entries[entry.mark] = entry
        if unit.fortran is None:
            self._push(entry)
        elif self._ready(entry):
            self._begin_phases(entry)
        else:
            self._parked.append(entry)

    def _push(self, entry: _Entry) -> None:
        self._numbers += 1
        heapq.heappush(self._queue, (entry.urgency.value, self._numbers, entry))

    def _ready(self, entry: _Entry) -> bool:
        """Whether the source, or what writes it, and all that the plan says must be made first is there."""
        source = () if entry.draft else (os.path.join(entry.invocation.cwd, entry.unit.source),)
        return all(map(os.path.exists, (*source, *entry.waits_for)))

    def _want(self, entry: _Entry) -> None:
        """Make waits for an entry that is under way: nothing goes before it any more."""
        entry.wanted = True
        self._sent.pop(entry, None)
        entry.urgency.demand()
        if entry.task is not None:
            self._maker.demand(entry.task)
        self._gate.hurry(entry.urgency)
        self._maker.bench.hurry(entry.urgency)

    def _send(self, entry: _Entry) -> None:
        """It has its place: it goes to a node as soon as it is prepared and a slot is free."""
        entry.sent = True
        if not entry.wanted and not self._presses(entry):
            self._sent[entry] = None

    def _press(self) -> None:
        """Let the longest go with what make waits for."""
        while self._sent and self._presses(entry := next(iter(self._sent))):
            del self._sent[entry]

    def _presses(self, entry: _Entry) -> bool:
        """Whether it is so long that it goes with what make waits for; it does then."""
        if not self._outlook.presses(entry.urgency.path, self._farm.slots):
            return False
        entry.urgency.pressing = True
        self._outlook.begun(entry.mark)
        if entry.task is not None:
            self._maker.press(entry.task)
        return True

    def _begin_phases(self, entry: _Entry) -> None:
        self.phases.expect()
        self._begin_job(entry, self._make_in_phases(entry))

    def _begin_job(self, entry: _Entry, work: Coroutine[None, None, bool]) -> None:
        entry.tries += 1
        entry.job = asyncio.create_task(self._guard(entry, work))
        self._jobs.add(entry.job)
        entry.job.add_done_callback(self._jobs.discard)

    async def _guard(self, entry: _Entry, work: Coroutine[None, None, bool]) -> None:
        """Run one entry's work.  What fails for want of a file may be tried again later."""
        self._running += 1
        try:
            made = await work
        except (CannotTravel, OSError) as error:
            made = False
            refusal = CompileHere(str(error))
            if entry.wanted and entry.task is not None and not _too_early(entry.task, refusal):
                entry.result = Declined(entry.task, refusal)
        finally:
            self._running -= 1
            self._sent.pop(entry, None)
            self._outlook.begun(entry.mark)
            if entry.task is not None:
                self._over.append(entry.task)
        if not made and not entry.wanted and entry.result is None and self._entries.get(entry.mark) is entry:
            entry.job, entry.task = None, None  # when make asks, it is begun anew
            if entry.tries < TRIES:
                self._parked.append(entry)

    async def _task(self, entry: _Entry) -> Task:
        task = await self._maker.task(
            entry.unit,
            entry.invocation,
            entry.outputs,
            urgency=entry.urgency,
            ahead=not entry.wanted,
            seat=entry.seat,
            draft=entry.draft,
        )
        if isinstance(task, str):
            raise CannotTravel(task)
        entry.task = task
        return task

    async def _make(self, entry: _Entry) -> bool:
        """One C or C++ unit; False: try again later."""
        await self._witness.settled(entry.waits_for)
        async with self._gate.place(entry.urgency):
            self._send(entry)
            task = await self._task(entry)
            result = await self._maker.compile(task)
        return await self._keep(entry, task, result, {})

    async def _make_in_phases(self, entry: _Entry) -> bool:
        """One Fortran unit; False: try again later."""
        chapter = Chapter(entry.outputs[0])
        try:
            try:
                await self._witness.settled(entry.waits_for)
                stored = await self._kept(entry)
                if stored is None:
                    task, read = await self._read(entry, chapter)
                else:
                    self.phases.writes(chapter, stored.outputs)
            finally:
                self.phases.expected_came()
            if stored is not None:
                if await self._lend(entry, chapter, stored):
                    return True
                task, read = await self._read(entry, chapter)
            modules = await self.phases.make_modules(chapter, task, read, ahead=not entry.wanted)
            del read
            entry.coding = True
            entry.urgency.path = entry.seconds
            async with self._gate.place(entry.urgency):
                self._send(entry)
                result = await self._maker.generate(task, modules)
        finally:
            chapter.close()
        return await self._keep(entry, task, result, modules.borrowed)

    async def _read(self, entry: _Entry, chapter: Chapter) -> tuple[Task, Modules]:
        """The unit's text is read: others can tell which modules it writes."""
        task = await self._task(entry)
        return task, await self.phases.read(chapter, task)

    async def _kept(self, entry: _Entry) -> StoredResult | None:
        """What an earlier build made ahead; None too where make asks: `take` has looked at it."""
        if entry.wanted or entry.mark not in self._store:
            return None
        return await asyncio.to_thread(self._store.get, entry.mark)

    async def _lend(self, entry: _Entry, chapter: Chapter, stored: StoredResult) -> bool:
        """Lend others the modules of a result that an earlier build made, if it still fits; False: make it anew.

        One whose inputs are not all there can't be judged yet: that is left to the moment when make asks.
        """
        read = [path for path, digest in stored.inputs.items() if digest]
        modules = [[os.path.normpath(path)] for path in read if path.endswith(MODULE_SUFFIXES)]
        private = await self.phases.borrow(chapter, modules)
        if self._witness.holds(stored.inputs, named=entry.unit.depfile is not None, private=private):
            task = self._maker.stored_task(entry.invocation, tuple(stored.outputs), entry.mark, kept=True)
            self._over.append(task)
            chapter.close(held.from_store(stored, task, {}).made)
        elif all(os.path.exists(private.get(os.path.normpath(path), path)) for path in read):
            return False
        entry.in_store = entry.kept = True
        return True

    async def _keep(
        self, entry: _Entry, task: Task, result: Compiled | CompileHere | Stranded, borrowed: Mapping[str, str]
    ) -> bool:
        """Keep a result with the evidence of what it was made from; False: there is none."""
        if not isinstance(result, Compiled):
            if entry.wanted and not _too_early(task, result):
                entry.result = Declined(task, result)
            else:
                self._ledger.set_aside(task.step, kept=False)
                # It would hang again: when make asks, it is compiled here.
                if isinstance(result, CompileHere) and result.hung:
                    entry.result = Declined(replace(task, step=self._ledger.new_step()), result)
            return False
        if not task.ahead:
            if result.stable:
                entry.result = Ahead(task, result)
            else:
                self._ledger.set_aside(task.step, kept=False)
            return True
        evidence = self._witness.take(
            task.unit,
            task.invocation.cwd,
            task.invocation.env,
            result.inputs,
            borrowed,
            result.since_ns,
            task.tool_path,
            modules_since_ns=result.modules_since_ns,
        )
        if evidence is None:
            self._ledger.set_aside(task.step, kept=False)
            return False
        entry.inputs = evidence.inputs
        if entry.wanted:
            entry.result = Ahead(task, result)
            return True
        if not self._maker.trust.believes(result.node):
            self._ledger.set_aside(task.step, kept=False)
            return False
        stored = held.to_store(task, result, evidence.inputs)
        entry.in_store = await asyncio.to_thread(self._store.put, task.fingerprint, stored)
        self._ledger.set_aside(task.step, kept=entry.in_store)
        return True

    async def _in_order(self, unit: Unit, output: str, inputs: Iterable[str], seat: Seat) -> None:
        """Wait for what make has asked for before, if it writes modules that a result was made from."""
        if unit.fortran is not None:
            await self.phases.in_order(output, (path for path in inputs if path.endswith(MODULE_SUFFIXES)), seat)

    async def _from_store(
        self, mark: str, invocation: Invocation, unit: Unit, seat: Seat | None, *, kept: bool
    ) -> Ahead | None:
        """The result in the store, if it still fits; `kept`: an earlier build has put it there.

        `seat` is that of the call, which waits its turn; None: it has.
        """
        if mark not in self._store:
            return None
        stored = self._store.recent(mark) or await asyncio.to_thread(self._store.get, mark)
        if stored is None:
            return None
        main, *others = stored.outputs
        if unit.fortran is not None:
            self.phases.in_store(main, others)
        if seat is not None:
            await self._in_order(unit, main, stored.inputs, seat)
        seen = _stamps(stored.inputs)
        if not self._witness.holds(stored.inputs, named=unit.depfile is not None) or (
            kept and self._witness.probes.tell_when(unit, seen)
        ):
            self._store.discard(mark)
            self.wasted += 1
            return None
        task = self._maker.stored_task(invocation, tuple(stored.outputs), mark, kept=kept)
        compiled = held.from_store(stored, task, seen)
        self._over.append(task)
        return Ahead(task, compiled)


def _too_early(task: Task, result: CompileHere | Stranded) -> bool:
    """Whether it was begun before make asked, when what it is made from may not have been there whole."""
    return task.ahead and isinstance(result, CompileHere) and not result.slot and not result.hung


def _path(entry: _Entry, foreseen: Foreseen) -> float:
    """The longest remaining path goes first; a Fortran unit's ends at its modules for those that use them."""
    if entry.unit.fortran is None:
        return foreseen.remaining
    return foreseen.seconds if entry.coding else foreseen.path


def _stamps(inputs: Mapping[str, str]) -> dict[str, Stamp | None]:
    """What the files among `inputs` look like now."""
    return stamps(tuple(path for path, digest in inputs.items() if digest))
