"""What the scheduler promises of nodes that are late, lie, lack a compiler or run short of memory."""

from __future__ import annotations

from buildfarm.dispatch.events import (
    Action,
    Cancel,
    Declined,
    Failed,
    Join,
    Probe,
    Probed,
    Quarantine,
    RunHere,
    Settled,
    Start,
    Submit,
    Succeeded,
    Tick,
)
from buildfarm.dispatch.expectations import DEADLINE_FLOOR, DEADLINE_UNKNOWN
from buildfarm.dispatch.health import RESTORE_AFTER, SPEED_KNOWN, Fault, Health, Standing
from buildfarm.dispatch.scheduler import Policy, Scheduler
from buildfarm.model import Node
from tests.scheduling import ALL, farm, starts


def state(scheduler: Scheduler, key: str) -> tuple[str, str | None]:
    return next((status.state, status.reason) for status in scheduler.statuses() if status.key == key)


def test_a_late_unit_that_make_waits_for_is_tried_twice_before_lookahead_goes_on() -> None:
    scheduler = farm(Node("a", slots=1), Node("b", slots=1), policy=Policy(cores=0))
    ((_, _, stuck),) = starts(scheduler.handle(Submit(1, "c", 1.0), 0.0))
    ((_, _, other),) = starts(scheduler.handle(Submit(2, "c", 1.0, demanded=False), 0.0))
    scheduler.handle(Submit(3, "c", 1.0, demanded=False), 0.0)
    scheduler.handle(Tick(), 6.0)
    assert starts(scheduler.handle(Succeeded(2, 1, 1.0), 6.1)) == [(1, 2, other)]
    won = scheduler.handle(Succeeded(1, 2, 1.0), 7.1)
    assert Cancel(1, 1, stuck) in won and Settled(1, 2) in won and Probe(stuck, again=True) in won
    assert starts(won) == [(3, 1, other)], "the suspect gets nothing before its probe is back"
    down, reason = state(scheduler, stuck)
    assert down == "down" and reason is not None and "still had no answer after 7 s" in reason


def test_a_suspect_that_answers_its_probe_works_on_and_one_that_does_not_loses_its_units() -> None:
    for error in (None, "no answer within 30 s"):
        scheduler = farm(Node("a", slots=2), Node("b", slots=2))
        begun = [start for unit in (1, 2, 3) for start in starts(scheduler.handle(Submit(unit, "c", 1.0), 0.0))]
        stuck = begun[0][2]
        both = [unit for unit, _, node in begun if node == stuck]
        free = next(unit for unit, _, node in begun if node != stuck)
        scheduler.handle(Succeeded(free, 1, 1.0), 1.0)
        second = starts(scheduler.handle(Tick(), 6.0))
        assert second, "stragglers get a second attempt"
        scheduler.handle(Succeeded(second[0][0], 2, 1.0), 7.0)
        scheduler.handle(Probed(stuck, ALL, "gcc 12", error), 8.0)
        standing, _ = state(scheduler, stuck)
        assert standing == ("up" if error is None else "down")
        left = sum(status.checked_out for status in scheduler.statuses() if status.key == stuck)
        assert left == (len(both) - 1 if error is None else 0)


def test_a_liar_loses_its_units_at_once() -> None:
    scheduler = farm(Node("a", slots=2))
    scheduler.handle(Submit(1, "c"), 0.0)
    scheduler.handle(Join((Node("a", slots=2), Node("b", slots=2))), 0.5)
    scheduler.handle(Probed("b:3632", ALL, "gcc 12"), 0.6)
    actions = scheduler.handle(Quarantine("a:3632", "it lies"), 1.0)
    assert actions[0] == Cancel(1, 1, "a:3632", "it lies", "corrupt")
    assert starts(actions) == [(1, 2, "b:3632")]
    assert scheduler.handle(Succeeded(1, 1, 1.0), 1.1) == [], "its answer is stale"


def test_a_unit_goes_past_nodes_that_have_not_its_compiler_and_harms_nobody() -> None:
    scheduler = farm(Node("a", slots=1), Node("b", slots=1))
    ((_, _, first),) = starts(scheduler.handle(Submit(1, "c"), 0.0))
    ((_, attempt, second),) = starts(scheduler.handle(Declined(1, 1, "runs no clang"), 0.1))
    assert second != first
    (here,) = (a for a in scheduler.handle(Declined(1, attempt, "runs no clang"), 0.2) if isinstance(a, RunHere))
    assert here.reason == "runs no clang"
    assert all(status.state == "up" and not status.failed for status in scheduler.statuses())


