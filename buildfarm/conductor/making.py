"""How a unit is made: prepared here, compiled on a node, verified.  Bringing it to its place is `units`'.

It serves what make asks for and what lookahead asks for alike, and knows no stub; one try on one node is `attempts`'.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeGuard

from buildfarm.conductor.attempts import Attempts
from buildfarm.conductor.delivery import UNORDINARY, ordinary
from buildfarm.conductor.drafting import Drafts
from buildfarm.conductor.farm import CompileHere, Farm, Settlement, Stranded, Won
from buildfarm.conductor.ledger import Ledger
from buildfarm.conductor.lending import NO_SEAT, Seat
from buildfarm.conductor.membership import Membership
from buildfarm.conductor.pumping import Hope, Pumping
from buildfarm.conductor.task import Compiled, Modules, Task
from buildfarm.conductor.toolbox import Toolbox
from buildfarm.conductor.trust import Trust
from buildfarm.conductor.workbench import Urgency, Workbench
from buildfarm.dispatch import protocol, recipe_fortran
from buildfarm.dispatch.events import Submit
from buildfarm.dispatch.fortran_text import read as read_text
from buildfarm.dispatch.listing import assembled
from buildfarm.dispatch.missing_directories import MissingDirectories
from buildfarm.dispatch.palette import Palette
from buildfarm.dispatch.precompiled import included
from buildfarm.dispatch.prepare import prepare
from buildfarm.dispatch.prepared import CannotTravel, Made, NotAsText, Prepared
from buildfarm.dispatch.stamps import Stamp, is_stream, same, stamps
from buildfarm.dispatch.wrappers import Wrappers, is_wrapper
from buildfarm.graph.classify import classify, needs_native_expansion, with_native_expansion
from buildfarm.graph.fortran import scan_unit
from buildfarm.model import MODULE_SUFFIXES, Invocation, Unit

CLOCK_GRAIN_NS = 4_000_000  # a file's time may lag behind the clock by a tick (current_time(), CONFIG_HZ=250)
EDITS_TOLERATED = 3  # times that a source may change under a unit before the master compiles it
NOTHING_KNOWN: Mapping[str, Stamp | None] = {}
UNCLEAR = "what it is made of was not clear"
HEADER_MISSED = b"fatal error: "  # in the words of a node that preprocesses: there may be a header that it was not sent


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
        palette: Palette,
        drafts: Drafts,
    ) -> None:
        self._farm = farm
        self._ledger = ledger
        self.toolbox = toolbox
        self._membership = membership
        self.trust = trust
        self.bench = bench
        self._attempts = Attempts(ledger, toolbox, membership, trust, pumping, token)
        self._workroom = workroom
        self._rooms: set[int] = set()  # steps whose private directory is there
        self._estimates = estimates
        self._wrappers = Wrappers()
        self._directories = MissingDirectories()
        self._pumping = pumping
        self._palette = palette
        self._drafts = drafts

    # -- what is to be made -----------------------------------------------------------------------------------

    async def task(
        self,
        unit: Unit,
        invocation: Invocation,
        outputs: tuple[str, ...],
        *,
        urgency: Urgency,
        ahead: bool = False,
        seat: Seat = NO_SEAT,
        draft: str = "",
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
        if any(is_stream(os.path.join(invocation.cwd, name)) for name in (unit.source, *included(unit))):
            return "it reads what is no regular file, which can be read once"
        step = self._ledger.new_step()
        workdir = self._workroom / str(step)
        return Task(step, unit, invocation, typed, outputs, tool_path, marks, workdir, urgency, ahead, seat, draft)

    def stored_task(self, invocation: Invocation, outputs: tuple[str, ...], mark: str, *, kept: bool) -> Task:
        """The task of a result that an earlier moment made; it is only to be delivered.  Raises OSError."""
        step = self._ledger.new_step()
        workdir = self._workroom / str(step)
        if len(outputs) > 1:
            self._make_room(step)
        unit = classify((os.path.basename(invocation.argv[0]), *invocation.argv[1:]), environment=invocation.env).unit
        assert unit is not None, "BUG: a stored result of no unit"
        return Task(step, unit, invocation, invocation.argv, outputs, "", mark, workdir, ahead=True, kept=kept)

    async def _real_unit(self, unit: Unit, invocation: Invocation, tool_path: str) -> tuple[Unit, str]:
        """The unit with MPI's wrapper and `-march=native` seen through, in colour.  Raises CannotTravel."""
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
        return await self._palette.coloured(unit, tool_path, env), tool_path

    async def discard(self, *tasks: Task) -> None:
        """The tasks are over: their private files go.

        Each removal waits for the disk, for milliseconds, so they go in threads, and together they wait once.
        """
        over = [task for task in tasks if task.step in self._rooms]
        self._rooms.difference_update(task.step for task in over)
        await asyncio.gather(*(asyncio.to_thread(shutil.rmtree, task.workdir, ignore_errors=True) for task in over))

    def _make_room(self, step: int) -> Path:
        """The step's private directory, made if it is not there: most units need none.  Raises OSError."""
        room = self._workroom / str(step)
        if step not in self._rooms:
            room.mkdir()
            self._rooms.add(step)
        return room

    # -- making it --------------------------------------------------------------------------------------------

    async def compile(self, task: Task) -> Compiled | Stranded | CompileHere:
        """Compile on a node, or say why the master must do it."""
        source = os.path.join(task.invocation.cwd, task.unit.source)
        pumps = self._pumping.may_carry(task.unit)
        text_misleads = False
        for _ in range(EDITS_TOLERATED + 2 * pumps):
            before = stamps([source])
            begun = time.time_ns()
            try:
                prepared = None
                if pumps:
                    prepared = await self._pumping.prepare(
                        task.unit, task.invocation, task.tool_path, task.workdir, needed=text_misleads
                    )
                if prepared is None:
                    prepared = await self._prepared(task, pumps=pumps)
                result = await self._dispatch(task, prepared, begun, before)
            except NotAsText as refusal:
                if not pumps or text_misleads:
                    return CompileHere(refusal.reason)
                text_misleads = True
                continue
            except CannotTravel as refusal:
                return CompileHere(refusal.reason)
            except OSError as error:
                return CompileHere(f"preparing failed: {error.filename}: {error.strerror}")
            # Ahead of make the header may be one that is not made yet: when make asks, it is.
            if prepared.preprocessed_there and _unclear(result) and not (task.ahead and result.reason != UNCLEAR):
                pumps = False
                if result.slot:
                    self._farm.local_slot_freed()
                continue
            if not isinstance(result, Compiled) or result.stable:
                return result
            self._ledger.attempt_ended(
                task.step, result.attempt, result.node, "stale", "a source changed while it was compiled"
            )
            await self.discard(task)
        return CompileHere("its sources keep changing")

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
            written = await self._written(task) if task.draft else {}
            text = await read_text(task.unit, task.invocation, task.tool_path, scan_unit, made=written)
        return Modules(text, borrowed=written, since_ns=begun)

    async def _written(self, task: Task) -> dict[str, str]:
        """A file of ours with the task's source, by the source's own path.  Raises CannotTravel, OSError."""
        cwd = task.invocation.cwd
        draft = self._make_room(task.step) / "draft"
        draft.write_bytes(await self._drafts.source(task.draft, cwd, task.invocation.env))
        return {os.path.normpath(os.path.join(cwd, task.unit.source)): str(draft)}

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
        return replace(read, text=text, made=made, borrowed={**read.borrowed, **borrowed}, modules_since_ns=begun)

    async def generate(self, task: Task, modules: Modules) -> Compiled | Stranded | CompileHere:
        """Phase two of a Fortran unit: its code.  Raises CannotTravel, OSError."""
        if task.unit.depfile is not None:
            self._make_room(task.step)
        async with self.bench.place(task.urgency):
            text = modules.text or await read_text(
                task.unit, task.invocation, task.tool_path, scan_unit, made=modules.borrowed
            )
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
        unit = await self._palette.coloured(task.unit, tool_path, task.invocation.env)
        return await self._directories.words(unit, task.invocation, tool_path, room=lambda: self._make_room(task.step))

    @property
    def skip_local_retry(self) -> bool:
        """A node's word that a unit does not compile is the last (`DISTCC_SKIP_LOCAL_RETRY`)."""
        return self._membership.skip_local_retry

    def demand(self, task: Task) -> None:
        """Make now waits for a task that was begun as lookahead."""
        self._farm.demand(task.step)

    def press(self, task: Task) -> None:
        """A task that was begun as lookahead now goes with what make waits for."""
        self._farm.press(task.step)

    async def _dispatch(
        self, task: Task, prepared: Prepared, begun: int, before: Mapping[str, Stamp | None] = NOTHING_KNOWN
    ) -> Compiled | Stranded | CompileHere:
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
        content, inputs, made, stdout = answer.object, prepared.inputs, prepared.outputs_made, answer.stdout
        if prepared.settle is not None:
            settled = prepared.settle(answer)
            if settled is None:
                self._pumping.unclear(settlement.node, prepared)
                return CompileHere(UNCLEAR)
            content, inputs, made, stdout = settled.object, settled.inputs, settled.made, settled.stdout
            before = {path: before[path] for path in inputs}
        if task.unit.assembled_here:
            self._make_room(task.step)
            async with self.bench.place(task.urgency):
                content, listing = await assembled(
                    task.unit, task.invocation, task.tool_path, content, workdir=task.workdir
                )
            made = (*made, listing)
        return Compiled(
            object=content,
            stdout=stdout,
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
            Submit(
                unit=task.step,
                language=str(task.unit.language),
                estimate=self._estimates.get(task.outputs[0]),
                priority=task.urgency.path,
                demanded=task.urgency.demanded,
                pressing=task.urgency.pressing,
            ),
            partial(self._attempts.attempt, task, prepared, hopes),
        )
        if isinstance(settlement, Won):
            hope = hopes.get(settlement.attempt)
            if hope is not None:
                if not await self._pumping.fulfilled(hope, task.unit, task.tool_path, prepared):
                    return CompileHere(UNCLEAR)
                if hope.once_proved is not None:
                    hope.once_proved()
        elif isinstance(settlement, CompileHere) and settlement.status is not None and hopes:
            return CompileHere(UNCLEAR, settlement.slot)  # its headers may be what it failed for
        return settlement


def _unclear(result: Compiled | Stranded | CompileHere) -> TypeGuard[CompileHere]:
    """Whether a unit that a node was to preprocess is better preprocessed here."""
    return isinstance(result, CompileHere) and (
        result.reason == UNCLEAR or (result.status is not None and HEADER_MISSED in result.stderr)
    )


def _files(prepared: Prepared) -> int | None:
    """How many files travel, if the node preprocesses."""
    return len(prepared.job.files) if prepared.preprocessed_there else None


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
