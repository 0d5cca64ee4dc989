"""Tokens of an outer make's job server: lent while a recipe is away, back before it goes on, and right in number."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildfarm.conductor.lending import Lending
from buildfarm.make.jobserver import JobServer
from tests.farm import PATIENCE

LONG = 3600.0  # seconds: never, in a test


class Pool(JobServer):
    """A job server in a fifo; every caller is a recipe of its own, or that of its hundreds."""

    def __init__(self, path: Path, tokens: int) -> None:
        os.mkfifo(path)
        super().__init__(f"fifo:{path}", str(path), str(path))
        self._end = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # an outer make's, open to the last
        self.closed = False
        self.put(tokens)

    def recipe(self, pid: int, environment: Mapping[str, str]) -> int | None:
        return pid // 100 if environment.get("MAKEFLAGS") else None

    def close(self) -> None:
        super().close()
        self.closed = True

    def put(self, tokens: int) -> None:
        """An outer make's job ends."""
        os.write(self._end, b"+" * tokens)

    def rest(self) -> int:
        """What is in it, taken out."""
        try:
            return len(os.read(self._end, 999))
        except BlockingIOError:
            return 0


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Callable[[int], Pool]]:
    pools: list[Pool] = []

    def make(tokens: int) -> Pool:
        pools.append(Pool(tmp_path / f"fifo{len(pools)}", tokens))
        return pools[-1]

    yield make
    for each in pools:
        if not each.closed:
            each.close()
        os.close(each._end)


class Call:
    """A stub's call whose unit goes away and comes back when the test says so."""

    def __init__(self, lending: Lending, pid: int, flags: str = "-j2") -> None:
        self.home = asyncio.Event()  # the node has answered
        self.end = asyncio.Event()
        self.back = asyncio.Event()  # it has its token again
        self.away = asyncio.Event()
        self.task = asyncio.create_task(self._run(lending, pid, flags))

    async def _run(self, lending: Lending, pid: int, flags: str) -> None:
        async with lending.seat(pid, {"MAKEFLAGS": flags}) as seat:
            async with seat.away():
                self.away.set()
                await self.home.wait()
            self.back.set()
            await self.end.wait()

    async def finish(self) -> None:
        self.home.set()
        self.end.set()
        await self.task


