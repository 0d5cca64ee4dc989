"""Plans make instances while the build runs: dry runs in the background, joined in one graph of the whole build.

It never delays make: nothing waits for a plan.  What is done with the graph is `lookahead`'s; the totals go to the
ledger.

Theory of operation.  Every make call that a stub reports, and every recursive make that a plan foretells, is an
instance; it is planned when it is first heard of, and again when it really starts if its plan was not whole (a
generated makefile or header was missing).  A goal may undo what an earlier plan went by (`clean all`): for each goal
after the first, everything is planned once more when a unit comes that no plan had named.  Dry runs go one at a
time.  Parsing and the graph's arithmetic run in a thread, so that the loop goes on answering stubs; the graph is
worked through again at most once in ten times as long as that last took, so that many instances cost linear
time.  Planning begins with the first compile call or after `PATIENCE` seconds: a build with nothing to do is over
before that, and is not planned.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING

from buildfarm.conductor.ledger import Ledger
from buildfarm.conductor.standing import Standing
from buildfarm.conductor.toolbox import Toolbox
from buildfarm.errors import UsageError
from buildfarm.make.instance import MakeInstance
from buildfarm.model import Invocation, Language, Planning
from buildfarm.report.reporter import Totals
from buildfarm.value import dataclass

if TYPE_CHECKING:
    from buildfarm.graph.dag import BuildGraph
    from buildfarm.graph.plan import PlannedCall

PATIENCE = 0.25  # seconds
MOST_INSTANCES = 2000  # a Makefile that calls itself without end must not plan without end
_COMPILER = re.compile(r"(?:^|[\s/;&|(@-])(?:cc|c\+\+|gcc|g\+\+|gfortran|clang|clang\+\+)(?:-\d+)?\s", re.MULTILINE)
_CACHE = re.compile(r"(?:^|[\s;&|(@-])(?:/\S*/)?s?ccache(?:/\S+)?\s", re.MULTILINE)
UNKNOWN_SECONDS = 1.0  # of a unit that nobody has compiled yet and whose size says nothing


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A unit that make is going to compile, as far as the plans say."""

    call: PlannedCall
    fingerprint: str
    seconds: float  # expected: as recorded, else by its source's size
    remaining: float  # seconds from its start to the build's end along its path
    path: float  # the same where a Fortran unit is waited for by others until its module is there, not its code
    waits_for: tuple[str, ...]  # files that must be made first


@dataclass(frozen=True, slots=True)
class View:
    """What the plans say of the build at one moment."""

    units: Mapping[str, Foreseen] = field(default_factory=dict)  # by fingerprint
    is_final: bool = False  # every instance that is known is planned, and nothing was missing
    links: Mapping[str, float] = field(default_factory=dict)  # recorded seconds to the end, by main output
    recorded: bool = False  # most of the units' seconds were measured in an earlier build
    standing: frozenset[str] = frozenset()  # fingerprints: make may be of another mind than its dry run (`standing`)


