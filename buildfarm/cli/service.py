"""`buildfarm service`: have an interrupted build resumed when the machine starts."""

from __future__ import annotations

import os
from pathlib import Path

import click

from buildfarm.cli.tree import config_option, directory_option, tree
from buildfarm.report.text import printable

LINGERING = """\
Units of a user start when the user logs in.  To have them start at boot, without a login, let the user linger, once:
    loginctl enable-linger {user}
"""


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  buildfarm service install -C decks    goes on after a power cut
  buildfarm service status -C decks
  buildfarm service uninstall -C decks

\b
User units start at boot only if the user may linger; say once:
loginctl enable-linger $USER
Exit status: 0; `status`: 1 when it is not installed.
""",
)
def service() -> None:
    """Resume an interrupted build of this tree at boot.

    A systemd user unit does it.
    """


@service.command()
@directory_option
@config_option
def install(directory: str, config: Path | None) -> int:
    """Write and enable the unit.  Root is not needed."""
    from buildfarm import boot

    where = tree(directory, config)
    found = boot.install(where, os.environ)
    click.echo(f"{printable(str(where))}: an interrupted build is resumed by {found.unit}")
    if found.state is None:
        click.echo("systemd does not answer here; the unit counts from this user's next start of systemd on")
    if not found.lingers:
        click.echo(LINGERING.format(user=boot.user(os.environ)), nl=False)
    return 0


@service.command()
@directory_option
@config_option
def uninstall(directory: str, config: Path | None) -> int:
    """Remove the unit."""
    from buildfarm import boot

    where = tree(directory, config)
    was = boot.uninstall(where, os.environ)
    click.echo(f"{printable(str(where))}: {'uninstalled' if was else 'it was not installed'}")
    return 0


@service.command()
@directory_option
@config_option
def status(directory: str, config: Path | None) -> int:
    """Say whether the unit is there and how it fared.

    Also whether it starts at boot.
    """
    from buildfarm import boot

    where = tree(directory, config)
    found = boot.standing(where, os.environ)
    if not found.installed:
        click.echo(f"{printable(str(where))}: not installed; `buildfarm service install` does it")
        return 1
    when = "at boot" if found.lingers else "when this user logs in"
    click.echo(f"{printable(str(where))}: resumed {when} by {found.unit}")
    click.echo(f"  {found.state or 'systemd does not answer here'}")
    if not found.lingers:
        click.echo(LINGERING.format(user=boot.user(os.environ)), nl=False)
    return 0
