"""Tells people how a build goes: plain lines on stderr, or the live view when there is a terminal.

It chooses between the two and puts events into words; `live` draws, `events` writes for programs.  Plain lines
go to stderr, never stdout: what make prints on stdout may be somebody's input.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from buildfarm.model import NO_HOSTS, NOT_RETRIES, Kind, NodeStatus
from buildfarm.report.events import EventLog
from buildfarm.report.progress import Progress
from buildfarm.report.reporter import BuildStarted, Reporter, Retry, Summary, Totals, UnitDone, UnitStarted
from buildfarm.report.text import causes, clock, count, duration, printable, relative

STDOUT, STDERR = 1, 2
PREFIX = "buildfarm: "
NODES_TOLD = 2  # in the closing line
FAULTY = frozenset({"down", "quarantined", "draining"})


class Narrator:
    """Puts events into lines of text.  `every_unit`: also those that go well."""

    def __init__(self, progress: Progress, *, every_unit: bool) -> None:
        self._progress = progress
        self._every_unit = every_unit
        self._directory = "/"
        self._nodes: dict[str, NodeStatus] = {}  # as they were last
        self._faulty: set[str] = set()
        self._archives: set[str] = set()

    def say(self, event: object) -> str | None:
        """The line for `event`, to be asked after the model has taken it; None: nothing to say."""
        match event:
            case BuildStarted():
                self._directory = event.directory
                self._nodes = {node.key: node for node in event.nodes}
                return None
            case UnitDone():
                return self._unit_done(event)
            case Retry():
                return self._retry(event)
            case NodeStatus():
                return self._node(event)
            case str():
                return PREFIX + printable(event)
            case Summary():
                return self._summary(event)
            case _:
                return None

    def _path(self, output: str) -> str:
        return printable(relative(output, self._directory))

    def _unit_done(self, event: UnitDone) -> str | None:
        if not self._every_unit or (event.kind is Kind.OTHER and (not event.exit_status or event.tries_out)):
            return None  # what is no unit and no link step (`-E`, ccache's) counts as nothing
        where = f"on {event.node}" if event.node else "here"
        what = f"[{self._counter()}] {self._path(event.output)}"
        if event.exit_status == NO_HOSTS and event.node is None:
            return f"{what} not compiled: no node took it, and it may not be compiled here"
        if event.kept:
            return f"{what} kept from before"
        if event.exit_status:  # whether make minds is make's to say: a recipe may only have tried
            return f"{what} ended {where} with status {event.exit_status}"
        if event.kind is Kind.ARCHIVE:  # `ar`, `ranlib`, and perhaps `ar` again: one line
            if event.output in self._archives:
                return None
            self._archives.add(event.output)
        verb = {Kind.LINK: " linked", Kind.ARCHIVE: " archived"}.get(event.kind, "")
        again = f", attempt {event.attempt}" if event.attempt > 1 else ""
        return f"{what}{verb} {where} in {duration(event.seconds)}{again}"

    def _counter(self) -> str:
        """Units done of all; of a build that has none so far, its steps."""
        progress = self._progress
        if not progress.total:
            return f"step {progress.links}"
        return f"{progress.done}/{progress.total}{'' if progress.total_is_final else '+'}"

    def _retry(self, event: Retry) -> str | None:
        if event.outcome in NOT_RETRIES:
            return None
        onward = f"; retrying on {event.next_node}" if event.next_node else "; trying again"
        return f"{PREFIX}{self._path(event.output)}: {printable(event.reason)}{onward}"

    def _node(self, node: NodeStatus) -> str | None:
        before = self._nodes.get(node.key)
        self._nodes[node.key] = node
        if node.state in FAULTY:
            if node.key in self._faulty and before is not None and before.state == node.state:
                return None  # each time that it is asked again there may be another reason
            self._faulty.add(node.key)
            return f"{PREFIX}node {node.key} is {node.state}{f': {printable(node.reason)}' if node.reason else ''}"
        if node.key in self._faulty:
            self._faulty.discard(node.key)
            return f"{PREFIX}node {node.key} is back"
        return None

    def _summary(self, event: Summary) -> str | None:
        if event.interrupted:
            return f"{PREFIX}interrupted after {clock(event.seconds)}; `buildfarm resume` continues it"
        make_failed = event.exit_status != 0
        links_failed = event.links_failed if make_failed else 0  # else make did not mind
        failed = f"{event.failed} failed{'' if make_failed else ', which make did not mind'}"
        if not (event.done or event.failed or event.unseen or event.links or links_failed):
            return None
        worked = count(event.done, "unit")
        if not event.done and (event.links or links_failed):
            worked = f"no units, {count(event.links, 'link step')}" if event.links else "no units"
        parts = [f"{worked} in {duration(event.seconds)}"]
        places = [f"{event.remote} on nodes"] if event.remote else []
        places += [f"{event.local} here"] if event.local else []
        parts[0] += f" ({', '.join(places)})" if places else ""
        for number, words in (
            (event.reused, f"{event.reused} kept from before"),
            (event.lookahead, f"{event.lookahead} ahead of make"),
            (event.retried, f"{count(event.retried, 'retry')} ({causes(event.retries)})"),
            (event.failed, failed),
            (links_failed, f"{count(links_failed, 'link step')} failed"),
            (event.unseen, f"{event.unseen} compiled here unseen"),
            (make_failed, f"make failed with status {event.exit_status}"),
        ):
            if number:
                parts.append(words)
        if event.local and not event.remote:
            parts += self._why_here()
        return PREFIX + "; ".join(parts)

    def _why_here(self) -> list[str]:
        """Why no node had a unit, if all of them are out of order."""
        nodes = list(self._nodes.values())
        if not nodes or len(self._faulty) < len(nodes):
            return []
        reasons = {node.reason for node in nodes}
        told = [f"{node.key} is {node.state} ({node.reason or 'no reason given'})" for node in nodes]
        common = reasons.pop() if len(reasons) == 1 else None
        more = f" and {count(len(told) - NODES_TOLD, 'other')}" if len(told) > NODES_TOLD else ""
        why = printable(common or ", ".join(told[:NODES_TOLD]) + more)
        return [f"no node had one: {why}", "`buildfarm doctor` says how to mend it"]


class PlainReporter:
    """The `Reporter` that writes a line for each unit to `descriptor`, each with one write."""

    def __init__(self, progress: Progress, *, descriptor: int = STDERR) -> None:
        self._progress = progress
        self._narrator = Narrator(progress, every_unit=True)
        self._descriptor = descriptor

    def started(self, event: BuildStarted) -> None:
        self._progress.started(event)
        self._line(event)

    def totals(self, event: Totals) -> None:
        self._progress.totals(event)

    def unit_started(self, event: UnitStarted) -> None:
        self._progress.unit_started(event)

    def unit_done(self, event: UnitDone) -> None:
        self._progress.unit_done(event)
        self._line(event)

    def retry(self, event: Retry) -> None:
        self._progress.retry(event)
        self._line(event)

    def node_changed(self, node: NodeStatus, time: float) -> None:
        self._progress.node_changed(node, time)
        self._line(node)

    def set_aside(self, step: int, time: float) -> None:
        self._progress.set_aside(step, time)

    def note(self, text: str) -> None:
        self._line(text)

    def finished(self, event: Summary) -> None:
        self._progress.finished(event)
        self._line(event)

    def close(self) -> None:
        """Nothing is held."""

    def _line(self, event: object) -> None:
        text = self._narrator.say(event)
        if text is None:
            return
        try:
            os.write(self._descriptor, (text + "\n").encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # nobody reads stderr any more: the build goes on


class _Closing(Reporter, Protocol):
    def close(self) -> None: ...


class Reporters:
    """All reporters of one build as one `Reporter`, and what the conductor gives to make as its output.

    `make_stdout` and `make_stderr` are descriptors for make's streams; None: inherit ours, untouched.
    """

    def __init__(self, members: tuple[_Closing, ...], progress: Progress) -> None:
        self._members = members
        self._said: set[str] = set()
        self.progress = progress
        self.make_stdout: int | None = None
        self.make_stderr: int | None = None

    def started(self, event: BuildStarted) -> None:
        for member in self._members:
            member.started(event)

    def totals(self, event: Totals) -> None:
        for member in self._members:
            member.totals(event)

    def unit_started(self, event: UnitStarted) -> None:
        for member in self._members:
            member.unit_started(event)

    def unit_done(self, event: UnitDone) -> None:
        for member in self._members:
            member.unit_done(event)

    def retry(self, event: Retry) -> None:
        for member in self._members:
            member.retry(event)

    def node_changed(self, node: NodeStatus, time: float) -> None:
        for member in self._members:
            member.node_changed(node, time)

    def set_aside(self, step: int, time: float) -> None:
        for member in self._members:
            member.set_aside(step, time)

    def note(self, text: str) -> None:
        if text in self._said:
            return
        self._said.add(text)
        for member in self._members:
            member.note(text)

    def finished(self, event: Summary) -> None:
        for member in self._members:
            member.finished(event)

    def close(self) -> None:
        for member in self._members:
            member.close()


def wants_live_view(*, plain: bool) -> bool:
    """Whether stdout and stderr are a terminal that is ours to draw on now.  The CLI knows dumb ones."""
    if plain:
        return False
    try:
        return os.isatty(STDOUT) and os.isatty(STDERR) and os.tcgetpgrp(STDERR) == os.getpgrp()
    except OSError:
        return False


@contextmanager
def open_reporters(
    *,
    plain: bool = False,
    color: bool = True,
    events: Path | None = None,
    now: Callable[[], float] = time.time,
) -> Iterator[Reporters]:
    """The reporters of one build, closed at the end of the `with` whatever happens.

    Raises MachineError when `events` can't be written.
    """
    progress = Progress()
    log: EventLog | None = None
    held: list[Reporters] = []

    def complain(text: str) -> None:
        held[0].note(text)

    if events is not None:
        log = EventLog(events, complain=complain, clock=now)
    display: _Closing
    slave: int | None = None
    if wants_live_view(plain=plain):
        from buildfarm.report.live import LiveReporter

        def draw(columns: int, rows: int) -> list[str]:
            from buildfarm.report.view import lines  # rich: a build that is over before the first frame needs none

            return lines(progress.view(now()), width=columns, height=max(1, min(rows // 2, rows - 4)), color=color)

        live = LiveReporter(
            STDERR,
            progress=progress,
            drawing=draw,
            say=Narrator(progress, every_unit=False).say,
        )
        display, slave = live, live.slave
    else:
        display = PlainReporter(progress)
    reporters = Reporters((display,) if log is None else (log, display), progress)
    held.append(reporters)
    reporters.make_stdout = reporters.make_stderr = slave
    try:
        yield reporters
    finally:
        reporters.close()
