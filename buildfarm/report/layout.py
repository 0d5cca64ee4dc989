"""Places a graph's vertices in layers for drawing: each behind all that it waits for, near its neighbours.

It draws nothing and measures no text.  The method is Sugiyama's in its simplest form: layers by longest path, then a
few sweeps that sort each layer by the mean place of its neighbours (K. Sugiyama et al., 1981); linear in the edges,
so that 5,000 units take a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Sequence

SWEEPS = 6


def layers(count: int, edges: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The vertices `0 .. count - 1` in layers; `edges` are (before, after), those of a cycle are passed over."""
    before: list[list[int]] = [[] for _ in range(count)]
    after: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges:
        after[a].append(b)
        before[b].append(a)
    depth = [0] * count
    waiting = [len(sources) for sources in before]
    ready = [vertex for vertex in range(count) if not waiting[vertex]]
    for vertex in ready:
        for follower in after[vertex]:
            depth[follower] = max(depth[follower], depth[vertex] + 1)
            waiting[follower] -= 1
            if not waiting[follower]:
                ready.append(follower)
    # What nobody needs early stands just before what needs it.
    for vertex in reversed(ready):
        if after[vertex] and not before[vertex]:
            depth[vertex] = max(0, min(depth[follower] for follower in after[vertex]) - 1)
    found: list[list[int]] = [[] for _ in range(max(depth, default=-1) + 1)]
    for vertex in range(count):
        found[depth[vertex]].append(vertex)
    for sweep in range(SWEEPS):
        neighbours = before if sweep % 2 == 0 else after
        place = _places(found)
        for layer in found if sweep % 2 == 0 else reversed(found):
            layer.sort(key=lambda vertex: _mean(place, neighbours[vertex], place[vertex]))
            for index, vertex in enumerate(layer):
                place[vertex] = (index + 0.5) / len(layer)
    return found


def _places(found: Sequence[Sequence[int]]) -> dict[int, float]:
    return {vertex: (index + 0.5) / len(layer) for layer in found for index, vertex in enumerate(layer)}


def _mean(place: dict[int, float], neighbours: Sequence[int], own: float) -> float:
    return sum(place[vertex] for vertex in neighbours) / len(neighbours) if neighbours else own
