"""Longest paths through a graph of work: what to start first, how long it must take, how wide it is.

It knows no make, no nodes and no clock.  An edge `a -> b` says that `a` must be done before `b`; durations are
seconds, a vertex without one takes none.  Everything is linear in vertices and edges.

`WorkGraph` is all of a graph that is needed here; a networkx graph serves as well, at four times the memory and time.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from buildfarm.value import dataclass

V = TypeVar("V", bound=Hashable)


class Work(Protocol[V]):
    """A graph, as far as it matters here: `pred` and `succ` are what comes right before and after each vertex."""

    @property
    def pred(self) -> Mapping[V, Collection[V]]: ...
    @property
    def succ(self) -> Mapping[V, Collection[V]]: ...
    def __iter__(self) -> Iterator[V]: ...
    def remove_edges_from(self, ebunch: Iterable[tuple[V, V]], /) -> None: ...


class WorkGraph(Generic[V]):
    """A graph that keeps its vertices, and the edges of each, in the order in which they came."""

    def __init__(self, pred: dict[V, list[V]]) -> None:
        """`pred` has what comes right before each vertex, and is kept."""
        last: list[V] = []
        self.pred = pred
        self.succ = dict.fromkeys(pred, last)
        for vertex, before in pred.items():
            for one in before:
                if (followers := self.succ[one]) is last:
                    self.succ[one] = [vertex]
                else:
                    followers.append(vertex)
        self.in_order: list[V] | None = None  # while nothing is removed, for `in_order`

    def __iter__(self) -> Iterator[V]:
        return iter(self.pred)

    def remove_edges_from(self, edges: Iterable[tuple[V, V]], /) -> None:
        self.in_order = None
        for first, second in edges:
            self.pred[second].remove(first)
            self.succ[first].remove(second)


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


def drop_cycles(graph: Work[V]) -> tuple[tuple[V, V], ...]:
    """Remove, in place, the edges that close a cycle, and return them.

    Like make ("Circular a <- b dependency dropped"): the prerequisites are followed in their order, and an edge from
    a vertex that is being followed already is dropped.
    """
    if len(in_order(graph)) == len(graph.pred):
        return ()
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


def in_order(graph: Work[V]) -> list[V]:
    """All vertices, each behind those that come before it; vertices on a cycle are left out."""
    if isinstance(graph, WorkGraph) and graph.in_order is not None:
        return graph.in_order
    waiting = {vertex: len(before) for vertex, before in graph.pred.items() if before}
    ready = [vertex for vertex in graph.pred if vertex not in waiting]
    for vertex in ready:
        for follower in graph.succ[vertex]:
            waiting[follower] -= 1
            if not waiting[follower]:
                ready.append(follower)
    if isinstance(graph, WorkGraph):
        graph.in_order = ready
    return ready


def remaining_path(graph: Work[V], durations: Mapping[V, float]) -> dict[V, float]:
    """Seconds from the start of each vertex to the end of all that waits for it.  The graph must have no cycle."""
    remaining: dict[V, float] = {}
    succ, seconds = graph.succ, durations.get
    for vertex in reversed(in_order(graph)):
        followers = tuple(succ[vertex])
        if len(followers) == 1:
            after = remaining[followers[0]]
        else:
            after = max([remaining[follower] for follower in followers]) if followers else 0.0
        remaining[vertex] = seconds(vertex, 0.0) + after
    return remaining


def overlapping_path(graph: Work[V], durations: Mapping[V, float], early: Mapping[V, float]) -> dict[V, float]:
    """As `remaining_path`, where some vertices hold each other up for a part of their time only.

    A vertex of `early` is ready for another one of them, be it behind vertices that take no time, after these seconds:
    a Fortran unit has written its module long before its code.  All else waits for its end.
    """
    remaining: dict[V, float] = {}
    soft: dict[V, float] = {}  # of what is behind it, the longest that can begin early, and
    hard: dict[V, float] = {}  # the longest that must wait for the end
    for vertex in reversed(in_order(graph)):
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


def critical_path(graph: Work[V], durations: Mapping[V, float]) -> tuple[list[V], float]:
    """The longest path, first vertex first, and its seconds.  Of equal ones the one that comes first in the graph."""
    remaining = remaining_path(graph, durations)
    path: list[V] = []
    candidates: Iterable[V] = graph
    while (vertex := max(candidates, key=remaining.__getitem__, default=None)) is not None:
        path.append(vertex)
        candidates = graph.succ[vertex]
    return path, remaining[path[0]] if path else 0.0


def bounds(graph: Work[V], durations: Mapping[V, float]) -> Bounds:
    """Work and critical path of the whole graph."""
    remaining = remaining_path(graph, durations)
    work = sum(durations.get(vertex, 0.0) for vertex in graph)
    return Bounds(work, max(remaining.values(), default=0.0))
