"""Which tree a command speaks of: `-C`, the nearest `buildfarm.toml`, and the `.buildfarm` below it.

It looks at directories only; it opens no state.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from buildfarm.errors import UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from buildfarm.config import Place

HINT = "name the directory of a Makefile with -C DIR"

_LABEL = "[a-z0-9][a-z0-9-]{0,62}"
_HOST = rf"({_LABEL}(?:\.{_LABEL})*)(?::[1-9][0-9]{{0,3}})?(?:/[1-9][0-9]{{0,2}})?(?:,lzo(?:,cpp)?)?"
"""A host of most lists; what looks otherwise is parsed."""

Callback = TypeVar("Callback", bound=Callable[..., Any])


def directory_option(callback: Callback) -> Callback:
    """`-C DIR`, as in make."""
    return click.option(
        "-C",
        "--directory",
        default=".",
        metavar="DIR",
        shell_complete=_directories,
        help="The tree; as in make, default: here.",
    )(callback)


def _directories(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from buildfarm.cli.completion import directories

    return directories(ctx, parameter, incomplete)


def config_option(callback: Callback) -> Callback:
    """`--config FILE`."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Use this buildfarm.toml and no other.",
    )(callback)


def named(directory: str) -> Path:
    """The absolute path of the directory that `-C` names.  Raises UsageError where there is none."""
    try:
        if not os.path.isabs(directory):
            os.getcwd()
    except FileNotFoundError as error:
        hint = "cd to where it was, or name a directory with -C DIR"
        raise UsageError("the working directory was removed", hint=hint) from error
    try:
        path = Path(directory).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "a loop of links"
        raise UsageError(f"-C {directory}: {reason}", hint=HINT) from error
    if not path.is_dir():
        raise UsageError(f"-C {directory}: not a directory", hint=HINT)
    return path


def tree(directory: str, config: Path | None = None) -> Path:
    """Where make runs and the state lies for `-C directory`.  Raises UsageError, ConfigError."""
    return _place(directory, config).directory


def well_configured(directory: str, config: Path | None = None) -> Path:
    """As `tree`; the host list of `buildfarm.toml` is checked too, without which no build could start."""
    place = _place(directory, config)
    if place.hosts is not None and not _surely_hosts(place.hosts):
        from buildfarm.dispatch.hosts import parse

        parse(place.hosts, f"{place.file}: [nodes] hosts")
    return place.directory


def _place(directory: str, config: Path | None) -> Place:
    from buildfarm.config import find_place

    return find_place(named(directory), config.absolute() if config else None)


def _surely_hosts(text: str) -> bool:
    """Whether `dispatch.hosts` would take `text`, told without it: its imports are too much for `status`."""
    words = [re.fullmatch(_HOST, word) for word in text.split()]
    names = [word[1] for word in words if word]
    return len(names) == len(words) == len(set(names))
