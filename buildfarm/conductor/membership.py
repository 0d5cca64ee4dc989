"""Which nodes the build has: host lists, announcements, distcc's variables.

It schedules nothing; the farm asks it.  What it reads may change while the build runs: `reload` reads it again.  How
a node proves itself is `probing`'s.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from buildfarm import config as configuration
from buildfarm.conductor.toolbox import Toolbox
from buildfarm.dispatch import discovery, sources
from buildfarm.dispatch.discovery import Announced, Browser
from buildfarm.dispatch.sources import Hosts
from buildfarm.errors import BuildfarmError, ConfigError
from buildfarm.model import Language, Node
from buildfarm.request import RunRequest

if TYPE_CHECKING:
    from buildfarm.conductor.probing import Prober
    from buildfarm.dispatch.events import Probed
    from buildfarm.dispatch.scheduler import Policy


class Membership:
    """The host list of one build."""

    def __init__(self, request: RunRequest, toolbox: Toolbox, cache: Path) -> None:
        """`cache`: the user's cache directory for buildfarm.  Raises ConfigError."""
        self._request = request
        self._toolbox = toolbox
        self._cache = cache
        self._prober: Prober | None = None
        self._prober_is_made = threading.Lock()
        self._browser: Browser | None = None
        self._announced: tuple[Announced, ...] = ()
        self._accepted: frozenset[str] = frozenset()
        self._hosts = self._read(request.hosts_config, request.config)
        self._backoff = _seconds(request.environment, "DISTCC_BACKOFF_PERIOD")
        self._io_timeout = _seconds(request.environment, "DISTCC_IO_TIMEOUT")

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
            import random

            random.shuffle(nodes)
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
        import asyncio

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

    @property
    def falls_back(self) -> bool:
        """This machine compiles what no node takes (`--fallback`)."""
        return self._request.fallback == "local"

    def policy(self, cores: int) -> Policy:
        """What the user set, here or in distcc's own variables (distcc(1), ENVIRONMENT VARIABLES).

        `cores`: how many this machine has.
        """
        from buildfarm.dispatch.scheduler import BACKOFF_SECONDS, Policy

        return Policy(
            fallback_local=self.falls_back,
            local_slots=self.local_slots,
            backoff=BACKOFF_SECONDS if self._backoff is None else self._backoff,
            io_timeout=self._io_timeout,
            cores=cores,
        )

    @property
    def skip_local_retry(self) -> bool:
        """`DISTCC_SKIP_LOCAL_RETRY`: a node's word that a unit does not compile is the last."""
        return self._request.environment.get("DISTCC_SKIP_LOCAL_RETRY", "0") not in ("", "0")

    # -- who a node is ----------------------------------------------------------------------------------------

    async def probe(self, node: Node) -> Probed:
        """Ask the node who it is, and have it repeat what this machine's compilers make."""
        return await self.prober.probe(node)

    async def tool_name(self, node: Node, language: Language, tool_path: str) -> tuple[str, str | None]:
        """The name by which the node knows the compiler, and why it can't have the unit, if it can't; see `Prober`."""
        return await self.prober.tool_name(node, language, tool_path)

    @property
    def prober(self) -> Prober:
        """Who asks the nodes; made when somebody is to be asked, for it takes long to import.  For any thread."""
        with self._prober_is_made:
            if self._prober is None:
                from buildfarm.conductor.probing import Prober

                self._prober = Prober(self._request, self._toolbox, self._cache / "canaries")
            return self._prober


def read_again(membership: Membership) -> tuple[bool, str | None]:
    """`reload`, and instead of an error the words to say once."""
    try:
        return membership.reload(), None
    except ConfigError as error:
        return False, f"{error.message}; the nodes stay as they were"
    except BuildfarmError as error:
        return False, error.message


def _seconds(environment: Mapping[str, str], name: str) -> float | None:
    text = environment.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value < 0:
        raise ConfigError(f"${name}: {text!r}: expected a number of seconds", hint=f"unset {name}, or set it to 60")
    return value
