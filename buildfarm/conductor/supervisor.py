"""Waits for a build's make, and passes on to it what asks the build to stop.

It starts a make that does not run yet and knows nothing of calls or units; what is to be taken in before make is
stopped, its caller knows (`checkpoint`).
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

from buildfarm.conductor.build import Begun
from buildfarm.make import orphans
from buildfarm.make.process import MakeProcess

CHECKPOINT_SECONDS = 3.0  # how long a build that is told to stop takes in what is on its way
SIGINT_ROUNDS, SIGINT_PAUSE = 10, 0.2  # make is gone, and this cancelled, long before they are over
SIGINT_PATIENCE = 0.5  # a terminal's Ctrl-C reaches make by itself; a lone `kill -INT` is passed on after this

Checkpoint = Callable[[float], Awaitable[None]]


class Supervisor:
    """`interrupted_by` is the first signal that asked the build to stop."""

    def __init__(self, begun: Begun) -> None:
        self._begun = begun
        self.interrupted_by: signal.Signals | None = None
        self.make_pid = begun.process.pid

    async def run(self, process: MakeProcess, checkpoint: Checkpoint, tasks: asyncio.TaskGroup) -> int:
        """Wait for make, started now if it was not; its exit status.

        What asks us to stop is passed on, also what has asked before we could hear.
        """
        loop = asyncio.get_running_loop()
        stopping: set[asyncio.Task[None]] = set()

        def stop(number: signal.Signals) -> None:
            if self.interrupted_by is None:
                self.interrupted_by = number
                stopping.add(tasks.create_task(self._stop(process, checkpoint, number)))
            else:
                process.signal(number)

        # What was ignored when we were started stays so: `nohup`, a shell's `&`; make does the same (main.c).
        for number in self._begun.signals.numbers:
            loop.add_signal_handler(number, stop, number)
        try:
            if not process.was_started:
                process.start()
                self.make_pid = process.pid
            while self._begun.signals.heard:
                stop(self._begun.signals.heard.pop(0))
            return await process.wait()
        finally:
            for task in stopping:
                task.cancel()
            for number in self._begun.signals.numbers:
                loop.remove_signal_handler(number)

    async def _stop(self, process: MakeProcess, checkpoint: Checkpoint, number: signal.Signals) -> None:
        """Ctrl-C and Ctrl-\\ stop at once, as with make; anything else first takes in what is about to arrive."""
        if number in (signal.SIGINT, signal.SIGQUIT):
            await asyncio.sleep(SIGINT_PATIENCE)
            told: set[int] = set()
            for _ in range(SIGINT_ROUNDS):  # make may have started another recipe while the first were told
                for pid in set(await asyncio.to_thread(orphans.find, self._begun.token)) - told:
                    told.add(pid)
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)
                await asyncio.sleep(SIGINT_PAUSE)
            return
        self._begun.reporters.note(f"told to stop ({number.name}): taking in what is on its way")
        await checkpoint(CHECKPOINT_SECONDS)
        process.signal(signal.SIGTERM)
