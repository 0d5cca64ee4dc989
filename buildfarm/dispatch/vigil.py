"""Keeps watch over directories of the system's: whether anything in them has changed at all.

It looks at no file.  `stamps` need not look again at what it covers, or not so often.
"""

from __future__ import annotations

import errno
import os
import time

from buildfarm.dispatch import inotify
from buildfarm.dispatch.inotify import (
    ATTRIBUTES,
    CREATED,
    DELETED,
    DELETED_SELF,
    MODIFIED,
    MOVED_FROM,
    MOVED_SELF,
    MOVED_TO,
)

_ALL = ATTRIBUTES | CREATED | DELETED | DELETED_SELF | MODIFIED | MOVED_FROM | MOVED_SELF | MOVED_TO


class Vigil:
    """The directories that are watched.  Not thread-safe."""

    def __init__(self) -> None:
        self._queue = inotify.queue()
        self._covered: dict[str, bool] = {}
        self._last = float("-inf")

    def changed(self) -> float:
        """When (monotonic) it was last noticed that anything has changed; all before that is in doubt."""
        if self._queue is not None and self._queue.events():
            self._covered.clear()  # a directory may be another one now
            self._last = time.monotonic()
        return self._last

    def covers(self, directory: str) -> bool:
        """Whether `changed` tells of what happens to entries of this directory, and to it, from now on.

        All directories on the way to it are watched with it, for each name on the way may be a link; of one that is
        not there the one above tells.
        """
        known = self._covered.get(directory)
        if known is None:
            known = self._covered[directory] = self._cover(directory)
        return known

    def _cover(self, directory: str) -> bool:
        above = os.path.dirname(directory)
        is_first = above in ("", "/")
        if self._queue is None or not (is_first or self.covers(above)):
            return False
        try:
            self._queue.watch(directory, _ALL)
        except OSError as error:
            return error.errno in (errno.ENOENT, errno.ENOTDIR) and not is_first
        return True