def play(scenario: Coroutine[None, None, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await scenario

    asyncio.run(bounded())


async def idle() -> None:
    """Let everything happen that can."""
    for _ in range(20):
        await asyncio.sleep(0)


def lender(server: JobServer | None, room: int = 9, patience: float = LONG, settle: float = LONG) -> Lending:
    return Lending(server, lambda: room, lambda _: None, patience=patience, settle=settle)


def test_a_token_is_lent_while_a_recipe_is_away_and_back_before_it_goes_on(pool: Callable[[int], Pool]) -> None:
    async def scenario() -> None:
        server = pool(0)
        lending = lender(server)
        call = Call(lending, 100)
        await call.away.wait()
        assert server.rest() == 1  # another make takes it
        call.home.set()
        await idle()
        assert not call.back.is_set()
        server.put(1)
        await call.back.wait()
        assert server.rest() == 0
        await call.finish()
        await lending.close()
        assert server.closed

    play(scenario())


def test_a_recipe_of_two_calls_is_lent_when_both_are_away(pool: Callable[[int], Pool]) -> None:
    async def scenario() -> None:
        server = pool(0)
        lending = lender(server)
        first, second = Call(lending, 100), Call(lending, 101)
        await second.away.wait()
        assert server.rest() == 1
        third = Call(lending, 102)  # at work here, before it goes away
        await idle()
        assert not third.away.is_set()
        server.put(1)
        await third.away.wait()
        assert server.rest() == 1
        first.home.set()
        await idle()
        assert not first.back.is_set()
        server.put(1)
        await first.back.wait()
        second.home.set()
        await second.back.wait()  # the recipe has its token
        for call in (first, second, third):
            await call.finish()
        assert server.rest() == 0
        await lending.close()

    play(scenario())


def test_no_more_than_there_is_room_for_are_lent_and_a_spare_one_serves_the_next(pool: Callable[[int], Pool]) -> None:
    async def scenario() -> None:
        server = pool(0)
        lending = lender(server, room=2)
        calls = [Call(lending, 100 * number) for number in range(1, 5)]
        await calls[-1].away.wait()
        assert server.rest() == 2
        for call in calls[:2]:
            call.home.set()
            await call.back.wait()  # by the third's and the fourth's
        calls[2].home.set()
        await idle()
        assert not calls[2].back.is_set()
        server.put(2)
        for call in calls:
            await call.finish()
        assert server.rest() == 0
        await lending.close()

    play(scenario())


def test_where_no_token_is_held_none_is_lent(pool: Callable[[int], Pool]) -> None:
    async def scenario() -> None:
        server = pool(0)
        for lending, flags in ((lender(None), "-j2"), (lender(server), "")):
            call = Call(lending, 100, flags)
            await call.away.wait()
            await call.finish()
            await lending.close()
        assert server.rest() == 0

    play(scenario())


def test_for_a_call_that_is_cut_off_a_token_is_taken_when_there_is_one(pool: Callable[[int], Pool]) -> None:
    async def scenario() -> None:
        server = pool(0)
        lending = lender(server)
        calls = [Call(lending, 100 * number) for number in range(1, 4)]
        await calls[-1].away.wait()
        assert server.rest() == 3
        calls[0].task.cancel()  # away
        calls[1].home.set()
        await idle()
        calls[1].task.cancel()  # waiting for its token
        await asyncio.wait([call.task for call in calls[:2]])
        server.put(3)
        await calls[2].finish()
        await lending.close()
        assert server.rest() == 0

    play(scenario())


def test_who_waits_too_long_goes_on_and_nothing_more_is_lent(pool: Callable[[int], Pool]) -> None:
    async def scenario() -> None:
        server = pool(0)
        notes: list[str] = []
        lending = Lending(server, lambda: 9, notes.append, patience=0.01, settle=LONG)
        calls = [Call(lending, 100), Call(lending, 200)]
        await calls[1].away.wait()
        assert server.rest() == 2  # those who have them wait for us
        for call in calls:
            await call.finish()
        assert len(notes) == 1 and "job server" in notes[0]
        third = Call(lending, 300)
        await third.away.wait()
        await third.finish()
        assert server.rest() == 0  # it kept its own
        closing = asyncio.create_task(lending.close())
        await idle()
        assert not closing.done()
        server.put(3)
        await closing
        assert server.rest() == 1

    play(scenario())


def test_what_is_owed_at_the_end_is_taken_after_it(pool: Callable[[int], Pool]) -> None:
    async def scenario() -> None:
        server = pool(0)
        lending = lender(server, settle=0.01)
        call = Call(lending, 100)
        await call.away.wait()
        assert server.rest() == 1
        call.task.cancel()
        await asyncio.wait([call.task])
        await lending.close()
        server.put(2)
        while (left := server.rest()) == 2:  # both still there: not taken yet
            server.put(left)
            await asyncio.sleep(0.01)
        assert left == 1

    play(scenario())


STEPS = st.lists(
    st.tuples(st.sampled_from(["call", "home", "end", "kill", "others take", "others give"]), st.integers(0, 9)),
    max_size=40,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, tokens=st.integers(0, 3), room=st.integers(0, 4))
def test_however_it_goes_the_number_of_tokens_is_right_in_the_end(
    steps: list[tuple[str, int]], tokens: int, room: int, pool: Callable[[int], Pool]
) -> None:
    async def scenario() -> None:
        server = pool(tokens)
        lending = lender(server, room)
        calls: list[Call] = []
        others = 0
        for what, number in steps:
            chosen = calls[number % len(calls)] if calls else None
            if what == "call":
                calls.append(Call(lending, 100 * (1 + number % 4) + len(calls)))
            elif what == "others take":
                got = server.take(1)
                others += got
            elif what == "others give" and others:
                others -= 1
                server.put(1)
            elif chosen is not None and what == "home":
                chosen.home.set()
            elif chosen is not None and what == "end":
                chosen.end.set()
            elif chosen is not None and what == "kill":
                chosen.task.cancel()
            await idle()
        server.put(others)
        for call in calls:
            call.home.set()
            call.end.set()
        if calls:
            await asyncio.wait([call.task for call in calls])
        await lending.close()
        assert server.rest() == tokens

    play(scenario())
