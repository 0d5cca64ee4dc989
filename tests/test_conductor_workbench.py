"""The workbench: few places, and what make waits for goes first."""

from __future__ import annotations

import asyncio

from buildfarm.conductor.workbench import Urgency, Workbench
from tests.farm import PATIENCE


def test_places_are_given_by_urgency_then_by_order_of_arrival() -> None:
    async def scenario() -> list[str]:
        bench, order = Workbench(lambda: 1), []

        async def work(name: str, urgency: Urgency) -> None:
            async with bench.place(urgency):
                order.append(name)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            for name, value in (("first", 0.0), ("slow", 5.0), ("quick", -5.0), ("slow too", 5.0)):
                tasks.create_task(work(name, Urgency(-value, demanded=False)))
        return order

    assert asyncio.run(scenario()) == ["first", "quick", "slow", "slow too"]


def test_one_that_make_comes_to_wait_for_goes_forward() -> None:
    async def scenario() -> list[str]:
        bench, order = Workbench(lambda: 1), []
        late = Urgency(-9.0, demanded=False)

        async def work(name: str, urgency: Urgency) -> None:
            async with bench.place(urgency):
                order.append(name)
                if name == "first":
                    await asyncio.sleep(0)
                    late.demand()
                    bench.hurry(late)

        async with asyncio.TaskGroup() as tasks:
            for name, urgency in (
                ("first", Urgency(0.0, demanded=False)),
                ("ahead", Urgency(1.0, demanded=False)),
                ("late", late),
            ):
                tasks.create_task(work(name, urgency))
        return order

    assert asyncio.run(scenario()) == ["first", "late", "ahead"]


def test_demand_needs_no_place_where_the_bench_is_open_to_it() -> None:
    async def scenario() -> int:
        bench = Workbench(lambda: 0, open_to_demand=True)
        async with bench.place(Urgency()), bench.place(Urgency()):
            return bench._held

    assert asyncio.run(scenario()) == 2


def test_a_cancelled_waiter_leaves_no_place_taken() -> None:
    async def scenario() -> bool:
        bench = Workbench(lambda: 1)
        entered = asyncio.Event()

        async def work() -> None:
            async with bench.place(Urgency(-1.0, demanded=False)):
                entered.set()

        async with bench.place(Urgency()):
            waiter = asyncio.create_task(work())
            await asyncio.sleep(0)
            waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        async with asyncio.timeout(PATIENCE), bench.place(Urgency(-1.0, demanded=False)):
            return not entered.is_set()

    assert asyncio.run(scenario())


def test_places_that_grow_let_waiters_in() -> None:
    async def scenario() -> bool:
        places = 0
        bench = Workbench(lambda: places)
        done = asyncio.Event()

        async def work() -> None:
            async with bench.place(Urgency(-1.0, demanded=False)):
                done.set()

        waiter = asyncio.create_task(work())
        await asyncio.sleep(0)
        places = 1
        bench.admit()
        await waiter
        return done.is_set()

    assert asyncio.run(scenario())
