"""The scheduler's promises: events in, actions out."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.conductor.workbench import Urgency
from buildfarm.dispatch.events import (
    Cancel,
    Demand,
    Event,
    Failed,
    GiveUp,
    Join,
    LocalSlotFreed,
    Press,
    Probe,
    Probed,
    Quarantine,
    RunHere,
    Settled,
    Start,
    Submit,
    Succeeded,
    Tick,
    Unsettled,
    Withdraw,
)
from buildfarm.dispatch.health import FIRST_ANSWER_SECONDS, Fault
from buildfarm.dispatch.scheduler import Policy, Scheduler
from buildfarm.model import Node
from tests.scheduling import ALL, farm, starts

PI1, PI2 = Node("pi1", slots=2), Node("pi2", slots=2)


def standing(scheduler: Scheduler, node: Node) -> str:
    return next(status.state for status in scheduler.statuses() if status.key == node.key)


def test_a_node_gets_no_unit_before_its_probe_has_passed() -> None:
    scheduler = Scheduler()
    assert scheduler.handle(Join((PI1,)), 0.0) == [Probe(PI1.key)]
    assert scheduler.handle(Submit(1, "c"), 0.0) == []
    assert starts(scheduler.handle(Probed(PI1.key, ALL, "gcc 12"), 0.1)) == [(1, 1, PI1.key)]


def test_nodes_that_do_not_say_who_they_are_hold_units_up_for_a_moment_only_and_may_come_later() -> None:
    scheduler = Scheduler()
    scheduler.handle(Join((PI1,)), 0.0)
    scheduler.handle(Submit(1, "c"), 0.5)
    assert scheduler.handle(Tick(), FIRST_ANSWER_SECONDS - 0.1) == []
    assert scheduler.handle(Tick(), FIRST_ANSWER_SECONDS) == [RunHere(1, "no node is up")]
    assert not scheduler.can_take("c")
    assert scheduler.statuses()[0].reason == f"no answer within {FIRST_ANSWER_SECONDS:g} s"
    assert scheduler.handle(Submit(2, "c"), 6.0) == [RunHere(2, "no node is up")]
    scheduler.handle(Probed(PI1.key, ALL, "gcc 12"), 7.0)
    assert starts(scheduler.handle(Submit(3, "c"), 7.0)) == [(3, 1, PI1.key)]


def test_units_spread_over_equal_nodes() -> None:
    scheduler = farm(PI1, PI2)
    nodes = [starts(scheduler.handle(Submit(unit, "c"), 0.0))[0][2] for unit in range(4)]
    assert sorted(nodes) == [PI1.key, PI1.key, PI2.key, PI2.key]
    assert starts(scheduler.handle(Submit(9, "c"), 0.0)) == []


def test_the_longest_remaining_path_goes_first() -> None:
    scheduler = farm(Node("pi", slots=1))
    scheduler.handle(Submit(1, "c"), 0.0)
    scheduler.handle(Submit(2, "c", priority=5.0), 0.0)
    scheduler.handle(Submit(3, "c", priority=50.0), 0.0)
    assert starts(scheduler.handle(Succeeded(1, 1, 1.0), 1.0)) == [(3, 1, "pi:3632")]


def test_what_make_waits_for_goes_before_every_lookahead_and_a_demand_moves_a_unit_up() -> None:
    scheduler = farm(Node("pi", slots=1))
    scheduler.handle(Submit(1, "c"), 0.0)
    scheduler.handle(Submit(2, "c", priority=90.0, demanded=False), 0.0)
    scheduler.handle(Submit(3, "c", priority=1.0, demanded=False), 0.0)
    scheduler.handle(Demand(3), 0.0)
    assert starts(scheduler.handle(Succeeded(1, 1, 1.0), 1.0)) == [(3, 1, "pi:3632")]
    assert starts(scheduler.handle(Succeeded(3, 1, 1.0), 2.0)) == [(2, 1, "pi:3632")]


def test_lookahead_that_presses_goes_with_what_make_waits_for_and_never_to_a_local_slot() -> None:
    scheduler = farm(Node("pi", slots=1), policy=Policy(local_slots=1))
    scheduler.handle(Submit(1, "c", demanded=False), 0.0)
    scheduler.handle(Submit(2, "c", priority=90.0, demanded=False), 0.0)
    scheduler.handle(Submit(3, "c", priority=80.0, demanded=False, pressing=True), 0.0)
    scheduler.handle(Press(2), 0.0)
    kept = scheduler.handle(Submit(4, "c"), 0.0)
    assert [action.unit for action in kept if isinstance(action, RunHere)] == [4]
    scheduler.handle(Submit(5, "c"), 0.0)
    for unit, following in ((1, 2), (2, 3), (3, 5)):
        assert starts(scheduler.handle(Succeeded(unit, 1, 1.0), 1.0)) == [(following, 1, "pi:3632")]


def test_what_make_waits_for_and_nobody_foresaw_goes_before_lookahead_that_presses() -> None:
    """All of the build may wait for it: for the program that writes everybody's header."""
    scheduler = farm(Node("pi", slots=1))
    scheduler.handle(Submit(1, "c", demanded=False), 0.0)
    scheduler.handle(Submit(2, "c", priority=90.0, demanded=False, pressing=True), 0.0)
    scheduler.handle(Submit(3, "c", priority=Urgency().path), 0.0)
    for unit, following in ((1, 3), (3, 2)):
        assert starts(scheduler.handle(Succeeded(unit, 1, 1.0), 1.0)) == [(following, 1, "pi:3632")]


