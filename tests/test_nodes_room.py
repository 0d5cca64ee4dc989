"""Local work is admitted as far as places and memory go, in order, and never not at all."""

from __future__ import annotations

import asyncio

from buildfarm.conductor.room import Room
from tests.farm import PATIENCE


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_links_go_one_at_a_time_where_memory_is_short() -> None:
    async def scenario() -> list[int]:
        memory = 100
        room = Room(4, 500, lambda: memory)
        done, seen = asyncio.Event(), []

        async def link() -> None:
            async with room.place():
                seen.append(room.held)
                await done.wait()

        tasks = [asyncio.create_task(link()) for _ in range(3)]
        await _settle()
        assert seen == [1], "the first enters whatever there is, the second waits"
        memory = 10_000
        async with asyncio.timeout(PATIENCE):
            while seen != [1, 2, 3]:  # memory that others have freed is seen
                await asyncio.sleep(0.01)
        done.set()
        await asyncio.gather(*tasks)
        assert room.held == 0
        return seen

    asyncio.run(scenario())


def test_places_are_the_limit_where_memory_is_plenty_and_a_cancelled_waiter_blocks_nobody() -> None:
    async def scenario() -> None:
        room = Room(2, 500, lambda: None)
        done, entered = asyncio.Event(), []

        async def compile_one(name: str) -> None:
            async with room.place():
                entered.append(name)
                await done.wait()

        tasks = [asyncio.create_task(compile_one(name)) for name in "abcd"]
        await _settle()
        assert entered == ["a", "b"]
        tasks[2].cancel()
        await _settle()
        done.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert entered == ["a", "b", "d"] and room.held == 0

    asyncio.run(scenario())
