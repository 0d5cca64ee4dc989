"""`buildfarm forget`: drop buildfarm's state of a tree, under the tree's lock."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from buildfarm.cli.tree import config_option, directory_option, tree
from buildfarm.errors import MachineError
from buildfarm.home import STATE_DIRECTORY


@click.command(
    epilog="""\b
Example:
  buildfarm forget -C decks              the next run starts without history

\b
Exit status: 0, also when there was nothing to forget; 75 while a build runs
in this tree.
"""
)
@directory_option
@config_option
def forget(directory: str, config: Path | None) -> int:
    """Remove buildfarm's state of this tree, but no file of the project.

    The journal, the history and held results go; the next run starts like the first one.
    """
    where = tree(directory, config)
    state = where / STATE_DIRECTORY
    if not state.is_dir():
        click.echo(f"{where}: no build is known here")
        return 0
    from buildfarm.conductor.astray import put_back
    from buildfarm.conductor.recovery import ASIDE
    from buildfarm.state.lock import TreeLock
    from buildfarm.state.place import DATABASE, SIDE_FILES, read_pointer

    with TreeLock(state):
        put_back(state / ASIDE)
        elsewhere = read_pointer(state)
        try:
            if elsewhere is not None and elsewhere.name == DATABASE:
                for path in (elsewhere, *(elsewhere.with_name(DATABASE + suffix) for suffix in SIDE_FILES)):
                    path.unlink(missing_ok=True)
            shutil.rmtree(state)
        except OSError as error:
            raise MachineError(
                f"{error.filename or state}: can't be removed: {error.strerror}",
                hint="make it writable for this user, or remove it by hand",
            ) from error
    click.echo(f"{where}: forgotten")
    return 0