def test_a_lost_unit_goes_to_another_node_and_not_back() -> None:
    scheduler = farm(PI1, PI2)
    ((_, _, first),) = starts(scheduler.handle(Submit(1, "c"), 0.0))
    ((_, attempt, second),) = starts(scheduler.handle(Failed(1, 1, Fault.LOST, "reset"), 1.0))
    assert (attempt, second != first) == (2, True)


def test_a_refusing_node_is_probed_again_with_growing_pauses_and_comes_back() -> None:
    scheduler = farm(PI1)
    scheduler.handle(Submit(1, "c"), 0.0)
    actions = scheduler.handle(Failed(1, 1, Fault.REFUSED, "connection refused"), 10.0)
    assert actions == [RunHere(1, "no node is up: connection refused")]
    assert scheduler.handle(Tick(), 10.9) == []
    assert scheduler.handle(Tick(), 11.0) == [Probe(PI1.key)]
    scheduler.handle(Probed(PI1.key, error="refused"), 11.0)
    assert scheduler.handle(Tick(), 12.9) == []
    assert scheduler.handle(Tick(), 13.0) == [Probe(PI1.key)]
    scheduler.handle(Probed(PI1.key, ALL, "gcc 12"), 13.0)
    assert standing(scheduler, PI1) == "up"
    assert starts(scheduler.handle(Submit(2, "c"), 13.0)) == [(2, 1, PI1.key)]


def test_without_nodes_a_unit_runs_here_at_once() -> None:
    assert Scheduler().handle(Submit(1, "c"), 0.0) == [RunHere(1, "no nodes are configured")]


def test_a_language_that_no_node_compiles_runs_here() -> None:
    scheduler = Scheduler()
    scheduler.handle(Join((PI1,)), 0.0)
    scheduler.handle(Probed(PI1.key, frozenset({"c"}), "gcc 12"), 0.0)
    assert scheduler.handle(Submit(1, "fortran"), 0.0) == [RunHere(1, "no node compiles fortran")]


def test_never_falling_back_waits_for_a_node_and_then_gives_up() -> None:
    scheduler = farm(PI1, policy=Policy(fallback_local=False, patience=30.0))
    scheduler.handle(Submit(1, "c"), 0.0)
    scheduler.handle(Failed(1, 1, Fault.REFUSED, "connection refused"), 0.0)
    assert not any(isinstance(a, GiveUp) for a in scheduler.handle(Tick(), 29.0))
    assert any(isinstance(a, GiveUp) for a in scheduler.handle(Tick(), 31.0))


