"""Answers the stubs: says what a call is and passes it to those who serve its kind.

It compiles and journals nothing.  A fault of ours here ends in `exec the real tool`: never worse than make.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from dataclasses import replace
from pathlib import Path

from buildfarm.conductor.foresight import Foresight
from buildfarm.conductor.here import Here, absolute_outputs
from buildfarm.conductor.ledger import Ledger
from buildfarm.conductor.toolbox import Toolbox
from buildfarm.conductor.units import Units
from buildfarm.graph.classify import classify, parted
from buildfarm.graph.names import is_device
from buildfarm.graph.response import expand_response, response_files
from buildfarm.make.instance import flags_in_order
from buildfarm.make.server import StubCall, StubLost
from buildfarm.model import Kind, ToolCall
from buildfarm.state.database import JournalError

MAKES = frozenset({"make", "gmake"})
LAST_STUBS = 64  # stubs that were answered and may not have been waited for
REAPED_TICK = 0.01  # seconds
RECIPE_SECONDS = 0.05  # what a recipe takes to end after its last command
RESPONSE_DEPTH = 8  # nested @files


class Calls:
    """Serves every call of one build."""

    def __init__(
        self, units: Units, here: Here, ledger: Ledger, foresight: Foresight, toolbox: Toolbox, *, keeps_goals: bool
    ) -> None:
        self._keeps_goals = keeps_goals  # recursive makes build several goals in their order
        self._toolbox = toolbox
        self._foresight = foresight
        self._units = units
        self._here = here
        self._ledger = ledger
        self._under_way = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._open = asyncio.Event()
        self._open.set()
        self._handlers: set[asyncio.Task[None]] = set()
        self._answered: deque[int] = deque(maxlen=LAST_STUBS)  # pids

    async def handle(self, call: StubCall) -> None:
        """Answer one call.  StubLost is the server's to take; anything else unexpected is told once and passed by."""
        if call.name in MAKES:
            self._foresight.instance_started(call.invocation)
            invocation = call.invocation
            await call.exec_real(flags_in_order(invocation.argv, invocation.env) if self._keeps_goals else None)
            return
        task = asyncio.current_task()
        assert task is not None, "BUG: a handler outside a task"
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)
        await self._open.wait()
        self._under_way += 1
        self._quiet.clear()
        try:
            await self._answer(call)
        except (StubLost, asyncio.CancelledError):
            raise
        except JournalError:
            # Told already.  make knows what it runs now as a target, so the next sweep will judge it.
            if not call.answered:
                await call.exec_real()
        except Exception as error:
            self._ledger.note(f"BUG: {call.name}: {type(error).__name__}: {error}; it ran here, please report this")
            if not call.answered:
                await call.exec_real()
        finally:
            self._answered.append(call.pid)
            self._under_way -= 1
            if not self._under_way:
                self._quiet.set()

    async def checkpoint(self, seconds: float) -> None:
        """Hold back new calls and wait, at most `seconds`, for those under way and for make to have heard of them.

        make deletes the targets of recipes that it believes to be running when it is told to stop.
        """
        self._open.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._quiet.wait()
                while any(os.path.exists(f"/proc/{pid}") for pid in self._answered):
                    await asyncio.sleep(REAPED_TICK)
                await asyncio.sleep(RECIPE_SECONDS)
        except TimeoutError:
            pass

    async def close(self) -> None:
        """Make has ended: nobody waits for what is still under way."""
        handlers = tuple(self._handlers)
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        await self._here.close()

    async def _answer(self, call: StubCall) -> None:
        tool_call = self._classify(call)
        outputs = absolute_outputs(tool_call, call.invocation)  # none: -o /dev/null
        self._foresight.step_seen(outputs)
        if tool_call.kind is Kind.COMPILE:
            self._foresight.unit_asked(self._toolbox.mark(call.invocation), outputs[0] if outputs else "")
            await self._units.serve(call, tool_call)
        elif tool_call.units:
            for unit in tool_call.units:
                alone = replace(call.invocation, argv=parted(call.invocation.argv, unit))
                self._foresight.unit_asked(self._toolbox.mark(alone), os.path.join(alone.cwd, unit.output))
            await self._units.several.serve(call, tool_call)
        elif tool_call.kind is Kind.QUERY or not tool_call.outputs:
            await call.exec_real()
        else:
            await self._here.run(call, tool_call, step=self._ledger.new_step(), reason=tool_call.reason)

    def _classify(self, call: StubCall) -> ToolCall:
        argv = call.invocation.argv
        texts: dict[str, str] = {}
        for _ in range(RESPONSE_DEPTH):
            names = [name for name in response_files(argv) if name not in texts]
            if not names:
                break
            for name in names:
                path = Path(call.invocation.cwd, name)
                try:
                    if path.is_file() and not is_device(name):  # in a pipe gcc can't seek
                        texts[name] = os.fsdecode(path.read_bytes())
                except OSError:
                    pass  # gcc takes an @file that it can't read for a file of that name
            if not any(name in texts for name in names):
                break
            argv = expand_response(argv, texts)
        return classify((call.name, *argv[1:]), environment=call.invocation.env)
