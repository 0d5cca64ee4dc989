"""Writes a build's events as JSON, one object a line: `--events FILE`.

Each line is appended with one write, so that `tail -f` and several builds on one file see whole lines.  It
never ends a build: when the file can no longer be written (a full disk), it says so once and falls silent.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from buildfarm.errors import MachineError
from buildfarm.model import NodeStatus
from buildfarm.report.reporter import BuildStarted, Retry, Summary, Totals, UnitDone, UnitStarted
from buildfarm.report.text import encodable, relative


def timestamp(seconds: float) -> str:
    """UTC in ISO 8601 with milliseconds, `2026-11-22T10:00:00.250Z`, for seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class EventLog:
    """The `Reporter` behind `--events FILE`.  Raises MachineError when the file can't be opened."""

    def __init__(self, path: Path, *, complain: Callable[[str], None], clock: Callable[[], float]) -> None:
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise MachineError(
                f"{path}: can't write events: {error.strerror}", hint="name another file with --events FILE"
            ) from error
        self._path = path
        self._complain = complain
        self._clock = clock
        self._build: int | None = None
        self._directory = "/"

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def started(self, event: BuildStarted) -> None:
        self._build = event.build
        self._directory = event.directory
        self._write(
            "build_started",
            event.time,
            directory=event.directory,
            goals=list(event.goals),
            variables=dict(event.variables),
            nodes=[node.key for node in event.nodes],
            resumed_from=event.resumed_from,
            reused=event.reused,
        )

    def totals(self, event: Totals) -> None:
        self._write("totals", self._clock(), units=event.units, total_is_final=event.is_final)

    def unit_started(self, event: UnitStarted) -> None:
        self._write(
            "check_out",
            event.time,
            kind=str(event.kind),
            output=relative(event.output, self._directory),
            node=event.node,
            attempt=event.attempt,
            lookahead=event.lookahead,
            reason=event.reason,
        )

    def unit_done(self, event: UnitDone) -> None:
        self._write(
            "check_in",
            event.time,
            kind=str(event.kind),
            output=relative(event.output, self._directory),
            outputs=[relative(path, self._directory) for path in event.outputs],
            node=event.node,
            attempt=event.attempt,
            lookahead=event.lookahead,
            seconds=round(event.seconds, 3),
            exit_status=event.exit_status,
            bytes_sent=event.bytes_sent,
            bytes_received=event.bytes_received,
        )

    def retry(self, event: Retry) -> None:
        self._write(
            "retry",
            event.time,
            output=relative(event.output, self._directory),
            node=event.node,
            attempt=event.attempt,
            outcome=event.outcome,
            reason=event.reason,
            next_node=event.next_node,
        )

    def node_changed(self, node: NodeStatus, time: float) -> None:
        retry_in = None if node.retry_at is None else max(0.0, round(node.retry_at - time, 3))
        self._write(
            "node",
            time,
            node=node.key,
            state=node.state,
            slots=node.slots,
            reason=node.reason,
            retry_in_seconds=retry_in,
        )

    def set_aside(self, step: int, time: float) -> None:
        self._write("set_aside", time, step=step)

    def note(self, text: str) -> None:
        self._write("note", self._clock(), text=text)

    def finished(self, event: Summary) -> None:
        self._write(
            "build_finished",
            event.time,
            exit_status=event.exit_status,
            seconds=round(event.seconds, 3),
            done=event.done,
            failed=event.failed,
            remote=event.remote,
            local=event.local,
            lookahead=event.lookahead,
            retried=event.retried,
            reused=event.reused,
            links=event.links,
            interrupted=event.interrupted,
        )

    def _write(self, name: str, time: float, **fields: object) -> None:
        if self._descriptor < 0:
            return
        record = {"event": name, "time": timestamp(time), "build": self._build, **fields}
        line = (json.dumps(_escaped(record)) + "\n").encode("ascii")
        try:
            written = os.write(self._descriptor, line)
            if written < len(line):
                os.write(self._descriptor, line[written:])
        except OSError as error:
            self.close()
            self._complain(f"{self._path}: no more events are written: {error.strerror}")


def _escaped(value: object) -> object:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, dict):
        return {encodable(str(key)): _escaped(item) for key, item in value.items()}
    return value
