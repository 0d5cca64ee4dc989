"""How a unit is made: prepared here, compiled on a node, verified.  Bringing it to its place is `units`'.

It serves what make asks for and what lookahead asks for alike, and knows no stub.  It is one thing, a unit's way from
its command to an object that is believed, and long for the stations that it passes.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeGuard

from buildfarm.conductor.delivery import UNORDINARY, ordinary, temporary_name
from buildfarm.conductor.farm import (
    AttemptResult,
    Doubtful,
    Farm,
    Faulty,
    Here,
    Settlement,
    Stranded,
    Unfit,
    Valid,
    Won,
    Work,
)
from buildfarm.conductor.ledger import Ledger
from buildfarm.conductor.lending import NO_SEAT, Seat
from buildfarm.conductor.membership import Membership
from buildfarm.conductor.pumping import Hope, Pumping
from buildfarm.conductor.toolbox import Toolbox
from buildfarm.conductor.trust import Trust
from buildfarm.conductor.workbench import DEMANDED, Urgency, Workbench
from buildfarm.dispatch import elf, protocol, recipe_fortran, verdict
from buildfarm.dispatch.client import Deadlines, Phase
from buildfarm.dispatch.client import compile as compile_on
from buildfarm.dispatch.faults import NodeFault
from buildfarm.dispatch.fortran_text import FortranText
from buildfarm.dispatch.fortran_text import read as read_text
from buildfarm.dispatch.health import Fault
from buildfarm.dispatch.missing_directories import MissingDirectories
from buildfarm.dispatch.modules import MODULE_SUFFIXES
from buildfarm.dispatch.prepare import prepare
from buildfarm.dispatch.prepared import CannotTravel, Made, NotAsText, Prepared
from buildfarm.dispatch.stamps import Stamp, same, stamps
from buildfarm.dispatch.wrappers import Wrappers, is_wrapper
from buildfarm.graph.classify import classify, needs_native_expansion, with_native_expansion
from buildfarm.graph.fortran import FortranScan, line_rules, scan
from buildfarm.model import Answer, CheckOut, Invocation, Job, Kind, Node, Unit

CLOCK_GRAIN_NS = 4_000_000  # a file's time may lag behind the clock by a tick (current_time(), CONFIG_HZ=250)
EDITS_TOLERATED = 3  # times that a source may change under a unit before the master compiles it
NOTHING_KNOWN: Mapping[str, Stamp | None] = {}
UNCLEAR = "what it is made of was not clear"
HEADER_MISSED = b"fatal error: "  # in the words of a node that preprocesses: there may be a header that it was not sent
FAILED_THERE = "the compiler failed on a node: the verdict is this machine's"
WORDS_LOST = "its warnings can only be told by a local compile"


@dataclass(frozen=True, slots=True)
class Task:
    """One unit on its way, with what must be known of it at every station."""

    step: int
    unit: Unit
    invocation: Invocation  # its environment is free of the masquerade
    typed: tuple[str, ...]  # argv as make's recipe had it
    outputs: tuple[str, ...]  # absolute, the object first
    tool_path: str
    fingerprint: str
    workdir: Path  # for what is made here before the object comes back
    urgency: Urgency = field(default_factory=Urgency)
    ahead: bool = False  # begun before make asked for it
    seat: Seat = NO_SEAT  # of the call that waits for it


@dataclass(frozen=True, slots=True)
class Compiled:
    """A unit that a node has compiled, verified, not yet in place."""

    object: bytes
    stdout: bytes
    stderr: bytes
    made: tuple[Made, ...]
    inputs: tuple[str, ...]
    node: str | None
    seconds: float
    attempt: int = 1
    bytes_sent: int = 0
    bytes_received: int = 0
    since_ns: int = 0  # when its preparation began
    modules_since_ns: int = 0  # when the first of the modules that it uses may have been read
    stable: bool = True  # no input changed while it was away
    seen: Mapping[str, Stamp | None] = field(
        default_factory=dict
    )  # what its inputs looked like when that was last looked at


@dataclass(frozen=True, slots=True)
class Modules:
    """A Fortran unit's first phase: its text is read and its module files are made, privately.

    `text` None: it was cheap to read and is read again when its turn has come, so that units that wait for a slot
    hold no text.
    """

    text: FortranText | None
    made: tuple[Made, ...] = ()
    borrowed: Mapping[str, str] = field(default_factory=dict)  # final path -> private file, of modules it uses
    since_ns: int = 0
    modules_since_ns: int = 0  # when the first of the modules that it uses may have been read


class Maker:
    """Makes units for one build."""

    def __init__(
        self,
        farm: Farm,
        ledger: Ledger,
        toolbox: Toolbox,
        membership: Membership,
        trust: Trust,
        bench: Workbench,
        *,
        token: str,
        workroom: Path,
        estimates: Mapping[str, float],
        pumping: Pumping,
    ) -> None:
        self._farm = farm
        self._ledger = ledger
        self.toolbox = toolbox
        self._membership = membership
        self.trust = trust
        self.bench = bench
        self._token = token
        self._workroom = workroom
        self._rooms: set[int] = set()  # steps whose private directory is there
        self._estimates = estimates
        self._wrappers = Wrappers()
        self._directories = MissingDirectories()
        self._pumping = pumping

    # -- what is to be made -----------------------------------------------------------------------------------

    async def task(
        self,
        unit: Unit,
        invocation: Invocation,
        outputs: tuple[str, ...],
        *,
        urgency: Urgency | None = None,
        ahead: bool = False,
        seat: Seat = NO_SEAT,
    ) -> Task | str:
        """The unit ready to go, or the reason why it is compiled here."""
        typed = invocation.argv
        marks = self.toolbox.mark(invocation)
        invocation = replace(invocation, env=self.toolbox.clean(invocation.env))
        tool_path = self.toolbox.real(typed[0], invocation)
        if tool_path is None:
            return f"{typed[0]} was not found"
        try:
            unit, tool_path = await self._real_unit(unit, invocation, tool_path)
        except CannotTravel as refusal:
            return refusal.reason
        if unit.local_reason is not None:
            return unit.local_reason
        if not self._farm.can_take(str(unit.language)) and (ahead or self._membership.falls_back):
            return f"no node takes {unit.language} now" if self._membership.nodes else "there are no nodes"
        # Made ahead, it goes to the store: its directory may be made by the recipe, before the compile.
        if not all(ordinary(path) or (ahead and not os.path.lexists(path)) for path in outputs):
            return UNORDINARY
        step = self._ledger.new_step()
        workdir = self._workroom / str(step)
        urgency = urgency or Urgency()
        return Task(step, unit, invocation, typed, outputs, tool_path, marks, workdir, urgency, ahead, seat)

    def stored_task(self, invocation: Invocation, outputs: tuple[str, ...], mark: str) -> Task:
        """The task of a result that an earlier moment made; it is only to be delivered.  Raises OSError."""
        step = self._ledger.new_step()
        workdir = self._workroom / str(step)
        if len(outputs) > 1:
            self._make_room(step)
        unit = classify((os.path.basename(invocation.argv[0]), *invocation.argv[1:]), environment=invocation.env).unit
        assert unit is not None, "BUG: a stored result of no unit"
        return Task(step, unit, invocation, invocation.argv, outputs, "", mark, workdir, ahead=True)

    async def _real_unit(self, unit: Unit, invocation: Invocation, tool_path: str) -> tuple[Unit, str]:
        """The unit with MPI's wrapper and `-march=native` seen through.  Raises CannotTravel."""
        cwd, env = invocation.cwd, invocation.env
        if is_wrapper(unit.tool):
            argv = await self._wrappers.real_command(unit.argv, tool_path, cwd=cwd, env=env)
            real = self.toolbox.real(argv[0], invocation)
            seen = classify((os.path.basename(argv[0]), *argv[1:]), environment=env).unit
            if real is None or seen is None:
                raise CannotTravel(f"{unit.tool} stands for {argv[0]}, which is not understood")
            unit, tool_path = seen, real
        if not await self.toolbox.assembles(tool_path, env):
            raise CannotTravel("no assembler on its PATH: a node has one")
        if needs_native_expansion(unit):
            options = await self._wrappers.native_options(tool_path, unit.compile_arguments, cwd=cwd, env=env)
            unit = with_native_expansion(unit, options)
        return unit, tool_path

    def discard(self, task: Task) -> None:
        """The task is over: its private files go."""
        if task.step in self._rooms:
            self._rooms.discard(task.step)
            shutil.rmtree(task.workdir, ignore_errors=True)

    def _make_room(self, step: int) -> Path:
        """The step's private directory, made if it is not there: most units need none.  Raises OSError."""
        room = self._workroom / str(step)
        if step not in self._rooms:
            room.mkdir()
            self._rooms.add(step)
        return room

    # -- making it --------------------------------------------------------------------------------------------

    async def compile(self, task: Task) -> Compiled | Stranded | Here:
        """Compile on a node, or say why the master must do it."""
        source = os.path.join(task.invocation.cwd, task.unit.source)
        pumps = self._pumping.may_carry(task.unit)
        text_misleads = False
        for _ in range(EDITS_TOLERATED + 2 * pumps):
            before = stamps([source])
            begun = time.time_ns()
            try:
                prepared = (
                    await self._pumping.prepare(
                        task.unit, task.invocation, task.tool_path, task.workdir, needed=text_misleads
                    )
                    if pumps
                    else None
                )
                if prepared is None:
                    prepared = await self._prepared(task, pumps=pumps)
                result = await self._dispatch(task, prepared, begun, before)
            except NotAsText as refusal:
                if not pumps or text_misleads:
                    return Here(refusal.reason)
                text_misleads = True
                continue
            except CannotTravel as refusal:
                return Here(refusal.reason)
            except OSError as error:
                return Here(f"preparing failed: {error.filename}: {error.strerror}")
            # Ahead of make the header may be one that is not made yet: when make asks, it is.
            if prepared.settle is not None and _unclear(result) and not (task.ahead and result.reason != UNCLEAR):
                pumps = False
                if result.slot:
                    self._farm.local_slot_freed()
                continue
            if not isinstance(result, Compiled) or result.stable:
                return result
            self._ledger.attempt_ended(
                task.step, result.attempt, result.node, "stale", "a source changed while it was compiled"
            )
            self.discard(task)
        return Here("its sources keep changing")

    async def _prepared(self, task: Task, *, pumps: bool) -> Prepared:
        """The unit preprocessed here.  Raises CannotTravel, OSError.

        With `pumps` a node may have proved, while this waited for a place at the bench, that it can do that too.
        """
        proving = self._pumping.proving if pumps else 0
        async with self.bench.place(task.urgency):
            if self._pumping.proving < proving:
                late = await self._pumping.prepare(task.unit, task.invocation, task.tool_path, task.workdir)
                if late is not None:
                    return late
            self._make_room(task.step)
            started = time.monotonic()
            prepared = await prepare(
                task.unit,
                task.invocation,
                task.tool_path,
                node_tool=os.path.basename(task.tool_path),
                workdir=task.workdir,
                scan=scan_unit,
            )
            self._pumping.thrift.preprocessed(str(task.unit.language), time.monotonic() - started)
        if not self._farm.free_slots and any(node.lzo for node, _ in self._farm.compiling(str(task.unit.language))):
            protocol.pack(prepared.job)
        return prepared

    async def read(self, task: Task) -> Modules:
        """Phase one of a Fortran unit, first half: its text.  Raises CannotTravel, OSError."""
        begun = time.time_ns()
        async with self.bench.place(task.urgency):
            text = await read_text(task.unit, task.invocation, task.tool_path, scan_unit)
        return Modules(text, since_ns=begun)

    async def make_modules(self, task: Task, read: Modules, borrowed: Mapping[str, str]) -> Modules:
        """Phase one, second half: its module files, with `borrowed` ones in the place of those not made yet."""
        begun = time.time_ns()
        made: tuple[Made, ...] = ()
        assert read.text is not None, "BUG: modules of a unit without its text"
        if read.text.defines_modules:
            self._make_room(task.step)
            async with self.bench.place(task.urgency):
                made = await recipe_fortran.make_modules(
                    task.unit, task.invocation, task.tool_path, read.text, workdir=task.workdir, made=borrowed
                )
        cheap = task.ahead and task.unit.fortran is not None and not task.unit.fortran.cpp
        text = None if cheap else read.text
        return replace(read, text=text, made=made, borrowed=borrowed, modules_since_ns=begun)

    async def generate(self, task: Task, modules: Modules) -> Compiled | Stranded | Here:
        """Phase two of a Fortran unit: its code.  Raises CannotTravel, OSError."""
        if task.unit.depfile is not None:
            self._make_room(task.step)
        async with self.bench.place(task.urgency):
            text = modules.text or await read_text(task.unit, task.invocation, task.tool_path, scan_unit)
            prepared = await recipe_fortran.prepare(
                task.unit,
                task.invocation,
                task.tool_path,
                text,
                node_tool=os.path.basename(task.tool_path),
                workdir=task.workdir,
                made=modules.borrowed,
            )
        prepared = replace(prepared, outputs_made=(*prepared.outputs_made, *modules.made))
        result = await self._dispatch(task, prepared, modules.since_ns)
        return replace(result, modules_since_ns=modules.modules_since_ns) if isinstance(result, Compiled) else result

    async def words_at_delivery(self, task: Task) -> bytes:
        """What a Fortran unit says of directories that are missing now.  Raises CannotTravel, OSError."""
        tool_path = task.tool_path or self.toolbox.real(task.typed[0], task.invocation)
        if task.unit.fortran is None or tool_path is None:
            return b""
        return await self._directories.words(
            task.unit, task.invocation, tool_path, room=lambda: self._make_room(task.step)
        )

    @property
    def skip_local_retry(self) -> bool:
        """A node's word that a unit does not compile is the last (`DISTCC_SKIP_LOCAL_RETRY`)."""
        return self._membership.skip_local_retry

    def demand(self, task: Task) -> None:
        """Make now waits for a task that was begun as lookahead."""
        self._farm.demand(task.step)

    async def _dispatch(
        self, task: Task, prepared: Prepared, begun: int, before: Mapping[str, Stamp | None] = NOTHING_KNOWN
    ) -> Compiled | Stranded | Here:
        """Have it compiled.  `before`: what inputs looked like before they were read."""
        before = {**(stamps(prepared.inputs) if prepared.seen is None else prepared.seen), **before}
        hopes: dict[int, Hope] = {}
        async with task.seat.away():
            with self._pumping.underway(prepared):
                settlement = await self._settlement(task, prepared, hopes)
        if not isinstance(settlement, Won):
            return settlement
        answer = settlement.answer
        self._pumping.thrift.compiled(str(task.unit.language), settlement.seconds, pumped=_files(prepared))
        content, inputs, made = answer.object, prepared.inputs, prepared.outputs_made
        if prepared.settle is not None:
            settled = prepared.settle(answer)
            if settled is None:
                self._pumping.unclear(settlement.node, prepared)
                return Here(UNCLEAR)
            content, inputs, made = settled.object, settled.inputs, settled.made
            before = {path: before[path] for path in inputs}
        return Compiled(
            object=content,
            stdout=answer.stdout,
            stderr=answer.stderr,
            made=made,
            inputs=inputs,
            node=settlement.node.key,
            seconds=settlement.seconds,
            attempt=settlement.attempt,
            bytes_sent=answer.bytes_sent,
            bytes_received=answer.bytes_received,
            since_ns=begun,
            stable=same(before) and not _touched(before, begun),
            seen=before,
        )

    async def _settlement(self, task: Task, prepared: Prepared, hopes: dict[int, Hope]) -> Settlement:
        """What the farm makes of it, believed only of a node that has proved its headers by then."""
        settlement = await self._farm.compile(
            Work(
                unit=task.step,
                language=str(task.unit.language),
                attempt=self._attempts(task, prepared, hopes),
                estimate=self._estimates.get(task.outputs[0]),
                priority=0.0 if task.urgency.value == DEMANDED else -task.urgency.value,
                demanded=task.urgency.value == DEMANDED,
            )
        )
        if isinstance(settlement, Won):
            hope = hopes.get(settlement.attempt)
            if hope is not None:
                if not await self._pumping.fulfilled(hope, task.unit, task.tool_path, prepared):
                    return Here(UNCLEAR)
                if hope.once_proved is not None:
                    hope.once_proved()
        elif isinstance(settlement, Here) and settlement.status is not None and hopes:
            return Here(UNCLEAR, settlement.slot)  # its headers may be what it failed for
        return settlement

    # -- one attempt --------------------------------------------------------------------------------------------

    def check_out(self, task: Task, made: tuple[Made, ...], node: str | None, attempt: int, held: bool) -> CheckOut:
        """The journal's record that the task leaves.

        With `held`, nothing in the tree is at stake: its result goes to the store.
        """
        outputs = tuple(dict.fromkeys((*task.outputs, *(item.final for item in made))))
        return CheckOut(
            step=task.step,
            kind=Kind.COMPILE,
            cwd=task.invocation.cwd,
            argv=task.typed,
            outputs=() if held else outputs,
            fingerprint=task.fingerprint,
            node=node,
            attempt=attempt,
            time=time.time(),
            lookahead=task.ahead,
            temporaries=() if held else tuple(temporary_name(path, self._token, task.step) for path in outputs),
        )

    def _attempts(
        self, task: Task, prepared: Prepared, hopes: dict[int, Hope]
    ) -> Callable[[Node, int, float], Awaitable[AttemptResult]]:
        """`hopes` is told of the attempts, by number, that leave for a node which has not proved its headers yet."""

        async def attempt(node: Node, number: int, deadline: float) -> AttemptResult:
            """Journaled before it leaves, believed only when verified."""
            await self._ledger.check_out(
                self.check_out(task, prepared.outputs_made, node.key, number, held=task.ahead),
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
                text_of = None if job.pump else str(task.unit.language)
                self._pumping.thrift.sent(answer.bytes_sent, stopwatch.sending, text_of)
            except NodeFault as fault:
                return _faulty(node, fault)
            judged = verdict.judge(answer)
            if isinstance(judged, verdict.NodeAtFault):
                return Faulty(Fault(judged.outcome), f"{node.key}: {judged.reason}")
            if isinstance(judged, verdict.LocalVerdict):
                return Doubtful(FAILED_THERE, answer.stderr, answer.status)
            reference = await self.toolbox.reference(task.unit, task.tool_path, task.invocation.env)

            def inspect(content: bytes) -> str | None:
                return elf.inspect(content, reference, assembler=task.unit.assembler_only)

            wrong = inspect(answer.object)
            if wrong is not None:
                return Faulty(Fault.CORRUPT, f"{node.key}: {wrong}")

            def consider() -> None:
                self.trust.consider(
                    node.key,
                    job,
                    answer.object,
                    task.tool_path,
                    task.invocation.env,
                    task.outputs[0],
                    debug=task.unit.debug,
                )

            if hope is None:
                consider()
            else:
                hope.once_proved = consider
            return await self._with_words(prepared, node, name, answer, deadline, inspect)

        return attempt

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
            return Faulty(Fault.CORRUPT, f"{node.key}: {wrong}")
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


def _unclear(result: Compiled | Stranded | Here) -> TypeGuard[Here]:
    """Whether a unit that a node was to preprocess is better preprocessed here."""
    return isinstance(result, Here) and (
        result.reason == UNCLEAR or (result.status is not None and HEADER_MISSED in result.stderr)
    )


def _files(prepared: Prepared) -> int | None:
    """How many files travel, if the node preprocesses."""
    return None if prepared.settle is None else len(prepared.job.files)


def _touched(seen: Mapping[str, Stamp | None], since_ns: int) -> bool:
    """Whether a file was written after `since_ns`: it may have been read before or after that.

    A file from the future says nothing: the clock was set back, or the disk is another machine's.  Module files are
    left out: they come into their place whole, by a rename, and often a moment before the unit that uses them.
    """
    now = time.time_ns()
    return any(
        stamp is not None and since_ns - CLOCK_GRAIN_NS <= stamp[0] <= now
        for path, stamp in seen.items()
        if not path.endswith(MODULE_SUFFIXES)
    )


def scan_unit(text: str, unit: Unit) -> FortranScan:
    """Scan a Fortran unit's text by the rules of its options."""
    assert unit.fortran is not None, "BUG: a scan of a unit that is not Fortran"
    return scan(text, free_form=unit.fortran.free_form, rules=line_rules(unit.compile_arguments))


def _called(job: Job, name: str) -> Job:
    """The job under the name by which its node knows the compiler."""
    return job if job.argv[0] == name else replace(job, argv=(name, *job.argv[1:]))


def _faulty(node: Node, fault: NodeFault) -> Faulty:
    return Faulty(Fault(fault.outcome), f"{node.key}: {fault.reason}")
