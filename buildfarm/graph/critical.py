"""Longest paths through a graph of work: what to start first, how long it must take, how wide it is.

It knows no make, no nodes and no clock.  An edge `a -> b` says that `a` must be done before `b`; durations are
seconds, a vertex without one takes none.  Everything is linear in vertices and edges.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import networkx as nx

V = TypeVar("V", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What no schedule can beat."""

    work: float  # seconds of all vertices together
    critical: float  # seconds of the longest path

    @property
    def parallelism(self) -> float:
        """How many vertices run at once on average if nothing but the graph holds them up; 0 without work."""
        return self.work / self.critical if self.critical > 0 else 0.0

    def shortest(self, slots: int) -> float:
        """The lower bound of the makespan on `slots` equal slots, in seconds.  Raises ValueError for none."""
        if slots < 1:
            raise ValueError(f"slots must be at least 1, got {slots}")
        return max(self.critical, self.work / slots)


def drop_cycles(graph: nx.DiGraph[V]) -> tuple[tuple[V, V], ...]:
    """Remove, in place, the edges that close a cycle, and return them.

    Like make ("Circular a <- b dependency dropped"): the prerequisites are followed in their order, and an edge from
    a vertex that is being followed already is dropped.
    """
    dropped: list[tuple[V, V]] = []
    done: set[V] = set()
    for root in graph:
        if root in done:
            continue
        following = {root}
        stack = [(root, iter(tuple(graph.pred[root])))]
        while stack:
            vertex, prerequisites = stack[-1]
            for prerequisite in prerequisites:
                if prerequisite in following:
                    dropped.append((prerequisite, vertex))
                elif prerequisite not in done:
                    following.add(prerequisite)
                    stack.append((prerequisite, iter(tuple(graph.pred[prerequisite]))))
                    break
            else:
                following.discard(vertex)
                done.add(vertex)
                stack.pop()
    graph.remove_edges_from(dropped)
    return tuple(dropped)


def remaining_path(graph: nx.DiGraph[V], durations: Mapping[V, float]) -> dict[V, float]:
    """Seconds from the start of each vertex to the end of all that waits for it.  The graph must have no cycle."""
    remaining: dict[V, float] = {}
    for vertex in reversed(list(nx.topological_sort(graph))):
        after = max((remaining[follower] for follower in graph.succ[vertex]), default=0.0)
        remaining[vertex] = durations.get(vertex, 0.0) + after
    return remaining


def critical_path(graph: nx.DiGraph[V], durations: Mapping[V, float]) -> tuple[list[V], float]:
    """The longest path, first vertex first, and its seconds.  Of equal ones the one that comes first in the graph."""
    remaining = remaining_path(graph, durations)
    path: list[V] = []
    candidates: Iterable[V] = graph
    while (vertex := max(candidates, key=remaining.__getitem__, default=None)) is not None:
        path.append(vertex)
        candidates = graph.succ[vertex]
    return path, remaining[path[0]] if path else 0.0


def bounds(graph: nx.DiGraph[V], durations: Mapping[V, float]) -> Bounds:
    """Work and critical path of the whole graph."""
    remaining = remaining_path(graph, durations)
    work = sum(durations.get(vertex, 0.0) for vertex in graph)
    return Bounds(work, max(remaining.values(), default=0.0))
