"""Knows the names in directories that change all the time: listed once, and then told of by the kernel.

It decides nothing about a name.  Each object that is delivered changes its directory, and to list a directory of
hundreds of files for each of hundreds of units is most of what finding headers costs.  What is read from the queue
before each answer makes the names those of that moment; where the kernel does not tell (`inotify`), or has told more
than its queue holds, a directory is listed.
"""

from __future__ import annotations

import os
from collections.abc import Set

from buildfarm.dispatch import inotify
from buildfarm.dispatch.inotify import CREATED, DELETED, DELETED_SELF, IGNORED, MOVED_FROM, MOVED_TO, OVERFLOW
from buildfarm.value import dataclass

WATCHED = 512  # directories; the kernel has room for 8192 or more, of which others want some

_NAMES = CREATED | DELETED | DELETED_SELF | MOVED_FROM | MOVED_TO


@dataclass(frozen=True, slots=True)
class _Followed:
    identity: tuple[int, int]  # device, inode
    names: set[str]


class Listings:
    """The directories that are followed.  Not thread-safe."""

    def __init__(self) -> None:
        self._queue = inotify.queue()
        self._by_watch: dict[int, _Followed] = {}
        self._by_path: dict[str, _Followed] = {}
        self._listed: set[str] = set()

    def names(self, directory: str) -> Set[str]:
        """The names in it; the set may change with the next call.  Raises OSError.

        Who asks a second time is told of a directory that changes, so it is followed from then on.
        """
        self._hear()
        known = self._by_path.get(directory)
        if known is not None and known.identity == _identity(directory):
            return known.names
        if directory not in self._listed:
            self._listed.add(directory)
            return frozenset(os.listdir(directory))
        return self._follow(directory) or frozenset(os.listdir(directory))

    def followed(self, directory: str) -> Set[str] | None:
        """The same, of a directory that is followed; None: it is not."""
        return self.names(directory) if directory in self._by_path else None

    def _follow(self, directory: str) -> Set[str] | None:
        """Follow it from now on; None: that can't be done, or it is empty."""
        if self._queue is None or len(self._by_path) >= WATCHED:
            return None
        before = _identity(directory)
        try:
            number = self._queue.watch(directory, _NAMES)
        except OSError:
            return None
        if _identity(directory) != before:  # who knows which of the two is watched
            return None
        known = self._by_watch.get(number)
        if known is None:
            known = self._by_watch[number] = _Followed(before, set(os.listdir(directory)))
        self._by_path[directory] = known
        return known.names

    def _hear(self) -> None:
        for event in () if self._queue is None else self._queue.events():
            if event.mask & OVERFLOW:
                self._by_watch.clear()
                self._by_path.clear()
                continue
            known = self._by_watch.get(event.watch)
            if known is None:
                continue
            if event.mask & IGNORED:
                del self._by_watch[event.watch]
                self._by_path = {path: other for path, other in self._by_path.items() if other is not known}
            elif event.mask & (CREATED | MOVED_TO):
                known.names.add(event.name)
            elif event.mask & (DELETED | MOVED_FROM):
                known.names.discard(event.name)


def _identity(directory: str) -> tuple[int, int]:
    status = os.stat(directory)
    return status.st_dev, status.st_ino
