"""Which nodes the build has and how each proves itself: host lists, distcc's environment variables, probes.

It schedules nothing; the farm asks it.
"""

from __future__ import annotations

import asyncio
import random

from buildfarm.conductor.farm import ProbeReport
from buildfarm.conductor.toolbox import Toolbox
from buildfarm.dispatch import sources
from buildfarm.dispatch.canary import Canaries, hatch
from buildfarm.dispatch.faults import NodeFault
from buildfarm.dispatch.probe import NodeIdentity
from buildfarm.dispatch.probe import probe as ask
from buildfarm.dispatch.scheduler import Policy
from buildfarm.errors import ConfigError, MachineError
from buildfarm.model import Language, Node
from buildfarm.request import RunRequest

GRACE_SECONDS = 0.05
"""A build with nothing to do is over by then; it asks no node and compiles no canary."""


class Membership:
    """The host list of one build."""

    def __init__(self, request: RunRequest, toolbox: Toolbox) -> None:
        self._request = request
        self._toolbox = toolbox
        self._canaries: asyncio.Task[Canaries] | None = None
        self._identities: dict[str, NodeIdentity] = {}
        self._hosts = sources.read(
            sources.find(
                request.environment,
                option=request.hosts_option,
                config_text=request.hosts_config,
                config_path=request.config,
            )
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should hear of the list, once."""
        if not self._hosts.nodes:
            none = "no nodes: building on this machine alone; name some with --hosts or in buildfarm.toml"
            return (*self._hosts.notes, none)
        return self._hosts.notes

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes in the list's order, or shuffled if the list says `--randomize`."""
        nodes = list(self._hosts.nodes)
        if self._hosts.listed.randomize:
            random.shuffle(nodes)
        return tuple(nodes)

    @property
    def preparations(self) -> int | None:
        """Preprocessors at once on this machine, where the list says (`--localslots_cpp`)."""
        return self._hosts.listed.local_cpp_slots

    def policy(self) -> Policy:
        """What the user set, here or in distcc's own variables (distcc(1), ENVIRONMENT VARIABLES)."""
        environment = self._request.environment
        fallback = self._request.fallback == "local" and environment.get("DISTCC_FALLBACK", "1") != "0"
        policy = Policy(fallback_local=fallback, local_slots=self._hosts.listed.local_slots or 0)
        backoff = _seconds(environment.get("DISTCC_BACKOFF_PERIOD"), "DISTCC_BACKOFF_PERIOD")
        timeout = _seconds(environment.get("DISTCC_IO_TIMEOUT"), "DISTCC_IO_TIMEOUT")
        return Policy(
            fallback_local=policy.fallback_local,
            local_slots=policy.local_slots,
            backoff=policy.backoff if backoff is None else backoff,
            io_timeout=timeout,
        )

    async def probe(self, node: Node) -> ProbeReport:
        """Ask the node who it is, and have it repeat what this machine's compilers make."""
        if self._canaries is None:
            await asyncio.sleep(GRACE_SECONDS)
        if self._canaries is None:
            environment = self._toolbox.clean(self._request.environment)
            compilers = self._toolbox.compilers(environment)
            if Language.C not in compilers:
                return ProbeReport(error="no gcc here to compare this node with", quarantine=True)
            self._canaries = asyncio.create_task(hatch(compilers, environment))
        try:
            canaries = await asyncio.shield(self._canaries)
            identity = await ask(node, canaries)
        except MachineError as error:
            return ProbeReport(error=error.message, quarantine=True)
        except NodeFault as fault:
            return ProbeReport(error=fault.reason)
        self._identities[node.key] = identity
        if identity.mismatch is not None:
            return ProbeReport(compiler=identity.compiler, error=identity.mismatch, quarantine=True)
        return ProbeReport(
            languages=frozenset(str(language) for language in identity.languages), compiler=identity.compiler
        )

    def tool_name(self, node: Node, language: Language, name: str) -> str:
        """The name by which the node knows the compiler `name`: for Fortran the one that its probe found."""
        identity = self._identities.get(node.key)
        if language is Language.FORTRAN and identity is not None:
            return identity.argv0.get(language, name)
        return name


def _seconds(text: str | None, name: str) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value < 0:
        raise ConfigError(f"${name}: {text!r}: expected a number of seconds", hint=f"unset {name}, or set it to 60")
    return value
