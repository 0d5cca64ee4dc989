"""`buildfarm watch`: build, then again whenever a source changes.

It only watches and prints; each build is `run`'s, in a process of its own, so that a build ends as it would alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import click

from buildfarm.cli.raw import RawCommand
from buildfarm.cli.run import build_options
from buildfarm.errors import ConfigError, MachineError, UsageError
from buildfarm.home import STATE_DIRECTORY
from buildfarm.report.text import count, printable, relative

QUIET_SECONDS = 0.3
"""Silence after a change before a build begins: an editor writes several times, a checkout writes for a while."""

SHOWN = 3
CANNOT_BEGIN = (UsageError.exit_code, MachineError.exit_code, ConfigError.exit_code)


@click.command(
    cls=RawCommand,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  buildfarm watch                        build now, and after each save
  buildfarm watch -C decks gcm RUN=myrun
  buildfarm watch --quiet-seconds 2 -k   wait for two seconds without a change

\b
Exit status: as `run` where it can't begin (64, 71, 78); 130 and 143 when
stopped.
""",
)
@build_options
@click.option(
    "--quiet-seconds",
    type=click.FloatRange(min=0.0),
    default=QUIET_SECONDS,
    metavar="S",
    help=f"Silence after a change before a build begins; default: {QUIET_SECONDS}.",
)
def watch(make_words: tuple[str, ...], quiet_seconds: float, **given: Any) -> int:
    """Build, and build again whenever a source changes.

    All of make's options are make's; -C names the tree.  What the build itself writes, hidden files and editors'
    backups start nothing.  A change during a build starts another one when it has ended.
    """
    from buildfarm.cli.requests import Options, from_words
    from buildfarm.conductor.watch import Watch, targets_of

    request = from_words(make_words, Options(**given), dict(os.environ))  # the usual errors, before anything starts
    arguments = [sys.executable, "-m", "buildfarm", "run", *_as_words(given), *make_words]

    def targets() -> frozenset[str]:
        return targets_of(request.directory, request.make_words, request.environment)

    with Watch(request.directory, request.directory / STATE_DIRECTORY, quiet_seconds, targets) as changes:
        if changes.lack:
            click.echo(f"buildfarm: {changes.lack}: looking at the tree once a second", err=True)
        first = True
        while True:
            began = time.time_ns()
            status = _build(arguments)
            if status >= 128 or (first and status in CANNOT_BEGIN):
                return status
            first = False
            changes.forget_outputs(since_ns=began)
            _say("done" if status == 0 else f"failed with status {status}")
            files = changes.wait()
            shown = ", ".join(printable(relative(path, str(request.directory))) for path in files[:SHOWN])
            more = f" and {count(len(files) - SHOWN, 'more file')}" if len(files) > SHOWN else ""
            click.echo(f"\nbuildfarm: changed: {shown}{more}", err=True)


def _say(outcome: str) -> None:
    click.echo(f"buildfarm: {time.strftime('%H:%M:%S')} {outcome}; waiting for a change (Ctrl-C ends)", err=True)


def _as_words(given: dict[str, Any]) -> list[str]:
    """The options of ours as they were given, for `run`'s command line."""
    words: list[str] = []
    for name, value in given.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            words.append(option)
        elif value not in (None, False):
            words += [option, str(value)]
    return words


def _build(arguments: list[str]) -> int:
    """One build; its exit status.  Ctrl-C is the build's, which says how it ended."""
    process = subprocess.Popen(arguments)
    before = {}

    def pass_on(number: int, _: object) -> None:
        if number != signal.SIGINT:  # the terminal's has reached the build by itself
            process.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        before[number] = signal.signal(number, pass_on)
    try:
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 - status if status < 0 else status
