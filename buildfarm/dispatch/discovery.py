"""Finds distccd machines that announce themselves by mDNS, and remembers which of them the user has accepted.

It decides nothing: an announcement is a stranger's word, and a node is used only when `accept` has named its address.

Facts: distccd built with Avahi announces `_distcc._tcp` (`src/zeroconf-reg.c`) with the TXT records `cpus`, `jobs`,
`cc_version`, `cc_machine`.  Acceptance is of an address and port, in the user's own configuration directory, one
line each in the host list's syntax; who takes over the address is still probed and verified like any node.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from buildfarm.dispatch.hosts import MOST_SLOTS, parse
from buildfarm.errors import ConfigError, MachineError
from buildfarm.home import own_directory
from buildfarm.model import Node
from buildfarm.value import dataclass

if TYPE_CHECKING:
    from zeroconf import ServiceListener, Zeroconf

SERVICE = "_distcc._tcp.local."
RESOLVE_MILLISECONDS = 3000
ACCEPTED = "accepted-nodes"
_HEAD = "# Nodes found by mDNS that builds may use; `buildfarm nodes accept` writes here, one HOST:PORT a line.\n"


@dataclass(frozen=True, slots=True)
class Announced:
    """A machine that says it runs distccd."""

    name: str  # of the service instance, `distcc@pi3`
    address: str  # numeric
    port: int
    cpus: int = 0
    jobs: int = 0
    compiler: str = ""  # as announced: `12.2.0 aarch64-linux-gnu`

    def node(self, *, public: bool = False) -> Node:
        """As a node with as many slots as it announces (distccd's own default is cpus + 2)."""
        slots = self.jobs or self.cpus + 2 if self.cpus else self.jobs or 4
        return Node(self.address, self.port, min(max(slots, 1), MOST_SLOTS), lzo=True, public=public)


def accepted_file(environment: Mapping[str, str]) -> Path:
    """Where acceptances are kept: beside the user's own buildfarm.toml."""
    return own_directory("config", environment) / ACCEPTED


def accepted(environment: Mapping[str, str]) -> frozenset[str]:
    """The keys of the accepted nodes.  Raises ConfigError."""
    path = accepted_file(environment)
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from error
    return frozenset(node.key for node in parse(text, str(path)).nodes)


def accept(environment: Mapping[str, str], nodes: list[Node]) -> None:
    """Remember that these may be used.  Raises ConfigError, MachineError."""
    path = accepted_file(environment)
    keys = accepted(environment) | {node.key for node in nodes}
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(_HEAD + "".join(f"{key}\n" for key in sorted(keys)), encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise MachineError(f"{path}: can't be written: {error.strerror}") from error


class Browser:
    """Listens for announcements, in a thread of zeroconf's, until closed.

    `changed` is called from that thread whenever the list has become another.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        """Raises MachineError when this machine has no network to listen on."""
        from zeroconf import ServiceBrowser, Zeroconf

        self._changed = changed
        self._found: dict[str, Announced] = {}
        try:
            self._zeroconf = Zeroconf()
        except OSError as error:
            raise MachineError(f"mDNS can't be listened for: {error.strerror or error}") from error
        self._browser = ServiceBrowser(self._zeroconf, SERVICE, listener=self._listener())

    @property
    def found(self) -> tuple[Announced, ...]:
        """Who announces itself now, by name."""
        return tuple(self._found[name] for name in sorted(self._found))

    def close(self) -> None:
        self._browser.cancel()
        self._zeroconf.close()

    def _listener(self) -> ServiceListener:
        from zeroconf import ServiceListener

        outer = self

        class Listener(ServiceListener):
            def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
                outer._resolve(zc, name)

            def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
                outer._resolve(zc, name)

            def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
                if outer._found.pop(name, None) is not None:
                    outer._changed()

        return Listener()

    def _resolve(self, zc: Zeroconf, name: str) -> None:
        info = zc.get_service_info(SERVICE, name, timeout=RESOLVE_MILLISECONDS)
        if info is None or not info.port:
            return
        addresses = info.parsed_scoped_addresses()
        if not addresses:
            return
        texts = {
            key.decode(errors="replace"): (value or b"").decode(errors="replace")
            for key, value in info.properties.items()
        }
        compiler = " ".join(filter(None, (texts.get("cc_version", ""), texts.get("cc_machine", ""))))
        found = Announced(
            name="".join(c for c in name.removesuffix("." + SERVICE) if c.isprintable())[:100],
            address=sorted(addresses, key=lambda address: ":" in address)[0],
            port=info.port,
            cpus=_number(texts.get("cpus")),
            jobs=_number(texts.get("jobs")),
            compiler="".join(c for c in compiler if c.isprintable())[:100],
        )
        if self._found.get(name) != found:
            self._found[name] = found
            self._changed()


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 6 else 0
