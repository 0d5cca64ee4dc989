"""`buildfarm nodes`: the nodes of the host list in force, asked now."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildfarm.cli.tree import config_option, directory_option, named
from buildfarm.dispatch.sources import Hosts

if TYPE_CHECKING:
    from buildfarm.conductor.survey import Finding


def hosts_in_force(directory: Path, hosts: str | None, config: Path | None) -> Hosts:
    """The parsed host list that a build in `directory` would use.  Raises ConfigError."""
    from buildfarm import config as configuration
    from buildfarm.dispatch import sources

    environment = sources.surroundings(os.environ)
    found = configuration.load(directory, environment, config.absolute() if config else None)
    text = sources.find(environment, option=hosts, config_text=found.hosts, config_path=found.hosts_file)
    return sources.read(text, environment, allow_public=bool(found.allow_public))


class NodesGroup(click.Group):
    """`nodes` alone lists them; `accept` and `setup` are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["accept", "setup"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "accept":
            from buildfarm.cli.nodes_accept import accept

            return accept
        if cmd_name == "setup":
            from buildfarm.cli.nodes_setup import setup

            return setup
        return None


@click.group(
    cls=NodesGroup,
    invoke_without_command=True,
    epilog="""\b
Examples:
  buildfarm nodes         of buildfarm.toml, $DISTCC_HOSTS, ~/.distcc/hosts
  buildfarm nodes --hosts "pi1/4 pi2/4"     before you write them down
  buildfarm nodes --json | jq -r '.nodes[] | select(.state != "up") | .name'

\b
Exit status: 0; 64 usage, 71 no compiler here, 78 configuration.
""",
)
@directory_option
@config_option
@click.option("--hosts", metavar="HOSTS", help="Ask these instead, in distcc's syntax.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def nodes(ctx: click.Context, directory: str, config: Path | None, hosts: str | None, as_json: bool) -> int:
    """List the nodes, their slots and their health now."""
    if ctx.invoked_subcommand is not None:
        return 0
    listed = hosts_in_force(named(directory), hosts, config)
    from buildfarm.conductor.survey import survey
    from buildfarm.report.status import NodeLine, node_table
    from buildfarm.report.text import count

    findings = survey(listed.nodes, os.environ) if listed.nodes else ()
    source = listed.source.name if listed.source else None
    if as_json:
        document = {
            "source": source,
            "notes": list(listed.notes),
            "nodes": [
                {
                    "name": finding.node.host,
                    "port": finding.node.port,
                    "state": finding.state,
                    "slots": finding.node.slots,
                    "compiler": finding.compiler,
                    "languages": list(finding.languages),
                    "reason": finding.fault or finding.lacks,
                    "round_trip_seconds": _rounded(finding.round_trip_seconds),
                }
                for finding in findings
            ],
        }
        click.echo(json.dumps(document, indent=2))
        return 0
    for note in listed.notes:
        click.echo(f"buildfarm: {note}", err=True)
    if not findings:
        click.echo("no nodes: builds run on this machine alone; name some with --hosts or in buildfarm.toml")
        return 0
    slots = sum(finding.node.slots for finding in findings if finding.fault is None)
    click.echo(f"{count(len(findings), 'node')} from {source}, {count(slots, 'slot')} up")
    lines = [
        NodeLine(
            name=finding.node.host,
            port=finding.node.port,
            state=finding.state,
            slots=finding.node.slots,
            compiler=", ".join(filter(None, (finding.compiler, " ".join(finding.languages)))) or None,
            reason=finding.fault or _useful_for(finding),
            by_ssh=finding.node.key if finding.node.ssh else None,
        )
        for finding in findings
    ]
    for line in node_table(lines, working=False):
        click.echo("  " + line)
    if any(finding.fault is not None for finding in findings):
        click.echo("`buildfarm doctor` says how to mend what is wrong")
    return 0


def _useful_for(finding: Finding) -> str | None:
    """For a node that takes some languages only: which, and why not the others."""
    return f"{finding.compiler}, {' '.join(finding.languages)}; {finding.lacks}" if finding.lacks else None


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
