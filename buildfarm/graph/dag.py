"""The DAG of a whole build: the plans of all its make instances, joined in one graph.

It parses no text, runs nothing and keeps no run state: what is compiled, waiting or done is the scheduler's.  A
plan of an instance that was planned before replaces the earlier plan.  How the graph is written for others is in
`exchange`.

Theory of operation.  Vertices are targets (`graph/plan.py` has their keys), and the sources that they need; the
vertex's `targets` attribute holds one frozen `Target` for each instance that knows it, and nothing for a source.  An
edge `a -> b` says that `a` must be there before `b`'s recipe ends; its `kind` is `prerequisite`, `order-only`,
`grouped` (made by the same recipe) or `submake` (a goal of a recursive make that `b`'s recipe calls).  A recursive call
and the plan made for it meet by working directory and words.  What is *not* an edge: the order of the calls in a
recipe that runs several makes, and what such a recipe's target needs before its sub-makes start.  That is make's
barrier, not the work's, and lookahead goes around it.

Cycles are dropped as make does, in the graph that units are ordered by (`critical.WorkGraph`), not in `graph` itself,
which is networkx's, for those who walk it in other ways.  Everything derived is computed on demand and kept until the
next `merge` or `forget`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from buildfarm.graph.critical import (
    Bounds,
    WorkGraph,
    bounds,
    critical_path,
    drop_cycles,
    in_order,
    overlapping_path,
    remaining_path,
)
from buildfarm.graph.plan import InstancePlan, PlannedCall, SubMake, Target
from buildfarm.value import dataclass

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True, slots=True)
class Totals:
    """A build's plan in numbers."""

    units: int  # compile commands that make is going to run, as far as known
    link_steps: int  # links and archives
    targets: int  # that have a rule
    remade: int
    up_to_date: int
    missing: int  # names without a rule: they don't exist yet, or never will
    instances: int
    unplanned: int  # recursive makes that are known but not planned yet


class BuildGraph:
    """The DAG.  Grows by `merge`; every other method reads."""

    def __init__(self) -> None:
        self._plans: dict[str, InstancePlan] = {}
        self._derived = _Derived(())

    def merge(self, plan: InstancePlan) -> None:
        """Take in an instance's plan, in place of the earlier one of the same key."""
        self._plans[plan.key] = plan
        self._derived = _Derived(tuple(self._plans.values()))

    def forget(self) -> None:
        """Drop what was derived from the plans, several times their size; it is computed anew when it is asked for."""
        self._derived = _Derived(tuple(self._plans.values()))

    @property
    def plans(self) -> Mapping[str, InstancePlan]:
        return self._plans

    @property
    def graph(self) -> nx.DiGraph[str]:
        """All targets; read only.  May hold cycles if the makefiles do."""
        return self._derived.graph

    def targets(self) -> Iterator[Target]:
        """Every instance's view of every target."""
        for plan in self._plans.values():
            yield from plan.targets.values()

    def calls(self) -> tuple[PlannedCall, ...]:
        """Units and link steps in make's serial order; a command that two instances plan comes once."""
        return self._derived.calls

    def units(self) -> tuple[PlannedCall, ...]:
        """The compile commands among `calls`."""
        return tuple(call for call in self.calls() if call.is_unit)

    def unplanned(self) -> tuple[SubMake, ...]:
        """Recursive makes that no plan was merged for, in make's order."""
        return self._derived.unplanned

    def unit_dependencies(self) -> dict[str, tuple[str, ...]]:
        """For each unit's key the keys of the units that must come before it, the nearest ones only."""
        return self._nearest(lambda vertex: vertex in self._derived.units)

    def waits_for(self) -> dict[str, tuple[str, ...]]:
        """For each unit's key the files that recipes without a unit must make first, the nearest ones only."""
        return self._nearest(lambda vertex: vertex in self._derived.generated)

    def remaining_path(self, durations: Mapping[str, float]) -> dict[str, float]:
        """For each call's key the seconds from its start to the build's end.  `durations` by key, in seconds."""
        remaining = remaining_path(self._derived.order, durations)
        return {call.key: remaining[call.key] for call in self.calls()}

    def overlapping_path(self, durations: Mapping[str, float], early: Mapping[str, float]) -> dict[str, float]:
        """As `remaining_path`, where units of `early` wait for each other only so many seconds (their modules)."""
        remaining = overlapping_path(self._derived.order, durations, early)
        return {call.key: remaining[call.key] for call in self.calls()}

    def critical_path(self, durations: Mapping[str, float]) -> tuple[list[str], float]:
        """The keys of the calls on the longest path, first one first, and its seconds."""
        path, seconds = critical_path(self._derived.order, durations)
        keys = {call.key for call in self.calls()}
        return [vertex for vertex in path if vertex in keys], seconds

    def bounds(self, durations: Mapping[str, float]) -> Bounds:
        """Work, critical path and parallelism to expect."""
        return bounds(self._derived.order, durations)

    def parallelism(self, durations: Mapping[str, float]) -> float:
        return self.bounds(durations).parallelism

    def totals(self) -> Totals:
        with_rule: set[str] = set()
        remade: set[str] = set()
        missing: set[tuple[str, str]] = set()
        for plan in self._plans.values():
            missing.update((plan.directory, rule.target) for rule in plan.missing)
            with_rule.update([key for key, target in plan.targets.items() if target.has_rule])
            remade.update([key for key, target in plan.targets.items() if target.remade])
        units = len(self.units())
        return Totals(
            units=units,
            link_steps=len(self.calls()) - units,
            targets=len(with_rule),
            remade=len(remade),
            up_to_date=len(with_rule) - len(remade),
            missing=len(missing),
            instances=len(self._plans),
            unplanned=len(self.unplanned()),
        )

    def vertices(self) -> Iterator[tuple[str, tuple[Target, ...]]]:
        """Every target as each instance sees it, and then the sources, which nobody sees as a target."""
        return self._derived.vertices()

    def needs(self) -> Mapping[str, Mapping[str, str]]:
        """For each target what it needs, and the kind of the edge."""
        return self._derived.needs

    def name(self, key: str) -> str:
        """A target's as make writes it, or a source's path as the first instance sees it."""
        views = self._derived.views.get(key)
        return views[0].name if views else key.removeprefix(f"{next(iter(self._plans.values())).directory}/")

    def _nearest(self, wanted: Callable[[str], bool]) -> dict[str, tuple[str, ...]]:
        """For each unit the nearest wanted vertices before it; vertices that share a way share the tuple."""
        order = self._derived.order
        found: dict[str, tuple[str, ...]] = {}
        result: dict[str, tuple[str, ...]] = {}
        units = self._derived.units
        for vertex in in_order(order):
            before = tuple(order.pred[vertex])
            if len(before) == 1 and not wanted(before[0]):
                found[vertex] = found[before[0]]
            else:
                found[vertex] = tuple(
                    dict.fromkeys(near for step in before for near in ((step,) if wanted(step) else found[step]))
                )
            if vertex in units:
                result[vertex] = found[vertex]
        return result


