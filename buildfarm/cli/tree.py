"""Which tree a command speaks of: `-C`, the nearest `buildfarm.toml`, and the `.buildfarm` below it.

It looks at directories only; it opens no state.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from buildfarm.errors import UsageError

STATE = ".buildfarm"

Callback = TypeVar("Callback", bound=Callable[..., Any])


def directory_option(callback: Callback) -> Callback:
    """`-C DIR`, as in make."""
    return click.option("-C", "--directory", default=".", metavar="DIR", help="The tree; as in make, default: here.")(
        callback
    )


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
        path = Path(directory).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "a loop of links"
        raise UsageError(f"-C {directory}: {reason}", hint="name the directory of a Makefile with -C DIR") from error
    if not path.is_dir():
        raise UsageError(f"-C {directory}: not a directory", hint="name the directory of a Makefile with -C DIR")
    return path


def tree(directory: str, config: Path | None = None) -> Path:
    """Where make runs and the state lies for `-C directory`.  Raises UsageError, ConfigError."""
    from buildfarm.config import build_directory

    return build_directory(named(directory), config.absolute() if config else None)
