"""A thread that owns the journal and groups what others hand it into few commits.

It knows `Journal` and durability barriers, not what a build is; it never makes a build fail.

Theory of operation.  Operations queue up while a commit is under way and go together in the next one; a future
resolves after the commit that holds it.  A check-in goes three steps: it is journaled at once as *arrived* (no
wait for the disk: after a kill its hash still vouches for it), then held until a barrier, one `syncfs` of the
tree's file system once the first is `hold` seconds old, made by a thread of its own so that check-outs never wait
for it, then journaled as checked in.  So no row says "checked in" whose bytes a cut of power could take.  What such a
cut can cost is counted in seconds of the build, not in units: the more of them there are, the more share a barrier.

When a commit fails (a full disk), it is rolled back, told through `on_trouble`, and tried again after a pause,
in the same order, until it succeeds, `patience` has run out or the writer is closed; then what waits fails with
`JournalError`.  A database that was damaged under our hands can't get better: it fails at once, and the next
start sets it aside.
After a failed barrier (EIO) the kernel forgets which pages were lost and a second try would lie, so those
steps stay *arrived*: the next sweep judges them by hash.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from buildfarm.model import CheckIn, StepState
from buildfarm.state import durable
from buildfarm.state.database import JournalError, given_up, is_damaged
from buildfarm.state.journal import Journal
from buildfarm.state.place import CLOCK
from buildfarm.value import dataclass

T = TypeVar("T")

SPACING = 0.002  # seconds between commits; an idle journal commits at once
LAZY = 0.02  # seconds that what need not be durable waits for company
HEARTBEAT = 2.0  # seconds between signs of life of an idle build; after a kill `status` tells its time to this
PATIENCE = 30.0  # seconds of trouble until what waits is given up
PAUSE_FIRST, PAUSE_LAST = 0.25, 5.0  # seconds before a failed commit is tried again


@dataclass(frozen=True, slots=True)
class _Operation:
    apply: Callable[[Journal], Any]
    future: Future[Any]
    durable: bool
    prompt: bool = False  # its commit is not put off, as that of what is durable never is


@dataclass(frozen=True, slots=True)
class _Held:
    build: int
    step: int
    future: Future[bool]
    since: float  # monotonic


def _ignore(_: str) -> None: ...


def _nothing() -> None:
    """For who waits for no arrival."""


class JournalWriter:
    """Thread-safe.  `tree` is any path on the file system that holds the outputs.

    A check-in waits `hold` seconds at most for a barrier, which takes all that is there.  `on_trouble` is called from
    the writer's threads with what goes wrong, once for each new text, and with "" when commits
    succeed again.  `recipes_since` tells, before a barrier, when (ns, the tree's clock) the oldest recipe that
    still runs had started (`recipes.oldest_start`); without it the sweep trusts no file that make wrote by other
    means than a step.
    """

    def __init__(
        self,
        journal: Journal,
        tree: Path,
        *,
        hold: float = 0.5,
        on_trouble: Callable[[str], None] = _ignore,
        recipes_since: Callable[[], int | None] | None = None,
        barrier: Callable[[Path], None] = durable.syncfs,
        pause: float = PAUSE_FIRST,
        patience: float = PATIENCE,
    ) -> None:
        self._journal = journal
        self._tree = tree
        self._hold = hold
        self._on_trouble = on_trouble
        self._recipes_since = recipes_since
        self._barrier = barrier
        self._pause = pause
        self._patience = patience
        self._lock = threading.RLock()
        self._queued = threading.Condition(self._lock)  # wakes the committing thread
        self._waiting = threading.Condition(self._lock)  # wakes the thread of barriers
        self._idle = threading.Condition(self._lock)  # wakes who flushes
        self._queue: deque[_Operation] = deque()
        self._held: deque[_Held] = deque()
        self._urgent = False  # there is something in the queue that is not put off
        self._queued_since = 0.0  # the first in the queue, monotonic
        self._flushing = False  # a barrier is wanted now
        self._at_barrier = False
        self._closing = False
        self._give_up = False
        self._barrier_ended = False
        self._last_beat = time.monotonic()
        self.trouble = ""  # what hinders commits now
        self.commits = 0
        self._committer = threading.Thread(target=self._commit_all, name="journal", daemon=True)
        self._syncer = threading.Thread(target=self._sync_all, name="journal-barrier", daemon=True)
        self._committer.start()
        self._syncer.start()

    def submit(self, operation: Callable[[Journal], T], *, durable: bool = True, prompt: bool = False) -> Future[T]:
        """Run `operation` in the next commit; the future has its result once that is made.

        With `durable` False the commit need not wait for the disk (progress, nodes: a cut of power may lose it), and
        not be made at once either, unless it is to be `prompt`.  The operation may run again after a failed commit, so
        it must do nothing but use the journal.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._closing:
                raise JournalError("the journal is closed")
            self._enqueue(_Operation(operation, future, durable, prompt))
        return future

    def check_in(self, build: int, step: CheckIn, on_arrival: Callable[[], None] = _nothing) -> Future[bool]:
        """Journal a step as arrived now and as checked in after a barrier; False: it did not count.

        The future fails with OSError when the barrier did: the step stays as arrived.  A failed step has no
        bytes to wait for and is checked in with the next commit.  `on_arrival` is called in the committing thread
        when the first word is committed, or will never be.
        """
        if step.state is not StepState.DONE or not step.outputs:
            failed = self.submit(lambda journal: journal.check_in(build, [step]) == 1)
            failed.add_done_callback(lambda _: on_arrival())
            return failed
        arrival = self.submit(lambda journal: journal.arrive(build, step), durable=False)
        arrival.add_done_callback(lambda _: on_arrival())
        future: Future[bool] = Future()
        with self._lock:
            self._held.append(_Held(build, step.step, future, time.monotonic()))
            if len(self._held) == 1:
                self._waiting.notify()
        return future

    def flush(self, timeout: float | None = None) -> bool:
        """Make a barrier and commit all that was handed in so far; False: not within `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            self._flushing = True
            self._waiting.notify()
            self._queued.notify()
            done = self._idle.wait_for(lambda: not self._held and not self._at_barrier, timeout)
            if not done:
                return False
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            self.submit(lambda _: None).result(left)
        except TimeoutError:
            return False
        return True

    def close(self, timeout: float | None = 10.0) -> None:
        """Flush, end the threads and close the journal; what can't be committed in time fails."""
        with self._lock:
            if self._closing:
                return
        deadline = None if timeout is None else time.monotonic() + timeout
        flushed = self.flush(timeout)
        with self._lock:
            self._closing = True
            self._give_up = not flushed
            self._waiting.notify()
            self._queued.notify()
        for thread in (self._syncer, self._committer):
            thread.join(None if deadline is None else max(1.0, deadline - time.monotonic()))
        self._abandon()
        if not self._committer.is_alive():
            self._journal.close()

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _enqueue(self, operation: _Operation) -> None:
        """Under the lock."""
        if not self._queue:
            self._queued_since = time.monotonic()
        self._queue.append(operation)
        self._urgent = self._urgent or operation.durable or operation.prompt
        self._queued.notify()

    # --- the committing thread ---------------------------------------------------------------------------

    def _commit_all(self) -> None:
        pause = self._pause
        in_trouble_since: float | None = None
        while group := self._next_group():
            started = time.monotonic()
            try:
                results = self._commit(group)
            except sqlite3.Error as error:
                in_trouble_since = started if in_trouble_since is None else in_trouble_since
                if is_damaged(error) or started - in_trouble_since > self._patience:
                    self._tell(f"{self._journal.path}: {error}")
                    for operation in group:
                        _resolve(operation.future, None, given_up(self._journal.path, error))
                    continue
                self._tell(f"{self._journal.path}: {error}; trying again")
                with self._lock:
                    self._queued.wait_for(lambda: self._give_up, pause)
                    self._queue.extendleft(reversed(group))
                    self._urgent = True
                    if self._give_up:
                        return
                pause = min(2 * pause, PAUSE_LAST)
                continue
            pause, in_trouble_since = self._pause, None
            self.commits += 1
            self._tell("")
            for operation, (value, failure) in zip(group, results, strict=True):
                _resolve(operation.future, value, failure)
            with self._lock:
                rest = started + SPACING - time.monotonic()
                if rest > 0:
                    self._queued.wait_for(lambda: self._closing or self._flushing, rest)

    def _next_group(self) -> list[_Operation]:
        """All that is queued; empty when the writer is closed and nothing is left."""
        with self._lock:
            self._queued.wait_for(lambda: self._queue or self._give_up or (self._closing and self._barrier_ended))
            while not (self._urgent or self._closing or self._flushing or self._give_up):
                rest = self._queued_since + LAZY - time.monotonic()
                if rest <= 0:
                    break
                self._queued.wait(rest)
            if self._give_up:
                return []
            group = list(self._queue)
            self._queue.clear()
            self._urgent = False
            return group

    def _commit(self, group: Sequence[_Operation]) -> list[tuple[Any, BaseException | None]]:
        """One transaction.  An operation that fails by itself is undone alone; raises when the database fails.

        A savepoint for each costs a third of all statements and is hardly ever needed, so the first try has none; an
        operation may be applied twice.
        """
        self._journal.set_synchronous(any(operation.durable for operation in group))
        try:
            with self._journal.transaction():
                return [(operation.apply(self._journal), None) for operation in group]
        except Exception as error:
            if not _is_of_one_operation(error):
                raise  # else the second try tells which of them it was
        results: list[tuple[Any, BaseException | None]] = []
        with self._journal.transaction():
            for operation in group:
                try:
                    with self._journal.savepoint():
                        results.append((operation.apply(self._journal), None))
                except Exception as error:
                    if not _is_of_one_operation(error):
                        raise
                    results.append((None, error))
        return results

    # --- the thread of barriers --------------------------------------------------------------------------

    def _sync_all(self) -> None:
        while batch := self._next_batch():
            self._sync(batch)
        with self._lock:
            self._barrier_ended = True
            self._queued.notify()

    def _next_batch(self) -> list[_Held]:
        """The check-ins that are due; empty when the writer closes and none are left."""
        with self._lock:
            while True:
                due = self._held[0].since + self._hold if self._held else None
                if self._give_up or (self._closing and not self._held):
                    return []
                if due is None:
                    self._flushing = False
                elif self._flushing or self._closing or due <= time.monotonic():
                    break
                self._waiting.wait(HEARTBEAT if due is None else due - time.monotonic())
                if time.monotonic() - self._last_beat >= HEARTBEAT:
                    self._beat()
            batch = list(self._held)
            self._held.clear()
            self._at_barrier = True
            return batch

    def _sync(self, batch: Sequence[_Held]) -> None:
        whole_before = self._recipes_since() if self._recipes_since is not None else None
        failure: OSError | None = None
        try:
            self._beat()
            self._barrier(self._tree)
        except OSError as error:
            failure = error
            self._tell(f"{self._tree}: {os.strerror(error.errno or 0)}: results may not be on the disk")
        counted: Future[set[int]] = Future()
        counted.add_done_callback(lambda done: _resolve_each(batch, done))
        build, steps = batch[-1].build, [held.step for held in batch]
        with self._lock:
            if failure is None:
                self._enqueue(_Operation(lambda journal: journal.check_in_arrived(build, steps), counted, True))
                if whole_before is not None:
                    self._enqueue(_Operation(lambda journal: journal.set_barrier(build, whole_before), Future(), False))
            self._at_barrier = False
            self._idle.notify_all()
        if failure is not None:
            _resolve(counted, None, failure)

    def _beat(self) -> None:
        """Leave a sign of life: a file whose time is later than this and a margin is not this build's."""
        self._last_beat = time.monotonic()
        try:
            durable.touch(self._journal.state_dir / CLOCK)
        except OSError:
            pass  # a full disk is told of by the commits

    # --- trouble -----------------------------------------------------------------------------------------

    def _tell(self, text: str) -> None:
        with self._lock:
            if text == self.trouble:
                return
            self.trouble = text
        self._on_trouble(text)

    def _abandon(self) -> None:
        with self._lock:
            futures: list[Future[Any]] = [operation.future for operation in self._queue]
            futures += [held.future for held in self._held]
            self._queue.clear()
            self._held.clear()
        for future in futures:
            _resolve(future, None, JournalError(self.trouble or "the journal was closed"))


def _resolve(future: Future[Any], value: object, failure: BaseException | None) -> None:
    """Who waited may have been cancelled; what was journaled stays journaled."""
    if not future.set_running_or_notify_cancel():
        return
    if failure is None:
        future.set_result(value)
    else:
        future.set_exception(failure)


def _resolve_each(batch: Sequence[_Held], counted: Future[set[int]]) -> None:
    failure = counted.exception()
    for held in batch:
        _resolve(held.future, failure is None and held.step in counted.result(), failure)


def _is_of_one_operation(error: Exception) -> bool:
    """Whether the fault is the operation's own, and not the database's."""
    own = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError)
    return isinstance(error, own) or not isinstance(error, sqlite3.Error)
