"""Asks every node of a host list, at once, who it is and whether it makes this machine's bytes.

`nodes` and `doctor` use it; a running build probes by itself (`membership`).  It changes nothing and remembers
nothing.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from buildfarm.dispatch.canary import Canaries, hatch
from buildfarm.dispatch.faults import NodeFault
from buildfarm.dispatch.probe import probe
from buildfarm.errors import MachineError
from buildfarm.model import Language, Node

COMPILERS = {Language.C: "gcc", Language.CXX: "g++", Language.FORTRAN: "gfortran"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one node answered.  `fault` says why it is of no use; None: it compiles something."""

    node: Node
    compiler: str | None = None  # `gcc 12.2.0 x86_64-linux-gnu`
    languages: tuple[str, ...] = ()
    differences: Mapping[str, str] | None = None  # for each language that it does not compile, why
    round_trip_seconds: float | None = None
    fault: str | None = None
    reached: bool = True  # False: the fault is that there was no sensible answer

    @property
    def state(self) -> str:
        """In the status document's words."""
        if self.fault is None:
            return "up"
        return "quarantined" if self.reached else "down"


def local_compilers(environment: Mapping[str, str]) -> dict[Language, str]:
    """The absolute paths of this machine's compilers."""
    found = {language: shutil.which(name, path=environment.get("PATH")) for language, name in COMPILERS.items()}
    return {language: path for language, path in found.items() if path is not None}


def survey(nodes: Sequence[Node], environment: Mapping[str, str]) -> tuple[Finding, ...]:
    """Probe all `nodes`, in their order.  Raises MachineError when this machine has no working C compiler."""
    compilers = local_compilers(environment)
    if Language.C not in compilers:
        raise MachineError("no gcc on PATH: there is nothing to compare the nodes with", hint="apt install gcc")
    return asyncio.run(_survey(nodes, compilers, environment))


async def _survey(
    nodes: Sequence[Node], compilers: Mapping[Language, str], environment: Mapping[str, str]
) -> tuple[Finding, ...]:
    canaries = await hatch(compilers, environment)
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(_ask(node, canaries)) for node in nodes]
    return tuple(task.result() for task in asked)


async def _ask(node: Node, canaries: Canaries) -> Finding:
    try:
        identity = await probe(node, canaries)
    except NodeFault as fault:
        return Finding(node, fault=fault.reason, reached=False)
    return Finding(
        node,
        compiler=identity.compiler,
        languages=tuple(sorted(str(language) for language in identity.languages)),
        differences={str(language): why for language, why in identity.differences.items()},
        round_trip_seconds=identity.round_trip_seconds,
        fault=identity.mismatch,
    )
