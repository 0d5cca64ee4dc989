"""Gives an outer make's tokens back while units wait for nodes, and takes them again before make hears of a result.

It knows no node and no unit, only recipes: how many of a recipe's calls are at work here and how many are away.

Theory of operation.  Under `make -jN` with `+buildfarm run` in a recipe, the inner make takes one of the outer's tokens
for each of its recipes (or has the implicit one, which is in no pipe; tokens are all alike, so it may be lent as well).
A recipe whose calls are all *away*, waiting for a node or for its answer, needs no core: its token is *lent*, put into
the outer's job server, where any make may take it.  Before a call's stub is answered, or a local compiler is run for
it, the token is taken back.  Invariant, after every step:

    tokens put in - tokens taken out  ==  recipes that are lent + tokens owed

- *One token a recipe.*  `gcc -c a.c & gcc -c b.c & wait` is one job to make, with two calls: lent when both are away.
  Calls below a make with a job server of its own (`make -j3` in a recipe) hold none of the outer's.
- *At most `room()` are lent*, the farm's slots: else make would start every recipe that it has.  What is away beyond
  that is *spare*: it keeps its token, and the next call that comes back has it at once.
- *Owed.*  A call that is cut off (its stub was killed, make has ended) can't wait for a token: make gives one back
  for its dead recipe, and one must be taken out for it, when there is one.
- *No deadlock.*  Whoever has the tokens may wait for the very recipe that wants one back: `flock` in recipes, or
  make's -l.  Plain make would go on.  So after `PATIENCE` seconds without any token one call goes on without (there is
  one job more than there should be, and one token owed), and the job server is given nothing more in this build.  The
  same holds where other makes are always faster in taking what comes free.
- *The end.*  What is still owed then is taken in `SETTLE` seconds, or by a process that is left behind.  So the
  outermost make counts right in every case, but when we are killed by SIGKILL: then what was lent stays in its job
  server, so many jobs more may run, and it says so at its end ("INTERNAL: Exiting with N jobserver tokens").
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import field

from buildfarm.make.jobserver import JobServer
from buildfarm.value import dataclass

PATIENCE = 10.0  # seconds that a call waits for its token before it goes on without
SETTLE = 2.0  # seconds at the end to take what is owed


@dataclass(eq=False, slots=True)
class _Recipe:
    """One of make's jobs that holds a token, with the calls that it has made and that are not answered."""

    calls: int = 0
    away: int = 0
    lent: bool = False
    has_token: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def may_lend(self) -> bool:
        return not self.lent and 0 < self.away == self.calls


