"""Serves a call that compiles several sources (`cc -c a.c b.c`): a unit for each, brought home together.

gcc compiles them one after the other; nodes do it side by side.  How a unit is made is `making`'s.  Where one of them
comes to anything else than a sound object, the whole call runs here, as make would have run it: then objects, words and
exit status are the compiler's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from buildfarm.conductor.delivery import Placement
from buildfarm.conductor.farm import CompileHere, Farm
from buildfarm.conductor.here import Here, absolute_outputs
from buildfarm.conductor.homecoming import arrival, placed, while_wanted
from buildfarm.conductor.ledger import Ledger
from buildfarm.conductor.lending import Lending
from buildfarm.conductor.lookahead import Lookahead
from buildfarm.conductor.making import Maker
from buildfarm.conductor.task import Compiled, Task
from buildfarm.dispatch import palette
from buildfarm.dispatch.prepared import CannotTravel
from buildfarm.make.server import DeliveryFailed, StubCall, StubLost
from buildfarm.model import Invocation, Kind, ToolCall, Unit
from buildfarm.value import dataclass


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
        try:
            await self._serve(call, tool_call.units, tasks)
        except CannotTravel as refusal:
            for task in tasks:
                self.ledger.set_aside(task.step, kept=False)
            reason = f"{tool_call.reason}; {refusal.reason}"
            await self.here.run(call, tool_call, step=self.ledger.new_step(), reason=reason)
        except BaseException:
            for task in tasks:
                self.ledger.forget(task.step)
            raise
        finally:
            await self.maker.discard(*tasks)

    async def _serve(self, call: StubCall, units: Iterable[Unit], tasks: list[Task]) -> None:
        """Bring all of them home; `tasks` takes in what was begun.  Raises CannotTravel where that can't be done."""
        work = asyncio.create_task(self._make_all(call, units, tasks))
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
            self.ledger.check_in(arrival(task, compiled, placement))

    async def _make_all(self, call: StubCall, units: Iterable[Unit], tasks: list[Task]) -> list[tuple[Task, Compiled]]:
        """All of them compiled, in their order.  Raises CannotTravel as soon as one can't be had."""
        try:
            async with asyncio.TaskGroup() as group:
                works = [group.create_task(self._make(call, unit, tasks)) for unit in units]
        except* CannotTravel as refusals:
            refusal = refusals.exceptions[0]
            assert isinstance(refusal, CannotTravel), "BUG: a refusal in a group of its own"
            raise refusal from None
        return [work.result() for work in works]

    async def _make(self, call: StubCall, unit: Unit, tasks: list[Task]) -> tuple[Task, Compiled]:
        invocation = Invocation(unit.argv, call.invocation.cwd, call.invocation.env)
        made = (unit.output, *([unit.stack_usage] if unit.stack_usage is not None else []))
        outputs = absolute_outputs(ToolCall(Kind.COMPILE, unit.tool, made, unit), invocation)
        urgency = self.lookahead.urgency(invocation, unit)
        async with self.lending.seat(call.pid, invocation.env) as seat:
            task = await self.maker.task(unit, invocation, outputs, urgency=urgency, seat=seat)
            if isinstance(task, str):
                raise CannotTravel(task)
            tasks.append(task)
            result = await self.maker.compile(task)
        if isinstance(result, CompileHere) and result.slot:
            self.farm.local_slot_freed()
        if not isinstance(result, Compiled):
            raise CannotTravel(result.reason)
        if not self.maker.trust.believes(result.node):
            raise CannotTravel(f"{result.node} is believed no more")
        return task, result
