"""Tells of liars; compares a share of what nodes make with what this machine makes of the same text, to find them.

It quarantines nobody itself and removes no file: `condemn` is told, and `workshop` has make do again what a liar did.

Theory of operation.  The first unit of each node and compiler is compared, and of the others a share chosen by chance,
so that a node can't know which.  It happens beside the build, at low priority: results go to their places at once, and
a build that is done waits for the comparisons that are still under way.  Holding results back until they are compared
was rejected: it would cost each node's first units their time, and would not spare us taking results back, for a lie
is found after others have been believed.

A difference accuses a node only if this machine makes the same bytes twice: a unit whose object holds chance (symbols
made of a random seed) says nothing.  With `-g` objects are compared without their debug information, which tells of
the node's own directories.

A node that was caught without a comparison is a liar as well: its whole answer said success and held a damaged object
or stream.  Bad memory, a bad disk or a bad network did that, and will have damaged objects before in which nothing
showed.  A connection that breaks says no such thing, nor does a compiler that was killed, or that left nothing or no
object: it has failed before anything could be damaged.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path

from buildfarm.dispatch.repeat import compile_here, without_debug
from buildfarm.model import Job
from buildfarm.value import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """What a node says that it has made of a job."""

    node: str
    job: Job
    object: bytes
    tool_path: str  # of the compiler here
    environment: Mapping[str, str]
    output: str
    debug: bool  # the object tells of its directories


class Trust:
    """The comparisons of one build."""

    def __init__(
        self,
        percent: float,
        room: Path,
        condemn: Callable[[str, str], None],
        tasks: asyncio.TaskGroup,
    ) -> None:
        """`condemn(node, reason)` is called once for each liar; `room` is a private directory of this build."""
        self._share = percent / 100
        self._room = room
        self._condemn = condemn
        self._tasks = tasks
        self._numbers = itertools.count()
        self._known: set[tuple[str, str]] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(max(1, (os.cpu_count() or 1) // 2))
        self.liars: dict[str, str] = {}  # reason by node

    def believes(self, node: str | None) -> bool:
        """Whether the node's results may go to their places."""
        return node not in self.liars

    def convict(self, node: str, reason: str) -> None:
        """Nothing that the node has made or makes is believed from now on."""
        if node not in self.liars:
            self.liars[node] = reason
            self._condemn(node, reason)

    def consider(self, claim: Claim) -> None:
        """A node's valid result is in; compare it, or not."""
        if not self._share or claim.node in self.liars:
            return
        compiler = (claim.node, claim.job.argv[0])
        if compiler in self._known and random.random() >= self._share:
            return
        self._known.add(compiler)
        task = self._tasks.create_task(self._compare(claim))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def settled(self) -> None:
        """Wait for the comparisons under way."""
        while self._running:
            await asyncio.wait(tuple(self._running))

    async def close(self) -> None:
        """Stop them."""
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _compare(self, claim: Claim) -> None:
        node = claim.node
        async with self._places:
            if node in self.liars:
                return
            try:
                same = await self._same(claim)
            except OSError:
                return  # no room for it here; the share will meet another unit
        if not same:
            name = os.path.basename(claim.output)
            self.convict(node, f"{node}: its {name} is not what this machine's compiler makes of the same text")

    async def _same(self, claim: Claim) -> bool:
        """Whether there is no difference that the node must answer for."""
        # A node has none of the call's preloaded libraries; and fakeroot's waits for a daemon that has gone with it.
        environment = {name: value for name, value in claim.environment.items() if name != "LD_PRELOAD"}
        made = await compile_here(claim.job, claim.tool_path, environment, self._new_room())
        if made == claim.object:
            return True
        again = await compile_here(claim.job, claim.tool_path, environment, self._new_room())
        if made is None or again is None:
            return made is not again  # what does not compile here, twice, does not compile there
        if not claim.debug:
            return again != made
        bare = [
            await without_debug(content, claim.tool_path, environment, self._new_room())
            for content in (claim.object, made, again)
        ]
        return bare[1] is None or bare[0] == bare[1] or bare[2] != bare[1]

    def _new_room(self) -> Path:
        return self._room / f"compare-{next(self._numbers)}"
