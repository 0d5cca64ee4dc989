"""Notices that a source of a tree has changed: watchdog's events, filtered and debounced.

It builds nothing.  Where the kernel does not tell (inotify's instances or watches are used up), watchdog looks at all
files once a second.  What a change is: a file below the tree, or one that the last build has read from elsewhere, was
written, made, moved or removed, and no step of the build did so.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from buildfarm.state import reader

_NOT_OURS = re.compile(r"(^|/)(\.[^/]*|[^/]*~|#[^/]*#|4913|[^/]*\.(sw[a-p]|tmp|orig|rej))(/|$)")
"""Hidden files and directories (.git, .buildfarm), and what editors leave: emacs, vim (4913 is its probe), patch."""

_SOURCE = re.compile(
    r"(^|/)(GNUmakefile|[Mm]akefile[^/]*)$"
    r"|\.(c|cc|cpp|cxx|h|hh|hpp|hxx|inl|ipp|f|for|ftn|f77|f90|f95|f03|f08|inc|s|mk|in|ac|y|l)$",
    re.IGNORECASE,
)
PRODUCT_AFTER = 3
"""Builds running in which a file must have changed to be taken for something that they write."""

MOST_DIRECTORIES = 200  # outside of the tree; system headers are not watched at all
SYSTEM = ("/usr/", "/opt/", "/lib/", "/etc/")
LOOK_SECONDS = 1  # between two looks, where nobody tells
CHANGES = frozenset({"created", "modified", "moved", "deleted", "closed"})


class Watch(FileSystemEventHandler):
    """The changes of a tree; use as a context manager.  `quiet_seconds`: the silence that ends a change.

    `targets` tells, when asked, the absolute paths of what make has rules for.
    """

    def __init__(
        self, directory: Path, state_dir: Path, quiet_seconds: float, targets: Callable[[], frozenset[str]]
    ) -> None:
        self._targets = targets
        self._directory = directory
        self._state_dir = state_dir
        self._quiet = quiet_seconds
        self._news = threading.Condition()
        self._changed: dict[str, float] = {}  # path: monotonic time of its latest event
        self._observer: BaseObserver
        self._lag = quiet_seconds  # until what has happened is told for certain, seconds
        self.lack: str | None = None  # why nobody tells of changes and they are looked for
        self._outside: set[str] = set()
        self._during: dict[str, int] = {}  # builds running in which a file has changed

    def __enter__(self) -> Watch:
        try:
            self._begin(Observer())
        except OSError as error:
            self.lack = error.strerror or str(error)
            began = time.monotonic()
            self._begin(PollingObserver(timeout=LOOK_SECONDS))
            # A look that had begun before the change, the time between, and the one that finds it.
            self._lag += LOOK_SECONDS + 2 * (time.monotonic() - began)
        return self

    def _begin(self, observer: BaseObserver) -> None:
        """Observe the tree.  Raises OSError."""
        observer.schedule(self, str(self._directory), recursive=True)
        observer.start()
        self._observer = observer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._observer.stop()
        self._observer.join()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """watchdog's thread: take down what has changed."""
        if event.event_type not in CHANGES or event.is_directory:
            return
        paths = [os.fsdecode(event.src_path), *([os.fsdecode(event.dest_path)] if event.dest_path else [])]
        with self._news:
            for path in paths:
                if not _NOT_OURS.search(os.path.relpath(path, self._directory).replace("../", "")):
                    self._changed[path] = time.monotonic()
                    self._news.notify()

    def forget_outputs(self, *, since_ns: int) -> None:
        """A build that began at `since_ns` has ended: what it wrote was no change, and what it read is watched."""
        time.sleep(self._lag)  # the last events of the build are on their way
        read, written = self._of_last_build()
        targets = self._targets() if self._changed.keys() - written else frozenset()
        self._watch_outside(read)
        with self._news:
            for path in list(self._changed):
                if path in written or self._is_product(path, targets, read, since_ns):
                    del self._changed[path]

    def _is_product(self, path: str, targets: frozenset[str], read: set[str], since_ns: int) -> bool:
        """Whether a file that changed during a build was written by it, by a recipe that is no step.

        make's targets are.  So is what does not look like a source and was never seen read: a log, a side file.  A
        source may well be saved while a build runs; but not in every one.
        """
        if path in targets:
            return True
        if not _young(path, since_ns):
            return False
        if path not in read and not _SOURCE.search(path):
            return True
        self._during[path] = self._during.get(path, 0) + 1
        return self._during[path] >= PRODUCT_AFTER

    def wait(self) -> list[str]:
        """The files that have changed, the latest first; returns when it has been quiet after them."""
        with self._news:
            while not self._changed:
                self._news.wait()
            while (quiet := time.monotonic() - max(self._changed.values())) < self._quiet:
                self._news.wait(self._quiet - quiet)
            for path in set(self._during) - self._changed.keys():
                self._during.pop(path)
            files = sorted(self._changed, key=lambda path: -self._changed[path])
            self._changed.clear()
        return files

    def _of_last_build(self) -> tuple[set[str], set[str]]:
        """The absolute paths that the kept builds' steps have read, and those that they have written."""
        read: set[str] = set()
        rows = reader.steps(self._state_dir)
        for step in rows:
            read.update(os.path.normpath(path) for path in step.inputs)
        written = {os.path.normpath(path) for path in reader.written(self._state_dir)}
        return read - written, written

    def _watch_outside(self, read: set[str]) -> None:
        """Watch the directories outside of the tree that sources came from."""
        inside = str(self._directory) + "/"
        directories = {os.path.dirname(path) for path in read if not path.startswith((inside, *SYSTEM))}
        for directory in sorted(directories - self._outside):
            if len(self._outside) >= MOST_DIRECTORIES:
                return
            self._outside.add(directory)
            try:
                self._observer.schedule(self, directory)
            except OSError:
                continue  # gone, or no more watches (fs.inotify.max_user_watches)


def _young(path: str, since_ns: int) -> bool:
    """Written during the build by a recipe that is no step (a generated header, a log), or gone again."""
    try:
        return os.stat(path).st_mtime_ns >= since_ns
    except OSError:
        return True


def targets_of(directory: Path, words: tuple[str, ...], environment: Mapping[str, str]) -> frozenset[str]:
    """The absolute paths of make's targets."""
    from buildfarm.conductor.planner import plan_build

    graph = plan_build(str(directory), words, environment).graph
    return frozenset(target.key for target in graph.targets() if target.has_rule)
