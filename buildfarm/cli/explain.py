"""`buildfarm explain OUTPUT`: the journal's story of one output."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildfarm.cli.tree import STATE, config_option, directory_option, tree
from buildfarm.report.text import duration, harmless, printable, relative

if TYPE_CHECKING:
    from buildfarm.state.reader import StepView

NOT_KNOWN = 1


@click.command(
    epilog="""\b
Examples:
  buildfarm explain model/RADIATION.o
  buildfarm explain -C decks model/RADIATION.o

\b
Exit status: 0, 1 when no build has made that output, 64 usage, 78 configuration.
"""
)
@directory_option
@config_option
@click.argument("output")
def explain(directory: str, config: Path | None, output: str) -> int:
    """Tell how OUTPUT came about: where, how often it was tried, what it cost.

    OUTPUT is a path as make's messages show it, relative to the tree or to here.
    """
    from buildfarm.state.reader import story

    where = tree(directory, config)
    candidates = dict.fromkeys(os.path.normpath(os.path.join(base, output)) for base in (str(where), os.getcwd()))
    steps: tuple[StepView, ...] = ()
    for candidate in candidates:
        steps = story(where / STATE, candidate)
        if steps:
            break
    if not steps:
        click.echo(f"{printable(output)}: no build in {printable(str(where))} has made it")
        return NOT_KNOWN
    for position, step in enumerate(steps):
        if position:
            click.echo()
        click.echo("\n".join(describe(step, str(where))))
    return 0


def describe(step: StepView, directory: str) -> list[str]:
    """One step's story in lines."""
    output = printable(relative(step.output or "", directory))
    outcome = {"done": "made", "failed": "FAILED", "swept": "swept after a crash", "checked_out": "checked out"}
    lines = [f"{output}: {outcome.get(step.state, step.state)} in build {step.build}, {_when(step.started)}"]
    place = f"on {printable(step.node)}" if step.node else "here"
    why = f" because {printable(step.reason)}" if step.reason and not step.node else ""
    ahead = ", ahead of make" if step.lookahead else ""
    lines.append(f"  where     {place}{why}{ahead}")
    if step.seconds is not None:
        traffic = ""
        if step.bytes_sent or step.bytes_received:
            traffic = f", {_size(step.bytes_sent)} sent, {_size(step.bytes_received)} received"
        lines.append(f"  cost      {duration(step.seconds)}{traffic}")
    if len(step.attempts) > 1 or any(attempt.reason for attempt in step.attempts):
        lines.append(f"  attempts  {len(step.attempts)}")
        for attempt in step.attempts:
            where = printable(attempt.node) if attempt.node else "here"
            reason = f": {printable(attempt.reason)}" if attempt.reason else ""
            lines.append(f"    {attempt.attempt}. {where}: {attempt.outcome or 'under way'}{reason}")
    if step.exit_status:
        lines.append(f"  status    {step.exit_status}")
    lines.append(f"  command   {printable(shlex.join(step.argv))}")
    lines.append(f"  in        {printable(step.cwd)}")
    if step.inputs:
        shown = [printable(relative(path, directory)) for path in step.inputs[:8]]
        more = f" and {len(step.inputs) - 8} more" if len(step.inputs) > 8 else ""
        lines.append(f"  read      {', '.join(shown)}{more}")
    said = harmless(os.fsdecode(step.stderr)).rstrip("\n")
    if said:
        lines.append("  said")
        lines.extend(f"    {line}" for line in said.split("\n"))
    return lines


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _size(count: int | None) -> str:
    size = float(count or 0)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
