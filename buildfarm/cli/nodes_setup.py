"""`buildfarm nodes setup`: what makes a fresh machine a node, printed or run there through ssh."""

from __future__ import annotations

import os
import subprocess

import click

from buildfarm.errors import MachineError, UsageError


@click.command(
    epilog="""\b
Examples:
  buildfarm nodes setup pi3              the commands, to read or to paste
  buildfarm nodes setup pi@pi3 --apply   run them there, through ssh
  buildfarm nodes setup pi3 --network 10.168.168.0/24 --jobs 4

\b
Exit status: 0; 64 usage, 71 ssh or the commands failed there.
"""
)
@click.argument("host", metavar="[USER@]HOST")
@click.option("--apply", "apply", is_flag=True, help="Run it there through ssh (DISTCC_SSH, default ssh).")
@click.option("--network", metavar="NETWORK", help="Who may use the node (default: this machine's address).")
@click.option("--jobs", type=click.IntRange(1, 1024), metavar="N", help="Compiles at a time (default: processors + 2).")
def setup(host: str, apply: bool, network: str | None, jobs: int | None) -> int:
    """Make a fresh Debian or Raspberry Pi OS machine a node.

    It installs distcc and the compilers, lets this machine in, and starts the daemon, now and at every boot.
    """
    from buildfarm.conductor.remedies import setup_script
    from buildfarm.conductor.survey import addresses_towards
    from buildfarm.dispatch import ssh
    from buildfarm.model import Node

    user, _, name = host.rpartition("@")
    if not name or name.startswith("-") or user.startswith("-"):
        raise UsageError(f"{host}: expected [USER@]HOST")
    ours, theirs = addresses_towards(Node(name))
    if network is None and ours is None:
        raise UsageError(
            f"{name} has no address that is known here", hint="name who may use it with --network, such as 10.0.0.0/24"
        )
    script = setup_script(network or f"{ours}", listen=theirs or "0.0.0.0", jobs=jobs)
    if not apply:
        click.echo(script, nl=False)
        return 0
    words = ssh.program(os.environ) or ("ssh",)
    argv = [*words, *(("-l", user) if user else ()), name, "sh", "-s"]
    try:
        done = subprocess.run(argv, input=script.encode(), check=False)
    except OSError as error:
        raise MachineError(
            f"{words[0]}: {error.strerror}", hint="install it: sudo apt install openssh-client"
        ) from error
    if done.returncode:
        raise MachineError(
            f"{host}: the setup failed with status {done.returncode}",
            hint=f"can you get in and use sudo?  {' '.join(words)} {host} sudo true",
        )
    click.echo(f"{host} is a node now; try: buildfarm doctor --hosts {name}")
    return 0
