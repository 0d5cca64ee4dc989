"""Which nodes the build has and how each proves itself: host lists, announcements, distcc's variables, probes.

It schedules nothing; the farm asks it.  What it reads may change while the build runs: `reload` reads it again.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from pathlib import Path

from buildfarm import config as configuration
from buildfarm.conductor.farm import ProbeReport
from buildfarm.conductor.toolbox import Toolbox
from buildfarm.dispatch import discovery, local, sources
from buildfarm.dispatch.canary import Canaries, hatch
from buildfarm.dispatch.discovery import Announced, Browser
from buildfarm.dispatch.faults import NodeFault, NodeForbidden, NodeRefused
from buildfarm.dispatch.probe import NodeIdentity
from buildfarm.dispatch.probe import ask as ask_tool
from buildfarm.dispatch.probe import probe as ask
from buildfarm.dispatch.scheduler import BACKOFF_SECONDS, Policy
from buildfarm.dispatch.sources import Hosts
from buildfarm.errors import BuildfarmError, ConfigError, MachineError
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
        self._tools: dict[tuple[str, str], asyncio.Task[str | None]] = {}  # (node, tool) -> why it can't be used there
        self._plain: dict[str, bool] = {}  # by absolute path
        self._browser: Browser | None = None
        self._announced: tuple[Announced, ...] = ()
        self._accepted: frozenset[str] = frozenset()
        self._hosts = self._read(request.hosts_config, request.config)
        self._order = random.Random()

    # -- the list ---------------------------------------------------------------------------------------------

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should hear of the list, once."""
        notes = list(self._hosts.notes)
        notes += [
            f"{found.name} announces itself at {found.node().key}; "
            f"`buildfarm nodes accept {found.address}` lets it work"
            for found in self._announced
            if found.node().key not in self._accepted
        ]
        if not self.nodes and not self._hosts.listed.zeroconf:
            notes.append("no nodes: building on this machine alone; name some with --hosts or in buildfarm.toml")
        return tuple(notes)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes in the list's order, or shuffled if it says `--randomize`; then accepted ones that announce."""
        nodes = list(self._hosts.nodes)
        if self._hosts.listed.randomize:
            self._order.shuffle(nodes)
        listed = {node.key for node in nodes}
        for found in self._announced:
            node = found.node(public=self._request.allow_public)
            if node.key in self._accepted and node.key not in listed:
                nodes.append(node)
        return tuple(nodes)

    @property
    def local_slots(self) -> int:
        return self._hosts.listed.local_slots or 0

    @property
    def preparations(self) -> int | None:
        """Preprocessors at once on this machine, where the list says (`--localslots_cpp`)."""
        return self._hosts.listed.local_cpp_slots

    @property
    def files(self) -> tuple[Path, ...]:
        """The files whose change may change the list."""
        request = self._request
        if request.hosts_option is not None:
            return (discovery.accepted_file(request.environment),) if self._hosts.listed.zeroconf else ()
        named = request.named or request.directory
        configs = [request.config_chosen] if request.config_chosen else [named / configuration.NAME, request.config]
        user = configuration.find_user_file(request.environment)
        found = [*sources.files(request.environment), *configs, user]
        if self._hosts.listed.zeroconf:
            found.append(discovery.accepted_file(request.environment))
        return tuple(path for path in found if path is not None)

    def reload(self) -> bool:
        """Read everything again; whether the list has become another.  Raises ConfigError: the old list stays."""
        request = self._request
        before = (self.nodes, self.local_slots)
        environment = sources.surroundings(request.environment)
        found = configuration.load(request.named or request.directory, environment, request.config_chosen)
        self._hosts = self._read(found.hosts, found.hosts_file or found.project_file)
        self._listen()
        return (self.nodes, self.local_slots) != before

    def listen(self, changed: Callable[[], None]) -> None:
        """Listen for announcements if the list says `+zeroconf`, now or later; `changed` comes in the loop's thread."""
        loop = asyncio.get_running_loop()

        def take() -> None:
            if self._browser is not None:
                self._announced = self._browser.found
                changed()

        self._tell_announcement = lambda: loop.call_soon_threadsafe(take)
        self._listen()

    _tell_announcement: Callable[[], object] | None = None

    def close(self) -> None:
        """Stop listening."""
        if self._browser is not None:
            self._browser.close()
            self._browser = None

    def _listen(self) -> None:
        wanted = self._hosts.listed.zeroconf
        if not wanted:
            self.close()
            self._announced = ()
        elif self._browser is None and (tell := self._tell_announcement) is not None:
            self._browser = Browser(lambda: (tell(), None)[1])

    def _read(self, config_text: str | None, config_path: Path | None) -> Hosts:
        request = self._request
        environment = sources.surroundings(request.environment)
        found = sources.find(environment, option=request.hosts_option, config_text=config_text, config_path=config_path)
        hosts = sources.read(found, environment, allow_public=request.allow_public)
        if hosts.listed.zeroconf:
            self._accepted = discovery.accepted(request.environment)
        return hosts

    def policy(self) -> Policy:
        """What the user set, here or in distcc's own variables (distcc(1), ENVIRONMENT VARIABLES)."""
        environment = self._request.environment
        backoff = _seconds(environment.get("DISTCC_BACKOFF_PERIOD"), "DISTCC_BACKOFF_PERIOD")
        return Policy(
            fallback_local=self._request.fallback == "local",
            local_slots=self.local_slots,
            backoff=BACKOFF_SECONDS if backoff is None else backoff,
            io_timeout=_seconds(environment.get("DISTCC_IO_TIMEOUT"), "DISTCC_IO_TIMEOUT"),
        )

    @property
    def skip_local_retry(self) -> bool:
        """`DISTCC_SKIP_LOCAL_RETRY`: a node's word that a unit does not compile is the last."""
        return self._request.environment.get("DISTCC_SKIP_LOCAL_RETRY", "0") not in ("", "0")

    # -- who a node is ----------------------------------------------------------------------------------------

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
            return ProbeReport(error=fault.reason, quarantine=isinstance(fault, NodeForbidden))
        self._identities[node.key] = identity
        if identity.mismatch is not None:
            return ProbeReport(compiler=identity.compiler, error=identity.mismatch, quarantine=True)
        return ProbeReport(
            languages=frozenset(str(language) for language in identity.languages),
            compiler=identity.compiler,
            remark=identity.lacks,
            seconds=identity.round_trip_seconds,
        )

    async def tool_name(self, node: Node, language: Language, tool_path: str) -> tuple[str, str | None]:
        """The name by which the node knows the compiler `tool_path`, and why it can't have the unit, if it can't.

        The compilers that the canaries stand for go by the names that the probe has proved, cross names included.  Any
        other (`clang`, `gcc-11`, a cross compiler of the user's) is asked there once who it is.  Raises NodeFault.
        """
        name = os.path.basename(tool_path)
        identity = self._identities.get(node.key)
        if identity is None:
            return name, None
        if self._is_plain(tool_path) and (proved := identity.argv0.get(language)):
            return proved, None
        key = (node.key, tool_path)
        if key not in self._tools:
            self._tools[key] = asyncio.create_task(self._compare(node, name, tool_path))
        try:
            return name, await asyncio.shield(self._tools[key])
        except NodeRefused as refused:
            return name, f"{node.key} runs no {name}: {refused.reason}"
        except NodeFault:
            self._tools.pop(key, None)
            raise

    def _is_plain(self, tool_path: str) -> bool:
        """Whether this is one of the compilers whose canaries the nodes repeat: `cc` and `gcc-12` usually are gcc."""
        if not self._plain:
            compilers = self._toolbox.compilers(self._toolbox.clean(self._request.environment))
            self._plain = {os.path.realpath(path): True for path in compilers.values()}
        if tool_path not in self._plain:
            self._plain[tool_path] = os.path.realpath(tool_path) in self._plain
        return self._plain[tool_path]

    async def _compare(self, node: Node, name: str, tool_path: str) -> str | None:
        """Why the node's `name` is not this machine's `tool_path`; None: it is.  Raises NodeFault."""
        environment = {**self._toolbox.clean(self._request.environment), "LC_ALL": "C"}
        for question in ("-dumpmachine", "--version"):
            told = await local.run([tool_path, question], cwd="/", env=environment)
            here = (told.stdout.decode(errors="replace").splitlines() or [""])[0].strip()
            there = await ask_tool(node, name, question)
            if there != here:
                return f"the {name} of {node.key} says {there or 'nothing'} to {question}, here it is {here}"
        return None


def read_again(membership: Membership) -> tuple[bool, str | None]:
    """`reload`, and instead of an error the words to say once."""
    try:
        return membership.reload(), None
    except ConfigError as error:
        return False, f"{error.message}; the nodes stay as they were"
    except BuildfarmError as error:
        return False, error.message


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
