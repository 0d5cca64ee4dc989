"""When units are begun ahead of make: the real `Lookahead`, with a maker that only notes what it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from buildfarm.conductor import lookahead
from buildfarm.conductor.foresight import Foreseen, View
from buildfarm.conductor.lookahead import TRIES, Lookahead
from buildfarm.graph.classify import classify
from buildfarm.graph.plan import PlannedCall
from buildfarm.model import Invocation

COMMAND = ("gfortran", "-c", "m1.f90", "-o", "m1.o")
LOOKS = 50  # at what waits for a file: many more than there are tries


@dataclass
class FakeMaker:
    """Makes nothing: every unit that is begun fails, for want of something."""

    begun: list[bool] = field(default_factory=list)  # for each, whether ahead of make
    toolbox: Any = field(default_factory=lambda: FakeToolbox())

    async def discard(self, *_: object) -> None:
        """Nothing is kept."""

    async def task(self, *_: object, ahead: bool, **__: object) -> str:
        self.begun.append(ahead)
        return "something is missing"


class FakeToolbox:
    def mark(self, invocation: Invocation) -> str:
        return " ".join(invocation.argv)

    def is_script(self, *_: object) -> bool:
        return False


class FakeFarm:
    slots = 8


class EmptyStore:
    def __contains__(self, _: object) -> bool:
        return False


def ahead_of(maker: FakeMaker) -> Lookahead:
    return Lookahead(cast(Any, maker), cast(Any, FakeFarm()), cast(Any, None), cast(Any, EmptyStore()), enabled=True)


def view_of(tree: Path) -> View:
    call = PlannedCall(
        key="m1.o#0",
        target=str(tree / "m1.o"),
        cwd=str(tree),
        argv=COMMAND,
        call=classify(COMMAND),
        outputs=(str(tree / "m1.o"),),
        environment={},
        line=" ".join(COMMAND),
        certain=True,
    )
    mark = " ".join(COMMAND)
    return View({mark: Foreseen(call, mark, 1.0, 1.0, 1.0, ())})


async def look(times: int = LOOKS) -> None:
    """Let `Lookahead.run` look so often; it looks at every turn of the loop, for its tick is 0 here."""
    for _ in range(8 * times):
        await asyncio.sleep(0)


def play(monkeypatch: pytest.MonkeyPatch, scene: Callable[[], Any]) -> None:
    monkeypatch.setattr(lookahead, "TICK", 0)
    asyncio.run(scene())


def test_a_fortran_unit_waits_for_a_source_that_is_made_however_long_that_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        maker = FakeMaker()
        ahead = ahead_of(maker)
        running = asyncio.create_task(ahead.run())
        ahead.foresee(view_of(tmp_path))
        await look()
        assert maker.begun == []
        (tmp_path / "m1.f90").touch()
        await look()
        assert maker.begun == [True] * TRIES
        running.cancel()

    play(monkeypatch, scene)


def test_once_closed_nothing_is_begun_whatever_plans_and_files_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would end it: a build that was interrupted waited for its nodes."""

    async def scene() -> None:
        maker = FakeMaker()
        ahead, planned_late = ahead_of(maker), ahead_of(maker)
        running = asyncio.create_task(ahead.run())
        ahead.foresee(view_of(tmp_path))
        await look()
        await ahead.close()
        await planned_late.close()
        (tmp_path / "m1.f90").touch()
        planned_late.foresee(view_of(tmp_path))
        await look()
        assert maker.begun == []
        running.cancel()

    play(monkeypatch, scene)


def test_a_fortran_unit_whose_tries_are_used_up_is_made_in_phases_when_make_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        maker = FakeMaker()
        ahead = ahead_of(maker)
        running = asyncio.create_task(ahead.run())
        (tmp_path / "m1.f90").touch()
        ahead.foresee(view_of(tmp_path))
        await look()
        assert maker.begun == [True] * TRIES
        unit = classify(COMMAND).unit
        assert unit is not None
        assert not ahead.pass_by(Invocation(COMMAND, str(tmp_path), {}), unit)
        await ahead.take(Invocation(COMMAND, str(tmp_path), {}), unit, (str(tmp_path / "m1.o"),))
        assert maker.begun[TRIES:] == [False]
        running.cancel()

    play(monkeypatch, scene)


def test_the_urgency_of_what_make_asks_for_is_its_path_and_without_end_where_no_plan_names_it(tmp_path: Path) -> None:
    ahead = ahead_of(FakeMaker())
    view = view_of(tmp_path)
    ((mark, foreseen),) = view.units.items()
    unit = foreseen.call.call.unit
    assert unit is not None
    asked = Invocation(COMMAND, str(tmp_path), {})
    ahead.enabled = False  # only what the plans say counts here
    assert ahead.urgency(asked, unit).path == float("inf")
    ahead.foresee(View({mark: replace(foreseen, seconds=2.0, remaining=7.0)}))
    assert ahead.urgency(asked, unit).path == 2.0  # of Fortran, whose modules others wait for, the code alone
    assert ahead.urgency(asked, unit._replace(fortran=None)).path == 7.0
