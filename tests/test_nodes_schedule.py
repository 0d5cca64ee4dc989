"""The scheduler, simulated on recorded projects: near the lower bound, and never above distcc's policy."""

from __future__ import annotations

import pytest

from benchmarks.schedule import Farm, Recorded, distcc, farms, mean, ours, projects, shuffled

PROJECTS = {project.name: project for project in projects()}
TOLERANCE = 1.002  # of distcc's makespan: a tie but for rounding


CASES = [
    *((mixed, False, slots) for mixed in (False, True) for slots in (4, 16, 64, 256)),
    *((True, True, slots) for slots in (8, 64)),
]


@pytest.mark.parametrize(("mixed", "failing", "slots"), CASES)
@pytest.mark.parametrize("name", sorted(PROJECTS))
def test_never_above_distccs_policy(name: str, mixed: bool, failing: bool, slots: int) -> None:
    project = PROJECTS[name]
    machines = farms(slots, mixed=mixed, failing=failing, project=project)
    assert mean(ours, project, machines) <= TOLERANCE * mean(distcc, project, machines)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("name", sorted(PROJECTS))
def test_within_five_percent_of_the_lower_bound_at_64_slots(name: str, mixed: bool) -> None:
    project = PROJECTS[name]
    (machines,) = farms(64, mixed=mixed, failing=False, project=project)
    assert ours(project, machines) <= 1.05 * machines.lower_bound(project)


@pytest.mark.parametrize("seed", range(3))
def test_another_order_of_units_changes_little(seed: int) -> None:
    project = shuffled(PROJECTS[sorted(PROJECTS)[-1]], seed)
    (machines,) = farms(64, mixed=True, failing=False, project=project)
    assert ours(project, machines) <= 1.05 * machines.lower_bound(project)


def test_a_critical_unit_waits_for_the_fast_node_and_the_slow_one_takes_what_it_can() -> None:
    """Two units of 10 s one after the other beside four of 3 s: the slow node must get none of the long ones."""
    project = Recorded("small", (3.0, 3.0, 3.0, 3.0, 10.0, 10.0), ((), (), (), (), (), (4,)))
    machines = Farm((1.0, 0.25), slots_each=1)
    assert ours(project, machines) <= 26.1 < distcc(project, machines)
