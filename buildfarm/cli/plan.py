"""`buildfarm plan`: what a build would compile, where, and on which critical path, without building."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildfarm.cli.raw import RawCommand
from buildfarm.cli.tree import config_option
from buildfarm.errors import MachineError, UsageError
from buildfarm.home import STATE_DIRECTORY
from buildfarm.report.text import count, duration, printable, relative

if TYPE_CHECKING:
    from buildfarm.conductor.planner import Planned
    from buildfarm.graph.plan import PlannedCall
    from buildfarm.model import Unit


@click.command(
    cls=RawCommand,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  buildfarm plan                       what `buildfarm run` would compile now
  buildfarm plan -C decks gcm RUN=myrun
  buildfarm plan --dot | dot -Tsvg > graph.svg
  buildfarm plan --json | jq '.units | length'

\b
Exit status: 0, 2 when make has no rule for a goal, 64 usage, 71 when make
gives no plan at all, 78 configuration.
""",
)
@config_option
@click.option("--json", "as_json", is_flag=True, help="The graph as JSON.")
@click.option("--dot", "as_dot", is_flag=True, help="The graph for Graphviz.")
def plan(make_words: tuple[str, ...], config: Path | None, as_json: bool, as_dot: bool) -> int:
    """Show what would be compiled, where, on which critical path.

    Nothing is built or changed.  All of make's options are make's; -C names the tree.
    """
    from buildfarm.cli.requests import Options, from_words
    from buildfarm.conductor.planner import plan_build
    from buildfarm.state.reader import durations as recorded

    gc.disable()  # one plan is made and told, of millions of values without a cycle
    request = from_words(make_words, Options(config=config), dict(os.environ))
    if request.dry_run:
        raise UsageError(
            "a make call with -n, -q, -t, -v or -h does not build, so there is nothing to plan",
            hint="leave it out: `buildfarm plan` changes nothing itself",
        )
    planned = plan_build(str(request.directory), request.make_words, request.environment)
    if not planned.graph.plans:
        raise MachineError("; ".join(planned.troubles) or "make gives no plan", hint="does `make -n` work here?")
    measured = recorded(request.directory / STATE_DIRECTORY)
    durations = {}
    for call in planned.graph.calls():
        seconds = measured.get(call.outputs[0]) if call.outputs else None
        if seconds is not None:
            durations[call.key] = seconds
    if as_json:
        from buildfarm.graph.exchange import to_json

        click.echo(to_json(planned.graph, durations))
    elif as_dot:
        from buildfarm.graph.exchange import to_dot

        click.echo(to_dot(planned.graph), nl=False)
    else:
        click.echo("\n".join(describe(planned, str(request.directory), durations)))
    for trouble in planned.troubles:
        click.echo(f"buildfarm: {printable(trouble)}", err=True)
    unknown = without_rule(planned, request.goals)
    for goal in unknown:
        click.echo(f"buildfarm: make has no rule to make {printable(goal)}", err=True)
    return 2 if unknown else 0


def without_rule(planned: Planned, goals: tuple[str, ...]) -> list[str]:
    """The goals for which make itself would stop; others that are missing a build may still make."""
    top = next(iter(planned.graph.plans.values()))
    return [rule.target for rule in top.missing if not rule.needed_by and rule.target in goals]


def describe(planned: Planned, directory: str, durations: dict[str, float]) -> list[str]:
    """The plan for people; `durations` in seconds by call, as far as they were ever measured."""
    from buildfarm.graph.classify import stays

    graph = planned.graph
    totals = graph.totals()
    calls = graph.calls()
    head = f"{count(totals.units, 'unit')} to compile, {count(totals.link_steps, 'link step')}"
    rest = f"make finds {totals.up_to_date} of {count(totals.targets, 'target')} up to date"
    lines = [f"{printable(directory)}: {head}; {rest}"]
    path, seconds = graph.critical_path(durations or {call.key: 1.0 for call in calls})
    critical = set(path)
    if durations:
        work = sum(durations.values())
        wide = graph.parallelism(durations)
        lines.append(f"  critical path {duration(seconds)} of {duration(work)} of work: {wide:.1f} at once at best")
    elif path:
        lines.append(f"  critical path {count(len(path), 'step')} (no durations are known before a first build)")
    names = [_name(call, directory) for call in calls]
    width = max(map(len, names), default=0)
    for call, name in zip(calls, names, strict=True):
        mark = "*" if call.key in critical else " "
        cost = duration(durations[call.key]) if call.key in durations else ""
        lines.append(f"  {mark} {name:<{width}}  {cost:>8}  {_place(call, stays)}".rstrip())
    if critical:
        lines.append("  (* on the critical path)")
    for instance in graph.plans.values():
        for rule in instance.missing:
            needed = f", needed by {printable(rule.needed_by)}" if rule.needed_by else ""
            lines.append(f"  not there yet: {printable(rule.target)}{needed}")
    return lines


def _name(call: PlannedCall, directory: str) -> str:
    return printable(relative(call.outputs[0], directory) if call.outputs else " ".join(call.argv[:3]))


def _place(call: PlannedCall, stays: Callable[[Unit], bool]) -> str:
    perhaps = "" if call.certain else " (perhaps)"
    unit = call.call.unit
    if unit is None:
        return f"here: {call.call.kind}{perhaps}"
    return f"{f'here: {unit.local_reason}' if stays(unit) else 'any node'}{perhaps}"
