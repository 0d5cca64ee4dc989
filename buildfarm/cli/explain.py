"""`buildfarm explain OUTPUT`: the journal's story of one output."""

from __future__ import annotations

import os
import shlex
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildfarm.cli.terminal import columns
from buildfarm.cli.tree import config_option, directory_option, tree
from buildfarm.home import STATE_DIRECTORY
from buildfarm.model import INTERRUPTED
from buildfarm.report.text import duration, folded, harmless, printable, relative

if TYPE_CHECKING:
    from buildfarm.state.views import StepView

NOT_KNOWN = 1


@click.command(
    epilog="""\b
Examples:
  buildfarm explain model/RADIATION.o
  buildfarm explain -C decks model/RADIATION.o
  buildfarm explain --no-plan main.o     the journal alone, at once

\b
Exit status: 0, 1 when no build has made that output, 64 usage,
78 configuration.
"""
)
@directory_option
@config_option
@click.argument("output")
@click.option("--no-plan", is_flag=True, help="Don't ask make what it would do with OUTPUT now.")
def explain(directory: str, config: Path | None, output: str, no_plan: bool) -> int:
    """Tell why OUTPUT was compiled, where, and what it cost.

    And how often it was tried, and what make would do with it now.  OUTPUT is a path as
    make's messages show it, relative to the tree or to here.
    """
    from buildfarm.conductor.causes import now, why
    from buildfarm.state.reader import make_words, snapshot, story

    where = tree(directory, config)
    bases = [str(where)]
    with suppress(FileNotFoundError):  # it was removed, and the tree is elsewhere
        bases.append(os.getcwd())
    candidates = dict.fromkeys(os.path.normpath(os.path.join(base, output)) for base in bases)
    steps: tuple[StepView, ...] = ()
    for candidate in candidates:
        steps = story(where / STATE_DIRECTORY, candidate)
        if steps:
            break
    if not steps:
        click.echo(f"{printable(output)}: no build in {printable(str(where))} has made it{_near(where, output)}")
        return NOT_KNOWN
    if any(map(_is_out, steps)) and snapshot(where / STATE_DIRECTORY).state != "running":
        steps = tuple(_swept(step) if _is_out(step) else step for step in steps)
    words = make_words(where / STATE_DIRECTORY) or ()
    for position, step in enumerate(steps):
        if position:
            click.echo()
        # Of the words of earlier builds nothing is known any more.
        cause = why(step, steps[position + 1 :], str(where), words if position == 0 else ())
        click.echo("\n".join(describe(step, str(where), candidate, cause, columns())))
    if not no_plan:
        verdict = now(where, words, os.environ, candidate)
        if verdict is not None:
            click.echo(f"\nnow: {verdict}")
    return 0


def _is_out(step: StepView) -> bool:
    return step.state == "checked_out" and step.ended is None


def _swept(step: StepView) -> StepView:
    """A step that was out when its build ended, as the next sweep will leave it."""
    attempts = tuple(replace(attempt, outcome=attempt.outcome or INTERRUPTED) for attempt in step.attempts)
    return replace(step, state="swept", attempts=attempts)


def _near(where: Path, output: str) -> str:
    """What may have been meant, in words."""
    from difflib import get_close_matches

    from buildfarm.state.reader import durations

    made = [relative(path, str(where)) for path in durations(where / STATE_DIRECTORY)]
    wanted = os.path.basename(output)
    near = [path for path in made if os.path.basename(path) == wanted] or get_close_matches(output, made, n=3)
    return f"; did you mean {' or '.join(printable(path) for path in near[:3])}?" if near else ""


def describe(step: StepView, directory: str, asked: str, cause: str, columns: int | None = None) -> list[str]:
    """One step's story in lines; `asked` names the output of a step that claimed none; `columns` folds its command."""
    output = printable(relative(step.output or asked, directory))
    outcome = {"done": "made", "failed": "FAILED", "swept": INTERRUPTED, "checked_out": "checked out"}
    lines = [f"{output}: {outcome.get(step.state, step.state)} in build {step.build}, {_when(step.started)}"]
    place = f"on {printable(step.node)}" if step.node else "here"
    why = f" because {printable(step.reason)}" if step.reason and not step.node else ""
    ahead = ", ahead of make" if step.lookahead else ""
    lines.append(f"  why       {cause}")
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
            reason = f": {printable(attempt.reason.removeprefix(f'{attempt.node}: '))}" if attempt.reason else ""
            lines.append(f"    {attempt.attempt}. {where}: {attempt.outcome or 'under way'}{reason}")
    if step.exit_status:
        lines.append(f"  status    {step.exit_status}")
    lines.append(f"  command   {folded(shlex.join(step.argv), indent=12, columns=columns)}")
    lines.append(f"  in        {printable(step.cwd)}")
    if step.inputs:
        shown = [printable(relative(os.path.normpath(path), directory)) for path in step.inputs[:8]]
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
