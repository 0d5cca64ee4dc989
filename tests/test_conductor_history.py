"""A history is what the journal and the nodes say: every unit once, on its slot, waiting for what it reads."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

from buildfarm.conductor.history import HERE, read
from buildfarm.model import OutputRecord, StepState
from buildfarm.report.history import History
from buildfarm.report.page import render
from buildfarm.state.journal import Journal
from tests import project
from tests import state_samples as sample
from tests.farm import Farm
from tests.tool import buildfarm


def test_a_build_on_nodes_is_told_whole_and_an_earlier_one_too(tmp_path: Path) -> None:
    tree = project.write(tmp_path / "p")
    with Farm(count=2, jobs=2) as farm:
        for _ in range(2):
            assert buildfarm("run", "-C", str(tree), "--hosts", farm.hosts).code == 0
            subprocess.run(["make", "-s", "-C", str(tree), "clean"], check=True, capture_output=True)
    for build in (1, 2):
        history = read(tree / ".buildfarm", build)
        assert (history.build, history.state, history.slots) == (build, "complete", 4)
        assert len(history.units) == project.UNITS
        names = [step.name for step in history.steps]
        library = names.index("alpha/lib.a")
        waits_for = {names[before] for before, after in history.edges if after == library}
        assert waits_for == {f"alpha/alpha_{i}.o" for i in range(project.UNITS_EACH)}
        assert history.steps[history.critical_path[-1]].name == "program"
        assert history.critical_seconds <= history.seconds
        assert {step.node for step in history.steps if step.kind != "compile"} == {HERE}
        _no_slot_is_taken_twice(history)
        assert "alpha/lib.a" in render(history)
    assert read(tree / ".buildfarm").build == 2


def _no_slot_is_taken_twice(history: History) -> None:
    rows: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for step in history.steps:
        for attempt in step.attempts:
            assert 0 <= attempt.start <= attempt.end <= history.seconds + 0.001
            rows.setdefault((attempt.node, attempt.slot), []).append((attempt.start, attempt.end))
    for stays in rows.values():
        stays.sort()
        assert all(one[1] <= other[0] + 1e-5 for one, other in pairwise(stays))


def test_an_attempt_that_won_counts_and_its_rival_ends_with_it(tmp_path: Path) -> None:
    """The straggler itself came back first, once for make and once ahead of it."""
    with Journal.open(tmp_path / ".buildfarm") as journal:
        build = sample.begin(journal)
        for step, ahead in ((1, False), (2, True)):
            for attempt, node in ((1, "slow:1"), (2, "fast:1")):
                journal.check_out(build, [sample.check_out(step, node=node, attempt=attempt, lookahead=ahead)])
            if ahead:
                journal.set_aside(build, step, StepState.HELD, 1010.0)
                journal.check_out(build, [sample.check_out(step, node="slow:1", attempt=1, lookahead=True)])
            record = OutputRecord(f"/tree/{step}.o", 1, 2, "d")
            journal.check_in(build, [sample.check_in(step, record, attempt=1)])
    for told in read(tmp_path / ".buildfarm").steps:
        assert [attempt.node for attempt in told.attempts] == ["fast:1", "slow:1"], told.name
        assert told.attempts[0].outcome == "superseded" and told.attempts[-1].outcome in ("done", "held")
        assert told.attempts[0].end <= 2000.0


def test_what_would_gain_less_than_a_tenth_of_a_second_is_no_advice(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("p: a.o b.o\n\tcat a.o b.o > p\n")
    for name in ("a", "b"):
        (tmp_path / f"{name}.c").write_text(f"int {name};\n")
    assert buildfarm("run", "-C", str(tmp_path), "--hosts", "", "-j1").code == 0
    reached, *offers = read(tmp_path / ".buildfarm").chances
    assert all(chance.seconds <= reached.seconds - 0.1 for chance in offers)
