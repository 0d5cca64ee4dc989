"""`buildfarm doctor`: this machine and every node checked; for each fault its cause and the fix."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildfarm.cli.nodes import hosts_in_force
from buildfarm.cli.tree import config_option, directory_option, tree
from buildfarm.errors import BuildfarmError

if TYPE_CHECKING:
    from buildfarm.conductor.survey import Finding


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.  `fix` is a command or a setting where there is one."""

    subject: str
    ok: bool
    says: str
    fix: str | None = None


@click.command(
    epilog="""\b
Examples:
  buildfarm doctor                       before the first build, and when a node misbehaves
  buildfarm doctor --hosts "10.0.0.2/8"  one node alone

\b
Exit status: 0 all is well, 1 there is something to mend, 64 usage, 78 configuration.
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
    checks = [*_machine(where), *_nodes(where, hosts, config)]
    healthy = all(check.ok for check in checks)
    if as_json:
        click.echo(json.dumps({"ok": healthy, "checks": [asdict(check) for check in checks]}, indent=2))
        return 0 if healthy else 1
    width = max(len(check.subject) for check in checks)
    for check in checks:
        click.echo(f"{'ok  ' if check.ok else 'BAD '} {check.subject:<{width}}  {check.says}")
        if check.fix:
            for line in check.fix.split("\n"):
                click.echo(f"     {'':<{width}}  fix: {line}")
    return 0 if healthy else 1


def _machine(where: Path) -> list[Check]:
    checks = []
    packages = {"make": "make", "gcc": "gcc", "g++": "g++", "gfortran": "gfortran"}
    for tool, package in packages.items():
        path = shutil.which(tool)
        if path is not None:
            checks.append(Check(tool, True, path))
        elif tool in ("make", "gcc"):
            checks.append(Check(tool, False, "not on PATH", f"sudo apt install {package}"))
    if not os.access(where, os.W_OK):
        checks.append(Check("directory", False, f"{where} is not writable", "build as its owner"))
    free = shutil.disk_usage(where).free
    if free < 500 << 20:
        checks.append(Check("disk", False, f"{free >> 20} MB free at {where}", "free some space"))
    return checks


def _nodes(where: Path, hosts: str | None, config: Path | None) -> list[Check]:
    from buildfarm.conductor.survey import survey

    try:
        listed = hosts_in_force(where, hosts, config)
        notes = [Check("hosts", False, note) for note in listed.notes]
        if not listed.nodes:
            return [*notes, Check("hosts", True, "none named: builds run on this machine alone")]
        return [*notes, *(_judge(finding) for finding in survey(listed.nodes, os.environ))]
    except BuildfarmError as error:
        return [Check("hosts", False, error.message, error.hint)]


def _judge(finding: Finding) -> Check:
    node = finding.node
    if finding.fault is not None:
        return Check(node.key, False, finding.fault, fix_for(finding.fault, node.host))
    trip = f", answers in {1000 * (finding.round_trip_seconds or 0):.0f} ms"
    says = f"{finding.compiler}: {', '.join(finding.languages)}{trip}"
    lacking = [f"no {language}: {why}" for language, why in (finding.differences or {}).items()]
    # A node that lacks a language is of use for the others; it is told, and is no fault.
    return Check(node.key, True, "; ".join([says, *lacking]))


def fix_for(fault: str, host: str) -> str | None:
    """What to do about a probe's `fault`; the words are those of `dispatch.client` and `dispatch.probe`."""
    if "refused" in fault and "connection" in fault.lower():
        return (
            f"on {host}: sudo apt install distcc\n"
            f'on {host}, /etc/default/distcc: STARTDISTCC="true" LISTENER="0.0.0.0" ALLOWEDNETS="<your network>"\n'
            f"on {host}: sudo systemctl enable --now distcc"
        )
    if "Name or service" in fault or "name resolution" in fault or "No address" in fault:
        return f"write {host}'s address instead of its name, or add it to /etc/hosts"
    if "no connection" in fault:
        return f"is {host} on? try `ping {host}`; does a firewall keep port 3632 closed?"
    if "closed without an answer" in fault:
        return (
            f"on {host}, /etc/default/distcc: ALLOWEDNETS must hold this machine's address\n"
            f"on {host}: sudo update-distcc-symlinks   (/usr/lib/distcc must list gcc)"
        )
    if "its gcc has" in fault:
        return f"install the same gcc on {host} and here: the release of the distribution must be the same"
    if "other bytes" in fault:
        return f"its gcc is another build of the same version: bring {host} and this machine to the same packages"
    if "exec" in fault:
        return f"on {host}: sudo apt install gcc g++ gfortran"
    return None