class _Derived:
    """All that follows from a set of plans, computed when first asked for."""

    def __init__(self, plans: tuple[InstancePlan, ...]) -> None:
        self.plans = plans
        self.by_call: dict[tuple[str, tuple[str, ...]], list[InstancePlan]] = {}
        for plan in plans:
            self.by_call.setdefault((plan.cwd, plan.argv), []).append(plan)

    def called(self, submake: SubMake) -> list[InstancePlan]:
        return self.by_call.get((submake.cwd, submake.argv), [])

    @cached_property
    def views(self) -> dict[str, tuple[Target, ...]]:
        """Each target as every instance sees it."""
        views: dict[str, tuple[Target, ...]] = {}
        for plan in self.plans:
            for key, target in plan.targets.items():
                views[key] = (*views.get(key, ()), target)
        return views

    def vertices(self) -> Iterator[tuple[str, tuple[Target, ...]]]:
        """Targets, and then the sources that they need."""
        yield from self.views.items()
        needed = dict.fromkeys(source for needs in self.needs.values() for source in needs)
        yield from ((key, ()) for key in needed if key not in self.views)

    @cached_property
    def needs(self) -> dict[str, dict[str, str]]:
        """For each target what it needs, and the kind of the edge."""
        return {key: self._needs_of(key, targets) for key, targets in self.views.items()}

    def _needs_of(self, key: str, targets: Iterable[Target]) -> dict[str, str]:
        needs: dict[str, str] = {}
        for target in targets:
            for kind, sources in self._sources(target):
                for source in sources:
                    if source != key:
                        needs[source] = kind
        return needs

    @cached_property
    def graph(self) -> nx.DiGraph[str]:
        import networkx as nx  # a tenth of a second, and a build that only orders its units does without

        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from((key, {"targets": targets}) for key, targets in self.vertices())
        for key, needs in self.needs.items():
            graph.add_edges_from((source, key, {"kind": kind}) for source, kind in needs.items())
        return graph

    def _sources(self, target: Target) -> Iterator[tuple[str, tuple[str, ...]]]:
        """What a target needs, weakest kind first, so that the strongest names a doubled edge."""
        for submake in target.submakes:
            for plan in self.called(submake):
                yield "submake", plan.goals
        if target.grouped_with is not None:
            yield "grouped", (target.grouped_with,)
        yield "order-only", target.order_only
        yield "prerequisite", target.prerequisites

    @cached_property
    def made_at_home(self) -> frozenset[str]:
        """Targets for which an instance has commands that works in their directory, or above it.

        Another directory's makefile that has a rule for `../util/mp.o` makes it only as long as it is not there; by
        the time that instance runs, it is made.  Its rule may name no output: then its command writes elsewhere.
        """
        return frozenset(
            key
            for plan in self.plans
            for inside in (_inside(plan),)
            for key, target in plan.targets.items()
            if target.calls and key.startswith(inside)
        )

    @cached_property
    def _walk(self) -> tuple[tuple[PlannedCall, ...], tuple[SubMake, ...]]:
        """Calls and unplanned sub-makes in make's serial order, from the instances that no other calls."""
        calls: dict[tuple[str, tuple[str, ...]], PlannedCall] = {}
        unplanned: list[SubMake] = []
        walked: set[str] = set()
        called = {
            plan.key
            for caller in self.plans
            for target in caller.targets.values()
            for submake in target.submakes
            for plan in self.called(submake)
        }

        def walk(plan: InstancePlan) -> None:
            if plan.key in walked:
                return
            walked.add(plan.key)
            inside = _inside(plan)
            for key in plan.order:
                target = plan.targets.get(key)
                if target is None:
                    continue
                if key.startswith(inside) or key not in self.made_at_home:
                    for call in target.calls:
                        calls.setdefault((call.cwd, call.argv), call)
                for submake in target.submakes:
                    further = self.called(submake)
                    if not further:
                        unplanned.append(submake)
                    for inner in further:
                        walk(inner)

        for plan in (*(p for p in self.plans if p.key not in called), *self.plans):
            walk(plan)
        return _at_home(calls.values()), tuple(unplanned)

    @property
    def calls(self) -> tuple[PlannedCall, ...]:
        return self._walk[0]

    @property
    def unplanned(self) -> tuple[SubMake, ...]:
        return self._walk[1]

    @cached_property
    def units(self) -> frozenset[str]:
        return frozenset(call.key for call in self.calls if call.is_unit)

    @cached_property
    def generated(self) -> frozenset[str]:
        return frozenset(
            key
            for key, views in self.views.items()
            if any(view.generates for view in views) and not any(view.calls for view in views)
        )

    @cached_property
    def order(self) -> WorkGraph[str]:
        """Calls, one after the other, and such targets as have none or wait for recursive makes besides.

        A target's last call stands for the target where nothing else ends it; sources and whatever else nothing
        makes are left out.  So nearly all vertices are calls, and there are a third as many as targets and calls.
        """
        calls_of: dict[str, list[str]] = {}
        for call in self.calls:
            calls_of.setdefault(call.target, []).append(call.key)
        inner: list[tuple[str, tuple[Target, ...], list[str]]] = []  # target, how it is seen, its vertices
        ends: dict[str, str] = {}  # by target the last of its vertices
        for key, targets in self.views.items():
            calls = calls_of.get(key)
            if calls is None:
                if not any(target.remade or target.needs_anything for target in targets):
                    continue
                calls = [key]
            elif any(target.submakes for target in targets):
                calls.append(key)
            inner.append((key, targets, calls))
            ends[key] = calls[-1]
        before: dict[str, list[str]] = {}
        for key, targets, chain in inner:
            if len(targets) == 1 and targets[0].needs_prerequisites_only:
                needed = [ends[name] for name in targets[0].prerequisites if name in ends and name != key]
                late = []
            else:
                needs = [(ends[name], kind) for name, kind in self._needs_of(key, targets).items() if name in ends]
                needed = [name for name, kind in needs if kind != "submake"]
                late = [name for name, kind in needs if kind == "submake"]
            before[chain[0]] = needed
            for one, other in pairwise(chain):
                before[other] = [one]
            before[chain[-1]] += late
        order = WorkGraph(before)
        drop_cycles(order)
        return order


def _inside(plan: InstancePlan) -> str:
    """How the keys begin of what lies in the directory where an instance works."""
    return plan.directory.rstrip("/") + "/"


def _at_home(calls: Collection[PlannedCall]) -> tuple[PlannedCall, ...]:
    """Without the commands for objects of another directory, where that directory's own instance plans them too.

    An archive that names `../text/format.o` has make find an implicit rule for it as long as it is not there; by
    the time that instance runs, the object is made.
    """
    if len({call.outputs[0] for call in calls if call.outputs}) == sum(1 for call in calls if call.outputs):
        return tuple(calls)
    inside = {cwd: os.path.normpath(cwd).rstrip("/") + "/" for cwd in {call.cwd for call in calls}}
    home: dict[str, int] = {}
    for call in calls:
        for output in call.outputs[:1]:
            home[output] = max(home.get(output, 0), _closeness(inside[call.cwd], output))
    return tuple([c for c in calls if not c.outputs or _closeness(inside[c.cwd], c.outputs[0]) == home[c.outputs[0]]])


def _closeness(directory: str, output: str) -> int:
    """How deep the directory, with a slash at its end, lies above the output; 0: it does not."""
    return len(directory) if output.startswith(directory) else 0
