"""What becomes of units on a node that has gone silent while make waits and no other node is free."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from buildfarm.conductor.crowding import MOST, Crowding
from buildfarm.dispatch.events import (
    Action,
    Cancel,
    Demand,
    Failed,
    GiveUp,
    LocalSlotFreed,
    Probe,
    Probed,
    RunHere,
    Settled,
    Submit,
    Succeeded,
    Tick,
)
from buildfarm.dispatch.expectations import (
    DEADLINE_FLOOR,
    DEFAULT_ESTIMATE,
    STRAGGLER_FACTOR,
    STRAGGLER_FLOOR,
)
from buildfarm.dispatch.health import FIRST_ANSWER_SECONDS, Fault
from buildfarm.dispatch.scheduler import Policy, Scheduler
from buildfarm.model import Node
from tests import project
from tests.farm import Farm, wait_until
from tests.scheduling import ALL, farm, starts
from tests.test_nodes_e2e import built_by_make, node_of, write_units
from tests.tool import Running, buildfarm, environment, status

UNKNOWN = STRAGGLER_FACTOR * DEFAULT_ESTIMATE  # seconds until a unit that nobody knows is overdue
PI = Node("pi", slots=2)


def runs_here(actions: list[Action]) -> list[int]:
    return [action.unit for action in actions if isinstance(action, RunHere)]


def full(*, estimate: float | None = None, demanded: bool = True, policy: Policy | None = None) -> Scheduler:
    """A farm of one node, both of whose slots are in use since 0, and a third unit that waits."""
    scheduler = farm(PI, policy=policy or Policy(cores=2))
    for unit in (1, 2, 3):
        scheduler.handle(Submit(unit, "c", estimate, demanded=demanded), 0.0)
    return scheduler


def test_a_unit_of_a_full_node_that_has_gone_silent_is_compiled_here_and_the_node_asked() -> None:
    for estimate, patience in ((None, UNKNOWN), (1.0, STRAGGLER_FLOOR), (40.0, 40.0 * STRAGGLER_FACTOR)):
        scheduler = full(estimate=estimate)
        assert scheduler.handle(Tick(), patience - 0.1) == []
        back = scheduler.handle(Tick(), patience)
        assert [type(action) for action in back] == [Cancel, RunHere, Probe]
        assert isinstance(back[0], Cancel) and back[0].outcome == "late" and "no word" in (back[0].reason or "")
        assert scheduler.handle(Succeeded(1, 1, 9.0), patience + 1) == [], "what comes late finds nobody"


def test_where_this_machine_is_crowded_silence_is_borne_longer() -> None:
    """It would compile as much more slowly itself, and may only not have heard."""
    scheduler = full()
    assert scheduler.handle(Tick(crowding=3.0), 3 * UNKNOWN - 0.1) == []
    assert runs_here(scheduler.handle(Tick(crowding=3.0), 3 * UNKNOWN)) == [1]
    late = 3 * UNKNOWN + 3 * FIRST_ANSWER_SECONDS
    assert scheduler.handle(Tick(crowding=3.0), late - 0.1) == [], "the node has been asked"
    assert sorted(runs_here(scheduler.handle(Tick(crowding=3.0), late))) == [2, 3]
    assert scheduler.statuses()[0].reason == f"no word for {3 * UNKNOWN + 15:.0f} s"


def test_crowding_follows_what_wants_the_processors_and_has_bounds() -> None:
    processors = os.cpu_count() or 1
    wanting: int | None = 4 * processors
    crowding = Crowding(lambda: wanting)
    seen = [crowding.look() for _ in range(30)]
    assert seen == sorted(seen) and 1.0 < seen[0] < 2 and seen[-1] == pytest.approx(4, abs=0.1)
    for number, limit in ((1000 * processors, MOST), (0, 1.0), (None, 1.0)):
        wanting = number
        assert [crowding.look() for _ in range(60)][-1] == pytest.approx(limit, abs=0.01)
    assert 1.0 <= Crowding().look() <= MOST


def test_where_this_process_may_use_few_of_many_processors_what_runs_on_the_others_crowds_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    crowding = Crowding(lambda: 64)
    assert [crowding.look() for _ in range(60)][-1] == 1.0


def test_what_waits_gives_the_node_its_time_to_answer_and_is_then_compiled_here() -> None:
    scheduler = full()
    scheduler.handle(Tick(), UNKNOWN)
    assert scheduler.handle(Tick(), UNKNOWN + FIRST_ANSWER_SECONDS - 0.1) == [], "nothing goes there meanwhile"
    lost = scheduler.handle(Tick(), UNKNOWN + FIRST_ANSWER_SECONDS)
    assert sorted(runs_here(lost)) == [2, 3], "with a core to spare, what it has goes here too"
    assert runs_here(scheduler.handle(Submit(4, "c"), 20.0)) == [4]
    back = scheduler.handle(Probed(PI.key, ALL, "gcc 12"), 21.0)
    assert back == []
    assert starts(scheduler.handle(Submit(5, "c"), 21.0)) == [(5, 1, PI.key)]


def test_lookahead_on_a_full_node_that_has_gone_silent_gives_way_to_what_make_waits_for() -> None:
    def behind_lookahead() -> Scheduler:
        scheduler = farm(PI, policy=Policy(cores=2))
        for unit, demanded in ((1, False), (2, False), (3, True)):
            scheduler.handle(Submit(unit, "c", demanded=demanded), 0.0)
        assert scheduler.handle(Tick(), UNKNOWN - 0.1) == []
        room, question = scheduler.handle(Tick(), UNKNOWN)
        assert isinstance(room, Cancel) and (room.unit, room.outcome) == (2, "cancelled"), "needed last"
        assert question == Probe(PI.key, again=True)
        return scheduler

    frozen = behind_lookahead()
    left = runs_here(frozen.handle(Tick(), UNKNOWN + FIRST_ANSWER_SECONDS))
    assert sorted(left) == [2, 3], "no node will have them; of 2 nothing is made before make asks"
    living = behind_lookahead()
    assert starts(living.handle(Probed(PI.key, ALL, "gcc 12"), UNKNOWN + 0.1)) == [(3, 1, PI.key)]
    assert living.handle(Tick(), UNKNOWN + FIRST_ANSWER_SECONDS) == []
    assert starts(living.handle(Succeeded(3, 1, 1.0), UNKNOWN + 6)) == [(2, 2, PI.key)], "it is made all the same"


def test_lookahead_may_be_long_while_make_has_hardly_waited() -> None:
    scheduler = farm(PI)
    for unit in (1, 2, 3):
        scheduler.handle(Submit(unit, "c", demanded=False), 0.0)
    scheduler.handle(Demand(3), UNKNOWN)
    scheduler.handle(Submit(4, "c"), UNKNOWN)
    assert scheduler.handle(Tick(), UNKNOWN + STRAGGLER_FLOOR - 0.1) == []
    assert len(scheduler.handle(Tick(), UNKNOWN + STRAGGLER_FLOOR)) == 2, "one gives way, and the node is asked"


def test_a_node_that_did_not_answer_in_time_is_said_to_while_its_other_lookahead_gives_way() -> None:
    other = Node("other", slots=1)
    scheduler = farm(PI, other)
    for unit in range(1, 6):
        scheduler.handle(Submit(unit, "c", demanded=unit > 3), 0.0)
    assert len(scheduler.handle(Tick(), UNKNOWN)) == 4, "a unit of each gives way, and both are asked"
    scheduler.handle(Probed(other.key, ALL, "gcc 12"), UNKNOWN + 1)
    (room,) = scheduler.handle(Tick(), UNKNOWN + FIRST_ANSWER_SECONDS)
    assert isinstance(room, Cancel) and room.node == PI.key
    assert scheduler.statuses()[0].reason == f"no answer within {FIRST_ANSWER_SECONDS:.0f} s"


def test_a_node_that_answers_keeps_its_units_and_gets_the_next() -> None:
    scheduler = full()
    assert runs_here(scheduler.handle(Tick(), UNKNOWN)) == [1]
    assert starts(scheduler.handle(Probed(PI.key, ALL, "gcc 12"), UNKNOWN + 0.3)) == [(3, 1, PI.key)]
    assert scheduler.handle(Tick(), 2 * UNKNOWN) == [], "its answer is a sign of life"
    assert Settled(2, 1) in scheduler.handle(Succeeded(2, 1, 15.0), 2 * UNKNOWN)


def test_a_node_with_room_for_a_question_is_only_asked() -> None:
    scheduler = farm(PI, policy=Policy(cores=2))
    scheduler.handle(Submit(1, "c"), 0.0)
    assert scheduler.handle(Tick(), UNKNOWN) == [Probe(PI.key, again=True)]
    assert scheduler.statuses()[0].failed == 0, "a long unit is no fault"
    scheduler.handle(Probed(PI.key, ALL, "gcc 12"), UNKNOWN + 0.3)
    assert Settled(1, 1) in scheduler.handle(Succeeded(1, 1, 14.0), 14.0)


def test_a_unit_on_which_a_living_nodes_compiler_hangs_comes_here_where_no_other_node_is() -> None:
    scheduler = farm(PI, policy=Policy(cores=2))
    assert starts(scheduler.handle(Submit(1, "c", 1.0), 0.0)) == [(1, 1, PI.key)]
    (here,) = scheduler.handle(Failed(1, 1, Fault.LATE, "no answer within 60 s"), DEADLINE_FLOOR)
    assert isinstance(here, RunHere) and here.unit == 1
    assert starts(scheduler.handle(Submit(2, "c"), 61.0)) == [(2, 1, PI.key)], "the node itself is well"


def test_what_another_node_may_compile_goes_there_when_it_is_late() -> None:
    scheduler = farm(PI, Node("pi2", slots=1), policy=Policy(cores=2, hedge=False))
    ((_, _, first),) = starts(scheduler.handle(Submit(1, "c", 1.0), 0.0))
    ((_, _, second),) = starts(scheduler.handle(Failed(1, 1, Fault.LATE, "late"), 60.0))
    assert {first, second} == {PI.key, "pi2:3632"}
    assert runs_here(scheduler.handle(Failed(1, 2, Fault.LATE, "late"), 120.0)) == [1], "and not to the first again"


def test_a_node_that_brings_other_units_back_is_not_silent() -> None:
    scheduler = farm(PI, policy=Policy(cores=2))
    scheduler.handle(Submit(1, "c"), 0.0)
    for unit in range(2, 12):
        scheduler.handle(Submit(unit, "c"), 4.0 * unit)
        scheduler.handle(Succeeded(unit, 1, 3.0), 4.0 * unit + 3)
        assert scheduler.handle(Tick(), 4.0 * unit + 3.5) == []


def test_the_first_long_unit_that_comes_back_tells_that_others_may_be_long_too() -> None:
    scheduler = farm(PI, policy=Policy(cores=2))
    for unit in (1, 2):
        scheduler.handle(Submit(unit, "c"), 0.0)
    scheduler.handle(Succeeded(1, 1, 7.0), 7.0)
    scheduler.handle(Submit(3, "c"), 7.0)
    assert scheduler.handle(Tick(), 7.0 + STRAGGLER_FACTOR * 7.0 - 0.1) == []
    assert runs_here(scheduler.handle(Tick(), 7.0 + STRAGGLER_FACTOR * 7.0)) == [2]


def test_only_so_many_units_are_taken_back_as_this_machine_has_cores() -> None:
    scheduler = full(policy=Policy(cores=1))
    assert runs_here(scheduler.handle(Tick(), UNKNOWN)) == [1]
    assert runs_here(scheduler.handle(Tick(), UNKNOWN + FIRST_ANSWER_SECONDS)) == [3], "it had begun nowhere"
    assert runs_here(scheduler.handle(Tick(), 20.0)) == []
    scheduler.handle(LocalSlotFreed(), 21.0)
    assert runs_here(scheduler.handle(Tick(), 21.0)) == [2]


def test_lookahead_needs_no_help_and_without_fallback_nothing_is_compiled_here() -> None:
    assert full(demanded=False).handle(Tick(), DEADLINE_FLOOR) == []
    assert runs_here(full(policy=Policy(fallback_local=False)).handle(Tick(), DEADLINE_FLOOR)) == []


def test_a_unit_that_two_nodes_have_and_neither_brings_back_is_compiled_here() -> None:
    scheduler = farm(Node("a", slots=1), Node("b", slots=1))
    scheduler.handle(Submit(1, "c"), 0.0)
    assert len(starts(scheduler.handle(Tick(), UNKNOWN))) == 1
    actions = scheduler.handle(Tick(), 2 * UNKNOWN)
    assert runs_here(actions) == [1]
    assert sum(isinstance(action, Cancel) for action in actions) == 2


def test_a_build_whose_only_node_hangs_goes_on_here(tmp_path: Path) -> None:
    tree = write_units(tmp_path / "p", 11)
    expected = built_by_make(tree)
    with Farm(count=1, jobs=2, gated=True) as nodes:
        (node,) = nodes.nodes
        nodes.close_gate()
        words = ("run", "-C", str(tree), "--hosts", nodes.hosts, "--no-lookahead", "--verify", "0")
        with Running(words) as build:
            wait_until(lambda: nodes.waiting() == 2, "compilers under way")
            node.stop()
            result = build.wait()
        node.cont()
        document = status(tree)
    assert result.code == 0, result.stderr
    assert project.digests(tree) == expected
    assert "no word" in result.stderr, "given up long before any deadline"
    assert document["units"]["local"] == 12 and node_of(document, node.port)["state"] == "down"


def test_with_no_fallback_a_unit_on_which_compilers_hang_is_not_tried_for_ever() -> None:
    scheduler = farm(PI, policy=Policy(fallback_local=False))
    scheduler.handle(Submit(1, "c", 1.0), 0.0)
    for attempt in range(1, Policy().remote_attempts):
        now = 100.0 * attempt
        assert not any(
            isinstance(action, GiveUp) for action in scheduler.handle(Failed(1, attempt, Fault.LATE, "late"), now)
        )
        scheduler.handle(Tick(), now + 5)
        scheduler.handle(Probed(PI.key, ALL, "gcc 12"), now + 6)
    last = Policy().remote_attempts
    actions = scheduler.handle(Failed(1, last, Fault.LATE, "late"), 100.0 * last)
    assert actions[:1] == [GiveUp(1, f"{last} attempts failed, the last: late")]


def test_what_no_node_brings_back_is_nobodys_failure_with_no_fallback(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("a.o: a.c\n\tcc -c a.c\n")
    (tmp_path / "a.c").write_text("int a;\n")
    with Farm(count=1, jobs=1, gated=True) as nodes:
        nodes.close_gate()
        words = ("run", "-C", str(tmp_path), "--hosts", nodes.hosts, "--fallback", "never")
        result = buildfarm(*words, env=environment(DISTCC_IO_TIMEOUT="1"))
    assert result.code == 2
    assert "a.o not compiled: no node took it" in result.stderr and "ended on" not in result.stderr, result.stderr
    told = buildfarm("explain", "-C", str(tmp_path), "a.o").stdout
    assert "late: " in told and "failed: 127.0.0.1" not in told, told


@pytest.mark.parametrize("asked", ["check_out", "retry"], ids=["while it hangs", "after it was given up"])
def test_a_unit_on_which_a_compiler_hangs_ahead_of_make_costs_its_deadline_once(tmp_path: Path, asked: str) -> None:
    wait = f"for i in $$(seq 2000); do grep -q '\"{asked}\"' events && break; sleep 0.05; done"
    (tmp_path / "Makefile").write_text(f"all:\n\t{wait}\n\t$(MAKE) b.o\nb.o: b.c\n\tcc -c b.c\n")
    (tmp_path / "b.c").write_text("int b;\n")
    events = tmp_path / "events"
    with Farm(count=1, jobs=1, gated=True) as nodes:
        nodes.close_gate()
        words = ("run", "-C", str(tmp_path), "--hosts", nodes.hosts, "--events", str(events))
        result = buildfarm(*words, env=environment(DISTCC_IO_TIMEOUT="2"))
    assert result.code == 0, result.stderr
    told = [json.loads(line) for line in events.read_text().splitlines()]
    assert [event["outcome"] for event in told if event["event"] == "retry"] == ["late"]
    made = buildfarm("explain", "-C", str(tmp_path), "b.o", "--no-plan").stdout
    assert "here because 127.0.0.1" in made and "no answer within 2 s" in made, made
