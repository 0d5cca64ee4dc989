"""Places for few: preprocessing on the master, lookahead's share of the slots.  What make waits for goes first.

It runs nothing; it only says when.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from buildfarm.value import dataclass

_DEMANDED = float("-inf")
UNFORESEEN = float("inf")  # what waits for such a unit is not known either: it may be all of the build


@dataclass(slots=True)
class Urgency:
    """How soon somebody is wanted.  It may rise while one waits, by `demand`."""

    path: float = UNFORESEEN  # seconds to the end of the build along the path that begins here
    demanded: bool = True  # make waits for it
    pressing: bool = False  # where nodes are concerned, it goes with what make waits for

    def demand(self) -> None:
        """Make waits for it now."""
        self.demanded = True

    @property
    def value(self) -> float:
        """Its place among others on the master: less is sooner."""
        return _DEMANDED if self.demanded else -self.path


class Workbench:
    """At most `places()` holders at once; waiters enter by urgency, then in the order they came.

    With `open_to_demand`, what make waits for need not wait for a place.  An urgency counts as it was when its
    holder began to wait, until `hurry`.
    """

    def __init__(self, places: Callable[[], int], *, open_to_demand: bool = False) -> None:
        self._places = places
        self._open_to_demand = open_to_demand
        self._held = 0
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._order: list[tuple[float, int]] = []  # numbers that wait no more are passed over
        self._number_of: dict[int, int] = {}  # by id of a waiting urgency

    @asynccontextmanager
    async def place(self, urgency: Urgency) -> AsyncIterator[None]:
        """Hold a place inside the `with`."""
        if not self._waiting and self._admits(urgency.value):
            self._held += 1
        else:
            await self._wait(urgency)
        try:
            yield
        finally:
            self._held -= 1
            self.admit()

    def admit(self) -> None:
        """Let in whom there is a place for; to be called when `places()` has grown."""
        while self._order:
            value, number = self._order[0]
            turn = self._waiting.get(number)
            if turn is not None and not self._admits(value):
                return
            heapq.heappop(self._order)
            if turn is not None:
                del self._waiting[number]
                if not turn.done():  # its waiter may have been cancelled in this moment
                    self._held += 1
                    turn.set_result(None)

    def hurry(self, urgency: Urgency) -> None:
        """The urgency has risen: its holder, if it waits here, goes forward."""
        number = self._number_of.get(id(urgency))
        if number is not None:
            heapq.heappush(self._order, (urgency.value, number))
            self.admit()

    def _admits(self, value: float) -> bool:
        return (self._open_to_demand and value == _DEMANDED) or self._held < self._places()

    async def _wait(self, urgency: Urgency) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        number = next(self._numbers)
        self._waiting[number] = turn
        self._number_of[id(urgency)] = number
        heapq.heappush(self._order, (urgency.value, number))
        self.admit()
        try:
            await turn
        except asyncio.CancelledError:
            self._waiting.pop(number, None)
            if turn.done() and not turn.cancelled():  # the place was given in the same moment
                self._held -= 1
                self.admit()
            raise
        finally:
            del self._number_of[id(urgency)]
