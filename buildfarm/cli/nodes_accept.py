"""`buildfarm nodes accept`: confirm nodes that announce themselves by mDNS."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from buildfarm.errors import UsageError

if TYPE_CHECKING:
    from buildfarm.dispatch.discovery import Announced

PATIENCE_SECONDS = 5.0


@click.command(
    epilog="""\b
Examples:
  buildfarm nodes accept           who announces itself, and who is accepted
  buildfarm nodes accept 10.0.0.7  let that one work; hosts say +zeroconf
  buildfarm nodes accept distcc@pi3
  buildfarm nodes accept --all     everyone who announces itself now

\b
Exit status: 0; 64 nobody of that name announces itself, 71 no network,
78 configuration.
"""
)
@click.argument("names", nargs=-1, metavar="[NAME|ADDRESS[:PORT] ...]")
@click.option("--all", "everyone", is_flag=True, help="All that announce themselves now.")
@click.option(
    "--wait",
    type=click.FloatRange(0.1, 60),
    default=PATIENCE_SECONDS,
    metavar="SECONDS",
    help="How long to listen (5).",
)
def accept(names: tuple[str, ...], everyone: bool, wait: float) -> int:
    """Let nodes that were found by mDNS work.

    An announcement is a stranger's word: nobody is used before you have said so, and what is remembered is the
    address and port.  A build that is running takes them in.
    """
    from buildfarm.dispatch import discovery

    known = discovery.accepted(os.environ)
    found = _listen(names, wait)
    by_name = {word: a for a in found for word in (a.name, a.address, a.node().key)}
    missing = [name for name in names if name not in by_name]
    if missing:
        here = ", ".join(a.node().key for a in found) or "nobody"
        raise UsageError(
            f"{missing[0]} does not announce itself (heard in {wait:g} s: {here})",
            hint='on the node, /etc/default/distcc: ZEROCONF="true"; or name it in the host list',
        )
    chosen = found if everyone else tuple(dict.fromkeys(by_name[name] for name in names))
    if chosen:
        discovery.accept(os.environ, [a.node() for a in chosen])
        known |= {a.node().key for a in chosen}
    for a in found:
        standing = "accepted" if a.node().key in known else "not accepted"
        click.echo(
            f"{a.node().key:<24} {standing:<13} {a.name}, {a.cpus or '?'} cpus, {a.compiler or 'compiler unknown'}"
        )
    if not found:
        click.echo(f"nobody announces itself by mDNS (heard for {wait:g} s)")
    if chosen:
        click.echo("builds use them where the host list says +zeroconf")
    return 0


def _listen(names: tuple[str, ...], wait: float) -> tuple[Announced, ...]:
    """Who announces itself, heard for `wait` seconds or until all `names` have been."""
    from buildfarm.dispatch.discovery import Browser

    browser = Browser(lambda: None)
    try:
        end = time.monotonic() + wait
        while time.monotonic() < end:
            found = browser.found
            words = {word for a in found for word in (a.name, a.address, a.node().key)}
            if names and words.issuperset(names):
                break
            time.sleep(0.05)
        return browser.found
    finally:
        browser.close()
