"""Two-phase Fortran: a unit's module files first, here and early; its code later, on a node.

It decides nothing about slots or delivery; `lookahead` runs its phases, for units made ahead and for those that make
asks for alike, because the latter's modules are what the former wait for.

Theory of operation.  A unit that uses a module waits for its `.mod`, not for its code.  Every unit's text is read
first, which tells which module files it may write; then its modules are made in a private directory, with the
private modules of others in the place of those that are not in the tree yet.  `definers` knows, for each module
file's final path, the unit that writes it.  A unit made ahead that uses a module which nobody is known to write waits
until all foreseen units have been read, or it would take a stale file for the one that is about to be made.  (A module
of the same name that one not read yet writes into a directory that is searched earlier is seen when make asks: its
absence is evidence.)  A unit that make asks for uses the tree, as make's order has it; and where that order is that of
the Makefile's lines alone, because a prerequisite is missing, it waits for the units that make asked for before it.
With make's jobs in parallel it would find no module, or an old one.  A private module file goes on
to be used when the same bytes have come into the tree: of a file that is as old as the units that read it nobody could
say later what they had read.  Units of one call (`gfortran -c a.f90 b.f90`) are made from the tree and from the private
files of those before them in the call, as gfortran makes one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field

from buildfarm.conductor.lending import Seat
from buildfarm.conductor.making import Maker
from buildfarm.conductor.task import Modules, Task
from buildfarm.dispatch.fortran_text import Scanned
from buildfarm.dispatch.modules import SearchPath, changed, final_directory
from buildfarm.dispatch.prepared import Made
from buildfarm.value import dataclass

OVERTAKEN = 0.5  # seconds between two calls that make began in order and that came in the other order


@dataclass(eq=False, slots=True)
class Chapter:
    """One Fortran unit's part in the story: its first phase, for others to wait for."""

    output: str  # the object's absolute path
    made: asyncio.Future[tuple[Made, ...]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )  # empty: look in the tree

    def close(self, made: tuple[Made, ...] = ()) -> None:
        """Nobody waits in vain."""
        if not self.made.done():
            self.made.set_result(made)


@dataclass(eq=False, slots=True)
class _Call:
    """Make's request for one object."""

    came: asyncio.Event = field(default_factory=asyncio.Event)
    read: asyncio.Event = field(default_factory=asyncio.Event)  # it is known which modules its unit writes
    served: asyncio.Event = field(default_factory=asyncio.Event)


