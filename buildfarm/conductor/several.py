"""Serves a call that compiles several sources (`cc -c a.c b.c`): a unit for each, brought home together.

gcc compiles them one after the other; nodes do it side by side.  Of Fortran each is made from the modules of those
before it, which come first (`phases`).  How a unit is made is `making`'s.  Where one of them comes to anything else
than a sound object, the whole call runs here, as make would have run it: then objects, words and exit status are the
compiler's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from buildfarm.conductor.delivery import Placement
from buildfarm.conductor.farm import CompileHere, Farm, Stranded
from buildfarm.conductor.here import Here, absolute_outputs
from buildfarm.conductor.homecoming import arrival, module_files, placed, while_wanted
from buildfarm.conductor.ledger import Ledger
from buildfarm.conductor.lending import Lending
from buildfarm.conductor.lookahead import Ahead, Lookahead
from buildfarm.conductor.making import Maker
from buildfarm.conductor.phases import Chapter
from buildfarm.conductor.task import Compiled, Task
from buildfarm.dispatch import palette
from buildfarm.dispatch.prepared import CannotTravel
from buildfarm.dispatch.stamps import stamps
from buildfarm.graph.classify import parted
from buildfarm.make.server import DeliveryFailed, StubCall, StubLost
from buildfarm.model import MODULE_SUFFIXES, Invocation, Kind, ToolCall, Unit
from buildfarm.value import dataclass


@dataclass(frozen=True, slots=True)
class _Part:
    """One source's share of a call."""

    unit: Unit
    invocation: Invocation  # that of a call for it alone
    outputs: tuple[str, ...]  # absolute, the object first
    chapter: Chapter  # if it is Fortran


