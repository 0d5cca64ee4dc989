"""`buildfarm report`: a build as one HTML page, and as a trace for Perfetto."""

from __future__ import annotations

from pathlib import Path

import click

from buildfarm.cli.tree import config_option, directory_option, tree
from buildfarm.errors import MachineError
from buildfarm.home import STATE_DIRECTORY
from buildfarm.report.text import printable

DEFAULT_PAGE = "buildfarm-report.html"


@click.command(
    epilog="""\b
Examples:
  buildfarm report                   writes buildfarm-report.html
  buildfarm report -C decks -o /tmp/gcm.html
  buildfarm report --trace gcm.json  for https://ui.perfetto.dev
  buildfarm report --build 7         an earlier build; the last ten are kept

\b
Exit status: 0, 64 usage or no build known here, 71 when the file can't be
written.
"""
)
@directory_option
@config_option
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help=f"Default: {DEFAULT_PAGE}.")
@click.option("--trace", type=click.Path(path_type=Path), metavar="FILE", help="A Chrome trace; the page only with -o.")
@click.option("--build", type=click.IntRange(min=1), metavar="N", help="Of this build; default: the last one.")
def report(directory: str, config: Path | None, output: Path | None, trace: Path | None, build: int | None) -> int:
    """Show the last build as one page that needs no network.

    Every slot's timeline with the longest chain marked, nodes, slowest units, faults, what lookahead saved and what
    would have been faster.
    """
    from buildfarm.conductor.history import read
    from buildfarm.report import page

    history = read(tree(directory, config) / STATE_DIRECTORY, build)
    if trace is not None:
        from buildfarm.report.trace import chrome_trace

        write(trace, chrome_trace(history))
        click.echo(f"{printable(str(trace))}: open it in https://ui.perfetto.dev or chrome://tracing")
    if output is not None or trace is None:
        page_file = output or Path(DEFAULT_PAGE)
        write(page_file, page.render(history))
        click.echo(f"{printable(str(page_file))}: build {history.build}, {history.state}")
        for line in page.text_lines(history):
            click.echo(line)
    return 0


def write(path: Path, text: str) -> None:
    """`text` to `path`, whole or not at all; `-` is stdout.  Raises MachineError."""
    import os
    import tempfile

    if str(path) == "-":
        click.echo(text, nl=not text.endswith("\n"))
        return
    if path.exists() and not path.is_file():  # /dev/stdout, a pipe
        path.write_text(text, encoding="utf-8")
        return
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
            file.write(text)
        os.chmod(file.name, 0o666 & ~_umask())
        os.replace(file.name, path)
    except OSError as error:
        raise MachineError(f"{path}: can't be written: {error.strerror}", hint="name another file") from error


def _umask() -> int:
    import os

    mask = os.umask(0o022)
    os.umask(mask)
    return mask
