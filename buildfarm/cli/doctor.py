"""`buildfarm doctor`: this machine and every node checked; for each fault its cause and the fix."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildfarm.cli.nodes import hosts_in_force
from buildfarm.cli.tree import config_option, directory_option, tree
from buildfarm.errors import BuildfarmError
from buildfarm.home import STATE_DIRECTORY
from buildfarm.report.text import count

if TYPE_CHECKING:
    from buildfarm.conductor.machine import Check
    from buildfarm.conductor.survey import Finding
    from buildfarm.dispatch.sources import Hosts

NAMES_SHOWN = 5
CLOCK_TOLERATED = 2.0  # seconds; __TIME__ counts whole ones


@click.command(
    epilog="""\b
Examples:
  buildfarm doctor       before the first build, and when a node misbehaves
  buildfarm doctor --hosts "10.0.0.2/8"      one node alone

\b
Exit status: 0 all is well, 1 something needs mending, 64 usage,
78 configuration.
"""
)
@directory_option
@config_option
@click.option("--hosts", metavar="HOSTS", help="Check these instead, in distcc's syntax.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(directory: str, config: Path | None, hosts: str | None, as_json: bool) -> int:
    """Have every node compile a probe, and say what to mend.

    A node passes when its objects are byte for byte this machine's.
    """
    where = tree(directory, config)
    checks = _checks(where, hosts, config)
    healthy = all(check.ok for check in checks)
    if as_json:
        click.echo(json.dumps({"ok": healthy, "checks": [asdict(check) for check in checks]}, indent=2))
        return 0 if healthy else 1
    width = max(len(check.subject) for check in checks)
    for check in checks:
        click.echo(f"{'ok  ' if check.ok else 'BAD '} {check.subject:<{width}}  {check.says}")
        for line in check.fix.split("\n") if check.fix else ():
            click.echo(f"     {'':<{width}}  {'advice' if check.ok else 'fix'}: {line}")
    return 0 if healthy else 1


def _checks(where: Path, hosts: str | None, config: Path | None) -> list[Check]:
    from buildfarm.conductor.machine import Check, examine

    try:
        listed = hosts_in_force(where, hosts, config)
    except BuildfarmError as error:
        machine = examine(where, os.environ, slots=0, ssh=False)
        return [*machine, Check("hosts", False, error.message, error.hint)]
    slots = sum(node.slots for node in listed.nodes)
    machine = examine(where, os.environ, slots=slots, ssh=any(node.ssh for node in listed.nodes))
    return [*machine, *_unseen(where), *_nodes(listed)]


def _unseen(where: Path) -> list[Check]:
    """What the builds of this tree have compiled past buildfarm, as far as it is still there."""
    from buildfarm.conductor.machine import Check
    from buildfarm.state.reader import unseen

    there = [(path, via) for path, via in unseen(where / STATE_DIRECTORY) if os.path.exists(path)]
    if not there:
        return []
    names = [os.path.relpath(path, where) for path, _ in there]
    says = f"{len(there)} compiled here by calls that buildfarm did not see: {_some(names)}"
    hiding = sorted({os.path.relpath(program, where) for _, via in there for program in via})
    advice = "let their recipes call the compiler itself, or through a shell of the system"
    if hiding:
        advice += f"; static, or otherwise closed to the hook, so that nobody sees what they call: {_some(hiding)}"
    return [Check("unseen", True, says, advice)]


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")


def _nodes(listed: Hosts) -> list[Check]:
    from buildfarm.conductor.machine import Check
    from buildfarm.conductor.survey import survey

    if not listed.nodes and listed.listed.zeroconf:
        return [Check("hosts", True, "+zeroconf: `buildfarm nodes accept` lists who announces itself")]
    if not listed.nodes:
        return [Check("hosts", True, "none named: builds run on this machine alone")]
    try:
        judged = [judge(finding) for finding in survey(listed.nodes, os.environ, thorough=True)]
    except BuildfarmError as error:
        return [Check("hosts", False, error.message, error.hint)]
    source = f"{count(len(judged), 'node')} from {listed.source.name}" if listed.source else "none named"
    return [Check("hosts", True, "; ".join((source, *listed.notes))), *judged]


def judge(finding: Finding) -> Check:
    """One node's line."""
    from buildfarm.conductor.machine import Check
    from buildfarm.conductor.remedies import Ground, compression_advice, remedy
    from buildfarm.dispatch import lzo

    node = finding.node
    if finding.fault is not None:
        ground = Ground(node.host, node.port, finding.own_address, finding.node_address, node.ssh)
        return Check(node.key, False, finding.fault, remedy(finding.fault, ground, denied=finding.denied))
    told = [f"{finding.compiler}: {', '.join(finding.languages)}"]
    told.append(f"answers in {1000 * (finding.round_trip_seconds or 0):.0f} ms")
    if finding.bytes_per_second is not None:
        told.append(f"takes {finding.bytes_per_second / 1e6:.0f} MB/s")
    if finding.clock_seconds is not None and abs(finding.clock_seconds) > CLOCK_TOLERATED:
        # Nothing hangs on it: dates and times in sources are this machine's.
        told.append(f"its clock is {finding.clock_seconds:+.0f} s off (on {node.host}: sudo timedatectl set-ntp true)")
    if finding.is_this_machine:
        told.append("it is this machine itself and adds no processor, unless a tunnel begins here")
    # A node that lacks a language is of use for the others; it is told, and is no fault.
    says = "; ".join(filter(None, (", ".join(told), finding.lacks)))
    advice = compression_advice(finding.bytes_per_second, lzo=node.lzo, engine=lzo.engine(), host=node.host)
    return Check(node.key, True, says, advice)