def test_a_node_that_sends_rubbish_is_quarantined_and_its_unit_goes_elsewhere() -> None:
    scheduler = farm(PI1, PI2)
    ((_, _, liar),) = starts(scheduler.handle(Submit(1, "c"), 0.0))
    ((_, _, other),) = starts(scheduler.handle(Failed(1, 1, Fault.CORRUPT, "not ELF"), 0.0))
    assert other != liar
    assert standing(scheduler, PI1 if liar == PI1.key else PI2) == "quarantined"
    assert Probe(liar) not in scheduler.handle(Tick(), 1000.0)


def test_a_killed_compiler_costs_the_node_a_slot() -> None:
    scheduler = farm(Node("pi", slots=3))
    for unit in range(3):
        scheduler.handle(Submit(unit, "c"), 0.0)
    scheduler.handle(Failed(0, 1, Fault.KILLED, "Killed signal"), 0.0)
    assert scheduler.slots == 2


def test_a_compile_error_is_settled_by_the_local_compiler_and_does_no_harm_to_the_node() -> None:
    scheduler = farm(PI1)
    scheduler.handle(Submit(1, "c"), 0.0)
    assert scheduler.handle(Unsettled(1, 1, "exit status 1"), 0.0) == [RunHere(1, "exit status 1")]
    assert scheduler.statuses()[0].failed == 0


def test_a_straggler_gets_a_second_attempt_and_the_first_valid_result_wins() -> None:
    scheduler = farm(Node("slow", slots=1), Node("quick", slots=1))
    ((_, _, first),) = starts(scheduler.handle(Submit(1, "c", estimate=1.0), 0.0))
    assert scheduler.handle(Tick(), 4.0) == []
    ((_, attempt, second),) = starts(scheduler.handle(Tick(), 6.0))
    assert attempt == 2 and second != first
    won = scheduler.handle(Succeeded(1, 2, 1.0), 7.0)
    asked = Probe(first, again=True)
    assert won == [Cancel(1, 1, first), Settled(1, 2), asked], "the loser is asked whether it is still there"
    assert scheduler.handle(Succeeded(1, 1, 9.0), 9.0) == []


def test_a_node_taken_off_the_list_drains_and_comes_back_when_it_is_named_again() -> None:
    scheduler = farm(PI1, PI2)
    ((_, _, node),) = starts(scheduler.handle(Submit(1, "c"), 0.0))
    other = PI2 if node == PI1.key else PI1
    scheduler.handle(Join((other,)), 1.0)
    drained = PI1 if other is PI2 else PI2
    assert standing(scheduler, drained) == "draining"
    assert any(isinstance(a, Settled) for a in scheduler.handle(Succeeded(1, 1, 1.0), 2.0))
    assert Probe(drained.key) in scheduler.handle(Join((PI1, PI2)), 3.0)


def test_a_withdrawn_unit_is_cancelled_and_its_slot_is_free_again() -> None:
    scheduler = farm(Node("pi", slots=1))
    scheduler.handle(Submit(1, "c"), 0.0)
    scheduler.handle(Submit(2, "c"), 0.0)
    actions = scheduler.handle(Withdraw(1), 0.0)
    assert Cancel(1, 1, "pi:3632") in actions
    assert starts(actions) == [(2, 1, "pi:3632")]