class Foresight:
    """The planner of one build."""

    def __init__(
        self,
        top: str,
        ledger: Ledger,
        toolbox: Toolbox,
        durations: Mapping[str, float],
        standing: Standing,
        tell: Callable[[View], None],
        *,
        goals: int = 1,
    ) -> None:
        self._top = top
        self._ledger = ledger
        self._toolbox = toolbox
        self._durations = durations
        self._standing = standing
        self._tell = tell
        self._second_looks = max(0, goals - 1)
        self._first: MakeInstance | None = None  # the user's own make
        self._graph: BuildGraph | None = None
        self._queue: deque[tuple[MakeInstance, bool]] = deque()
        self._news = asyncio.Event()
        self._compiling = asyncio.Event()
        self._whole: dict[str, bool] = {}  # by instance key
        self._dirty = False
        self._arithmetic = 0.05  # seconds that the graph's last working through took
        self.seconds = 0.0  # spent in dry runs
        self.asked: set[str] = set()  # fingerprints of the units that make has asked for
        self._units: set[str] = set()  # of those, the ones that write an object
        self._foreseen = 0  # of those, the ones that a plan had named before
        self._named: set[str] = set()  # fingerprints of all units that plans have named so far
        self._asked_outputs: set[str] = set()
        self._seen_outputs: set[str] = set()  # of every call, links too
        self._view_outputs: set[str] = set()
        self._total = 0
        self._view = View()

    def instance_started(self, invocation: Invocation) -> None:
        """A make starts, here or in a recipe."""
        level = invocation.env.get("MAKELEVEL", "0")
        instance = MakeInstance(invocation.cwd, invocation.argv, invocation.env, int(level) if level.isdigit() else 0)
        self._enqueue(instance, True)
        if not instance.makelevel:
            self._first = instance

    def unit_asked(self, fingerprint: str, output: str) -> None:
        """Make asks for a unit; `output` is its object's absolute path, or empty.

        A compile to `/dev/null` is a question about the compiler, no sign that there is something to build.
        """
        if output:
            self._compiling.set()
        if fingerprint in self.asked:
            return
        output = output and os.path.normpath(output)
        foreseen = fingerprint in self._view.units
        self.asked.add(fingerprint)
        self._asked_outputs.add(output)
        if output:
            self._units.add(fingerprint)
            self._foreseen += foreseen
        if not foreseen and output not in self._view_outputs and self._graph is not None:
            self._total += 1
            self._tell_totals()
            if self._second_looks and self._first is not None and not self._dirty and not self._queue:
                self._second_looks -= 1
                self._whole.clear()
                self._enqueue(self._first, True)

    def step_seen(self, outputs: Iterable[str]) -> None:
        """A call came that writes these files (absolute paths)."""
        self._seen_outputs.update(map(os.path.normpath, outputs))  # as the graph has them

    def unseen(self, since: float) -> tuple[str, ...]:
        """Objects that recipes have compiled since then (Unix time) and that no call came for: `env -i`, static shells.

        It knows the recipes that were planned, and tells only objects that stand where make's target names them.
        """
        found = set()
        for target in self._graph.targets() if self._graph is not None else ():
            if not target.remade or not target.key.endswith(".o") or target.key in self._seen_outputs:
                continue
            planned = {path for call in target.calls for path in call.outputs}
            recipe = "\n".join(target.recipe)
            if planned & self._seen_outputs or not (planned or _COMPILER.search(recipe)):
                continue
            if _CACHE.search(recipe):
                continue  # what it had, nobody has compiled
            if _written(target.key) >= since:
                found.add(target.key)
        return tuple(sorted(found))

    def late(self) -> tuple[str, ...]:
        """Files that make had no rule for when it was planned, and that are there now: absolute paths."""
        plans = self._graph.plans.values() if self._graph is not None else ()
        missed = {os.path.join(plan.directory, rule.target) for plan in plans for rule in plan.missing}
        return tuple(sorted(filter(os.path.isfile, missed)))

    def is_known(self, output: str) -> bool:
        """Whether make has asked for the unit of this object, or a plan names it."""
        return output in self._asked_outputs or output in self._view_outputs

    @property
    def view(self) -> View:
        """What the plans say now."""
        return self._view

    async def run(self) -> None:
        """Plan until cancelled."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._compiling.wait()
        except TimeoutError:
            pass
        while True:
            await self._news.wait()
            self._news.clear()
            looked = time.monotonic()
            while self._queue:
                instance, started = self._queue.popleft()
                await self._plan(instance, started)
                if self._dirty and time.monotonic() - looked > 10 * self._arithmetic:
                    await self._look()
                    looked = time.monotonic()
            if self._dirty:
                await self._look()

    def planning(self, wasted: int) -> Planning:
        """What the plans were worth so far."""
        if self._dirty and self._graph is not None:  # a plan came after the last look
            self._named.update(_marks(self._toolbox, self._graph.units()))
        predicted = len(self._units & self._named)
        return Planning(len(self._units), self._foreseen, predicted, wasted, len(self._whole), self.seconds)

    def _enqueue(self, instance: MakeInstance, started: bool) -> None:
        if started:
            self._queue.appendleft((instance, started))
        else:
            self._queue.append((instance, started))
        self._news.set()

    async def _plan(self, instance: MakeInstance, started: bool) -> None:
        from buildfarm.conductor.planner import plan_instance

        try:
            key = instance.key()
        except UsageError:
            return  # make will say so itself
        if key in self._whole and (self._whole[key] or not started):
            return
        if len(self._whole) >= MOST_INSTANCES:
            return
        begun = time.monotonic()
        plan, _ = await plan_instance(instance, tree=self._top)
        self.seconds += time.monotonic() - begun
        self._whole[key] = plan is not None and plan.whole
        if plan is None:
            return
        if self._graph is None:
            from buildfarm.graph.dag import BuildGraph

            self._graph = BuildGraph()
        self._graph.merge(plan)
        self._dirty = True
        for target in plan.targets.values():
            for submake in target.submakes:
                where = os.path.normpath(os.path.join(plan.directory, submake.cwd))
                self._enqueue(MakeInstance(where, submake.argv, submake.environment, submake.makelevel), False)

    async def _look(self) -> None:
        from buildfarm.conductor.planner import uncollected

        assert self._graph is not None, "BUG: a look at no graph"
        begun = time.monotonic()
        view = await asyncio.to_thread(
            uncollected, look, self._graph, self._toolbox, self._durations, all(self._whole.values())
        )
        self._view = replace(view, standing=await self._standing.among(view.units, self.asked))
        self._dirty = False
        self._named.update(self._view.units)
        self._arithmetic = time.monotonic() - begun
        self._count()
        self._tell(self._view)

    def _count(self) -> None:
        """Count anew after a look: what was asked, and what is foreseen besides."""
        units = self._view.units
        self._view_outputs = {path for unit in units.values() for path in unit.call.outputs[:1]}
        to_come = sum(
            1
            for mark, unit in units.items()
            if mark not in self.asked
            and mark not in self._view.standing
            and not self._asked_outputs.issuperset(unit.call.outputs[:1])
        )
        self._total = len(self.asked) + to_come
        self._tell_totals()

    def _tell_totals(self) -> None:
        units = self._total + self._ledger.reused_units
        self._ledger.totals(Totals(units, self._view.is_final))


def _written(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def look(graph: BuildGraph, toolbox: Toolbox, durations: Mapping[str, float], whole: bool) -> View:
    """Work the graph through.  `durations`: recorded seconds by absolute output path."""
    from buildfarm.graph.whatif import MODULE_SHARE

    calls = graph.units()
    known = {call.key: durations.get(call.outputs[0]) if call.outputs else None for call in calls}
    estimates = estimate(calls, known)
    links = {call.key: call.outputs[0] for call in graph.calls() if call.outputs and not call.is_unit}
    with_links = {**estimates, **{key: durations.get(output, 0.0) for key, output in links.items()}}
    remaining = graph.remaining_path(estimates)
    modules = {call.key: MODULE_SHARE * estimates[call.key] for call in calls if _is_fortran(call)}
    path = graph.overlapping_path(with_links, modules)
    waits = graph.waits_for()
    unplanned = graph.unplanned()
    graph.forget()
    units = {}
    for call, mark in zip(calls, _marks(toolbox, calls), strict=True):
        key = call.key
        units[mark] = Foreseen(call, mark, estimates[key], remaining[key], path[key], waits.get(key, ()))
    recorded = sum(estimates[key] for key, seconds in known.items() if seconds is not None)
    return View(
        units,
        whole and not unplanned,
        {output: path[key] for key, output in links.items() if with_links[key]},
        recorded > 0.5 * sum(estimates.values()),
    )


def _is_fortran(call: PlannedCall) -> bool:
    return call.call.unit is not None and call.call.unit.language is Language.FORTRAN


def _marks(toolbox: Toolbox, calls: Collection[PlannedCall]) -> Iterator[str]:
    """The fingerprint of each call."""
    real = {cwd: os.path.realpath(cwd) for cwd in {call.cwd for call in calls}}
    for call in calls:
        yield toolbox.mark(Invocation(call.argv, real[call.cwd], call.environment))


def estimate(calls: tuple[PlannedCall, ...], known: Mapping[str, float | None]) -> dict[str, float]:
    """Seconds for each call by its key: as recorded, else from its source's size and those of its kin."""
    sizes = {call.key: _size(call) for call in calls}
    pairs = [(seconds, sizes[key]) for key, seconds in known.items() if seconds is not None]
    total_bytes = sum(size for _, size in pairs)
    rate = sum(seconds for seconds, _ in pairs) / total_bytes if total_bytes else UNKNOWN_SECONDS / 20_000
    result = {}
    for call in calls:
        seconds = known[call.key]
        result[call.key] = seconds if seconds is not None else max(0.05, rate * sizes[call.key])
    return result


def _size(call: PlannedCall) -> int:
    assert call.call.unit is not None, "BUG: a unit's size of no unit"
    try:
        return os.stat(os.path.join(call.cwd, call.call.unit.source)).st_size
    except OSError:
        return 0
