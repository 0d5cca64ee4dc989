"""The time that is left: outlooks in, seconds out; and whole schedules, whose end is known, told beforehand."""

from __future__ import annotations

import heapq
from itertools import pairwise

import networkx as nx
import pytest

from buildfarm.graph.critical import overlapping_path, remaining_path
from buildfarm.report.eta import WINDOW, Eta, Outlook


def eta(*looks: Outlook) -> Eta:
    model = Eta()
    for look in looks:
        model.look(look)
    return model


def test_without_a_plan_or_a_pace_it_is_unknown() -> None:
    assert eta().seconds(0.0, (), 1.0) is None
    assert eta(Outlook(0.0, left=100.0)).seconds(1.0, (), 1.0) is None
    assert eta(Outlook(0.0), Outlook(5.0, units=2, made=2.0, spent=2.0, left=9.0)).seconds(5.0, (), 1.0) is None


def test_a_history_alone_speaks_of_all_slots_at_work_or_of_the_longest_path() -> None:
    assert eta(Outlook(0.0, left=100.0, path=10.0, recorded=True, slots=4)).seconds(1.0, (), 0.0) == 24.0
    assert eta(Outlook(0.0, left=100.0, path=90.0, recorded=True, slots=4)).seconds(1.0, (), 0.0) == 89.0


def test_expected_seconds_count_and_not_the_number_of_units() -> None:
    """Ten units came back fast; the two that are left are as much work as all of them."""
    model = eta(Outlook(0.0, left=20.0), Outlook(10.0, units=10, made=10.0, spent=10.0, left=10.0))
    assert model.seconds(10.0, (), 1.0) == pytest.approx(10.0)


def test_machines_that_are_slower_than_expected_stretch_the_path() -> None:
    model = eta(Outlook(0.0), Outlook(10.0, units=5, made=10.0, spent=30.0, left=1.0, path=8.0))
    assert model.seconds(10.0, (), 1.0) == pytest.approx(24.0)
    assert model.seconds(14.0, (), 1.0) == pytest.approx(20.0)


def test_what_no_plan_knows_yet_and_the_history_does_is_counted() -> None:
    model = eta(Outlook(0.0), Outlook(10.0, units=5, made=10.0, spent=10.0, left=5.0, hidden=20.0))
    assert model.seconds(10.0, (), 0.0) == pytest.approx(25.0)


def test_it_grows_while_nothing_comes_back() -> None:
    model = eta(Outlook(0.0), Outlook(10.0, units=5, made=10.0, spent=10.0, left=10.0))
    told = [model.seconds(10.0, (), 0.0)]
    for time in range(12, 200, 2):
        model.look(Outlook(float(time), units=5, made=10.0, spent=10.0, left=10.0))
        told.append(model.seconds(float(time), (), 0.0))
    assert all(later > earlier for earlier, later in pairwise(told) if later and earlier)
    assert told[-1] is not None and told[-1] > 100.0


def test_a_straggler_is_not_expected_to_end_at_once() -> None:
    model = eta(Outlook(0.0), Outlook(10.0, units=5, made=10.0, spent=10.0))
    assert model.seconds(10.0, (60.0,), 2.0) == 30.0
    assert model.seconds(10.0, (0.5,), 2.0) == 1.5


def test_the_pace_is_that_of_the_last_minute() -> None:
    """A node that was slow at first and is gone since, or the other way round, is no sample."""
    looks = [Outlook(float(t), units=t, made=0.1 * t, spent=0.1 * t, left=99.0) for t in range(0, 300, 2)]
    looks += [
        Outlook(float(t), units=t, made=30.0 + 3.0 * (t - 300), spent=60.0, left=90.0) for t in range(300, 362, 2)
    ]
    assert (eta(*looks).seconds(360.0, (), 0.0) or 0.0) < 40.0
    assert looks[-1].time - 300.0 >= WINDOW


def test_fortran_units_wait_for_modules_and_everything_else_for_the_end() -> None:
    graph: nx.DiGraph[str] = nx.DiGraph([("a", "a.o"), ("a.o", "b"), ("b", "b.o"), ("b.o", "prog"), ("c", "prog")])
    durations = {"a": 10.0, "b": 20.0, "c": 3.0, "prog": 4.0}
    assert remaining_path(graph, durations)["a"] == 34.0
    early = overlapping_path(graph, durations, {"a": 1.0, "b": 2.0})
    assert (early["a"], early["b"], early["c"]) == (25.0, 24.0, 7.0)
    assert overlapping_path(graph, durations, {}) == remaining_path(graph, durations)
    late = overlapping_path(graph, {**durations, "b": 1.0}, {"a": 1.0, "b": 0.1})
    assert late["a"] == 10.0, "its own code takes longest"
    generator = overlapping_path(nx.DiGraph([("a", "gen"), ("gen", "b")]), {**durations, "gen": 1.0}, {"a": 1, "b": 1})
    assert generator["a"] == 31.0, "what takes time between them needs the end"


def simulated(
    seconds: list[float], slots: int, *, slower: float, looks_every: float = 0.5
) -> list[tuple[float, float]]:
    """(what is left, what was told) along a build whose units take `slower` times what the plan expects."""
    queue = sorted(seconds, reverse=True)
    running: list[tuple[float, float, float]] = []
    model, now, made, units, told = Eta(), 0.0, 0.0, 0, []
    spent: list[float] = []
    while queue or running:
        while running and running[0][0] <= now:
            expected = heapq.heappop(running)[2]
            made, units = made + expected, units + 1
            spent.append(slower * expected)
        while queue and len(running) < slots:
            expected = queue.pop(0)
            heapq.heappush(running, (now + slower * expected, now, expected))
        under_way = [(now - start, min(expected, (now - start) / slower), expected) for _, start, expected in running]
        begun = sum(had for _, had, _ in under_way)
        left = sum(queue) + sum(expected - had for _, had, expected in under_way)
        path = max([*queue, *(expected - had for _, had, expected in under_way)], default=0.0)
        model.look(Outlook(now, units, made, sum(spent), begun, left, path))
        guess = model.seconds(now, [ran for ran, _, _ in under_way], sum(spent) / max(1, units))
        if guess is not None:
            told.append((now, guess))
        now += looks_every
    return [(now - when, guess) for when, guess in told]


@pytest.mark.parametrize("slower", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("slots", [1, 4, 16])
def test_a_build_ends_about_when_it_was_said_to(slots: int, slower: float) -> None:
    seconds = [2.0 + (7 * number) % 23 for number in range(200)]
    told = simulated(seconds, slots, slower=slower)
    whole = told[0][0]
    late = [(left, guess) for left, guess in told if left > 0.1 * whole][2:]
    assert all(0.7 * left < guess < 1.25 * left for left, guess in late), late