@st.composite
def scenarios(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    verbs = st.sampled_from(
        ["submit", "succeed", "fail", "doubt", "withdraw", "demand", "press", "tick", "probe", "quarantine"]
    )
    return draw(st.lists(st.tuples(verbs, st.integers(0, 7), st.integers(0, 4)), max_size=120))


@settings(max_examples=200, deadline=None)
@given(scenarios(), st.booleans())
def test_whatever_happens_slots_are_respected_and_every_unit_ends_once(
    scenario: list[tuple[str, int, int]], fallback: bool
) -> None:
    nodes = [Node(f"n{i}", slots=i + 1) for i in range(3)]
    scheduler = Scheduler(Policy(fallback_local=fallback, patience=5.0))
    now = 0.0
    flights: dict[tuple[int, int], str] = {}
    submitted: set[int] = set()
    ended: set[int] = set()
    pending_probes: list[str] = []
    taken_back: list[int] = []

    def feed(event: Event) -> None:
        for action in scheduler.handle(event, now):
            match action:
                case Start(unit, attempt, node):
                    assert unit in submitted and unit not in ended
                    assert node not in {n for (u, _), n in flights.items() if u == unit}
                    flights[unit, attempt] = node
                    limit = next(n.slots for n in nodes if n.key == node)
                    assert sum(1 for n in flights.values() if n == node) <= limit
                case Cancel(unit, attempt):
                    del flights[unit, attempt]
                case RunHere(unit) | GiveUp(unit) | Settled(unit):
                    assert unit not in ended
                    ended.add(unit)
                    assert not any(u == unit for u, _ in flights)
                    if isinstance(action, RunHere) and action.slot:
                        taken_back.append(unit)
                        assert fallback and len(taken_back) <= scheduler.policy.cores
                case Probe(node):
                    pending_probes.append(node)

    feed(Join(tuple(nodes)))
    serial = 0
    for verb, pick, kind in scenario:
        now += 0.7
        live = sorted(flights)
        flight = live[pick % len(live)] if live else None
        if verb == "submit":
            serial += 1
            submitted.add(serial)
            feed(Submit(serial, "c", estimate=1.0, priority=float(kind), demanded=bool(pick % 2)))
        elif verb == "probe" and pending_probes:
            node = pending_probes.pop(0)
            feed(Probed(node, ALL, "gcc") if kind else Probed(node, error="refused"))
        elif verb in ("succeed", "fail", "doubt") and flight:
            node = flights.pop(flight)
            if verb == "succeed":
                feed(Succeeded(*flight, seconds=0.5 + kind))
            elif verb == "fail":
                feed(Failed(*flight, fault=list(Fault)[kind], reason="x"))
            else:
                feed(Unsettled(*flight, reason="x"))
        elif verb == "withdraw" and submitted - ended:
            unit = sorted(submitted - ended)[pick % len(submitted - ended)]
            ended.add(unit)
            feed(Withdraw(unit))
        elif verb == "demand" and submitted:
            feed(Demand(sorted(submitted)[pick % len(submitted)]))
        elif verb == "press" and submitted:
            feed(Press(sorted(submitted)[pick % len(submitted)]))
        elif verb == "quarantine" and kind == 0:
            feed(Quarantine(nodes[pick % 3].key, "lied"))
        elif taken_back and kind == 0:
            taken_back.pop()
            feed(LocalSlotFreed())
        else:
            feed(Tick())
    assert scheduler.waiting + scheduler.running == len(submitted - ended)

    for _ in range(300):  # and once nothing fails any more, everything comes to its end
        now += 1.0
        for node in pending_probes[:]:
            pending_probes.remove(node)
            feed(Probed(node, ALL, "gcc"))
        for flight in sorted(flights):
            if flight in flights:
                del flights[flight]
                feed(Succeeded(*flight, seconds=1.0))
        feed(Tick())
    assert ended == submitted


def test_a_local_slot_takes_what_make_waits_for_only_when_every_node_is_full() -> None:
    scheduler = farm(Node("pi", slots=1), policy=Policy(local_slots=1))
    assert starts(scheduler.handle(Submit(1, "c"), 0.0)) == [(1, 1, "pi:3632")]
    assert scheduler.handle(Submit(2, "c", demanded=False), 0.0) == []
    (here,) = scheduler.handle(Submit(3, "c"), 0.0)
    assert isinstance(here, RunHere) and (here.unit, here.slot) == (3, True)
    assert scheduler.handle(Submit(4, "c"), 0.0) == []
    (here,) = scheduler.handle(LocalSlotFreed(), 1.0)
    assert isinstance(here, RunHere) and here.unit == 4
