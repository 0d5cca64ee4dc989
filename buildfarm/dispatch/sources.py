"""Finds the host list that is in force, and says which of its nodes this version can reach.

It reads at most one hosts file; the configuration and the command line come in as text.  It looks up no name and
opens no connection.

The first that is set wins, an empty value included (then there are no nodes): `--hosts`, `$BUILDFARM_HOSTS`,
`[nodes] hosts` of `buildfarm.toml`, `$DISTCC_HOSTS`, `$DISTCC_DIR/hosts` or else `~/.distcc/hosts`,
`/etc/distcc/hosts`.  The last three are distcc's own, in its order (`src/hosts.c: dcc_get_hostlist`), save that a
file that is there and can't be read is an error here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from buildfarm.dispatch.hosts import HostList, parse
from buildfarm.errors import ConfigError
from buildfarm.model import Node

SYSTEM_HOSTS = Path("/etc/distcc/hosts")


@dataclass(frozen=True, slots=True)
class HostText:
    """A host list as somebody wrote it.  `name` is its place for messages; `path` the file that holds it, if any."""

    name: str
    text: str
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Hosts:
    """A host list that was read.  `nodes` can be reached by this version; `notes` says what can't, and why."""

    nodes: tuple[Node, ...] = ()
    listed: HostList = field(default_factory=HostList)  # as written, ssh nodes and slots included
    source: HostText | None = None  # None: nobody named any nodes
    notes: tuple[str, ...] = ()


def find(
    environment: Mapping[str, str],
    *,
    option: str | None = None,
    config_text: str | None = None,
    config_path: Path | None = None,
    system_hosts: Path = SYSTEM_HOSTS,
) -> HostText | None:
    """The list in force, unparsed; None when nobody named one.

    `option` is the value of --hosts, `config_text` that of `[nodes] hosts` in the file `config_path`.  Raises
    ConfigError when a hosts file can't be read.
    """
    if option is not None:
        return HostText("--hosts", option)
    if (text := environment.get("BUILDFARM_HOSTS")) is not None:
        return HostText("$BUILDFARM_HOSTS", text)
    if config_text is not None:
        return HostText(f"{config_path or 'buildfarm.toml'}: [nodes] hosts", config_text, config_path)
    if (text := environment.get("DISTCC_HOSTS")) is not None:
        return HostText("$DISTCC_HOSTS", text)
    for path in _files(environment, system_hosts):
        if (text := _read(path)) is not None:
            return HostText(str(path), text, path)
    return None


def read(found: HostText | None) -> Hosts:
    """Parse what `find` found.  Raises ConfigError."""
    if found is None:
        return Hosts()
    hosts = parse(found.text, found.name)
    notes = [
        f"{found.name}: {node.key} is left out: nodes reached by ssh are not supported yet; "
        "name one that runs distccd as a TCP daemon"
        for node in hosts.nodes
        if node.ssh
    ]
    if hosts.zeroconf:
        notes.append(
            f"{found.name}: +zeroconf is left out: finding nodes by mDNS is not supported yet; name them one by one"
        )
    return Hosts(tuple(node for node in hosts.nodes if not node.ssh), hosts, found, tuple(notes))


def _files(environment: Mapping[str, str], system_hosts: Path) -> list[Path]:
    own = environment.get("DISTCC_DIR")
    if own is None and (home := environment.get("HOME")):
        own = f"{home}/.distcc"
    return [*([Path(own) / "hosts"] if own else []), system_hosts]


def _read(path: Path) -> str | None:
    """The file's text; None when it is not there.  Bytes that are not UTF-8 come through for the parser to refuse."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(
            f"{path}: can't read this hosts file: {error.strerror}",
            hint=f"make it readable, or name the nodes with --hosts; `--hosts ''` ignores {path}",
        ) from error
