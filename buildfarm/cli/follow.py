"""`buildfarm status --follow`: watch a build that another process runs, through its journal.

On a terminal it draws the view that `run` draws; elsewhere it prints a line when the numbers change, or with
--json a document a line.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import click

from buildfarm.cli.snapshot import read
from buildfarm.report.status import Status, time_left
from buildfarm.report.status import as_json as document_text
from buildfarm.report.status_view import view


def show(directory: Path, *, as_json: bool, color: bool, poll_seconds: float) -> tuple[Status, str | None]:
    """Show until no build runs; the last status, and what is wrong with the journal, if anything."""
    if as_json:
        return _lines(directory, poll_seconds, documents=True)
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return _live(directory, color=color and not os.environ.get("NO_COLOR"), poll_seconds=poll_seconds)
    return _lines(directory, poll_seconds, documents=False)


def _lines(directory: Path, poll_seconds: float, *, documents: bool) -> tuple[Status, str | None]:
    last: object = None
    while True:
        found, problem = read(directory, time.time())
        telling = (found.units, found.state, tuple((out.output, out.attempt) for out in found.checked_out))
        if telling != last and (documents or found.state == "running"):
            click.echo(document_text(found, indent=None) if documents else _line(found))
        last = telling
        if found.state != "running":
            return found, problem
        time.sleep(poll_seconds)


def _line(found: Status) -> str:
    seen = view(found)
    left = time_left(seen.eta_seconds, seen.total_is_final)
    total = f"{seen.total}{'' if seen.total_is_final else '+'}"
    return f"[{seen.done}/{total}] {seen.in_flight} in flight{left}"


def _live(directory: Path, *, color: bool, poll_seconds: float) -> tuple[Status, str | None]:
    from buildfarm.report.region import Region
    from buildfarm.report.view import lines

    region = Region()
    columns = 80

    def write(data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    try:
        while True:
            found, problem = read(directory, time.time())
            if found.state != "running":
                return found, problem
            columns, rows = shutil.get_terminal_size()
            shown = lines(view(found), width=columns, height=max(1, rows - 2), color=color)
            write(region.draw(shown, columns))
            time.sleep(poll_seconds)
    finally:
        write(region.close(columns))
