"""Notices that a file which says what nodes there are has changed while a build runs.

It reads none of them; who is told reads the list again.

What decides is a look at each file's stamp, once a second: a handful of stat calls, which also see what another
machine writes to a shared home.  watchdog (inotify) only makes the look come at once.  It is started when the build
is a moment old, for its import costs as much as a short build, and never watches the directory that make builds in:
every object written there would wake it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from buildfarm.dispatch.stamps import Stamp, stamps

LOOK_SECONDS = 1.0
SETTLE_SECONDS = 0.15  # an editor truncates first and writes then; no look at what is between


class Watcher:
    """Calls `changed` after one of `paths` has become another, or has come or gone."""

    def __init__(self, paths: Sequence[Path], changed: Callable[[], None], *, busy: Path) -> None:
        """`busy` is where make runs: nothing at or below it is watched by inotify."""
        self._paths = tuple(dict.fromkeys(str(path.absolute()) for path in paths))
        self._changed = changed
        self._busy = busy
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Watch until cancelled."""
        seen = stamps(self._paths)
        await asyncio.sleep(LOOK_SECONDS)
        observer = await asyncio.to_thread(self._observe, asyncio.get_running_loop())
        try:
            while True:
                now = stamps(self._paths)
                if now != seen:
                    seen = await self._settled(now)
                    self._changed()
                self._woken.clear()
                try:
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._woken.wait()
                except TimeoutError:
                    pass
        finally:
            if observer is not None:
                observer.stop()

    async def _settled(self, now: dict[str, Stamp | None]) -> dict[str, Stamp | None]:
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            later = stamps(self._paths)
            if later == now:
                return now
            now = later

    def _observe(self, loop: asyncio.AbstractEventLoop) -> Any:
        """A started watchdog observer, or None where there is nothing to watch or no inotify to be had."""
        directories = {os.path.dirname(path) for path in self._paths}
        watched = [d for d in directories if os.path.isdir(d) and not Path(d).is_relative_to(self._busy)]
        if not watched:
            return None
        from watchdog.events import FileSystemEvent, FileSystemEventHandler
        from watchdog.observers import Observer

        paths, woken = frozenset(self._paths), self._woken

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                if event.src_path in paths or event.dest_path in paths:
                    loop.call_soon_threadsafe(woken.set)

        try:
            observer = Observer()
            observer.daemon = True
            for directory in watched:
                observer.schedule(Handler(), directory)
            observer.start()
        except (OSError, RuntimeError):  # no inotify instances or watches left, no threads: the looks do it alone
            return None
        return observer
