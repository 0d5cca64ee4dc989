"""One build from its lock to its closing line.

It decides what a build's life is made of and in which order; who serves make's calls is `workshop`, how a unit is
compiled is `units`, how the nodes are used is `farm`.

Order matters, and this is it: read the host list; lock the tree; open the journal; end what a dead build left running;
sweep what it left half-written; begin the build in the journal; listen; start make; serve its calls; when make has
ended, flush; close the build.  A kill at any point leaves a journal from which the next build starts at the top of this
list.

A workshop takes longer to import and to open than a make that finds nothing to do takes to end.  So it is opened when
the first call comes that needs it, or a signal, or when make has run for `PATIENCE` seconds; until then there is only a
socket (`make.prelude`).
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from buildfarm.conductor import headstart, limits
from buildfarm.conductor.membership import Membership
from buildfarm.conductor.toolbox import Toolbox
from buildfarm.conductor.words import print_left
from buildfarm.dispatch import ssh
from buildfarm.dispatch.health import unasked
from buildfarm.errors import MachineError
from buildfarm.home import STATE_DIRECTORY
from buildfarm.make import masquerade, orphans
from buildfarm.make.cache import private_directory
from buildfarm.make.listener import Listener
from buildfarm.make.prelude import Prelude, StopSignals
from buildfarm.make.process import MakeProcess, RealMake, find_make
from buildfarm.model import BuildState, Node
from buildfarm.report.console import Reporters
from buildfarm.report.reporter import BuildStarted, Summary
from buildfarm.request import UNLIMITED_JOBS, RunRequest
from buildfarm.state.journal import BUILDS_KEPT, Journal
from buildfarm.state.lock import TreeLock
from buildfarm.state.unseen import claimed, record
from buildfarm.value import dataclass

STOP_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGPWR)
PATIENCE = 0.25  # seconds that make may run before there is a workshop, if nobody needs one
END_SECONDS = 5.0  # how long what still runs of a build that can't go on may take to end
JOBS_BEYOND_SLOTS = 2  # recipes that wait for a node burn no core: make's -j exceeds slots and cores


@dataclass(frozen=True, slots=True)
class Begun:
    """A build whose make runs: what whoever serves it must know."""

    request: RunRequest
    reporters: Reporters
    journal: Journal
    reused: int  # units of the dead build before that were verified and kept
    membership: Membership
    nodes: tuple[Node, ...]  # the host list as make's -j was reckoned from it
    toolbox: Toolbox
    build: int  # the journal's number of it
    token: str
    started: float  # seconds since the epoch
    since: float  # the same by the monotonic clock, which nobody sets while it builds
    cores: int
    state_dir: Path
    workroom: Path
    make: RealMake
    words: tuple[str, ...]  # make's
    environment: dict[str, str]  # make's, ours added
    process: MakeProcess
    listener: Listener
    prelude: Prelude
    signals: StopSignals


class Build:
    """Runs one request."""

    def __init__(self, request: RunRequest, reporters: Reporters, cache: Path) -> None:
        self._request = request
        self._reporters = reporters
        self._cache = cache
        self._state_dir = request.directory / STATE_DIRECTORY
        self._token = os.urandom(16).hex()
        self._cores = len(os.sched_getaffinity(0))
        self._started = time.time()
        self._since = time.monotonic()

    def run(self) -> int:
        """The process's exit code.  Raises BuildfarmError."""
        make = find_make(self._request.environment)
        costume = self._costume()
        toolbox = Toolbox(costume.directory)
        # A wrong host list is heard before anything is touched.
        membership = Membership(self._request, toolbox, self._cache)
        limits.require_journal()
        with TreeLock(self._state_dir, token=self._token) as lock, Journal.open(self._state_dir) as journal:
            for news in (journal.healed, journal.notice):
                if news:
                    self._reporters.note(news)
            nodes = membership.nodes
            try:
                limits.require_threads()
                open_files = limits.make_room(sum(node.slots for node in nodes) + self._cores)
            except MachineError as lack:
                if self._request.fallback == "never":
                    raise
                return self._alone(journal, lock, make, lack.message)
            if headstart.is_likely_to_work(journal.last_build()):
                headstart.begin(membership, nodes)
            reused = self._sweep(journal, lock)
            build = journal.begin_build(
                self._request.spec(),
                started=self._started,
                resumed_from=self._request.resumed_from,
                token=self._token,
            )
            with (
                self._workroom() as workroom,
                closing(Listener()) as listener,
                closing(StopSignals(STOP_SIGNALS)) as signals,
            ):
                self._tell_started(build, reused, membership, nodes)
                words = (*self._jobs(sum(node.slots for node in nodes)), *self._request.make_command)
                environment = masquerade.environment(self._request.environment, costume, listener.path, self._token)
                begun = Begun(
                    request=self._request,
                    reporters=self._reporters,
                    journal=journal,
                    reused=reused,
                    membership=membership,
                    nodes=nodes,
                    toolbox=toolbox,
                    build=build,
                    token=self._token,
                    started=self._started,
                    since=self._since,
                    cores=self._cores,
                    state_dir=self._state_dir,
                    workroom=workroom,
                    make=make,
                    words=words,
                    environment=environment,
                    process=self._process(make, words, environment, open_files),
                    listener=listener,
                    prelude=Prelude(listener, keeps_goals=self._request.jobs_are_ours),
                    signals=signals,
                )
                try:
                    return self._build(begun)
                except BaseException:
                    orphans.end(self._token, END_SECONDS)  # make must not go on behind the user's back
                    raise

    def _costume(self) -> masquerade.Masquerade:
        """The masquerade, in the private cache where it can't be had in the user's: a quota, a policy."""
        path = self._request.environment.get("PATH")
        try:
            return masquerade.prepare(self._cache, path=path)
        except MachineError:
            private = private_directory()
            if private is None or private == self._cache:
                raise
            self._cache = private
            return masquerade.prepare(self._cache, path=path)

    def _sweep(self, journal: Journal, lock: TreeLock) -> int:
        """Leave nothing half-written for make to find; how many units of an interrupted build are kept."""
        if not needs_sweep(journal, lock):
            return 0
        from buildfarm.conductor.recovery import recover

        return recover(journal, lock, self._request, self._reporters.note)

    def _alone(self, journal: Journal, lock: TreeLock, make: RealMake, lack: str) -> int:
        """make without a farm, for want of what a farm needs; the process's exit code."""
        from buildfarm.conductor.alone import run

        reused = self._sweep(journal, lock)
        build = journal.begin_build(
            self._request.spec(), started=self._started, resumed_from=self._request.resumed_from, token=self._token
        )
        self._reporters.note(f"{lack}: make runs alone, without nodes")
        environment = {**self._request.environment, orphans.TOKEN_VARIABLE: self._token}
        words = (*self._jobs(0), *self._request.make_command)
        status, stopped_by = run(self._process(make, words, environment, None), STOP_SIGNALS)
        code = exit_code(status, stopped_by)
        with journal.transaction():
            journal.set_reused(build, reused)
            journal.end_build(build, state_of(code, stopped_by), code)
        return code

    def _build(self, begun: Begun) -> int:
        begun.signals.hear()
        begun.process.start()
        if begun.prelude.wait(begun.process.pid, begun.signals, PATIENCE):
            return self._end(begun, begun.process.reap())

        from buildfarm.conductor.workshop import Workshop

        gc.freeze()  # what has been imported lives as long as we do
        return Workshop(begun).run()

    def _end(self, begun: Begun, status: int) -> int:
        """Close a build whose make has ended by itself and has asked for nothing; the process's exit code."""
        ssh.close_shared()
        code = exit_code(status)
        state = state_of(code)
        unseen = self._unseen(begun)
        with begun.journal.transaction():
            begun.journal.set_reused(begun.build, begun.reused)
            begun.journal.set_nodes(begun.build, [unasked(node) for node in begun.nodes])
            begun.journal.end_build(begun.build, state, code)
        self._reporters.finished(
            Summary(
                exit_status=code,
                time=time.time(),
                seconds=time.monotonic() - self._since,
                reused=begun.reused,
                unseen=len(unseen),
                interrupted=state is BuildState.INTERRUPTED,
            )
        )
        return code

    def _unseen(self, begun: Begun) -> tuple[str, ...]:
        """What was compiled past us, if a program ran whose own calls can't be seen."""
        blind = begun.listener.blind
        if not blind:
            return ()
        from buildfarm.conductor.blind import compiled_past

        found = compiled_past(str(self._request.directory), self._started, *claimed(begun.journal))
        record(begun.journal, begun.build, found, blind)
        return found

    def _tell_started(self, build: int, reused: int, membership: Membership, nodes: tuple[Node, ...]) -> None:
        for note in membership.notes:
            self._reporters.note(note)
        self._reporters.started(
            BuildStarted(
                build=build,
                directory=str(self._request.directory),
                time=self._started,
                goals=self._request.goals,
                variables=self._request.variables,
                nodes=tuple(unasked(node) for node in nodes),
                local_slots=self._cores,
                resumed_from=self._request.resumed_from,
                reused=reused,
            )
        )

    def _process(
        self, make: RealMake, words: tuple[str, ...], environment: dict[str, str], open_files: tuple[int, int] | None
    ) -> MakeProcess:
        return MakeProcess(
            make,
            words,
            directory=str(self._request.directory),
            environment=environment,
            stdout=self._reporters.make_stdout,
            stderr=self._reporters.make_stderr,
            open_files=open_files,
        )

    def _jobs(self, slots: int) -> tuple[str, ...]:
        """make's -j: as the user said, else what farm and master can hold together."""
        jobs = self._request.jobs
        if self._request.keeps_order:
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
        """A private directory of this build, on the tree's file system; those of dead builds go, if they are ours."""
        ours, others = (self._state_dir / name for name in ("work", f"work-{os.geteuid()}"))
        for room in (ours, others):
            print_left(room)
            shutil.rmtree(room, ignore_errors=True)
        room = others if ours.exists() else ours  # of a `sudo buildfarm run` that was killed
        room.mkdir(mode=0o700)
        try:
            yield room
        finally:
            print_left(room)
            shutil.rmtree(room, ignore_errors=True)


def needs_sweep(journal: Journal, lock: TreeLock) -> bool:
    """Whether an earlier build may have left what make must not find, or records that nobody needs any more."""
    last = journal.last_build()
    if lock.left_behind is not None:
        return True
    if last is None:
        return False
    died = last.state in (BuildState.RUNNING, BuildState.INTERRUPTED)
    return died or journal.is_unsettled() or last.id % BUILDS_KEPT == 0


def exit_code(status: int, interrupted_by: signal.Signals | None = None) -> int:
    """The process's exit code when make has ended with `status` (negative: a signal's number)."""
    if interrupted_by is not None:
        return 128 + interrupted_by
    return status if status >= 0 else 128 - status


def state_of(code: int | None, interrupted_by: signal.Signals | None = None) -> BuildState:
    """How a build ended that ends with this exit code; None: it could not go on."""
    if code == 0:
        return BuildState.COMPLETE
    if code is None or interrupted_by is not None or code > 128:
        return BuildState.INTERRUPTED
    return BuildState.FAILED