def test_deadlines_come_from_history_and_from_this_builds_own_units() -> None:
    def deadline(actions: list[Action]) -> float:
        return next(a.deadline for a in actions if isinstance(a, Start))

    scheduler = farm(Node("a", slots=1))
    assert deadline(scheduler.handle(Submit(1, "c"), 0.0)) == DEADLINE_UNKNOWN
    scheduler.handle(Succeeded(1, 1, 2.0), 2.0)
    assert deadline(scheduler.handle(Submit(2, "c", 30.0), 2.0)) == 300.0, "ten times what it took before"
    scheduler.handle(Succeeded(2, 1, 30.0), 32.0)
    for unit in range(3, 8):
        scheduler.handle(Submit(unit, "fortran", 1.0), 40.0)
        scheduler.handle(Succeeded(unit, 1, 1.0), 41.0)
    assert deadline(scheduler.handle(Submit(8, "fortran"), 42.0)) == DEADLINE_UNKNOWN, "short ones do not shorten it"
    scheduler.handle(Succeeded(8, 1, 30.0), 72.0)
    assert deadline(scheduler.handle(Submit(9, "fortran"), 80.0)) == 600.0, "twenty times this build's slowest"
    fixed = farm(Node("a", slots=1), policy=Policy(io_timeout=7.0))
    assert deadline(fixed.handle(Submit(1, "c", 30.0), 0.0)) == 7.0
    quick = farm(Node("a", slots=1))
    assert deadline(quick.handle(Submit(1, "c", 0.1), 0.0)) == DEADLINE_FLOOR


def test_a_long_unit_waits_for_a_fast_slot_and_a_short_one_takes_the_slow_one() -> None:
    scheduler = Scheduler()
    scheduler.handle(Join((Node("fast", slots=1), Node("slow", slots=1))), 0.0)
    scheduler.handle(Probed("fast:3632", ALL, "gcc 12", seconds=0.02), 0.0)
    scheduler.handle(Probed("slow:3632", ALL, "gcc 12", seconds=0.10), 0.0)
    assert starts(scheduler.handle(Submit(1, "c", 1.0, 20.0), 0.0)) == [(1, 1, "fast:3632")]
    assert starts(scheduler.handle(Submit(2, "c", 10.0, 10.0), 0.0)) == []
    assert starts(scheduler.handle(Submit(3, "c", 1.0, 1.0), 0.0)) == [(3, 1, "slow:3632")]
    assert starts(scheduler.handle(Succeeded(1, 1, 1.0), 1.0)) == [(2, 1, "fast:3632")]


def test_slots_fall_with_memory_and_come_back() -> None:
    health = Health(8, standing=Standing.UP)
    health.faulted(Fault.KILLED, "killed", 0.0, 60.0)
    assert (health.usable, health.standing) == (7, Standing.UP)
    for _ in range(RESTORE_AFTER):
        health.succeeded(0.0, 1.0, 7)
    assert health.usable == 8


def test_times_that_grow_on_a_full_node_lower_its_slots_and_on_an_idle_one_do_not() -> None:
    for together, slots in ((4, 3), (1, 4)):
        health = Health(4, standing=Standing.UP)
        for _ in range(SPEED_KNOWN + 2):
            health.succeeded(1.0, 1.0, together)
        for _ in range(8):
            health.succeeded(1.0, 20.0, together)
        assert health.usable == slots


def test_pauses_grow_to_the_back_off_period_and_a_node_comes_back() -> None:
    scheduler = farm(Node("a", slots=1), policy=Policy(backoff=4.0, fallback_local=False))
    scheduler.handle(Submit(1, "c"), 0.0)
    scheduler.handle(Failed(1, 1, Fault.REFUSED, "refused"), 0.0)
    now, pauses = 0.0, []
    for _ in range(4):
        due = next(status.retry_at for status in scheduler.statuses())
        assert due is not None
        pauses.append(due - now)
        now = due
        assert Probe("a:3632") in scheduler.handle(Tick(), now)
        scheduler.handle(Probed("a:3632", error="still refused"), now)
    assert pauses == [1.0, 2.0, 4.0, 4.0]
    now = next(status.retry_at or 0.0 for status in scheduler.statuses())
    scheduler.handle(Tick(), now)
    assert starts(scheduler.handle(Probed("a:3632", ALL, "gcc 12"), now)) == [(1, 2, "a:3632")]
