"""Places for few: preprocessing on the master, lookahead's share of the slots.  What make waits for goes first.

It runs nothing; it only says when.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

DEMANDED = float("-inf")


@dataclass(slots=True)
class Urgency:
    """How soon somebody is wanted: less is sooner.  It may rise while one waits, by `demand`."""

    value: float = DEMANDED

    def demand(self) -> None:
        """Make waits for it now."""
        self.value = DEMANDED


class Workbench:
    """At most `places()` holders at once; waiters enter by urgency, then in the order they came.

    With `open_to_demand`, what make waits for need not wait for a place.
    """

    def __init__(self, places: Callable[[], int], *, open_to_demand: bool = False) -> None:
        self._places = places
        self._open_to_demand = open_to_demand
        self._held = 0
        self._numbers = itertools.count()
        self._waiting: dict[int, tuple[Urgency, asyncio.Future[None]]] = {}

    @property
    def held(self) -> int:
        return self._held

    @asynccontextmanager
    async def place(self, urgency: Urgency) -> AsyncIterator[None]:
        """Hold a place inside the `with`."""
        if not self._waiting and self._admits(urgency):
            self._held += 1
        else:
            await self._wait(urgency)
        try:
            yield
        finally:
            self._held -= 1
            self.admit()

    def admit(self) -> None:
        """Let in whom there is a place for; to be called when `places()` has grown or an urgency has risen."""
        while self._waiting:
            number = min(self._waiting, key=lambda number: (self._waiting[number][0].value, number))
            urgency, turn = self._waiting[number]
            if not self._admits(urgency):
                return
            del self._waiting[number]
            self._held += 1
            turn.set_result(None)

    def _admits(self, urgency: Urgency) -> bool:
        return self._held < self._places() or (self._open_to_demand and urgency.value == DEMANDED)

    async def _wait(self, urgency: Urgency) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        number = next(self._numbers)
        self._waiting[number] = (urgency, turn)
        self.admit()
        try:
            await turn
        except asyncio.CancelledError:
            if self._waiting.pop(number, None) is None:  # the place was given in the same moment
                self._held -= 1
                self.admit()
            raise