class Seat:
    """A call's part in its recipe's token; without a recipe nothing is lent."""

    def __init__(self, lending: Lending | None = None, recipe: _Recipe | None = None) -> None:
        self._lending = lending
        self._recipe = recipe

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Inside, the call needs no core.  Leaving it waits for the token, except when the call is cut off."""
        lending, recipe = self._lending, self._recipe
        if lending is None or recipe is None:
            yield
            return
        recipe.away += 1
        lending.went_away()
        cut_off = True
        try:
            yield
            cut_off = False
        except Exception:
            cut_off = False
            raise
        finally:
            recipe.away -= 1
            if not cut_off:
                await lending.come_back(recipe)


NO_SEAT = Seat()


class Lending:
    """The outer job server of one build, if there is one."""

    def __init__(
        self,
        server: JobServer | None,
        room: Callable[[], int],
        note: Callable[[str], None],
        *,
        patience: float = PATIENCE,
        settle: float = SETTLE,
    ) -> None:
        self._server = server
        self._room = room
        self._note = note
        self._patience = patience
        self._settle = settle
        self._recipes: dict[int, _Recipe] = {}  # by pid
        self._lent = 0
        self._owed = 0
        self._waiting: deque[_Recipe] = deque()  # lent, and a call of theirs has come back
        self._stopped = False  # nothing more is lent
        self._watched = False
        self._timer: asyncio.TimerHandle | None = None
        self._even = asyncio.Event()  # nothing is owed
        self._even.set()

    @asynccontextmanager
    async def seat(self, caller: int, environment: Mapping[str, str]) -> AsyncIterator[Seat]:
        """Inside, a call belongs to its recipe; `caller` is its process."""
        pid = None if self._server is None else self._server.recipe(caller, environment)
        if pid is None:
            yield NO_SEAT
            return
        recipe = self._recipes.setdefault(pid, _Recipe())
        recipe.calls += 1
        try:
            await self.come_back(recipe)  # another call of the recipe was away
            yield Seat(self, recipe)
        finally:
            recipe.calls -= 1
            if not recipe.calls:
                del self._recipes[pid]
                self._forget(recipe)

    def went_away(self) -> None:
        """One more call is away: lend the tokens that nobody needs for now."""
        for recipe in self._recipes.values():
            if recipe.may_lend and not self._find_use(recipe):
                return

    def _find_use(self, spare: _Recipe) -> bool:
        """Lend one token; False: nobody is to have it."""
        assert self._server is not None, "BUG: a recipe without a job server"
        if self._waiting:
            self._lend(spare)
            self._serve(1)
        elif self._stopped or self._lent >= self._room():
            return False
        elif self._owed:
            self._lend(spare)
            self._pay(1)
        elif self._server.give():
            self._lend(spare)
        else:
            return False
        self._look_out()
        return True

    async def come_back(self, recipe: _Recipe) -> None:
        """A call of the recipe is no more away: return when the recipe has a token."""
        if not recipe.lent:
            return
        if recipe not in self._waiting:
            recipe.has_token.clear()
            self._waiting.append(recipe)
            spare = next((other for other in self._recipes.values() if other.may_lend), None)
            if spare is not None:
                self._lend(spare)
                self._serve(1)
            self._take()
        await recipe.has_token.wait()

    async def close(self) -> None:
        """Make has ended, no call is under way: put the outer's job server in order and let go of it."""
        if self._server is None:
            return
        assert not self._recipes, "BUG: the job server is left while a recipe runs"
        try:
            async with asyncio.timeout(self._settle):
                await self._even.wait()
        except TimeoutError:
            self._server.take_later(self._owed)
        finally:
            if self._watched:
                asyncio.get_running_loop().remove_reader(self._server.descriptor)
            self._server.close()
            self._server = None

    # -- the count ------------------------------------------------------------------------------------------------

    def _lend(self, recipe: _Recipe) -> None:
        recipe.lent = True
        self._lent += 1

    def _serve(self, tokens: int) -> None:
        """So many of those who wait have their token, the longest waiting first."""
        for _ in range(tokens):
            self._regain(self._waiting.popleft())
        if tokens:
            self._stop_timer()

    def _regain(self, recipe: _Recipe) -> None:
        recipe.lent = False
        self._lent -= 1
        recipe.has_token.set()

    def _owe(self) -> None:
        self._owed += 1
        self._even.clear()

    def _pay(self, tokens: int) -> None:
        self._owed -= tokens
        assert self._owed >= 0, "BUG: more tokens were taken than lent"
        if not self._owed:
            self._even.set()

    def _forget(self, recipe: _Recipe) -> None:
        """A recipe has no call any more; if it was cut off while it was lent, make has a token too many."""
        if not recipe.lent:
            return
        if recipe in self._waiting:
            self._waiting.remove(recipe)
        self._regain(recipe)
        self._owe()
        self._take()

    # -- the job server -------------------------------------------------------------------------------------------

    def _take(self) -> None:
        """Take what is there of what is wanted, and look out for the rest."""
        assert self._server is not None, "BUG: tokens are wanted after the end"
        taken = self._server.take(len(self._waiting) + self._owed)
        served = min(taken, len(self._waiting))
        self._serve(served)
        self._pay(taken - served)
        self._look_out()

    def _look_out(self) -> None:
        """Watch the job server while a token is wanted, and the clock while somebody waits for one."""
        assert self._server is not None, "BUG: the job server is watched after the end"
        loop = asyncio.get_running_loop()
        wanted = bool(self._waiting or self._owed)
        if wanted and not self._watched:
            loop.add_reader(self._server.descriptor, self._take)
        elif not wanted and self._watched:
            loop.remove_reader(self._server.descriptor)
        self._watched = wanted
        if not self._waiting:
            self._stop_timer()
        elif self._timer is None:
            self._timer = loop.call_later(self._patience, self._lose_patience)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _lose_patience(self) -> None:
        """Nobody gives a token: let one go on without."""
        self._timer = None
        if not self._stopped:
            self._stopped = True
            self._note(
                f"the outer make's job server had no token for {self._patience:g} s:"
                " units that wait for a node keep theirs from now on"
            )
        self._owe()
        self._serve(1)
        self._look_out()
