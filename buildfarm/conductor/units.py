"""The way of a unit: prepared here, compiled on a node, verified, put in place, checked in.

It knows nothing of make's process or of the build's beginning and end.  Whatever goes wrong on this way ends in the
local compiler, run by the stub as make would have run it; so no fault of ours or of a node fails a build.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from buildfarm.conductor.delivery import Placement, ordinary, place, stamps, temporary_name
from buildfarm.conductor.farm import AttemptResult, Doubtful, Farm, Faulty, Stranded, Valid, Won, Work
from buildfarm.conductor.farm import Here as TakenHere
from buildfarm.conductor.here import Here, absolute_outputs
from buildfarm.conductor.ledger import Ledger
from buildfarm.conductor.membership import Membership
from buildfarm.conductor.toolbox import Toolbox
from buildfarm.dispatch import elf, verdict
from buildfarm.dispatch.client import Deadlines
from buildfarm.dispatch.client import compile as compile_on
from buildfarm.dispatch.faults import NodeFault
from buildfarm.dispatch.health import Fault
from buildfarm.dispatch.prepare import prepare
from buildfarm.dispatch.prepared import CannotTravel, Prepared
from buildfarm.graph.fingerprint import fingerprint
from buildfarm.graph.fortran import FortranScan, line_rules, scan
from buildfarm.make.server import DeliveryFailed, StubCall
from buildfarm.model import Answer, CheckIn, CheckOut, Invocation, Job, Kind, Node, StepState, ToolCall, Unit

NO_HOSTS = 116  # distcc's exit status when no host may take a unit (src/exitcode.h, EXIT_NO_HOSTS)
EDITS_TOLERATED = 3  # times that a source may change under a unit before the master compiles it


@dataclass(frozen=True, slots=True)
class Task:
    """One unit on its way, with what must be known of it at every station."""

    step: int
    unit: Unit
    invocation: Invocation  # its environment is free of the masquerade
    outputs: tuple[str, ...]  # absolute, the object first
    tool_path: str
    fingerprint: str
    workdir: Path  # for what is made here before the object comes back


@dataclass(frozen=True, slots=True)
class Compiled:
    """A unit that a node has compiled, verified, not yet in place."""

    prepared: Prepared
    won: Won


class Units:
    """Serves the compile calls of one build."""

    def __init__(
        self,
        farm: Farm,
        here: Here,
        ledger: Ledger,
        toolbox: Toolbox,
        membership: Membership,
        *,
        token: str,
        workroom: Path,
        estimates: Mapping[str, float],
        preparations: int,
    ) -> None:
        self._farm = farm
        self._here = here
        self._ledger = ledger
        self._toolbox = toolbox
        self._membership = membership
        self._token = token
        self._workroom = workroom
        self._estimates = estimates
        self._preparing = asyncio.Semaphore(preparations)

    async def serve(self, call: StubCall, tool_call: ToolCall) -> None:
        """Answer one compile call: by a node's result, or by the local compiler."""
        task = self._task(call, tool_call)
        if isinstance(task, str):
            await self._here.run(call, tool_call, step=self._ledger.new_step(), reason=task)
            return
        work = asyncio.create_task(self._compile(task))
        lost = asyncio.create_task(call.lost())
        try:
            await asyncio.wait((work, lost), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self._ledger.forget(task.step)
                return
            result = work.result()
            match result:
                case Compiled():
                    await self._deliver(call, tool_call, task, result)
                case Stranded(reason):
                    await self._fail(call, task, reason)
                case TakenHere(reason, slot, stderr):
                    try:
                        await self._here.run(call, tool_call, step=task.step, reason=reason, stderr=stderr)
                    finally:
                        if slot:
                            self._farm.local_slot_freed()
        finally:
            for pending in (work, lost):
                pending.cancel()
            await asyncio.gather(work, lost, return_exceptions=True)
            shutil.rmtree(task.workdir, ignore_errors=True)

    def _task(self, call: StubCall, tool_call: ToolCall) -> Task | str:
        """The unit ready to go, or the reason why it is compiled here."""
        unit = tool_call.unit
        assert unit is not None, "BUG: a compile call without a unit"
        if unit.local_reason is not None:
            return unit.local_reason
        if not self._farm.can_take(str(unit.language)):
            return f"no node takes {unit.language} now"
        outputs = absolute_outputs(tool_call, call.invocation)
        if not all(ordinary(path) for path in outputs):
            return "its output is a link, no regular file, or in a directory that is not there"
        tool_path = self._toolbox.real(call.called_as, call.invocation)
        if tool_path is None:
            return f"{call.name} was not found"
        step = self._ledger.new_step()
        workdir = self._workroom / str(step)
        try:
            workdir.mkdir()
        except OSError as error:
            return f"{workdir}: {error.strerror}"
        return Task(
            step=step,
            unit=unit,
            invocation=replace(call.invocation, env=self._toolbox.clean(call.invocation.env)),
            outputs=outputs,
            tool_path=tool_path,
            fingerprint=fingerprint(call.invocation.cwd, call.invocation.argv, call.invocation.env),
            workdir=workdir,
        )

    # -- making it --------------------------------------------------------------------------------------------

    async def _compile(self, task: Task) -> Compiled | Stranded | TakenHere:
        """Compile on a node, or say why the master must do it."""
        source = os.path.join(task.invocation.cwd, task.unit.source)
        for _ in range(EDITS_TOLERATED):
            before = stamps([source])
            try:
                async with self._preparing:
                    prepared = await prepare(
                        task.unit,
                        task.invocation,
                        task.tool_path,
                        node_tool=os.path.basename(task.tool_path),
                        workdir=task.workdir,
                        scan=_scan,
                    )
            except CannotTravel as refusal:
                return TakenHere(refusal.reason)
            except OSError as error:
                return TakenHere(f"preparing failed: {error.filename}: {error.strerror}")
            before = stamps(prepared.inputs) | before
            settlement = await self._farm.compile(
                Work(
                    unit=task.step,
                    language=str(task.unit.language),
                    attempt=lambda node, attempt, deadline: self._attempt(task, prepared, node, attempt, deadline),  # noqa: B023
                    estimate=self._estimates.get(task.outputs[0]),
                )
            )
            if not isinstance(settlement, Won):
                return settlement
            if stamps(tuple(before)) == before:
                return Compiled(prepared, settlement)
            self._ledger.attempt_ended(
                task.step, settlement.attempt, settlement.node, "stale", "a source changed while it was compiled"
            )
        return TakenHere("its sources keep changing")

    async def _attempt(
        self, task: Task, prepared: Prepared, node: Node, attempt: int, deadline: float
    ) -> AttemptResult:
        """One attempt on one node: journaled before it leaves, believed only when verified."""
        await self._ledger.check_out(self._check_out(task, node, attempt))
        try:
            answer = await compile_on(
                node, self._addressed(prepared.job, task, node), deadlines=Deadlines(compile=deadline)
            )
        except NodeFault as fault:
            return _faulty(node, fault)
        judged = verdict.judge(answer)
        if isinstance(judged, verdict.NodeAtFault):
            return Faulty(Fault(judged.outcome), f"{node.key}: {judged.reason}")
        if isinstance(judged, verdict.LocalVerdict):
            return Doubtful(judged.reason, answer.stderr)
        reference = await self._toolbox.reference(task.unit, task.tool_path, task.invocation.env)
        wrong = elf.inspect(answer.object, reference, assembler=task.unit.assembler_only)
        if wrong is not None:
            return Faulty(Fault.CORRUPT, f"{node.key}: {wrong}")
        return await self._with_words(task, prepared, node, answer, deadline)

    def _check_out(self, task: Task, node: Node | None, attempt: int) -> CheckOut:
        return CheckOut(
            step=task.step,
            kind=Kind.COMPILE,
            cwd=task.invocation.cwd,
            argv=task.unit.argv,
            outputs=task.outputs,
            fingerprint=task.fingerprint,
            node=node.key if node else None,
            attempt=attempt,
            time=time.time(),
            temporaries=tuple(temporary_name(path, self._token, task.step) for path in task.outputs),
        )

    def _addressed(self, job: Job, task: Task, node: Node) -> Job:
        """The job under the name by which the node knows the compiler."""
        name = self._membership.tool_name(node, task.unit.language, os.path.basename(task.tool_path))
        return job if job.argv[0] == name else replace(job, argv=(name, *job.argv[1:]))

    async def _with_words(
        self, task: Task, prepared: Prepared, node: Node, answer: Answer, deadline: float
    ) -> AttemptResult:
        """The answer with warnings as a local compile prints them, by a second compile where need be."""
        words = prepared.words(answer.stderr)
        if words is not None:
            return Valid(replace(answer, stderr=words))
        repeat = prepared.repeat(answer.stderr)
        if repeat is None:
            return Doubtful("its warnings can only be told by a local compile")
        try:
            again = await compile_on(
                node, self._addressed(repeat.job, task, node), deadlines=Deadlines(compile=deadline)
            )
        except NodeFault as fault:
            return _faulty(node, fault)
        if again.status != 0:
            return Doubtful("its warnings can only be told by a local compile")
        return Valid(
            replace(
                answer,
                stderr=repeat.words(again.stderr),
                bytes_sent=answer.bytes_sent + again.bytes_sent,
                bytes_received=answer.bytes_received + again.bytes_received,
            )
        )

    # -- bringing it home ---------------------------------------------------------------------------------------

    async def _deliver(self, call: StubCall, tool_call: ToolCall, task: Task, compiled: Compiled) -> None:
        won, prepared = compiled.won, compiled.prepared
        try:
            placement = place(task.outputs[0], won.answer.object, prepared.outputs_made, self._token, task.step)
        except OSError as error:
            await self._here.run(call, tool_call, step=task.step, reason=f"{error.filename}: {error.strerror}")
            return
        try:
            await call.done(0, won.answer.stdout, won.answer.stderr, placement.renames)
        except DeliveryFailed as failure:
            placement.discard()
            await self._here.run(call, tool_call, step=task.step, reason=str(failure))
            return
        except BaseException:
            placement.discard()
            self._ledger.forget(task.step)
            raise
        self._check_in(task, compiled, placement)

    def _check_in(self, task: Task, compiled: Compiled, placement: Placement) -> None:
        won = compiled.won
        self._ledger.check_in(
            CheckIn(
                step=task.step,
                state=StepState.DONE,
                time=time.time(),
                seconds=won.seconds,
                outputs=placement.records,
                stderr=won.answer.stderr,
                bytes_sent=won.answer.bytes_sent,
                bytes_received=won.answer.bytes_received,
                inputs=compiled.prepared.inputs,
            )
        )

    async def _fail(self, call: StubCall, task: Task, reason: str) -> None:
        """No node may take it and neither may the master: fail as distcc does with DISTCC_FALLBACK=0."""
        text = f"buildfarm: {task.unit.output}: {reason}; --fallback local would compile it here\n"
        if not self._ledger.attempts(task.step):
            await self._ledger.check_out(self._check_out(task, None, 1))
        await call.done(NO_HOSTS << 8, b"", os.fsencode(text))
        self._ledger.check_in(
            CheckIn(
                step=task.step,
                state=StepState.FAILED,
                time=time.time(),
                seconds=0.0,
                exit_status=NO_HOSTS,
                stderr=os.fsencode(text),
            )
        )


def _scan(text: str, unit: Unit) -> FortranScan:
    assert unit.fortran is not None, "BUG: a scan of a unit that is not Fortran"
    return scan(text, free_form=unit.fortran.free_form, rules=line_rules(unit.compile_arguments))


def _faulty(node: Node, fault: NodeFault) -> Faulty:
    return Faulty(Fault(fault.outcome), f"{node.key}: {fault.reason}")
