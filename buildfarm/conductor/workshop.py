"""Serves the calls of a make that runs already: everything is set up here, in its order, and taken down again.

What a build is made of is `build`'s; how a unit is compiled is `units`', how the nodes are used `farm`'s.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import AsyncExitStack, suppress
from functools import partial

from buildfarm.conductor.blind import compiled_past
from buildfarm.conductor.build import Begun, exit_code, state_of
from buildfarm.conductor.calls import Calls
from buildfarm.conductor.drafting import Drafts
from buildfarm.conductor.farm import Farm
from buildfarm.conductor.foresight import Foresight
from buildfarm.conductor.here import Here
from buildfarm.conductor.ledger import Ledger, Tally
from buildfarm.conductor.lending import Lending
from buildfarm.conductor.lookahead import Lookahead
from buildfarm.conductor.loop import Loop
from buildfarm.conductor.making import Maker
from buildfarm.conductor.membership import Membership, read_again
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
from buildfarm.make import orphans
from buildfarm.make.jobserver import JobServer
from buildfarm.make.process import MakeProcess
from buildfarm.make.server import StubServer
from buildfarm.model import BuildState, Invocation, Node
from buildfarm.report.reporter import Summary
from buildfarm.report.text import count
from buildfarm.state import reader, recipes
from buildfarm.state.journal import CLOCK
from buildfarm.state.store import ObjectStore
from buildfarm.state.taint import Taken
from buildfarm.state.unseen import claimed, record
from buildfarm.state.writer import JournalWriter

MAKE_ERRORS = 2  # its exit status (GNU make manual, "How to Run make")
FLUSH_SECONDS = 30.0  # how long the end of a build may wait for the disk
TROUBLED_SECONDS = 2.0  # the same, when commits fail already
DAMAGED = (
    "no compile has failed, but damaged or wrong results came from {nodes}; what was made there in this build was made"
    " again: if the linker still names a damaged object, delete that, and `buildfarm resume` makes it anew"
)
CHECKPOINT_SECONDS = 3.0  # how long a build that is told to stop takes in what is on its way
SIGINT_ROUNDS, SIGINT_PAUSE = 10, 0.2  # make is gone, and this cancelled, long before they are over
SIGINT_PATIENCE = 0.5  # a terminal's Ctrl-C reaches make by itself; a lone `kill -INT` is passed on after this


class Workshop:
    """Serves one build."""

    def __init__(self, begun: Begun) -> None:
        self._begun = begun
        self._request = begun.request
        self._reporters = begun.reporters
        self._interrupted_by: signal.Signals | None = None
        self._unseen: tuple[str, ...] = ()  # objects that plans know of and no call came for
        self._late: tuple[str, ...] = ()  # files that make had no rule for, and that another recipe has made
        self._blind: tuple[str, ...] = ()  # `Listener.blind`, for that is closed by then
        self._condemned: list[str] = []  # nodes whose results are not believed
        self._make_pid = begun.process.pid

    def run(self) -> int:
        """The process's exit code.  Raises BuildfarmError."""
        durations = self._begun.journal.durations_by_output()
        with (
            JournalWriter(
                self._begun.journal,
                self._request.directory,
                on_trouble=self._trouble,
                recipes_since=self._recipes_since,
            ) as writer,
            asyncio.Runner(loop_factory=Loop) as runner,
        ):
            return runner.run(self._conduct(writer, durations))

    def _recipes_since(self) -> int | None:
        """Since when (ns, the tree's clock) the oldest recipe runs; called by the journal's thread."""
        return recipes.oldest_start(self._make_pid, self._begun.state_dir / CLOCK)

    async def _note_unseen(self, writer: JournalWriter) -> int:
        """Record what was compiled past us; how many objects that are."""
        begun, found = self._begun, set(self._unseen)
        if self._blind:
            outputs = await asyncio.wrap_future(writer.submit(claimed, durable=False))
            found.update(await asyncio.to_thread(compiled_past, str(self._request.directory), begun.started, *outputs))
        writer.submit(lambda journal: record(journal, begun.build, found, self._blind), durable=False)
        return len(found)

    def _hints(self, tally: Tally) -> list[str]:
        """What may explain a failure, such as what the Makefiles lack."""
        from buildfarm.conductor.prerequisites import FROM_A_NODE, of_failed_build, of_late_files

        request = self._request
        compiled = not tally.failed
        if compiled and self._condemned:
            return [DAMAGED.format(nodes=", ".join(self._condemned))]
        damaged = [FROM_A_NODE] if compiled and tally.links_failed and tally.remote else []
        if request.keeps_order:
            return damaged
        if tally.failed or tally.links_failed:
            words, environment = request.make_words, request.environment
            return of_failed_build(request.directory, self._begun.state_dir, words, environment) + damaged
        # Jobs side by side were our idea, and make itself may have missed what one of them was making.
        return [of_late_files(self._late, str(request.directory))] if self._late and request.jobs is None else []

    def _trouble(self, text: str) -> None:
        if text:
            self._reporters.note(text)

    async def _conduct(self, writer: JournalWriter, durations: Mapping[str, float]) -> int:
        ledger = Ledger(writer, self._begun.build, self._reporters)
        ledger.reused(self._begun.reused)
        code: int | None = None
        try:
            async with asyncio.TaskGroup() as tasks, AsyncExitStack() as stack:
                status = await self._serve(writer, ledger, durations, tasks, stack)
                await asyncio.to_thread(writer.flush, TROUBLED_SECONDS if writer.trouble else FLUSH_SECONDS)
            ledger.tally.unseen = await self._note_unseen(writer)
            code = exit_code(status, self._interrupted_by)
        except BaseExceptionGroup as group:
            raise _first(group) from group
        finally:
            state = state_of(code, self._interrupted_by)
            closing = writer.submit(lambda journal: journal.end_build(ledger.build, state, code))
        await asyncio.wrap_future(closing)
        ledger.tell_all()
        if state is BuildState.FAILED and code == MAKE_ERRORS:
            for line in await asyncio.to_thread(self._hints, ledger.tally):
                self._reporters.note(line)
        self._reporters.finished(self._summary(ledger, code, state))
        return code

    async def _serve(
        self,
        writer: JournalWriter,
        ledger: Ledger,
        durations: Mapping[str, float],
        tasks: asyncio.TaskGroup,
        stack: AsyncExitStack,
    ) -> int:
        """Set up everything that a build needs, serve make until it has ended, take it down; make's exit status."""
        begun, request, membership, toolbox = self._begun, self._request, self._begun.membership, self._begun.toolbox

        async def probe(node: Node, again: bool) -> Probed:
            if not again:
                pumping.forget(node)
            return await membership.probe(node)

        def convict(node: str, reason: str) -> None:
            trust.convict(node, reason)

        farm = Farm(membership.policy(begun.cores), probe, ledger, tasks, convict)
        pumping = Pumping(farm, membership, tasks, enabled=request.pump)
        stack.callback(ssh.close_shared)
        stack.push_async_callback(farm.close)
        stack.callback(lambda: ledger.nodes(farm.statuses()))
        taken: list[Future[Taken]] = []

        def condemn(node: str, reason: str) -> None:
            taken.append(ledger.take_back((node,)))
            self._condemned.append(node)
            store.discard_made_on(node)
            farm.quarantine(node, reason)
            ledger.note(f"all that {node} has made in this build is made again")

        store = ObjectStore(begun.state_dir, writer)
        trust = Trust(request.verify, begun.workroom, condemn, tasks)
        stack.push_async_callback(trust.close)
        here = Here(ledger, begun.cores, Words(begun.workroom))
        stack.push_async_callback(pumping.close)
        places = membership.preparations or begun.cores + 1
        maker = Maker(
            farm,
            ledger,
            toolbox,
            membership,
            trust,
            Workbench(lambda: places),
            token=begun.token,
            workroom=begun.workroom,
            estimates=durations,
            pumping=pumping,
            palette=Palette(wanted=os.isatty(STDERR)),
            drafts=Drafts(str(request.directory)),
        )
        lookahead = Lookahead(
            maker,
            farm,
            ledger,
            store,
            enabled=request.lookahead and bool(begun.nodes),
        )
        standing = Standing(partial(reader.delivered, begun.state_dir))
        foresight = Foresight(
            *(str(request.directory), ledger, toolbox, durations, standing, lookahead.foresee), goals=len(request.goals)
        )
        lending = Lending(
            JobServer.of(request.environment), lambda: sum(node.slots for node in membership.nodes), ledger.note
        )
        stack.push_async_callback(lending.close)
        units = Units(farm, here, ledger, maker, lookahead, lending, token=begun.token)
        calls = Calls(units, here, ledger, foresight, toolbox, keeps_goals=self._request.jobs_are_ours)
        server = StubServer(None, calls.handle, tasks)
        await server.start(begun.listener)
        stack.push_async_callback(server.close)
        stack.push_async_callback(calls.close)
        farm.join(begun.nodes)
        self._follow(membership, farm, lookahead, ledger, tasks, stack)
        for recursive in reversed(begun.prelude.started):  # the last that is told goes first
            foresight.instance_started(recursive)
        foresight.instance_started(Invocation(("make", *begun.words), str(request.directory), begun.environment))
        for early in begun.prelude.calls:
            server.adopt(early)
        beat = pulse(farm, ledger, self._reporters.progress, foresight, lookahead, begun.state_dir)
        for name, work in (("planning", foresight.run()), ("lookahead", lookahead.run()), ("pulse", beat)):
            stack.callback(tasks.create_task(self._spared(name, work)).cancel)
        stack.push_async_callback(lookahead.close)

        def note_unseen() -> None:
            self._unseen = foresight.unseen(begun.started)
            self._late = foresight.late()
            self._blind = begun.listener.blind

        stack.callback(note_unseen)
        stack.callback(lambda: ledger.planning(foresight.planning(lookahead.wasted)))
        make = partial(self._run_make, calls=calls, lookahead=lookahead, tasks=tasks)
        return await self._until_believed(make, trust, taken, ledger)

    async def _until_believed(
        self,
        make: Callable[[MakeProcess], Awaitable[int]],
        trust: Trust,
        taken: list[Future[Taken]],
        ledger: Ledger,
    ) -> int:
        """Run make, and once more for as long as work of a liar's was `taken` back; its exit status."""
        process, words = self._begun.process, self._begun.words
        while True:
            status = await make(process)
            if self._interrupted_by is not None:
                return status  # what was taken back so far, the next build's sweep removes
            await trust.settled()
            if not taken:
                return status
            taken.append(ledger.take_back(tuple(trust.liars)))  # what came in since
            bad = sum([await asyncio.wrap_future(part) for part in taken], Taken())
            taken.clear()
            if bad == Taken():
                return status  # they were caught before anything of theirs had its place
            words = self._take_away(bad, ledger, words)
            process = process.again(words)

    async def _spared(self, name: str, work: Coroutine[None, None, None]) -> None:
        """Work in the background that a build can do without: what fails there is told and costs speed."""
        try:
            await work
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            self._reporters.note(f"BUG: {name}: {what}; the build goes on without it, please report this")

    def _take_away(self, taken: Taken, ledger: Ledger, words: tuple[str, ...]) -> tuple[str, ...]:
        """Remove what liars have made; make's words for doing it again.

        A result that its recipe has moved on can't be found again: then make must do everything anew (`-B`).
        """
        outputs = tuple(dict.fromkeys(taken.outputs))
        scattered = taken.scattered
        for output in outputs:
            try:
                os.unlink(output)
            except FileNotFoundError:
                scattered = True
        ledger.taken_away(Taken(outputs))
        anew = "everything" if scattered else count(len(outputs), "file")
        ledger.note(f"make runs again: {anew} must be made anew")
        return ("-B", *words) if scattered and "-B" not in words else words

    def _follow(
        self,
        membership: Membership,
        farm: Farm,
        lookahead: Lookahead,
        ledger: Ledger,
        tasks: asyncio.TaskGroup,
        stack: AsyncExitStack,
    ) -> None:
        """From now on the farm follows what the user writes and what announces itself."""

        def changed() -> None:
            another, trouble = read_again(membership)
            if trouble is not None:
                ledger.note(trouble)
            elif another:
                update()

        def update() -> None:
            for note in membership.notes:
                ledger.note(note)
            farm.join(membership.nodes, membership.local_slots)
            if membership.nodes and self._request.lookahead:
                lookahead.enable()

        membership.listen(update)
        stack.callback(membership.close)
        if membership.files:
            watcher = Watcher(membership.files, changed, busy=self._request.directory)
            stack.callback(tasks.create_task(self._spared("watching", watcher.run())).cancel)

    async def _run_make(
        self, process: MakeProcess, calls: Calls, lookahead: Lookahead, tasks: asyncio.TaskGroup
    ) -> int:
        """Wait for make, started now if it was not; pass on what asks us to stop, or has asked before we could hear."""
        loop = asyncio.get_running_loop()
        stopping: set[asyncio.Task[None]] = set()

        def stop(number: signal.Signals) -> None:
            if self._interrupted_by is None:
                self._interrupted_by = number
                stopping.add(tasks.create_task(self._stop(process, calls, lookahead, number)))
            else:
                process.signal(number)

        # What was ignored when we were started stays so: `nohup`, a shell's `&`; make does the same (main.c).
        for number in self._begun.signals.numbers:
            loop.add_signal_handler(number, stop, number)
        try:
            if not process.was_started:
                process.start()
                self._make_pid = process.pid
            while self._begun.signals.heard:
                stop(self._begun.signals.heard.pop(0))
            return await process.wait()
        finally:
            for task in stopping:
                task.cancel()
            for number in self._begun.signals.numbers:
                loop.remove_signal_handler(number)

    async def _stop(self, process: MakeProcess, calls: Calls, lookahead: Lookahead, number: signal.Signals) -> None:
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
        self._reporters.note(f"told to stop ({number.name}): taking in what is on its way")
        await asyncio.gather(calls.checkpoint(CHECKPOINT_SECONDS), lookahead.checkpoint(CHECKPOINT_SECONDS))
        process.signal(signal.SIGTERM)

    def _summary(self, ledger: Ledger, code: int, state: BuildState) -> Summary:
        tally = ledger.tally
        return Summary(
            exit_status=code,
            time=time.time(),
            seconds=time.monotonic() - self._begun.since,
            done=tally.done,
            failed=tally.failed,
            remote=tally.remote,
            local=tally.local,
            lookahead=tally.lookahead,
            retries=tally.retries,
            reused=self._begun.reused,
            links=tally.links,
            links_failed=tally.links_failed,
            unseen=tally.unseen,
            interrupted=state is BuildState.INTERRUPTED,
        )


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The innermost first exception: what went wrong first is what the user must know."""
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return inner
