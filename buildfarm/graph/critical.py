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


def overlapping_path(graph: nx.DiGraph[V], durations: Mapping[V, float], early: Mapping[V, float]) -> dict[V, float]:
    """As `remaining_path`, where some vertices hold each other up for a part of their time only.

    A vertex of `early` is ready for another one of them, be it behind vertices that take no time, after these seconds:
    a Fortran unit has written its module long before its code.  All else waits for its end.
    """
    remaining: dict[V, float] = {}
    soft: dict[V, float] = {}  # of what is behind it, the longest that can begin early, and
    hard: dict[V, float] = {}  # the longest that must wait for the end
    for vertex in reversed(list(nx.topological_sort(graph))):
        after_early = max((soft[follower] for follower in graph.succ[vertex]), default=0.0)
        after_end = max((hard[follower] for follower in graph.succ[vertex]), default=0.0)
        seconds = durations.get(vertex, 0.0)
        if vertex in early:
            remaining[vertex] = max(seconds + after_end, early[vertex] + after_early)
            soft[vertex], hard[vertex] = remaining[vertex], 0.0
        else:
            remaining[vertex] = seconds + max(after_early, after_end)
            passes = not seconds
            soft[vertex] = after_early if passes else 0.0
            hard[vertex] = after_end if passes else remaining[vertex]
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
