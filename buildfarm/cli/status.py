"""`buildfarm status`: how far the build of a tree is, for people and for programs, also from another terminal.

Its imports are kept few: scripts call it in loops.  `follow` has the view that stays.
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from buildfarm.cli.tree import config_option, directory_option, well_configured
from buildfarm.errors import UsageError

POLL_SECONDS = 0.25
"""How often --wait and --follow look at the journal."""


@click.command(
    epilog="""\b
Examples:
  buildfarm status -C decks            for people
  buildfarm status --json | jq .units  for programs
  buildfarm status --wait && ./model   when the build has ended well
  buildfarm status --follow            the live view of a build elsewhere

\b
Exit status: 0 complete, 1 failed, 3 running, 4 interrupted, 5 no build known
here, 64 usage, 78 configuration.
"""
)
@directory_option
@config_option
@click.option("--json", "as_json", is_flag=True, help="The status document, schema 1.")
@click.option("--wait", is_flag=True, help="Wait until no build is running here, then report.")
@click.option("--follow", is_flag=True, help="Show the build until it ends; with --json one document for each line.")
@click.option("--schema", is_flag=True, help="Print the JSON schema of the status document.")
@click.option("--no-color", is_flag=True, help="No colours in --follow; NO_COLOR does the same.")
def status(
    directory: str, config: Path | None, as_json: bool, wait: bool, follow: bool, schema: bool, no_color: bool
) -> int:
    """Show how far the build of this tree has got."""
    if schema:
        import json

        from buildfarm.report.document import json_schema

        click.echo(json.dumps(json_schema(), indent=2))
        return 0
    if wait and follow:
        raise UsageError("--wait and --follow exclude each other", hint="--follow waits as well")
    from buildfarm.cli.snapshot import read
    from buildfarm.cli.terminal import columns
    from buildfarm.report import status as report

    where = well_configured(directory, config)
    if follow:
        from buildfarm.cli.follow import show

        found, problem = show(where, as_json=as_json, color=not no_color, poll_seconds=POLL_SECONDS)
        if as_json:
            return found.exit_code
    else:
        found, problem = read(where, time.time())
        while wait and found.state == "running":
            time.sleep(POLL_SECONDS)
            found, problem = read(where, time.time())
    click.echo(report.as_json(found) if as_json else report.human(found, columns()))
    if problem is not None:
        click.echo(f"buildfarm: {problem}", err=True)
    return found.exit_code
