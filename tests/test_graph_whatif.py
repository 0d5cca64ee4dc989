"""What a build could have taken: bounds that every schedule keeps."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.graph.whatif import Edge, Work


def test_a_chain_takes_its_sum_on_any_number_of_slots() -> None:
    work = Work([1.0, 2.0, 3.0], [Edge(0, 1), Edge(1, 2)])
    assert work.longest_chain() == [0, 1, 2]
    assert work.makespan(1, 1) == work.makespan(50, 1) == 6.0


def test_what_waits_for_a_module_begins_before_its_code_is_there() -> None:
    work = Work([10.0, 10.0], [Edge(0, 1, 0.1)])
    assert work.makespan(2, 1) == 11.0
    assert work.remaining() == [11.0, 10.0]


def test_a_link_waits_for_a_core_and_never_takes_a_slot() -> None:
    work = Work([1.0, 1.0, 5.0, 5.0], [], here=frozenset({2, 3}))
    assert work.makespan(2, 1) == 10.0
    assert work.makespan(2, 2) == 5.0


def test_without_slots_everything_runs_on_the_cores() -> None:
    assert Work([1.0] * 6, []).makespan(0, 2) == 3.0


@st.composite
def _works(draw: st.DrawFn) -> Work:
    count = draw(st.integers(1, 12))
    seconds = draw(st.lists(st.floats(0.1, 10), min_size=count, max_size=count))
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda pair: pair[0] < pair[1])
    edges = draw(st.sets(pairs, max_size=15)) if count > 1 else set()
    return Work(seconds, [Edge(a, b) for a, b in sorted(edges)])


@settings(max_examples=60, deadline=None)
@given(_works(), st.integers(1, 6))
def test_a_makespan_lies_between_its_bounds(work: Work, slots: int) -> None:
    chain = work.remaining()[work.longest_chain()[0]]
    total = sum(work.seconds)
    taken = work.makespan(slots, 1)
    assert max(chain, total / slots) - 1e-6 <= taken <= total / slots + chain + 1e-6  # R. Graham's bound, 1966
    assert work.makespan(len(work.seconds), 1) <= chain + 1e-6
