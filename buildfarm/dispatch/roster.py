"""The farm's nodes: which there are, what each has in hand, and which of them a unit should go to.

It starts and cancels nothing (`scheduler` does); a node's standing and speed are `health`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import field

from buildfarm.dispatch.health import ASKED_AGAIN, NOT_PROBED, Health, Standing
from buildfarm.dispatch.queue import UnitState
from buildfarm.model import Node, NodeStatus
from buildfarm.value import dataclass


@dataclass(eq=False, slots=True)
class NodeState:
    """A node of the host list, or one that drains."""

    key: str
    node: Node
    health: Health
    attempts: set[tuple[int, int]] = field(default_factory=set)  # in flight there: unit, number of the attempt
    heard: float = 0.0  # when anything last came from it

    @property
    def free_slots(self) -> int:
        """Below zero while its slots shrink."""
        return self.health.usable - len(self.attempts)

    def may_compile(self, language: str) -> bool:
        """Whether it compiles the language, or may turn out to once a first probe that is not late is back."""
        if self.health.standing is Standing.UP:
            return language in self.health.languages
        return self.health.may_turn_out_well

    def status(self) -> NodeStatus:
        """As the status document shows it."""
        health = self.health
        state = str(health.standing)
        asked = health.standing in (Standing.UNPROBED, Standing.SILENT)
        if asked:
            state = "down"
        elif health.standing is Standing.UP and self.free_slots <= 0:
            state = "busy"
        question = NOT_PROBED if health.standing is Standing.UNPROBED else ASKED_AGAIN
        reason = health.reason or (question if asked else None)
        return NodeStatus(
            key=self.key,
            host=self.node.host,
            port=self.node.port,
            state=state,
            slots=health.learned_slots,
            checked_out=len(self.attempts),
            done=health.done,
            failed=health.failed,
            compiler=health.compiler,
            reason=reason and reason.removeprefix(f"{self.key}: "),  # with which an attempt's begins
            retry_at=health.retry_at,
            mean_seconds=health.mean_seconds,
            languages=tuple(sorted(health.languages)),
        )


class Roster:
    """The nodes in the order of the host list, those that drain behind them."""

    def __init__(self) -> None:
        self._nodes: dict[str, NodeState] = {}

    def __iter__(self) -> Iterator[NodeState]:
        return iter(self._nodes.values())

    def __len__(self) -> int:
        return len(self._nodes)

    def __getitem__(self, key: str) -> NodeState:
        """Raises KeyError for a node that was never named."""
        return self._nodes[key]

    @property
    def usable_slots(self) -> int:
        return sum(node.health.usable for node in self)

    @property
    def free_slots(self) -> int:
        return sum([max(0, node.free_slots) for node in self._nodes.values()])

    def join(self, nodes: Iterable[Node]) -> None:
        """Make the host list `nodes`: new ones are to be probed, those that are not named any more drain."""
        named: dict[str, NodeState] = {}
        for node in nodes:
            known = self._nodes.get(node.key)
            if known is None:
                known = NodeState(node.key, node, Health(node.slots))
            known.node = node
            known.health.slots = node.slots
            if known.health.standing is Standing.DRAINING:
                known.health.standing = Standing.UNPROBED
            named[node.key] = known
        for key, known in self._nodes.items():
            if key not in named and known.health.standing is not Standing.QUARANTINED:
                known.health.drain()
        self._nodes = named | {key: known for key, known in self._nodes.items() if key not in named}

    def guess_speeds(self) -> None:
        """Until its units tell, a node's speed is guessed from how long it took to answer its probe."""
        known = [node.health.probe_seconds for node in self if node.health.probe_seconds]
        for node in self:
            if node.health.probe_seconds:
                node.health.guess_speed(min(known) / node.health.probe_seconds)

    def can_take(self, language: str, *, without: Collection[str] = ()) -> bool:
        """Whether a node that is not among `without` may compile the language, now or after a probe."""
        return any(key not in without and node.may_compile(language) for key, node in self._nodes.items())

    def pick(self, unit: UnitState) -> NodeState | None:
        """The free node that should finish the unit first, avoiding those where it failed while others exist."""
        best: NodeState | None = None
        best_rank: tuple[bool, float, float] | None = None
        has_it = {attempt.node for attempt in unit.attempts.values()}
        language = unit.submit.language
        for key, node in self._nodes.items():
            if key in has_it or key in unit.unfit or node.free_slots <= 0 or language not in node.health.languages:
                continue
            load = len(node.attempts) / max(1, node.health.usable)
            rank = (key in unit.avoid, -round(node.health.speed, 1), load)
            if best_rank is None or rank < best_rank:
                best, best_rank = node, rank
        if best is not None and best.key in unit.avoid and self.can_take(language, without=unit.avoid | unit.unfit):
            return None
        return best
