"""Everybody who serves one make's calls: set up here, in their order, and taken down in the other.

It is where a build's parts meet, and decides nothing but who knows whom.  What they do: how a unit is made is
`making`'s, where it goes `farm`'s, what comes ahead of make `lookahead`'s.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Self

from buildfarm.conductor.build import Begun
from buildfarm.conductor.calls import Calls
from buildfarm.conductor.drafting import Drafts
from buildfarm.conductor.farm import Farm
from buildfarm.conductor.foresight import Foresight
from buildfarm.conductor.here import Here
from buildfarm.conductor.ledger import Ledger
from buildfarm.conductor.lending import Lending
from buildfarm.conductor.lookahead import Lookahead
from buildfarm.conductor.making import Maker
from buildfarm.conductor.membership import read_again
from buildfarm.conductor.pulse import pulse
from buildfarm.conductor.pumping import Pumping
from buildfarm.conductor.standing import Standing
from buildfarm.conductor.trust import Trust
from buildfarm.conductor.units import Units
from buildfarm.conductor.watching import Watcher
from buildfarm.conductor.words import STDERR, Words
from buildfarm.conductor.workbench import Workbench
from buildfarm.dispatch import ssh
from buildfarm.dispatch.events import Probed
from buildfarm.dispatch.palette import Palette
from buildfarm.make.arguments import parse
from buildfarm.make.jobserver import JobServer
from buildfarm.make.server import StubServer
from buildfarm.model import Invocation, Node
from buildfarm.state import reader
from buildfarm.state.store import ObjectStore
from buildfarm.state.taint import Taken
from buildfarm.state.writer import JournalWriter


class Crew:
    """At work inside `async with`; what they have noticed (`unseen`, `late`, `blind`) is complete when that is left."""

    def __init__(
        self,
        begun: Begun,
        writer: JournalWriter,
        ledger: Ledger,
        durations: Mapping[str, float],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._begun = begun
        self._ledger = ledger
        self._tasks = tasks
        self.unseen: tuple[str, ...] = ()  # objects that plans know of and no call came for
        self.late: tuple[str, ...] = ()  # files that make had no rule for, and that another recipe has made
        self.blind: tuple[str, ...] = ()  # `Listener.blind`, for that is closed by then
        self.condemned: list[str] = []  # nodes whose results are not believed
        self.taken: list[Future[Taken]] = []  # what those have made, on its way out of the journal

        request, membership, toolbox = begun.request, begun.membership, begun.toolbox
        directory, places = str(request.directory), membership.preparations or begun.cores + 1
        self._farm = Farm(membership.policy(begun.cores), self._probe, ledger, tasks, self._convict)
        self._pumping = Pumping(self._farm, membership, tasks, enabled=request.pump)
        self._store = ObjectStore(begun.state_dir, writer)
        self.trust = Trust(request.verify, begun.workroom, self._condemn, tasks)
        maker = Maker(
            self._farm,
            ledger,
            toolbox,
            membership,
            self.trust,
            Workbench(lambda: places),
            token=begun.token,
            workroom=begun.workroom,
            estimates=durations,
            pumping=self._pumping,
            palette=Palette(wanted=os.isatty(STDERR)),
            drafts=Drafts(directory),
        )
        self.lookahead = Lookahead(
            maker, self._farm, ledger, self._store, enabled=request.lookahead and bool(begun.nodes)
        )
        anew = parse(request.make_words).always  # then nothing stands
        standing = Standing(dict if anew else partial(reader.delivered, begun.state_dir))
        self._foresight = Foresight(
            *(directory, ledger, toolbox, durations, standing, self.lookahead.foresee), goals=len(request.goals)
        )
        self._lending = Lending(
            JobServer.of(request.environment), lambda: sum(node.slots for node in membership.nodes), ledger.note
        )
        here = Here(ledger, begun.cores, Words(begun.workroom))
        units = Units(self._farm, here, ledger, maker, self.lookahead, self._lending, token=begun.token)
        self.calls = Calls(units, here, ledger, self._foresight, toolbox, keeps_goals=request.jobs_are_ours)
        self._server = StubServer(None, self.calls.handle, tasks)

    # --- set up, and taken down ----------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._begin(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def _begin(self, stack: AsyncExitStack) -> None:
        """Who is named last is taken down first."""
        begun, farm, foresight, lookahead = self._begun, self._farm, self._foresight, self.lookahead
        stack.callback(ssh.close_shared)
        stack.push_async_callback(farm.close)
        stack.callback(lambda: self._ledger.nodes(farm.statuses()))
        stack.push_async_callback(self.trust.close)
        stack.push_async_callback(self._pumping.close)
        stack.push_async_callback(self._lending.close)
        await self._server.start(begun.listener)
        stack.push_async_callback(self._server.close)
        stack.push_async_callback(self.calls.close)
        farm.join(begun.nodes)
        self._follow(stack)
        for recursive in reversed(begun.prelude.started):  # the last that is told goes first
            foresight.instance_started(recursive)
        foresight.instance_started(Invocation(("make", *begun.words), str(begun.request.directory), begun.environment))
        for early in begun.prelude.calls:
            self._server.adopt(early)
        beat = pulse(farm, self._ledger, begun.reporters.progress, foresight, lookahead, begun.state_dir)
        for name, work in (("planning", foresight.run()), ("lookahead", lookahead.run()), ("pulse", beat)):
            stack.callback(self._tasks.create_task(self._spared(name, work)).cancel)
        stack.push_async_callback(lookahead.close)
        stack.callback(self._notice)
        stack.callback(lambda: self._ledger.planning(foresight.planning(lookahead.wasted)))

    async def _spared(self, name: str, work: Coroutine[None, None, None]) -> None:
        """Work in the background that a build can do without: what fails there is told and costs speed."""
        try:
            await work
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            self._ledger.note(f"BUG: {name}: {what}; the build goes on without it, please report this")

    def _notice(self) -> None:
        self.unseen = self._foresight.unseen(self._begun.started)
        self.late = self._foresight.late()
        self.blind = self._begun.listener.blind

    async def checkpoint(self, seconds: float) -> None:
        """Take in what is on its way, for at most so many seconds, and begin nothing more."""
        await asyncio.gather(self.calls.checkpoint(seconds), self.lookahead.checkpoint(seconds))

    # --- nodes ---------------------------------------------------------------------------------------------

    def _follow(self, stack: AsyncExitStack) -> None:
        """From now on the farm follows what the user writes and what announces itself."""
        membership = self._begun.membership

        def changed() -> None:
            another, trouble = read_again(membership)
            if trouble is not None:
                self._ledger.note(trouble)
            elif another:
                update()

        def update() -> None:
            for note in membership.notes:
                self._ledger.note(note)
            self._farm.join(membership.nodes, membership.local_slots)
            if membership.nodes and self._begun.request.lookahead:
                self.lookahead.enable()

        membership.listen(update)
        stack.callback(membership.close)
        if membership.files:
            watcher = Watcher(membership.files, changed, busy=self._begun.request.directory)
            stack.callback(self._tasks.create_task(self._spared("watching", watcher.run())).cancel)

    async def _probe(self, node: Node, again: bool) -> Probed:
        if not again:
            self._pumping.forget(node)
        return await self._begun.membership.probe(node)

    def _convict(self, node: str, reason: str) -> None:
        self.trust.convict(node, reason)

    def _condemn(self, node: str, reason: str) -> None:
        self.taken.append(self._ledger.take_back((node,)))
        self.condemned.append(node)
        self._store.discard_made_on(node)
        self._farm.quarantine(node, reason)
        self._ledger.note(f"all that {node} has made in this build is made again")
