"""The order of work leaves out what nothing makes, and says the same as all targets and calls would."""

from __future__ import annotations

from itertools import pairwise

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.graph.critical import WorkGraph, drop_cycles, in_order, overlapping_path, remaining_path
from buildfarm.graph.dag import BuildGraph
from buildfarm.graph.plan import InstancePlan, PlannedCall, SubMake, Target
from buildfarm.model import Kind, Language, ToolCall, Unit

KEYS = [f"/w/t{number}" for number in range(12)]


def call_of(target: str, number: int, unit: bool) -> PlannedCall:
    argv = ("gcc", target, str(number))
    key = f"{target}#{number}"
    tool = ToolCall(Kind.COMPILE, "gcc", (), Unit("gcc", Language.C, argv, "a.c", "a.o", (), ()) if unit else None)
    return PlannedCall(key, target, "/w", argv, tool, (), {}, "", True)


@st.composite
def plans(draw: st.DrawFn) -> list[InstancePlan]:
    """Two instances whose targets need each other in any way."""
    found = []
    for instance in ("top", "sub"):
        targets: dict[str, Target] = {}
        for at, key in enumerate(KEYS):
            if not draw(st.integers(0, 3)):
                continue
            before = st.sampled_from(KEYS[:at] or KEYS[:1])
            names = draw(st.lists(before, max_size=3, unique=True))
            calls = draw(st.lists(st.booleans(), max_size=2))
            remade = bool(calls) or draw(st.booleans())
            submake = SubMake(key, "/w/sub", ("make",), {}, True)
            targets[key] = Target(
                key,
                key,
                "/w",
                phony=draw(st.integers(0, 3)) == 0,
                prerequisites=tuple(names),
                order_only=tuple(draw(st.lists(before, max_size=1))),
                grouped_with=draw(before) if draw(st.integers(0, 5)) == 0 else None,
                remade=remade,
                calls=tuple(call_of(key, number, unit) for number, unit in enumerate(calls)),
                submakes=(submake,) if instance == "top" and draw(st.integers(0, 4)) == 0 else (),
            )
        order = tuple(key for key, target in targets.items() if target.remade)
        goals = tuple(draw(st.lists(st.sampled_from(KEYS[:4]), max_size=2)))
        cwd = "/w" if instance == "top" else "/w/sub"
        found.append(InstancePlan(instance, cwd, ("make",), cwd, goals, targets, order))
    return found


def whole(graph: BuildGraph) -> WorkGraph[str]:
    """All targets and calls: a target's calls stand, one after the other, between what it needs and itself."""
    before: dict[str, list[str]] = {}
    chains: dict[str, list[str]] = {}
    for call in graph.calls():
        chains.setdefault(call.target, []).append(call.key)
    for key in {key: None for plan in graph.plans.values() for key in plan.targets}:
        chain = [*chains.get(key, ()), key]
        for one, other in pairwise(chain):
            before.setdefault(other, []).append(one)
        for source, kind in graph._derived.needs[key].items():
            before.setdefault(source, [])
            before.setdefault(key if kind == "submake" else chain[0], []).append(source)
        before.setdefault(chain[0], [])
    order = WorkGraph(before)
    drop_cycles(order)
    return order


def nearest(order: WorkGraph[str], units: set[str], wanted: set[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for vertex in in_order(order):
        found[vertex] = set()
        for before in order.pred[vertex]:
            found[vertex] |= {before} if before in wanted else found[before]
    return {unit: found[unit] for unit in units}


@given(plans(), st.data())
def test_paths_and_what_comes_before_are_those_of_all_targets_and_calls(
    instances: list[InstancePlan], data: st.DataObject
) -> None:
    graph = BuildGraph()
    for plan in instances:
        graph.merge(plan)
    order, small = whole(graph), graph._derived.order
    assert len(in_order(small)) == len(small.pred) <= len(order.pred)
    keys = [call.key for call in graph.calls()]
    units = {call.key for call in graph.units()}
    durations = {key: float(data.draw(st.integers(0, 9))) for key in keys}
    early = {key: durations[key] / 4 for key in keys if key in units and data.draw(st.booleans())}
    if not nx.is_directed_acyclic_graph(graph.graph):
        return  # recursive makes can close a cycle, and which of its edges goes is a matter of where one begins
    remaining = remaining_path(order, durations)
    assert graph.remaining_path(durations) == {key: remaining[key] for key in keys}
    overlapping = overlapping_path(order, durations, early)
    assert graph.overlapping_path(durations, early) == {key: overlapping[key] for key in keys}
    assert graph.critical_path(durations)[1] == max(remaining.values(), default=0.0)
    before = graph.unit_dependencies()
    assert {unit: set(names) for unit, names in before.items()} == nearest(order, units, units)
    generated = set(graph._derived.generated)
    waits = graph.waits_for()
    assert {unit: set(names) for unit, names in waits.items()} == nearest(order, units, generated)
    path, _ = graph.critical_path(dict.fromkeys(keys, 1.0))
    assert sum(1.0 for _ in path) == max(remaining_path(order, dict.fromkeys(keys, 1.0)).values(), default=0.0)
