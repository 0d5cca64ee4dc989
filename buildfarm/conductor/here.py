"""Steps on this machine: links, archives and the units that don't travel, run by the stub that asked.

The tool runs in the stub, with make's own stdio, umask and limits, exactly as make would have run it; this module
only limits how many run at once and journals what they write.  It sends nothing to a node.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AbstractAsyncContextManager, nullcontext

from buildfarm.conductor.ledger import Ledger
from buildfarm.conductor.loop import now
from buildfarm.conductor.room import COMPILE_BYTES, LINK_BYTES, Room
from buildfarm.conductor.suspects import is_whole
from buildfarm.conductor.words import Words
from buildfarm.graph.fingerprint import fingerprint
from buildfarm.graph.names import is_device
from buildfarm.make.server import StubCall
from buildfarm.model import CheckIn, CheckOut, Invocation, Kind, OutputRecord, StepState, ToolCall
from buildfarm.state.digest import digest_file

_SMALL = 1 << 16  # bytes: hashed before a thread is awake, and read a moment after they were written


class Here:
    """Runs steps on the master, at most `slots` at once and as memory allows; a link never waits behind compiles.

    An archive has one writer at a time.  `ar` reads it, and writes it anew: of two at once, which a rule for members
    (`lib.a(a.o)`) begins under a -j that the user need not have asked for, the one loses what the other put in (GNU
    make manual, "Dangers When Using Archives").
    """

    def __init__(self, ledger: Ledger, slots: int, words: Words) -> None:
        self._ledger = ledger
        self._words = words
        self._compiles = Room(slots, COMPILE_BYTES)
        self._links = Room(slots, LINK_BYTES)
        self._archives: dict[str, asyncio.Lock] = {}  # by path
        self._ended: set[asyncio.Task[None]] = set()  # taking in what tools have left behind

    async def close(self) -> None:
        """Make has ended: what its last tools have written is still taken in."""
        await asyncio.gather(*self._ended, return_exceptions=True)

    def _only_writer(self, kind: Kind, outputs: tuple[str, ...]) -> AbstractAsyncContextManager[None]:
        if kind is not Kind.ARCHIVE or not outputs:
            return nullcontext()
        return self._archives.setdefault(os.path.realpath(outputs[0]), asyncio.Lock())

    async def run(
        self,
        call: StubCall,
        tool_call: ToolCall,
        *,
        step: int,
        reason: str | None = None,
        stderr: bytes = b"",
        also: tuple[str, ...] = (),
    ) -> None:
        """Journal the step, have the stub run the real tool, take in what it wrote.

        `stderr` is what a node said of the unit, kept for the status document where the local compiler's own words,
        which make shows, can't be read.  `also` names outputs that the command line does not tell.  Raises StubLost
        when make killed the call.
        """
        invocation = call.invocation
        outputs = (*absolute_outputs(tool_call, invocation), *also)
        unit = tool_call.kind is Kind.COMPILE
        async with self._only_writer(tool_call.kind, outputs), (self._compiles if unit else self._links).place():
            await self._ledger.check_out(
                CheckOut(
                    step=step,
                    kind=tool_call.kind,
                    cwd=invocation.cwd,
                    argv=invocation.argv,
                    outputs=outputs,
                    fingerprint=fingerprint(invocation.cwd, invocation.argv, invocation.env),
                    node=None,
                    attempt=self._ledger.attempts(step) + 1,
                    time=time.time(),
                    reason=reason,
                )
            )
            found = observe(outputs[0]) if outputs else None
            started = now()
            file = self._words.file(step) if unit else None
            status = await call.run_real(file)
            seconds = now() - started
        before = [observe(path) for path in outputs]
        said = self._words.read(file)
        exit_status = os.waitstatus_to_exitcode(status)
        # Told before the recipe goes on, which may write the file itself (`gcc ... || echo none > $@`).
        half_written = exit_status != 0 and bool(outputs) and _left_half(outputs[0], before[0], found)

        async def take_in() -> None:
            await call.release()
            records: tuple[OutputRecord, ...] = ()
            if exit_status == 0:
                if sum(size for size, _ in filter(None, before)) <= _SMALL:
                    records = record_outputs(outputs, before)
                else:
                    records = await asyncio.to_thread(record_outputs, outputs, before)
            self._ledger.check_in(
                CheckIn(
                    step=step,
                    state=StepState.DONE if exit_status == 0 else StepState.FAILED,
                    time=time.time(),
                    seconds=seconds,
                    exit_status=exit_status,
                    outputs=records,
                    stderr=(said or stderr) if exit_status else said,
                    half_written=half_written,
                )
            )

        # Once the stub is released make may end, and with it this call, before a large program is hashed.
        taking_in = asyncio.create_task(take_in())
        self._ended.add(taking_in)
        taking_in.add_done_callback(self._ended.discard)
        await asyncio.shield(taking_in)


def _left_half(output: str, left: tuple[int, int] | None, found: tuple[int, int] | None) -> bool:
    """Whether a tool that failed has `left` something else than it `found`, and nothing that can be whole.

    `gcc -pipe` does so when its assembler is killed, and make takes the file for up to date.
    """
    return left not in (None, found) and not is_whole(output)


def absolute_outputs(tool_call: ToolCall, invocation: Invocation) -> tuple[str, ...]:
    """The step's outputs as absolute paths, the depfile last; a device is none."""
    paths = list(tool_call.outputs)
    if tool_call.unit is not None and tool_call.unit.depfile is not None and not is_device(tool_call.unit.depfile.path):
        paths.append(tool_call.unit.depfile.path)
    return tuple(dict.fromkeys(os.path.join(invocation.cwd, path) for path in paths))


def observe(path: str) -> tuple[int, int] | None:
    """(size, mtime in ns) of a regular file; None for anything else."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def record_outputs(paths: tuple[str, ...], before: list[tuple[int, int] | None]) -> tuple[OutputRecord, ...]:
    """Hash the outputs; one that has changed since the tool ended belongs to a later recipe line and is left out."""
    records = []
    for path, seen in zip(paths, before, strict=True):
        if seen is None or not os.path.isfile(path):
            continue
        try:
            digest = digest_file(path)
        except OSError:
            continue
        if observe(path) == seen:
            records.append(OutputRecord(path, *seen, digest))
    return tuple(records)