class Phases:
    """The module files of one build, and who makes them."""

    def __init__(self, maker: Maker) -> None:
        self._maker = maker
        self._definers: dict[str, Chapter] = {}  # by the final path of a module file
        self._paths: dict[str, list[str]] = {}  # of the module files that may be written, by object
        self._calls: dict[str, _Call] = {}  # by object: those not served
        self._read: set[str] = set()  # objects of units that were read
        self._waits: dict[str, str] = {}  # which object waits for which, of these
        self._unread = 0
        self._all_read = asyncio.Event()
        self._all_read.set()

    def asked(self, output: str) -> None:
        """Make has asked for the unit that makes `output`; `in_tree` follows."""
        call = self._calls.setdefault(output, _Call())
        call.came.set()
        if output in self._read:
            call.read.set()

    def expect(self) -> None:
        """One more unit is about to be read."""
        self._unread += 1
        self._all_read.clear()

    def expected_came(self) -> None:
        """It was read, or never will be."""
        self._unread -= 1
        if not self._unread:
            self._all_read.set()

    async def read(self, chapter: Chapter, task: Task) -> Modules:
        """Read the unit's text and learn which modules it defines.  Raises CannotTravel, OSError."""
        read = await self._maker.read(task)
        assert read.text is not None, "BUG: a unit was read to no text"
        directory = final_directory(task.unit, task.invocation.cwd)
        self.writes(chapter, (os.path.join(directory, name) for name in read.text.scanned.possible_module_files))
        return read

    def in_store(self, output: str, modules: Iterable[str]) -> None:
        """`output` is not read, for a result is there that an earlier build made, with these module files."""
        if output not in self._read:
            chapter = Chapter(output)
            chapter.close()
            self.writes(chapter, modules)

    def writes(self, chapter: Chapter, modules: Iterable[str]) -> None:
        """It is known which module files, by final path, the unit may write."""
        for path in modules:
            self._definers[path] = chapter
            self._paths.setdefault(chapter.output, []).append(path)
        self._read.add(chapter.output)
        if chapter.output in self._calls:
            self._calls[chapter.output].read.set()

    async def make_modules(self, chapter: Chapter, task: Task, read: Modules, *, ahead: bool) -> Modules:
        """Make the unit's module files; with `ahead`, from modules that may not be in the tree yet.

        Raises CannotTravel, OSError.
        """
        assert read.text is not None, "BUG: modules of a unit without its text"
        needed = self._needed(task, read.text.scanned)
        borrowed: dict[str, str] = {}
        if ahead:
            borrowed = await self.borrow(chapter, needed)
        else:
            for paths in needed:
                if self._definer(paths, chapter) is None:  # a file that is there may be the one of before
                    await self._calls_read()
                await self.in_order(chapter.output, paths, task.seat)
        modules = await self._maker.make_modules(task, read, borrowed)
        chapter.close(modules.made)
        return modules

    async def make_modules_after(
        self, chapter: Chapter, task: Task, read: Modules, before: Sequence[Chapter]
    ) -> Modules:
        """Make the unit's module files as those of one that a call compiles after `before`.

        Make must have `asked` for all of these, and somebody read them.  Raises CannotTravel, OSError.
        """
        assert read.text is not None, "BUG: modules of a unit without its text"
        for earlier in before:
            if (call := self._calls.get(earlier.output)) is not None:
                await call.read.wait()
        borrowed: dict[str, str] = {}
        for path in (path for paths in self._needed(task, read.text.scanned) for path in paths):
            writers = (earlier for earlier in reversed(before) if path in self._paths.get(earlier.output, ()))
            if (writer := next(writers, None)) is not None:
                borrowed.update((made.final, made.temporary) for made in await asyncio.shield(writer.made))
        modules = await self._maker.make_modules(task, read, borrowed)
        chapter.close(modules.made)
        return modules

    async def in_order(self, output: str, modules: Iterable[str], seat: Seat) -> None:
        """Before `output` is made of these module files: wait for what make has asked for and writes one of them."""
        for path in map(os.path.normpath, modules):
            definer = self._definers.get(path)
            if definer is None or self._is_waited_for(output, by=definer.output):
                continue
            call = self._calls.get(definer.output)
            if call is None and os.path.exists(path):
                continue  # make has got it, or wants the one that is there
            with self._waiting(output, definer.output):
                async with seat.away():
                    await _served(call or self._calls.setdefault(definer.output, _Call()))

    async def _calls_read(self) -> None:
        """Wait until it is known which modules the units write that make has asked for by now."""
        with contextlib.suppress(TimeoutError):  # one whose source is not to be had is never read
            async with asyncio.timeout(OVERTAKEN):
                for call in tuple(self._calls.values()):
                    if call.came.is_set():
                        await call.read.wait()

    @contextlib.contextmanager
    def _waiting(self, output: str, other: str) -> Iterator[None]:
        """Inside, `output` waits for `other`."""
        self._waits[output] = other
        try:
            yield
        finally:
            self._waits.pop(output, None)  # another call for the same object may have ended its wait

    def _is_waited_for(self, output: str, by: str) -> bool:
        """Whether `by` is `output` or waits for it, be it for others' sake."""
        while by != output and by in self._waits:
            by = self._waits[by]
        return by == output

    def in_tree(self, output: str) -> None:
        """The unit that makes `output` has been served: its modules are in the tree, whatever they are."""
        call = self._calls.pop(output, None)
        if call is not None:
            call.read.set()
            call.served.set()
        differ: dict[Chapter, bool] = {}
        for path in self._paths.pop(output, ()):
            chapter = self._definers.get(path)
            if chapter is None or chapter.output != output:
                continue
            chapter.close()
            if chapter not in differ:
                made = chapter.made.result()
                differ[chapter] = not made or bool(changed(made))
            if differ[chapter]:
                del self._definers[path]

    def _needed(self, task: Task, scanned: Scanned) -> list[list[str]]:
        """For each module file that the unit needs of others: where it may stand, in the order of search."""
        names = (*(f"{name}.mod" for name in scanned.needed_modules), *scanned.needed_submodule_files)
        if not names:
            return []
        cwd = task.invocation.cwd
        directories = [os.path.join(cwd, name) for name in ("", *SearchPath.of(task.unit, cwd).directories)]
        return [[os.path.normpath(os.path.join(directory, name)) for directory in directories] for name in names]

    async def borrow(self, chapter: Chapter, needed: list[list[str]]) -> dict[str, str]:
        """The private files, by final path, of the modules that a unit needs and others have made."""
        borrowed: dict[str, str] = {}
        for paths in needed:
            definer = self._definer(paths, chapter)
            if definer is None and not self._all_read.is_set():
                await self._all_read.wait()
                definer = self._definer(paths, chapter)
            if definer is None or self._is_waited_for(chapter.output, by=definer.output):
                continue
            with self._waiting(chapter.output, definer.output):
                for made in await asyncio.shield(definer.made):
                    borrowed[made.final] = made.temporary
        return borrowed

    def _definer(self, paths: list[str], but: Chapter) -> Chapter | None:
        """Who writes the first of these module files that somebody else writes."""
        found = (self._definers.get(path) for path in paths)
        return next((definer for definer in found if definer is not None and definer is not but), None)


async def _served(call: _Call) -> None:
    """Wait until make has got what it asked for; not long where it has not asked, for it may never do."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(call.came.wait(), OVERTAKEN)
        await call.served.wait()
