"""One build from its lock to its closing line.

It decides what a build's life is made of and in which order; how a unit is compiled is `units`, how the nodes are
used is `farm`.  It is one file because it is one thing: an order in which things are set up and taken down.

Order matters, and this is it: read the host list; lock the tree; open the journal; end what a dead build left running;
sweep what it left half-written; begin the build in the journal; listen; start make; when make has ended, flush; close
the build.  A kill at any point leaves a journal from which the next build starts at the top of this list.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path

from buildfarm.conductor.calls import Calls
from buildfarm.conductor.farm import Farm
from buildfarm.conductor.foresight import Foresight
from buildfarm.conductor.here import Here
from buildfarm.conductor.ledger import Ledger
from buildfarm.conductor.lookahead import Lookahead
from buildfarm.conductor.making import Maker
from buildfarm.conductor.membership import Membership, read_again
from buildfarm.conductor.pulse import pulse
from buildfarm.conductor.recovery import Recovered, recover
from buildfarm.conductor.toolbox import Toolbox
from buildfarm.conductor.trust import Trust
from buildfarm.conductor.units import Units
from buildfarm.conductor.watching import Watcher
from buildfarm.conductor.words import Words, print_left
from buildfarm.conductor.workbench import Workbench
from buildfarm.dispatch import ssh
from buildfarm.make import masquerade, orphans
from buildfarm.make.masquerade import Masquerade
from buildfarm.make.process import MakeProcess, RealMake, find_make
from buildfarm.make.server import StubServer
from buildfarm.model import BuildState, Invocation
from buildfarm.report.console import Reporters
from buildfarm.report.reporter import BuildStarted, Summary
from buildfarm.request import UNLIMITED_JOBS, RunRequest
from buildfarm.state import recipes
from buildfarm.state.journal import CLOCK, Journal
from buildfarm.state.lock import TreeLock
from buildfarm.state.store import ObjectStore
from buildfarm.state.taint import Taken
from buildfarm.state.writer import JournalWriter

STATE_DIRECTORY = ".buildfarm"
FLUSH_SECONDS = 30.0  # how long the end of a build may wait for the disk
TROUBLED_SECONDS = 2.0  # the same, when commits fail already
CHECKPOINT_SECONDS = 3.0  # how long a build that is told to stop takes in what is on its way
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPWR)
END_SECONDS = 5.0  # how long what still runs of a build that can't go on may take to end
SIGINT_PATIENCE = 0.5  # a terminal's Ctrl-C reaches make by itself; a lone `kill -INT` is passed on after this
JOBS_BEYOND_SLOTS = 2  # recipes that wait for a node burn no core: make's -j exceeds slots and cores


class Build:
    """Runs one request."""

    def __init__(self, request: RunRequest, reporters: Reporters, cache: Path) -> None:
        self._request = request
        self._reporters = reporters
        self._cache = cache
        self._state_dir = request.directory / STATE_DIRECTORY
        self._token = secrets.token_hex(16)
        self._cores = len(os.sched_getaffinity(0))
        self._interrupted_by: signal.Signals | None = None
        self._started = time.time()
        self._make_pid = 0  # 0: not started

    def run(self) -> int:
        """The process's exit code.  Raises BuildfarmError."""
        make = find_make(self._request.environment)
        costume = masquerade.prepare(self._cache, path=self._request.environment.get("PATH"))
        toolbox = Toolbox(costume.directory)
        membership = Membership(self._request, toolbox)  # a wrong host list is heard before anything is touched
        with TreeLock(self._state_dir, token=self._token) as lock, Journal.open(self._state_dir) as journal:
            for news in (journal.healed, journal.notice):
                if news:
                    self._reporters.note(news)
            recovered = recover(journal, lock, self._request, self._reporters.note)
            with JournalWriter(
                journal, self._request.directory, on_trouble=self._trouble, recipes_since=self._recipes_since
            ) as writer:
                try:
                    return asyncio.run(self._conduct(make, costume, toolbox, membership, writer, recovered))
                except BaseException:
                    orphans.end(self._token, END_SECONDS)  # make must not go on behind the user's back
                    raise

    def _recipes_since(self) -> int | None:
        """Since when (ns, the tree's clock) the oldest recipe runs; called by the journal's thread."""
        return recipes.oldest_start(self._make_pid, self._state_dir / CLOCK) if self._make_pid else None

    def _missing(self) -> list[str]:
        """What the Makefiles lack, if a unit failed for want of it."""
        from buildfarm.conductor.prerequisites import of_failed_build

        request = self._request
        if request.serial_order:
            return []
        return of_failed_build(request.directory, self._state_dir, request.make_words, request.environment)

    def _trouble(self, text: str) -> None:
        if text:
            self._reporters.note(text)

    async def _conduct(
        self,
        make: RealMake,
        costume: Masquerade,
        toolbox: Toolbox,
        membership: Membership,
        writer: JournalWriter,
        recovered: Recovered,
    ) -> int:
        spec = self._request.spec()
        build = await asyncio.wrap_future(
            writer.submit(
                lambda journal: journal.begin_build(
                    spec, started=self._started, resumed_from=self._request.resumed_from, token=self._token
                )
            )
        )
        ledger = Ledger(writer, build, self._reporters)
        ledger.reused(recovered.reused)
        code: int | None = None
        try:
            async with asyncio.TaskGroup() as tasks, AsyncExitStack() as stack:
                status = await self._open_farm(
                    make, costume, toolbox, membership, writer, ledger, recovered, tasks, stack
                )
                await asyncio.to_thread(writer.flush, TROUBLED_SECONDS if writer.trouble else FLUSH_SECONDS)
            code = self._exit_code(status)
        except BaseExceptionGroup as group:
            raise _first(group) from group
        finally:
            state = self._state(code)
            closing = writer.submit(lambda journal: journal.end_build(build, state, code))
        await asyncio.wrap_future(closing)
        if state is BuildState.FAILED and ledger.tally.failed:
            for line in await asyncio.to_thread(self._missing):
                self._reporters.note(line)
        self._reporters.finished(self._summary(ledger, code, state, recovered))
        return code

    async def _open_farm(
        self,
        make: RealMake,
        costume: Masquerade,
        toolbox: Toolbox,
        membership: Membership,
        writer: JournalWriter,
        ledger: Ledger,
        recovered: Recovered,
        tasks: asyncio.TaskGroup,
        stack: AsyncExitStack,
    ) -> int:
        """Set up everything that a build needs, run make in it, and take it down again; make's exit status."""
        request = self._request
        farm = Farm(membership.policy(), membership.probe, ledger, tasks)
        stack.callback(ssh.close_shared)
        stack.push_async_callback(farm.close)
        stack.callback(lambda: ledger.nodes(farm.statuses()))
        taken: list[Future[Taken]] = []

        def condemn(node: str, reason: str) -> None:
            taken.append(ledger.take_back((node,)))
            farm.quarantine(node, reason)
            ledger.note(f"{reason}; all that it has made in this build is made again")

        workroom = stack.enter_context(self._workroom())
        trust = Trust(request.verify, workroom, condemn, tasks)
        stack.push_async_callback(trust.close)
        here = Here(ledger, self._cores, Words(workroom))
        places = membership.preparations or self._cores + 1
        maker = Maker(
            farm,
            ledger,
            toolbox,
            membership,
            trust,
            Workbench(lambda: places),
            token=self._token,
            workroom=workroom,
            estimates=recovered.durations,
        )
        lookahead = Lookahead(
            maker,
            farm,
            ledger,
            ObjectStore(self._state_dir, writer),
            enabled=request.lookahead and bool(membership.nodes),
        )
        foresight = Foresight(str(request.directory), ledger, toolbox, recovered.durations, lookahead.foresee)
        units = Units(farm, here, ledger, maker, lookahead, token=self._token)
        calls = Calls(units, here, ledger, foresight, toolbox)
        server = StubServer(None, calls.handle, tasks)
        await server.start()
        stack.push_async_callback(server.close)
        stack.push_async_callback(calls.close)
        nodes = membership.nodes
        for note in membership.notes:
            ledger.note(note)
        farm.join(nodes)
        self._follow(membership, farm, lookahead, ledger, tasks, stack)
        self._reporters.started(
            BuildStarted(
                build=ledger.build,
                directory=str(request.directory),
                time=self._started,
                goals=request.goals,
                variables=request.variables,
                nodes=tuple(farm.statuses()),
                local_slots=self._cores,
                resumed_from=request.resumed_from,
                reused=recovered.reused,
            )
        )
        assert server.path is not None, "BUG: the server listens nowhere"
        words = (*self._jobs(sum(node.slots for node in nodes)), *request.make_command)
        environment = masquerade.environment(request.environment, costume, server.path, self._token)
        foresight.instance_started(Invocation(("make", *words), str(request.directory), environment))
        progress = self._reporters.progress
        beat = pulse(farm, ledger, progress, lambda: foresight.view)
        for background in (foresight.run(), lookahead.run(), beat):
            stack.callback(tasks.create_task(background).cancel)
        stack.push_async_callback(lookahead.close)

        def count_unseen() -> None:
            ledger.tally.unseen = len(foresight.unseen(self._started))

        stack.callback(count_unseen)
        stack.callback(lambda: ledger.planning(foresight.planning(lookahead.wasted)))
        while True:
            process = MakeProcess(
                make,
                words,
                directory=str(request.directory),
                environment=environment,
                stdout=self._reporters.make_stdout,
                stderr=self._reporters.make_stderr,
            )
            status = await self._run_make(process, calls, lookahead, tasks)
            if self._interrupted_by is not None:
                return status  # what was taken back so far, the next build's sweep removes
            await trust.settled()
            if not taken:
                return status
            taken.append(ledger.take_back(tuple(trust.liars)))  # what came in since
            words = await self._take_away(taken, ledger, words)
            taken.clear()

    async def _take_away(self, taken: list[Future[Taken]], ledger: Ledger, words: tuple[str, ...]) -> tuple[str, ...]:
        """Remove what liars have made; make's words for doing it again.

        A result that its recipe has moved on can't be found again: then make must do everything anew (`-B`).
        """
        parts = [await asyncio.wrap_future(part) for part in taken]
        outputs = tuple(dict.fromkeys(output for part in parts for output in part.outputs))
        scattered = any(part.scattered for part in parts)
        for output in outputs:
            try:
                os.unlink(output)
            except FileNotFoundError:
                scattered = True
        ledger.taken_away(Taken(outputs))
        anew = "everything" if scattered else f"{len(outputs)} units"
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
            stack.callback(tasks.create_task(watcher.run()).cancel)

    async def _run_make(
        self, process: MakeProcess, calls: Calls, lookahead: Lookahead, tasks: asyncio.TaskGroup
    ) -> int:
        """Start make and wait for it; pass on what asks us to stop."""
        loop = asyncio.get_running_loop()
        stopping: set[asyncio.Task[None]] = set()

        def stop(number: signal.Signals) -> None:
            if self._interrupted_by is None:
                self._interrupted_by = number
                stopping.add(tasks.create_task(self._stop(process, calls, lookahead, number)))
            else:
                process.signal(number)

        # What was ignored when we were started stays so: `nohup`, a shell's `&`; make does the same (main.c).
        heard = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        for number in heard:
            loop.add_signal_handler(number, stop, number)
        try:
            await process.start()
            self._make_pid = process.pid
            return await process.wait()
        finally:
            for task in stopping:
                task.cancel()
            for number in heard:
                loop.remove_signal_handler(number)

    async def _stop(self, process: MakeProcess, calls: Calls, lookahead: Lookahead, number: signal.Signals) -> None:
        """Ctrl-C stops at once, as with make; anything else first takes in what is about to arrive."""
        if number is signal.SIGINT:
            await asyncio.sleep(SIGINT_PATIENCE)
            for pid in await asyncio.to_thread(orphans.find, self._token):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
            return
        self._reporters.note(f"told to stop ({number.name}): taking in what is on its way")
        await asyncio.gather(calls.checkpoint(CHECKPOINT_SECONDS), lookahead.checkpoint(CHECKPOINT_SECONDS))
        process.signal(signal.SIGTERM)

    def _jobs(self, slots: int) -> tuple[str, ...]:
        """make's -j: as the user said, else what farm and master can hold together."""
        jobs = self._request.jobs
        if self._request.serial_order:
            return ("-j1",)
        if jobs == UNLIMITED_JOBS:
            return ("-j",)
        if jobs is not None:
            return (f"-j{jobs}",)
        if "jobserver" in self._request.environment.get("MAKEFLAGS", ""):
            return ()  # an outer make's job server rules
        return (f"-j{slots + self._cores + JOBS_BEYOND_SLOTS if slots else self._cores}",)

    @contextmanager
    def _workroom(self) -> Iterator[Path]:
        """A private directory of this build, on the tree's file system; those of dead builds go."""
        room = self._state_dir / "work"
        print_left(room)
        shutil.rmtree(room, ignore_errors=True)
        room.mkdir(mode=0o700)
        try:
            yield room
        finally:
            print_left(room)
            shutil.rmtree(room, ignore_errors=True)

    def _exit_code(self, status: int) -> int:
        if self._interrupted_by is not None:
            return 128 + self._interrupted_by
        return status if status >= 0 else 128 - status

    def _state(self, code: int | None) -> BuildState:
        if code == 0:
            return BuildState.COMPLETE
        if code is None or self._interrupted_by is not None or code > 128:
            return BuildState.INTERRUPTED
        return BuildState.FAILED

    def _summary(self, ledger: Ledger, code: int, state: BuildState, recovered: Recovered) -> Summary:
        tally = ledger.tally
        now = time.time()
        return Summary(
            exit_status=code,
            time=now,
            seconds=now - self._started,
            done=tally.done,
            failed=tally.failed,
            remote=tally.remote,
            local=tally.local,
            lookahead=tally.lookahead,
            retried=tally.retried,
            reused=recovered.reused,
            links=tally.links,
            unseen=tally.unseen,
            interrupted=state is BuildState.INTERRUPTED,
        )


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The innermost first exception: what went wrong first is what the user must know."""
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return inner
