"""`buildfarm export FORMAT`: a build or its graph in the form that another tool reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildfarm.cli.tree import config_option, directory_option, tree
from buildfarm.errors import UsageError
from buildfarm.home import STATE_DIRECTORY

if TYPE_CHECKING:
    from buildfarm.conductor.planner import Planned

FORMATS = ("compile-commands", "dot", "svg", "trace", "prometheus", "html", "missing")
PICTURES = ("dot", "svg")
OF_ONE_BUILD = ("trace", "prometheus", "html")


@click.command(
    epilog="""\b
Examples:
  buildfarm export compile-commands -o compile_commands.json   for clangd
  buildfarm export dot | dot -Tpdf > graph.pdf
  buildfarm export svg --target model/RADIATION.o -o radiation.svg
  buildfarm export svg --target gcm --depth 1 -o gcm.svg
  buildfarm export trace -o gcm.json     for https://ui.perfetto.dev
  buildfarm export missing               why -j8 fails where -j1 does not
  buildfarm export prometheus -o buildfarm.prom

\b
Exit status: 0, 64 usage or no build known here, 71 when make gives no plan
or the file can't be written.
"""
)
@click.argument("form", metavar="FORMAT", type=click.Choice(FORMATS))
@directory_option
@config_option
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("-"), metavar="FILE", help="Default: stdout."
)
@click.option("--target", metavar="TARGET", help="dot, svg: only what is near this target.")
@click.option(
    "--depth", type=click.IntRange(min=0), default=2, metavar="N", help="dot, svg: steps from --target; default: 2."
)
@click.option("--build", type=click.IntRange(min=1), metavar="N", help="trace, prometheus, html: of this build.")
def export(
    form: str,
    directory: str,
    config: Path | None,
    output: Path,
    target: str | None,
    depth: int,
    build: int | None,
) -> int:
    """Export this tree or its last build in a FORMAT that other tools read.

    compile-commands; dot, svg: make's graph; trace, prometheus, html: the last build; missing: prerequisites that the
    Makefiles lack, as lines to add.
    """
    from buildfarm.cli.report import write

    for option, value, of in (("--build", build, OF_ONE_BUILD), ("--target", target, PICTURES)):
        if value is not None and form not in of:
            raise UsageError(f"{option}: not for {form}", hint=f"it chooses for {', '.join(of)}")
    where = tree(directory, config)
    write(output, _text(form, where, target, depth, build))
    return 0


def _text(form: str, where: Path, target: str | None, depth: int, build: int | None) -> str:
    match form:
        case "compile-commands":
            from buildfarm.conductor.exports import compile_commands

            return compile_commands(where / STATE_DIRECTORY, _plan(where, everything=False).graph)
        case "dot" | "svg":
            from buildfarm.conductor.exports import picture, surroundings

            graph = _plan(where, everything=True).graph
            only = surroundings(graph, target, where, depth)
            if form == "svg":
                return picture(graph, only, where, target)
            from buildfarm.graph.exchange import to_dot

            return to_dot(graph, only)
        case "missing":
            from buildfarm.conductor.prerequisites import fragment, of_tree

            return fragment(of_tree(where, where / STATE_DIRECTORY, _words(where), dict(os.environ)), str(where))
        case _:
            from buildfarm.conductor.history import read

            history = read(where / STATE_DIRECTORY, build)
            if form == "trace":
                from buildfarm.report.trace import chrome_trace

                return chrome_trace(history)
            if form == "html":
                from buildfarm.report.page import render

                return render(history)
            from buildfarm.report.metrics import prometheus

            return prometheus(history)


def _words(where: Path) -> tuple[str, ...]:
    """make's words of the last build, or those of buildfarm.toml."""
    from buildfarm.cli.requests import Options, from_words
    from buildfarm.state.reader import make_words

    words = make_words(where / STATE_DIRECTORY)
    return from_words(("-C", str(where)), Options(), dict(os.environ)).make_words if words is None else words


def _plan(where: Path, *, everything: bool) -> Planned:
    from buildfarm.conductor.exports import planned

    found = planned(where, _words(where), dict(os.environ), everything=everything)
    for trouble in found.troubles:
        click.echo(f"buildfarm: {trouble}", err=True)
    return found
