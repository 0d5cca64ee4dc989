"""Admits local compiles and links as far as cores and memory go.

It runs nothing and measures no process: what counts is what the kernel says is available when one more asks.

One is always admitted, so that nothing waits for ever.  Another enters while there are places and the memory that is
available now covers what such a tool may come to need; those who wait look again when one has ended, and now and then,
because memory is also freed by others.  Links need the most: two large ones at once make a small machine swap, and then
both take longer than one after the other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

COMPILE_BYTES = 256 << 20
LINK_BYTES = 512 << 20
LOOK_SECONDS = 0.5


def memory_available() -> int | None:
    """Bytes that programs can have without swapping (proc(5), MemAvailable); None where the kernel does not say."""
    try:
        with open("/proc/meminfo", "rb", buffering=0) as file:
            _, _, rest = file.read(4096).partition(b"MemAvailable:")
        return int(rest.split(maxsplit=1)[0]) << 10
    except (OSError, ValueError, IndexError):
        return None


class Room:
    """At most `places` at once, and no more than memory allows; first come, first served."""

    def __init__(self, places: int, bytes_each: int, available: Callable[[], int | None] = memory_available) -> None:
        self._places = places
        self._bytes = bytes_each
        self._available = available
        self._waiting: deque[asyncio.Event] = deque()
        self.held = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place inside the `with`."""
        if self._waiting or not self._admits():
            await self._wait()
        self.held += 1
        try:
            yield
        finally:
            self.held -= 1
            self._call()

    def _admits(self) -> bool:
        if self.held == 0:
            return True
        if self.held >= self._places:
            return False
        available = self._available()
        return available is None or available >= self._bytes

    def _call(self) -> None:
        if self._waiting:
            self._waiting[0].set()

    async def _wait(self) -> None:
        turn = asyncio.Event()
        self._waiting.append(turn)
        try:
            while self._waiting[0] is not turn or not self._admits():
                turn.clear()
                try:
                    async with asyncio.timeout(LOOK_SECONDS):
                        await turn.wait()
                except TimeoutError:
                    pass
        finally:
            self._waiting.remove(turn)
            asyncio.get_running_loop().call_soon(self._call)
