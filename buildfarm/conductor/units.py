"""Serves make's compile calls: by a result that was made ahead, by a node, or by the local compiler.

How a unit is made is `making`'s; this module brings it home: in place, at once, and into the journal.  Whatever goes
wrong on this way ends in the local compiler, run by the stub as make would have run it; so no fault of ours or of a
node fails a build.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace

from buildfarm.conductor.farm import CompileHere, Farm, Stranded
from buildfarm.conductor.here import Here, absolute_outputs
from buildfarm.conductor.homecoming import arrival, module_files, placed, while_wanted
from buildfarm.conductor.ledger import Ledger
from buildfarm.conductor.lending import Lending, Seat
from buildfarm.conductor.lookahead import Ahead, Declined, Lookahead
from buildfarm.conductor.making import Maker
from buildfarm.conductor.several import Several
from buildfarm.conductor.task import Compiled, Task
from buildfarm.dispatch import palette
from buildfarm.dispatch.prepared import CannotTravel
from buildfarm.make.server import DeliveryFailed, StubCall, StubLost
from buildfarm.model import NO_HOSTS, CheckIn, Invocation, StepState, ToolCall, Unit


class Units:
    """Serves the compile calls of one build."""

    def __init__(
        self,
        farm: Farm,
        here: Here,
        ledger: Ledger,
        maker: Maker,
        lookahead: Lookahead,
        lending: Lending,
        *,
        token: str,
    ) -> None:
        self._farm = farm
        self._here = here
        self._ledger = ledger
        self._maker = maker
        self._lookahead = lookahead
        self._lending = lending
        self._token = token
        self.several = Several(farm, here, ledger, maker, lookahead, lending, token)

    async def serve(self, call: StubCall, tool_call: ToolCall) -> None:
        """Answer one compile call."""
        async with self._lending.seat(call.pid, call.invocation.env) as seat:
            await self._serve(call, tool_call, seat)

    async def _serve(self, call: StubCall, tool_call: ToolCall, seat: Seat) -> None:
        unit = tool_call.unit
        assert unit is not None, "BUG: a compile call without a unit"
        invocation = call.invocation
        outputs = absolute_outputs(tool_call, invocation)
        try:
            known = await self._look_ahead(call, invocation, unit, outputs, seat)
            if isinstance(known, Ahead) and not self._maker.trust.believes(known.compiled.node):
                known = None
            match known:
                case Ahead(task, compiled):
                    await self._deliver(call, tool_call, task, compiled)
                    self._lookahead.settled(known)
                case Declined(task, verdict):
                    await self._decline(call, tool_call, task, verdict)
                case None:
                    await self._make_now(call, tool_call, unit, outputs, seat)
        finally:
            self._lookahead.made(outputs)  # or given up: nobody waits in vain

    async def _make_now(
        self, call: StubCall, tool_call: ToolCall, unit: Unit, outputs: tuple[str, ...], seat: Seat
    ) -> None:
        urgency = self._lookahead.urgency(call.invocation, unit)
        task = await self._maker.task(unit, call.invocation, outputs, urgency=urgency, seat=seat)
        if isinstance(task, str):
            await self._run_here(call, tool_call, self._ledger.new_step(), task)
            return
        try:
            await self._make(call, tool_call, task)
        finally:
            await self._maker.discard(task)

    async def _look_ahead(
        self, call: StubCall, invocation: Invocation, unit: Unit, outputs: tuple[str, ...], seat: Seat
    ) -> Ahead | Declined | None:
        """What lookahead knows of the call, waited for if it is under way.  Raises StubLost when make was killed."""
        if self._lookahead.pass_by(invocation, unit):
            return None
        asked = asyncio.create_task(self._lookahead.take(invocation, unit, outputs, seat))
        if not await while_wanted(call, asked):
            raise StubLost(f"{call.name} is gone")
        return asked.result()

    async def _make(self, call: StubCall, tool_call: ToolCall, task: Task) -> None:
        while True:
            work = asyncio.create_task(self._maker.compile(task))
            if not await while_wanted(call, work):
                self._ledger.forget(task.step)
                return
            result = work.result()
            if not isinstance(result, Compiled) or self._maker.trust.believes(result.node):
                break  # else it was found out as a liar since it answered
        if isinstance(result, Compiled):
            await self._deliver(call, tool_call, task, result)
        else:
            await self._decline(call, tool_call, task, result)

    async def _decline(self, call: StubCall, tool_call: ToolCall, task: Task, verdict: CompileHere | Stranded) -> None:
        """No node gave a result: compile here, or fail where the user wants that."""
        if isinstance(verdict, Stranded):
            text = f"buildfarm: {task.unit.output}: {verdict.reason}; --fallback local would compile it here\n"
            attempt = self._ledger.attempts(task.step) + 1  # nobody's: a node's ended as was told of it
            await self._ledger.check_out(task.check_out((), None, attempt, token=self._token))
            await self._fail(call, task, NO_HOSTS << 8, os.fsencode(text))
            return
        if verdict.status is not None and self._maker.skip_local_retry:
            await self._fail(call, task, verdict.status, verdict.stderr)
            return
        try:
            await self._run_here(call, tool_call, task.step, verdict.reason, verdict.stderr)
        finally:
            if verdict.slot:
                self._farm.local_slot_freed()

    async def _run_here(self, call: StubCall, tool_call: ToolCall, step: int, reason: str, stderr: bytes = b"") -> None:
        """Have the stub compile; the module files that a Fortran unit may write are outputs like its object."""
        unit = tool_call.unit
        also = module_files(unit, call.invocation.cwd) if unit is not None and unit.fortran is not None else ()
        await self._here.run(call, tool_call, step=step, reason=reason, stderr=palette.plain(stderr), also=also)

    # -- bringing it home ---------------------------------------------------------------------------------------

    async def _deliver(self, call: StubCall, tool_call: ToolCall, task: Task, compiled: Compiled) -> None:
        if task.ahead:
            await self._ledger.check_out(
                task.check_out(compiled.made, compiled.node, compiled.attempt, token=self._token), again=True
            )
        try:
            if words := await self._maker.words_at_delivery(task):
                compiled = replace(compiled, stderr=words + compiled.stderr)
            placement = await placed(task, compiled, self._token)
        except CannotTravel as refusal:
            await self._run_here(call, tool_call, task.step, refusal.reason)
            return
        except OSError as error:
            await self._run_here(call, tool_call, task.step, f"{error.filename}: {error.strerror}")
            return
        try:
            seen = palette.as_seen(compiled.stderr, task.unit, call.invocation.env, call.pid)
            await call.done(0, compiled.stdout, seen, placement.renames)
        except DeliveryFailed as failure:
            placement.discard()
            await self._run_here(call, tool_call, task.step, str(failure))
            return
        except BaseException:
            placement.discard()
            self._ledger.forget(task.step)
            raise
        self._ledger.check_in(arrival(task, compiled, placement))

    async def _fail(self, call: StubCall, task: Task, status: int, words: bytes) -> None:
        """The unit fails with this wait status and these words, and is not compiled here.

        As distcc does when no host may take it and DISTCC_FALLBACK=0, or when a node says that it does not compile and
        DISTCC_SKIP_LOCAL_RETRY=1.
        """
        await call.done(status, b"", palette.as_seen(words, task.unit, call.invocation.env, call.pid))
        self._ledger.check_in(
            CheckIn(
                step=task.step,
                state=StepState.FAILED,
                time=time.time(),
                seconds=0.0,
                exit_status=os.waitstatus_to_exitcode(status),
                stderr=palette.plain(words),
            )
        )
