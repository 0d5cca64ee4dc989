"""Finds `buildfarm.toml` and checks it: a stranger's text becomes a frozen `Config`, or an error that helps.

It decides which file is in force and what each key may hold; it reads no host list, starts nothing, and does not
apply the values (`cli` does).  pydantic is imported only to load a file or to say what is wrong in one: `status` must
start fast, and `_surely_right` spares it the schema.

Two files may speak: the project's (in the named directory or the nearest one above it), then the user's own in
the platform's configuration directory for whatever the project's leaves out.  `[build]` applies only where it
was meant: when the named directory is the file's own or the `directory` that it names.  A sub-directory further
down keeps its own Makefile and takes only `[nodes]`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from buildfarm.errors import ConfigError
from buildfarm.home import own_directory
from buildfarm.value import dataclass

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from buildfarm.config_schema import ConfigFile

NAME = "buildfarm.toml"

EXAMPLE = """\
[build]
directory = "decks"
goals = ["gcm"]
variables = { RUN = "myrun" }

[nodes]
hosts = "pi1/4 pi2/4"\
"""


_KEY = r"""(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)"""


@dataclass(frozen=True, slots=True)
class Config:
    """What the files say, defaults applied.  All paths are absolute."""

    directory: Path  # where make runs
    goals: tuple[str, ...] = ()  # [build] goals, only where they apply
    variables: Mapping[str, str] = field(default_factory=dict)
    hosts: str | None = None  # [nodes] hosts
    hosts_file: Path | None = None  # the file that `hosts` comes from
    verify: float | None = None  # [nodes] verify, percent
    allow_public: bool | None = None  # [nodes] allow_public
    project_file: Path | None = None


def find_project_file(directory: Path) -> Path | None:
    """`buildfarm.toml` in `directory` or the nearest one above it.  Raises ConfigError for a directory of that name."""
    for candidate in (directory, *directory.parents):
        path = candidate / NAME
        if path.is_file():
            return path
        if path.is_dir():
            raise ConfigError(f"{path}: a directory, not a file", hint="rename it, or name a file with --config")
    return None


def find_user_file(environment: Mapping[str, str]) -> Path | None:
    """The user's own `buildfarm.toml`: `$XDG_CONFIG_HOME/buildfarm/` or the platform's equivalent.

    One in a home that is not open to us (another user's, by `su` or `sudo -u`) is none.
    """
    path = own_directory("config", environment) / NAME
    return path if os.path.isfile(path) else None


class Place(NamedTuple):
    """What the project's file says to who only looks at a tree."""

    directory: Path  # where make runs
    hosts: str | None = None  # [nodes] hosts
    file: Path | None = None


def find_place(directory: Path, chosen: Path | None = None) -> Place:
    """Where make runs for the tree that `directory` names: `directory` itself or `[build] directory`.

    Costs no pydantic unless the file is wrong.  Raises ConfigError.
    """
    file = chosen or find_project_file(directory)
    if file is None:
        return Place(directory)
    data = _parse(file, _text(file))
    if not _surely_right(data):
        checked = _check(file)
        named, hosts = checked.build.directory, checked.nodes.hosts
    else:
        named, hosts = (data.get(table, {}).get(key) for table, key in (("build", "directory"), ("nodes", "hosts")))
    if not _is_own(directory, file, chosen):
        return Place(directory, hosts, file)
    return Place(Path(os.path.normpath(file.parent / (named or "."))), hosts, file)


def load(directory: Path, environment: Mapping[str, str], chosen: Path | None = None) -> Config:
    """The configuration for the tree that the absolute `directory` names.

    `chosen` is `--config`: that file alone.  Raises ConfigError naming file, line, field, what was expected.
    """
    if chosen is not None and not chosen.is_file():
        raise ConfigError(f"{chosen}: no such file", hint="name an existing file with --config")
    project_file = chosen or find_project_file(directory)
    user_file = find_user_file(environment) if chosen is None else None
    if user_file == project_file:
        user_file = None
    merged = Config(directory)
    for file in (project_file, user_file):
        if file is not None:
            merged = _merge(merged, file, directory, chosen, is_project=file == project_file)
    return merged


def _merge(so_far: Config, file: Path, named: Path, chosen: Path | None, *, is_project: bool) -> Config:
    checked = _check(file)
    build_at = Path(os.path.normpath(file.parent / (checked.build.directory or ".")))
    directory = so_far.directory
    if is_project and _is_own(named, file, chosen) and checked.build.directory is not None:
        directory = build_at
        if not directory.is_dir():
            line = line_of(_text(file), ["build", "directory"])
            raise ConfigError(
                f"{file}:{line}: build.directory: {directory} is not a directory",
                hint="it is taken relative to the file's own directory",
            )
    applies = directory == build_at
    hosts = so_far.hosts if so_far.hosts is not None else checked.nodes.hosts
    hosts_file = so_far.hosts_file if so_far.hosts is not None else file
    return Config(
        directory=directory,
        goals=so_far.goals or (tuple(checked.build.goals) if applies else ()),
        variables={**(checked.build.variables if applies else {}), **so_far.variables},
        hosts=hosts,
        hosts_file=None if hosts is None else hosts_file,
        verify=so_far.verify if so_far.verify is not None else checked.nodes.verify,
        allow_public=so_far.allow_public if so_far.allow_public is not None else checked.nodes.allow_public,
        project_file=file if is_project else so_far.project_file,
    )


def _is_own(directory: Path, file: Path, chosen: Path | None) -> bool:
    """Whether `[build] directory` of `file` speaks for the named `directory`."""
    return directory == file.parent or (chosen is not None and directory == Path.cwd())


# --- reading and complaining -----------------------------------------------------------------------------------


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{file}:{line}: not UTF-8 text, which TOML must be") from error
    except OSError as error:
        raise ConfigError(f"{file}: can't be read: {error.strerror}") from error


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


_CERTAIN: Mapping[str, Mapping[str, Callable[[Any], bool]]] = {
    "build": {
        "directory": lambda value: _is_text(value) and value != "",
        "goals": lambda value: (
            isinstance(value, list) and all(_is_text(word) and re.match("[^-=]+$", word) for word in value)
        ),
        "variables": lambda value: (
            isinstance(value, dict)
            and all(name.isidentifier() and name.isascii() and _is_text(text) for name, text in value.items())
        ),
    },
    "nodes": {
        "hosts": _is_text,
        "verify": lambda value: type(value) in (int, float) and 0 <= value <= 100,
        "allow_public": lambda value: isinstance(value, bool),
    },
}


def _surely_right(data: Mapping[str, Any]) -> bool:
    """Whether the schema would take `data`, told without it: 180 ms are too much for `status`.  False: ask it."""
    return all(
        table in _CERTAIN
        and isinstance(fields, dict)
        and all(key in _CERTAIN[table] and _CERTAIN[table][key](value) for key, value in fields.items())
        for table, fields in data.items()
    )


def _parse(file: Path, text: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        position = re.search(r" \(at line (\d+), column (\d+)\)$", str(error))
        line = int(position[1]) if position else text.count("\n") + 1
        what = str(error)[: position.start()] if position else str(error).removesuffix(" (at end of document)")
        raise ConfigError(
            f"{file}:{line}: not valid TOML: {what}", hint=f"expected, for example:\n{EXAMPLE}"
        ) from error


def _check(file: Path) -> ConfigFile:
    from pydantic import ValidationError

    from buildfarm.config_schema import ConfigFile

    text = _text(file)
    data = _parse(file, text)
    try:
        return ConfigFile.model_validate(data)
    except ValidationError as error:
        complaints = [_complaint(file, text, details) for details in error.errors(include_url=False)]
        raise ConfigError("\n".join(dict.fromkeys(complaints)), hint=f"expected, for example:\n{EXAMPLE}") from error


def _complaint(file: Path, text: str, details: ErrorDetails) -> str:
    """One line: file, line, field, what is wrong, what was expected or the nearest known key."""
    from difflib import get_close_matches

    from buildfarm.config_schema import ConfigFile

    keys = [str(part) for part in details["loc"] if isinstance(part, str) and part != "[key]"]
    name = ".".join(keys)
    where = f"{file}:{line_of(text, keys)}: {name}"
    tables = {table: field.annotation for table, field in ConfigFile.model_fields.items()}
    if details["type"] == "extra_forbidden":
        inner = tables.get(keys[0]) if len(keys) > 1 else ConfigFile
        known = list(getattr(inner, "model_fields", ()))
        near = get_close_matches(keys[-1].lower(), known, n=1, cutoff=0.4)
        guess = f'; did you mean "{near[0]}"?' if near else ""
        return f"{where}: unknown key{guess} (known here: {', '.join(known)})"
    field_info = ConfigFile.model_fields[keys[0]]
    if len(keys) > 1:
        field_info = getattr(tables[keys[0]], "model_fields", {})[keys[1]]
    if "[key]" in details["loc"]:
        return f"{where}: not a name that a make variable can have"
    if len(keys) > 2:
        return f'{where}: expected a text, such as "myrun", not {_shown(details["input"])}'
    if details["type"] == "value_error":
        return f"{where}: {details['msg'].removeprefix('Value error, ')}"
    return f"{where}: expected {field_info.description}, not {_shown(details['input'])}"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.encode("unicode_escape").decode("ascii")[:60] + '"'
    if isinstance(value, dict):
        return "a table"
    return "a list" if isinstance(value, list) else str(value)[:60]


def line_of(text: str, keys: Sequence[str]) -> int:
    """The line, from 1, on which the key path stands in TOML `text`, or its longest part that is found.

    It reads headers and `key =` at the start of a line, which covers how people write; a key inside an inline
    table gets the line of that table.
    """
    best, best_depth, table = 1, 0, []
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line)
        assignment = re.match(rf"\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*=", line)
        if header:
            path = table = _parts(header[1])
        elif assignment:
            path = table + _parts(assignment[1])
        else:
            continue
        depth = len(path) if list(keys[: len(path)]) == path else 0
        if depth > best_depth:
            best, best_depth = number, depth
    return best


def _parts(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]
