"""Who gives whom private module files, and for how long."""

from __future__ import annotations

import asyncio
import gzip
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from buildfarm.conductor.lending import NO_SEAT
from buildfarm.conductor.making import Maker
from buildfarm.conductor.phases import Chapter, Phases
from buildfarm.conductor.task import Modules, Task
from buildfarm.dispatch.fortran_text import read
from buildfarm.dispatch.prepared import Made
from buildfarm.graph.classify import classify
from buildfarm.graph.fortran import scan_unit
from buildfarm.model import Invocation
from tests.farm import PATIENCE


@dataclass
class FakeMaker:
    """Makes modules of made-up bytes, and notes what it was lent."""

    private: Path
    lent: list[dict[str, str]] = field(default_factory=list)

    async def read(self, task: Task) -> Modules:
        return Modules(await read(task.unit, task.invocation, task.tool_path, scan_unit))

    async def make_modules(self, task: Task, read: Modules, borrowed: dict[str, str]) -> Modules:
        self.lent.append(borrowed)
        assert read.text is not None
        made = []
        for name in read.text.scanned.possible_module_files:
            path = self.private / name
            path.write_bytes(gzip.compress(name.encode()))
            made.append(Made(str(path), os.path.join(task.invocation.cwd, name)))
        return Modules(read.text, tuple(made))


def task(tree: Path, name: str, text: str) -> Task:
    (tree / f"{name}.f90").write_text(text)
    argv = ("gfortran", "-c", f"{name}.f90", "-o", f"{name}.o")
    unit = classify(argv).unit
    assert unit is not None
    invocation = Invocation(argv, str(tree), {})
    return Task(1, unit, invocation, argv, (str(tree / f"{name}.o"),), "gfortran", name, tree)


async def make(phases: Phases, work: Task) -> None:
    chapter = Chapter(work.outputs[0])
    phases.expect()
    found = await phases.read(chapter, work)
    phases.expected_came()
    await phases.make_modules(chapter, work, found, ahead=True)


def borrowed(tmp_path: Path, in_tree: Any) -> list[dict[str, str]]:
    """What two users of `a.mod` are lent, one before and one after `in_tree` and the word that it is there."""
    private, tree = tmp_path / "private", tmp_path / "tree"
    private.mkdir()
    tree.mkdir()
    maker = FakeMaker(private)

    async def story() -> None:
        phases = Phases(cast(Maker, maker))
        await make(phases, task(tree, "a", "module a\nend module\n"))
        await make(phases, task(tree, "b", "use a\nend\n"))
        in_tree(private / "a.mod", tree / "a.mod")
        phases.in_tree(str(tree / "a.o"))
        await make(phases, task(tree, "c", "use a\nend\n"))

    asyncio.run(story())
    return maker.lent[1:]


def test_a_private_module_goes_on_to_be_lent_when_the_same_bytes_are_in_the_tree(tmp_path: Path) -> None:
    lent = borrowed(tmp_path, lambda private, place: place.write_bytes(private.read_bytes()))
    assert lent == [{str(tmp_path / "tree" / "a.mod"): str(tmp_path / "private" / "a.mod")}] * 2


def test_a_private_module_is_forgotten_when_another_one_is_in_the_tree(tmp_path: Path) -> None:
    lent = borrowed(tmp_path, lambda private, place: place.write_bytes(gzip.compress(b"another")))
    assert lent[1] == {}


def test_a_private_module_is_forgotten_when_none_is_in_the_tree(tmp_path: Path) -> None:
    assert borrowed(tmp_path, lambda private, place: None)[1] == {}


A_NEEDS_B = ("a", "module a\nend module\nsubroutine s\nuse b\nend\n")
B_NEEDS_A = ("b", "module b\nend module\nsubroutine t\nuse a\nend\n")


@pytest.mark.parametrize("asked_anew", [False, True])
def test_two_files_that_need_modules_of_each_other_do_not_wait_for_each_other(tmp_path: Path, asked_anew: bool) -> None:
    """As make, which has both modules of an earlier build."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.mod").write_bytes(b"old")

    async def story() -> None:
        phases = Phases(cast(Maker, FakeMaker(tmp_path)))
        works = [task(tmp_path, *A_NEEDS_B), task(tmp_path, *B_NEEDS_A)]
        chapters = [Chapter(work.outputs[0]) for work in works]
        reads = []
        for chapter, work in zip(chapters, works, strict=True):
            phases.expect()
            reads.append(await phases.read(chapter, work))
            phases.expected_came()
        for work in works:
            phases.asked(work.outputs[0])
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            for chapter, work, read, ahead in zip(chapters, works, reads, (not asked_anew, True), strict=True):
                tasks.create_task(served(phases, chapter, work, read, ahead=ahead))

    asyncio.run(story())


async def served(phases: Phases, chapter: Chapter, work: Task, read: Modules, *, ahead: bool) -> None:
    await phases.make_modules(chapter, work, read, ahead=ahead)
    phases.in_tree(work.outputs[0])


def test_an_object_that_is_asked_for_twice_at_once_waits_twice(tmp_path: Path) -> None:
    async def story() -> None:
        phases = Phases(cast(Maker, FakeMaker(tmp_path)))
        first, user = task(tmp_path, "a", "module a\nend module\n"), task(tmp_path, "b", "use a\nend\n")
        await make(phases, first)
        phases.asked(first.outputs[0])
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(phases.in_order(user.outputs[0], [str(tmp_path / "a.mod")], NO_SEAT))
            await asyncio.sleep(0)
            phases.in_tree(first.outputs[0])

    asyncio.run(story())


@pytest.mark.parametrize("in_store", [False, True])
def test_a_module_of_before_is_not_used_before_all_that_make_asked_for_are_known(
    tmp_path: Path, in_store: bool
) -> None:
    """Make has begun both; the one that writes the module comes to be read later than the one that uses it."""
    (tmp_path / "a.mod").write_bytes(b"old")
    maker = FakeMaker(tmp_path)

    async def story() -> None:
        phases = Phases(cast(Maker, maker))
        first, user = task(tmp_path, "a", "module a\nend module\n"), task(tmp_path, "b", "use a\nend\n")
        for work in (first, user):
            phases.asked(work.outputs[0])
        chapter = Chapter(user.outputs[0])
        used = asyncio.create_task(phases.make_modules(chapter, user, await phases.read(chapter, user), ahead=False))
        await asyncio.sleep(0.05)
        if in_store:
            phases.in_store(first.outputs[0], [str(tmp_path / "a.mod")])
        else:
            await phases.read(Chapter(first.outputs[0]), first)
        await asyncio.sleep(0.05)
        assert not maker.lent, "made of the module of before"
        phases.in_tree(first.outputs[0])
        async with asyncio.timeout(PATIENCE):
            await used

    asyncio.run(story())