@dataclass(frozen=True, slots=True)
class Several:
    """Serves the calls with several sources of one build."""

    farm: Farm
    here: Here
    ledger: Ledger
    maker: Maker
    lookahead: Lookahead
    lending: Lending
    token: str

    async def serve(self, call: StubCall, tool_call: ToolCall) -> None:
        """Answer one call."""
        tasks: list[Task] = []
        parts = [_part(unit, call.invocation) for unit in tool_call.units]
        fortran = [part for part in parts if part.unit.fortran is not None]
        for part in fortran:
            self.lookahead.phases.asked(part.chapter.output)
        try:
            await self._serve(call, parts, tasks)
        except CannotTravel as refusal:
            for task in tasks:
                self.ledger.set_aside(task.step, kept=False)
            reason = f"{tool_call.reason}; {refusal.reason}"
            also = tuple(path for part in fortran for path in module_files(part.unit, part.invocation.cwd))
            await self.here.run(call, tool_call, step=self.ledger.new_step(), reason=reason, also=also)
        except BaseException:
            for task in tasks:
                self.ledger.forget(task.step)
            raise
        finally:
            for part in fortran:
                self.lookahead.made(part.outputs)
            await self.lookahead.discard(*tasks)

    async def _serve(self, call: StubCall, parts: list[_Part], tasks: list[Task]) -> None:
        """Bring all of them home; `tasks` takes in what was begun.  Raises CannotTravel where that can't be done."""
        work = asyncio.create_task(self._make_all(call, parts, tasks))
        if not await while_wanted(call, work):
            raise StubLost(f"{call.name} is gone")
        made = work.result()
        placements: list[Placement] = []
        try:
            for task, compiled in made:
                placements.append(await placed(task, compiled, self.token))
            words = (palette.as_seen(found.stderr, task.unit, call.invocation.env, call.pid) for task, found in made)
            renames = [pair for placement in placements for pair in placement.renames]
            await call.done(0, b"".join(found.stdout for _, found in made), b"".join(words), renames)
        except BaseException as error:
            for placement in placements:
                placement.discard()
            if isinstance(error, OSError | DeliveryFailed):
                raise CannotTravel(str(error)) from error
            raise
        for (task, compiled), placement in zip(made, placements, strict=True):
            seen = {**compiled.seen, **stamps([path for path in compiled.inputs if compiled.seen.get(path) is None])}
            self.ledger.check_in(arrival(task, replace(compiled, seen=seen), placement))  # modules of those before it
            self.lookahead.settled(Ahead(task, compiled))

    async def _make_all(self, call: StubCall, parts: list[_Part], tasks: list[Task]) -> list[tuple[Task, Compiled]]:
        """All of them compiled, in their order.  Raises CannotTravel as soon as one can't be had."""
        before: list[Chapter] = []  # of Fortran units, each with those before it
        works: list[asyncio.Task[tuple[Task, Compiled]]] = []
        if stored := await self._from_store(parts, tasks):
            return stored
        try:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    works.append(group.create_task(self._make(call, part, tuple(before), tasks)))
                    if part.unit.fortran is not None:
                        before.append(part.chapter)
        except* CannotTravel as refusals:
            refusal = refusals.exceptions[0]
            assert isinstance(refusal, CannotTravel), "BUG: a refusal in a group of its own"
            raise refusal from None
        made = [work.result() for work in works]
        modules = [item.final for _, compiled in made for item in compiled.made if item.final.endswith(MODULE_SUFFIXES)]
        if len(set(modules)) < len(modules):
            raise CannotTravel("two of them write the same module file")
        return made

    async def _from_store(self, parts: list[_Part], tasks: list[Task]) -> list[tuple[Task, Compiled]]:
        """All of them from the store, where an interrupted build has left them; nothing where one is not to be had."""
        found = await self.lookahead.take_all([(part.invocation, part.unit) for part in parts])
        for task, compiled in found:
            tasks.append(task)
            left = task.check_out(compiled.made, compiled.node, compiled.attempt, token=self.token)
            await self.ledger.check_out(left, again=True)
        return [(task, await self._with_words(task, compiled)) for task, compiled in found]

    async def _make(
        self, call: StubCall, part: _Part, before: Sequence[Chapter], tasks: list[Task]
    ) -> tuple[Task, Compiled]:
        urgency = self.lookahead.urgency(part.invocation, part.unit)
        async with self.lending.seat(call.pid, part.invocation.env) as seat:
            task = await self.maker.task(part.unit, part.invocation, part.outputs, urgency=urgency, seat=seat)
            if isinstance(task, str):
                raise CannotTravel(task)
            tasks.append(task)
            if part.unit.fortran is None:
                result = await self.maker.compile(task)
            else:
                result = await self._in_phases(task, part.chapter, before)
        if isinstance(result, CompileHere) and result.slot:
            self.farm.local_slot_freed()
        if not isinstance(result, Compiled):
            raise CannotTravel(result.reason)
        if not self.maker.trust.believes(result.node):
            raise CannotTravel(f"{result.node} is believed no more")
        return task, await self._with_words(task, result)

    async def _with_words(self, task: Task, compiled: Compiled) -> Compiled:
        words = await self.maker.words_at_delivery(task)
        return replace(compiled, stderr=words + compiled.stderr)

    async def _in_phases(
        self, task: Task, chapter: Chapter, before: Sequence[Chapter]
    ) -> Compiled | Stranded | CompileHere:
        """One Fortran unit, which finds the modules of those before it.  Raises CannotTravel."""
        phases = self.lookahead.phases
        try:
            read = await phases.read(chapter, task)
            modules = await phases.make_modules_after(chapter, task, read, before)
            result = await self.maker.generate(task, modules)
        except OSError as error:
            raise CannotTravel(f"preparing failed: {error.filename}: {error.strerror}") from error
        finally:
            chapter.close()
        if isinstance(result, Compiled) and not result.stable:
            raise CannotTravel("a source changed while it was compiled")
        return result


def _part(unit: Unit, call: Invocation) -> _Part:
    """One unit of a call."""
    invocation = replace(call, argv=parted(call.argv, unit))
    made = (unit.output, *([unit.stack_usage] if unit.stack_usage is not None else []))
    outputs = absolute_outputs(ToolCall(Kind.COMPILE, unit.tool, made, unit), invocation)
    return _Part(unit, invocation, outputs, Chapter(outputs[0]))
