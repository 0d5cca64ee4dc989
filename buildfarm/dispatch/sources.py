"""Finds the host list that is in force.

It reads at most one hosts file and one environment file; the configuration and the command line come in as text.  It
looks up no name and opens no connection.

The first that is set wins, an empty value included (then there are no nodes): `--hosts`, `$BUILDFARM_HOSTS`,
`[nodes] hosts` of `buildfarm.toml`, `$DISTCC_HOSTS`, `$DISTCC_DIR/hosts` or else `~/.distcc/hosts`,
`/etc/distcc/hosts`.  The last three are distcc's own, in its order (`src/hosts.c: dcc_get_hostlist`), save that a
file that is there and can't be read is an error here.

`$BUILDFARM_ENVIRONMENT_FILE` names a file of `NAME=VALUE` lines; its `BUILDFARM_*` and `DISTCC_*` variables stand over
those of the process, and it is read again when it changes, which a process's own environment can't be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path

from buildfarm.dispatch import ssh
from buildfarm.dispatch.hosts import HostList, parse
from buildfarm.errors import ConfigError
from buildfarm.model import Node
from buildfarm.value import dataclass

SYSTEM_HOSTS = Path("/etc/distcc/hosts")
ENVIRONMENT_FILE = "BUILDFARM_ENVIRONMENT_FILE"
_OURS = ("BUILDFARM_", "DISTCC_")


@dataclass(frozen=True, slots=True)
class HostText:
    """A host list as somebody wrote it.  `name` is its place for messages; `path` the file that holds it, if any."""

    name: str
    text: str
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Hosts:
    """A host list that was read."""

    nodes: tuple[Node, ...] = ()
    listed: HostList = field(default_factory=HostList)
    source: HostText | None = None  # None: nobody named any nodes
    notes: tuple[str, ...] = ()  # what the user should hear of it


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


def read(found: HostText | None, environment: Mapping[str, str] | None = None, *, allow_public: bool = False) -> Hosts:
    """Parse what `find` found; `DISTCC_SSH` of `environment` is how ssh nodes are reached.  Raises ConfigError."""
    if found is None:
        return Hosts()
    hosts = parse(found.text, found.name)
    via = ssh.program(environment or {})
    nodes = tuple(replace(node, via=via if node.ssh else (), public=allow_public) for node in hosts.nodes)
    return Hosts(nodes, hosts, found, hosts.notes)


def surroundings(environment: Mapping[str, str]) -> Mapping[str, str]:
    """`environment` with what its environment file says over it.  Raises ConfigError."""
    name = environment.get(ENVIRONMENT_FILE)
    if not name:
        return environment
    text = _read(Path(name))
    if text is None:
        return environment
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip().removeprefix("export ").strip()
        if not line or line.startswith("#"):
            continue
        key, sign, value = line.partition("=")
        if not sign or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            raise ConfigError(f"{name}, line {number}: {line!r}: expected NAME=VALUE")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        if key.startswith(_OURS):
            found[key] = value
    return {**environment, **found}


def files(environment: Mapping[str, str], *, system_hosts: Path = SYSTEM_HOSTS) -> tuple[Path, ...]:
    """The files of distcc's and the environment file, there or not, whose change may change the list."""
    named = environment.get(ENVIRONMENT_FILE)
    return (*((Path(named),) if named else ()), *_files(environment, system_hosts))


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
