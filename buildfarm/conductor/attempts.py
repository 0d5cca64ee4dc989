"""One try at a unit on one node: journaled before it leaves, judged when it comes back.

Which node, and what becomes of the unit afterwards, is the farm's business; what travels, the preparation's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from buildfarm.conductor.farm import AttemptResult, Doubtful, Faulty, Unfit, Valid
from buildfarm.conductor.ledger import Ledger
from buildfarm.conductor.membership import Membership
from buildfarm.conductor.pumping import Hope, Pumping
from buildfarm.conductor.task import Task
from buildfarm.conductor.toolbox import Toolbox
from buildfarm.conductor.trust import Claim, Trust
from buildfarm.dispatch import elf, verdict
from buildfarm.dispatch.client import Deadlines, Phase
from buildfarm.dispatch.client import compile as compile_on
from buildfarm.dispatch.faults import NodeFault
from buildfarm.dispatch.health import Fault
from buildfarm.dispatch.palette import plain
from buildfarm.dispatch.prepared import Prepared
from buildfarm.model import Answer, Job, Node

FAILED_THERE = "the compiler failed on a node: the verdict is this machine's"
WORDS_LOST = "its warnings can only be told by a local compile"


class Attempts:
    """What all attempts of one build need."""

    def __init__(
        self, ledger: Ledger, toolbox: Toolbox, membership: Membership, trust: Trust, pumping: Pumping, token: str
    ) -> None:
        self._ledger = ledger
        self._toolbox = toolbox
        self._membership = membership
        self._trust = trust
        self._pumping = pumping
        self._token = token

    async def attempt(
        self, task: Task, prepared: Prepared, hopes: dict[int, Hope], node: Node, number: int, deadline: float
    ) -> AttemptResult:
        """Attempt `number` of the task, on this node, for at most `deadline` seconds.

        `hopes` is told, by number, if it leaves for a node that has not proved its headers yet.
        """
        await self._ledger.check_out(
            task.check_out(prepared.outputs_made, node.key, number, token=self._token, held=task.ahead),
            output=task.outputs[0],
        )
        try:
            name, unfit = await self._membership.tool_name(node, task.unit.language, task.tool_path)
            if unfit is not None:
                return Unfit(unfit)
            job, hope = self._pumping.job(node, prepared)
            if hope is not None:
                hopes[number] = hope
            job = _called(job, name)
            stopwatch = _Stopwatch()
            answer = await compile_on(node, job, deadlines=Deadlines(compile=deadline), on_phase=stopwatch)
        except NodeFault as fault:
            return _faulty(node, fault)
        text_of = None if job.pump else str(task.unit.language)
        self._pumping.thrift.sent(answer.bytes_sent, stopwatch.sending, text_of)
        judged = verdict.judge(replace(answer, stderr=plain(answer.stderr)))
        if isinstance(judged, verdict.NodeAtFault):
            return Faulty(Fault(judged.outcome), f"{node.key}: {judged.reason}")
        if isinstance(judged, verdict.LocalVerdict):
            return Doubtful(FAILED_THERE, answer.stderr, answer.status)
        environment = task.invocation.env
        reference = await self._toolbox.reference(task.unit, task.tool_path, environment)
        inspect = partial(elf.inspect, reference=reference, assembler=task.unit.returns_text)
        wrong = inspect(answer.object)
        if wrong is not None:
            return Faulty(Fault.CORRUPT, f"{node.key}: {wrong}", damaged=elf.begins(answer.object))
        claim = Claim(node.key, job, answer.object, task.tool_path, environment, task.outputs[0], task.unit.debug)
        if hope is None:
            self._trust.consider(claim)
        else:
            hope.once_proved = partial(self._trust.consider, claim)
        return await self._with_words(prepared, node, name, answer, deadline, inspect)

    async def _with_words(
        self,
        prepared: Prepared,
        node: Node,
        name: str,
        answer: Answer,
        deadline: float,
        inspect: Callable[[bytes], str | None],
    ) -> AttemptResult:
        """The answer with warnings as a local compile prints them, by a second compile where need be.

        A node that sends no whole object the second time has not said its words either.
        """
        words = prepared.words(answer.stderr)
        if words is not None:
            return Valid(answer if words == answer.stderr else replace(answer, stderr=words))
        repeat = prepared.repeat(answer.stderr)
        if repeat is None:
            return Doubtful(WORDS_LOST)
        try:
            again = await compile_on(node, _called(repeat.job, name), deadlines=Deadlines(compile=deadline))
        except NodeFault as fault:
            return _faulty(node, fault)
        if again.status != 0:
            return Doubtful(WORDS_LOST)
        wrong = inspect(again.object)
        if wrong is not None:
            return Faulty(Fault.CORRUPT, f"{node.key}: {wrong}", damaged=elf.begins(again.object))
        return Valid(
            replace(
                answer,
                stderr=repeat.words(again.stderr),
                bytes_sent=answer.bytes_sent + again.bytes_sent,
                bytes_received=answer.bytes_received + again.bytes_received,
            )
        )


class _Stopwatch:
    """Told of an attempt's phases, it knows how long sending took."""

    def __init__(self) -> None:
        self._began = 0.0
        self.sending = 0.0  # seconds

    def __call__(self, phase: Phase) -> None:
        now = time.monotonic()
        if phase is Phase.SEND:
            self._began = now
        elif phase is Phase.COMPILE:
            self.sending = now - self._began


def _called(job: Job, name: str) -> Job:
    """The job under the name by which its node knows the compiler."""
    return job if job.argv[0] == name else replace(job, argv=(name, *job.argv[1:]))


def _faulty(node: Node, fault: NodeFault) -> Faulty:
    return Faulty(Fault(fault.outcome), f"{node.key}: {fault.reason}", damaged=fault.outcome == Fault.CORRUPT)
