"""What `resume --dry-run` shows: which files of the interrupted build would be kept, which would go, and why.

It judges nothing itself and touches nothing.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter

import click

from buildfarm.conductor.recovery import Findings, examine, left_running, settled
from buildfarm.report.text import count, printable, relative
from buildfarm.request import RunRequest
from buildfarm.state.journal import Journal
from buildfarm.state.lock import TreeLock
from buildfarm.state.store import stored_results


def show(journal: Journal, lock: TreeLock, request: RunRequest) -> int:
    """Print what a resume would do first; the caller holds the lock."""
    running = left_running(journal, lock)
    found = examine(journal, lock, request, running=running, settled_ns=settled(journal, running))
    for line in describe(found, str(request.directory), stored_results(journal.state_dir)):
        click.echo(line)
    return 0


def describe(found: Findings, directory: str, held: int) -> list[str]:
    """The findings for people; `held` results wait in the store for make to ask."""
    sweep = found.sweep
    lines = []
    if found.orphans:
        lines.append(f"would end what still runs of it: {', '.join(map(str, found.orphans))}")
    kept = [(entry.reason, relative(entry.path, directory)) for entry in sweep.kept]
    gone = [(entry.reason, relative(entry.path, directory)) for entry in (*sweep.removed, *found.unvouched)]
    for word, entries in (("keep", kept), ("remove", gone)):
        for reason, group in groupby(sorted(entries), key=itemgetter(0)):
            paths = [path for _, path in group]
            lines.append(f"would {word} {count(len(paths), 'file')}: {reason}")
            lines += [f"  {printable(path)}" for path in paths]
    if asked_again := len(sweep.unfinished) + len(sweep.repeated):
        lines.append(f"would keep up to {count(asked_again, 'result')} for recipes that run again")
    if held:
        lines.append(f"would keep {count(held, 'result')} that make has not asked for yet")
    if not sweep.interrupted:
        lines.append("the last build was not interrupted, it failed: make decides what is missing, and compiles that")
    lines += [f"make could not tell all of its targets: {printable(trouble)}" for trouble in found.troubles]
    if sweep.interrupted:
        lines.append(f"would keep {count(sweep.kept_units, 'unit')} in all")
    return lines
