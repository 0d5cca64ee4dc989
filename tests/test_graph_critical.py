"""Longest paths and bounds of graphs of work."""

from __future__ import annotations

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

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

EDGES = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=60)


def graph_of(*edges: tuple[str, str]) -> nx.DiGraph[str]:
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_edges_from(edges)
    return graph


DIAMOND = graph_of(("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"))
SECONDS = {"a": 1.0, "b": 5.0, "c": 2.0, "d": 3.0}


def test_remaining_path_counts_the_vertex_itself() -> None:
    assert remaining_path(DIAMOND, SECONDS) == {"a": 9.0, "b": 8.0, "c": 5.0, "d": 3.0}


def test_critical_path_is_the_longest_one() -> None:
    assert critical_path(DIAMOND, SECONDS) == (["a", "b", "d"], 9.0)
    assert critical_path(nx.DiGraph(), {}) == ([], 0.0)


def test_vertices_without_a_duration_take_no_time() -> None:
    assert critical_path(graph_of(("a", "b")), {"b": 2.0}) == (["a", "b"], 2.0)


def test_bounds_are_the_path_or_the_work() -> None:
    found = bounds(DIAMOND, SECONDS)
    assert found == Bounds(work=11.0, critical=9.0)
    assert found.parallelism == pytest.approx(11 / 9)
    assert found.shortest(1) == 11.0
    assert found.shortest(4) == 9.0
    with pytest.raises(ValueError, match="at least 1"):
        found.shortest(0)
    assert Bounds(0.0, 0.0).parallelism == 0.0


def test_a_cycle_loses_the_edge_that_closes_it() -> None:
    graph = graph_of(("b", "a"), ("c", "b"), ("a", "c"))
    assert len(drop_cycles(graph)) == 1
    assert nx.is_directed_acyclic_graph(graph)


def test_a_chain_longer_than_the_stack_is_no_trouble() -> None:
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_edges_from((number + 1, number) for number in range(5000))
    assert drop_cycles(graph) == ()
    assert critical_path(graph, dict.fromkeys(range(5001), 1.0))[1] == 5001.0


@given(EDGES)
def test_any_graph_ends_without_cycles_and_keeps_the_rest(edges: list[tuple[int, int]]) -> None:
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_edges_from(edges)
    was_acyclic = nx.is_directed_acyclic_graph(graph)
    dropped = drop_cycles(graph)
    assert nx.is_directed_acyclic_graph(graph)
    assert set(graph.edges) | set(dropped) == set(edges)
    assert (dropped == ()) == was_acyclic


@given(EDGES)
def test_the_critical_path_is_networkx_s_longest_path(edges: list[tuple[int, int]]) -> None:
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_edges_from((a, b) for a, b in edges if a < b)
    seconds = dict.fromkeys(graph, 1.0)
    assert critical_path(graph, seconds)[1] == (nx.dag_longest_path_length(graph) + 1 if graph else 0)


@given(EDGES, st.dictionaries(st.integers(0, 12), st.integers(0, 3)), st.sets(st.integers(0, 12)))
def test_a_graph_of_ours_and_one_of_networkx_s_come_to_the_same(
    edges: list[tuple[int, int]], durations: dict[int, int], early: set[int]
) -> None:
    theirs: nx.DiGraph[int] = nx.DiGraph()
    before: dict[int, list[int]] = {vertex: [] for vertex in range(13)}
    for first, second in dict.fromkeys(edges):
        before[second].append(first)
    theirs.add_nodes_from(before)
    theirs.add_edges_from((first, second) for second, firsts in before.items() for first in firsts)
    ours = WorkGraph(before)
    assert drop_cycles(ours) == drop_cycles(theirs)
    assert in_order(ours) == in_order(theirs)
    place = {vertex: number for number, vertex in enumerate(in_order(ours))}
    assert all(place[first] < place[second] for first, second in theirs.edges)
    seconds = {vertex: float(duration) for vertex, duration in durations.items()}
    assert remaining_path(ours, seconds) == remaining_path(theirs, seconds)
    assert critical_path(ours, seconds) == critical_path(theirs, seconds)
    part = {vertex: seconds.get(vertex, 0.0) / 10 for vertex in early}
    assert overlapping_path(ours, seconds, part) == overlapping_path(theirs, seconds, part)
