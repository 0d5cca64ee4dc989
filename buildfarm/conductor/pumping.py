"""Whether, how and where units are preprocessed by nodes: brings recipe, proofs and costs together for one build.

It compiles nothing.  `making` asks it for a unit's job and tells it what came of it.

*Theory of operation.*  To prove its headers takes a node a moment, in which it would be idle, or units be preprocessed
here for it.  So units leave for it in the *hope* that it will: it compiles meanwhile, and its answers are kept until it
has proved what they rely on.  If it can't, they are thrown away, with what it said of them, and these units travel
preprocessed.  That costs a node's time, so no more than `HOPED_PER_SLOT` units for each slot hope at once.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from buildfarm.conductor.farm import Farm
from buildfarm.conductor.membership import Membership
from buildfarm.conductor.thrift import Thrift
from buildfarm.dispatch.alike import Alike, Thing
from buildfarm.dispatch.faults import NodeFault
from buildfarm.dispatch.prepared import Prepared
from buildfarm.dispatch.recipe_pump import Pump, Unclear
from buildfarm.model import Invocation, Job, Language, Node, Unit
from buildfarm.value import dataclass

LANGUAGES = (Language.C, Language.CXX)
HOPED_PER_SLOT = 4
QUESTIONS = 3  # rounds of them, until a hope is given up


@dataclass(slots=True)
class Hope:
    """An attempt that has left before its node had proved what its job relies on."""

    node: Node
    standing: object
    once_proved: Callable[[], None] | None = None


class Pumping:
    """What one build knows of its headers and of its nodes'."""

    def __init__(self, farm: Farm, membership: Membership, tasks: asyncio.TaskGroup, *, enabled: bool) -> None:
        self._farm = farm
        self._membership = membership
        self._tasks = tasks
        self._enabled = enabled
        self._pump = Pump()
        self._alike = Alike()
        self._proofs: dict[str, asyncio.Task[None]] = {}  # by node
        self._hoping = 0  # units
        self.thrift = Thrift(len(os.sched_getaffinity(0)))

    def may_carry(self, unit: Unit) -> bool:
        """Whether it is worth asking for a job of this unit."""
        return self._enabled and unit.language in LANGUAGES

    @property
    def proving(self) -> int:
        """How many nodes are at it to prove their headers."""
        return len(self._proofs)

    async def prepare(
        self, unit: Unit, invocation: Invocation, tool_path: str, workdir: Path, *, needed: bool = False
    ) -> Prepared | None:
        """The unit as it is, to be preprocessed on a node; None: it is preprocessed here.  Raises OSError.

        With `needed` it would else be compiled here, and no cost is too high.
        """
        try:
            prepared = await self._pump.prepare(
                unit, invocation, tool_path, node_tool=os.path.basename(tool_path), workdir=workdir
            )
        except Unclear:
            return None
        if not self._most_nodes_can(unit, tool_path, prepared) and not needed:
            return None
        if needed:
            return prepared
        files = prepared.job.files
        size = sum(len(file.wire or b"") for file in files)
        pays = self.thrift.pump_pays(str(unit.language), size, len(files), self._farm.slots)
        return prepared if pays else None

    def job(self, node: Node, prepared: Prepared) -> tuple[Job, Hope | None]:
        """What this node is sent, and whether that is in hope."""
        if prepared.in_full is None or self._alike.holds(node.key, prepared.relies_on):
            return prepared.job, None
        if not self._alike.may_hold(node.key, prepared.relies_on):
            return prepared.in_full(), None
        return prepared.job, Hope(node, self._alike.standing(node.key))

    @contextmanager
    def underway(self, prepared: Prepared) -> Iterator[None]:
        """Inside, the unit counts among those that hope, if it may have to."""
        hopes = prepared.in_full is not None and not self._proved_by_all(prepared)
        self._hoping += hopes
        try:
            yield
        finally:
            self._hoping -= hopes

    async def fulfilled(self, hope: Hope, unit: Unit, tool_path: str, prepared: Prepared) -> bool:
        """Whether the node has what the attempt relied on; waits while it is being asked."""
        key, things = hope.node.key, prepared.relies_on
        for _ in range(QUESTIONS):
            if hope.standing is not self._alike.standing(key) or not self._alike.may_hold(key, things):
                return False
            if self._alike.holds(key, things):
                return True
            self._ask(hope.node, unit.language, tool_path, things)
            proof = self._proofs.get(key)
            if proof is not None:
                await asyncio.wait((proof,))
        return False

    def unclear(self, node: Node, prepared: Prepared) -> None:
        """Its answer told of files that are not here."""
        if prepared.in_full is not None:
            self._alike.doubt(node.key)

    def forget(self, node: Node) -> None:
        """It is asked anew who it is."""
        self._alike.forget(node.key)

    async def close(self) -> None:
        """Ask no more."""
        proofs = tuple(self._proofs.values())
        for proof in proofs:
            proof.cancel()
        await asyncio.gather(*proofs, return_exceptions=True)

    def _most_nodes_can(self, unit: Unit, tool_path: str, prepared: Prepared) -> bool:
        """Whether most slots are of nodes that have what the job relies on, or may have it; those are asked."""
        if not prepared.relies_on:
            return True
        can = cannot = 0
        may_hope = self._hoping < HOPED_PER_SLOT * self._farm.slots
        for node, slots in self._farm.compiling(str(unit.language)):
            if self._alike.holds(node.key, prepared.relies_on):
                can += slots
                continue
            self._ask(node, unit.language, tool_path, prepared.relies_on)
            if may_hope and self._alike.may_hold(node.key, prepared.relies_on):
                can += slots
            else:
                cannot += slots
        return can > cannot

    def _proved_by_all(self, prepared: Prepared) -> bool:
        return all(self._alike.holds(node.key, prepared.relies_on) for node in self._membership.nodes)

    def _ask(self, node: Node, language: Language, tool_path: str, things: frozenset[Thing]) -> None:
        """Have the node asked for what is not known of it."""
        if self._alike.want(node.key, things) and node.key not in self._proofs:
            self._proofs[node.key] = self._tasks.create_task(self._prove(node, language, tool_path))

    async def _prove(self, node: Node, language: Language, tool_path: str) -> None:
        try:
            name, unfit = await self._membership.tool_name(node, language, tool_path)
            if unfit is not None:
                self._alike.doubt(node.key)
            else:
                await self._alike.prove(node, name)
        except (NodeFault, OSError):
            pass  # it will be asked again with the next unit
        finally:
            del self._proofs[node.key]
