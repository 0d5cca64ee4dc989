"""A scheduler whose nodes are all up, for tests that begin there."""

from __future__ import annotations

from buildfarm.dispatch.events import Action, Join, Probed, Start
from buildfarm.dispatch.scheduler import Policy, Scheduler
from buildfarm.model import Node

ALL = frozenset({"c", "c++", "fortran"})


def farm(*nodes: Node, policy: Policy | None = None) -> Scheduler:
    scheduler = Scheduler(policy)
    scheduler.handle(Join(nodes), 0.0)
    for node in nodes:
        scheduler.handle(Probed(node.key, ALL, "gcc 12"), 0.0)
    return scheduler


def starts(actions: list[Action]) -> list[tuple[int, int, str]]:
    """Unit, attempt and node of every start among the actions."""
    return [(a.unit, a.attempt, a.node) for a in actions if isinstance(a, Start)]
