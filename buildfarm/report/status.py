"""The status of a tree as plain values, and its two forms: the JSON document of schema 1, and text for people.

It imports no pydantic and no rich, because scripts ask for status often: `document` holds the models that this
JSON is held to by a test, and docs/reference.md says what each field means.  It finds nothing out by itself.  The
values are named tuples, not frozen dataclasses, because a class of those costs 0.6 ms at import and one of these
0.07.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from time import gmtime, strftime
from typing import NamedTuple

from buildfarm.report.text import again, causes, clock, count, duration, encodable, folded, harmless, printable

SCHEMA = 1

EXIT_CODES: Mapping[str, int] = {"complete": 0, "failed": 1, "running": 3, "interrupted": 4, "none": 5}
"""`buildfarm status` exits with these; 64 and 78 are errors."""

NOT_PROBED = "being asked who it is"
"""The reason of a node that is not known yet (`dispatch.health.NOT_PROBED`); that is no fault."""

ASKED_AGAIN = "being asked whether it is there"
"""The reason of one that was up and is silent (`dispatch.health.ASKED_AGAIN`): whether that is a fault, it will say."""

STDERR_LINES = 6
"""At most so many lines of a failure's stderr are shown to people; the JSON has them all."""


class Build(NamedTuple):
    """`build` of the document; times are seconds since the epoch."""

    id: int
    goals: tuple[str, ...]
    variables: Mapping[str, str]
    pid: int
    started: float
    ended: float | None = None
    exit_status: int | None = None
    eta_seconds: float | None = None
    resumed_from: int | None = None
    make_pid: int | None = None  # of a make that goes on although the process of the build is gone


class Units(NamedTuple):
    """`units` of the document."""

    total: int = 0
    total_is_final: bool = False
    done: int = 0
    checked_out: int = 0
    waiting: int = 0
    failed: int = 0
    remote: int = 0
    local: int = 0
    lookahead: int = 0
    retried: int = 0
    reused: int = 0
    retries: tuple[tuple[str, int], ...] = ()  # attempts that did not count, by outcome


class Planning(NamedTuple):
    """`planning` of the document."""

    instances: int = 0
    asked: int = 0
    foreseen: int = 0
    predicted: int = 0
    wasted: int = 0
    seconds: float = 0.0


class NodeLine(NamedTuple):
    """One of `nodes`."""

    name: str
    port: int
    state: str
    slots: int
    checked_out: int = 0
    done: int = 0
    failed: int = 0
    compiler: str | None = None
    reason: str | None = None
    retry_in_seconds: float | None = None
    mean_seconds: float | None = None
    by_ssh: str | None = None  # the node's key, where there is no port: `pi@pi3`

    @property
    def key(self) -> str:
        """As `model.Node.key`: `pi3:3632`, `[fd00::1]:3632`, `@pi3`."""
        if self.by_ssh is not None:
            return self.by_ssh
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


class Out(NamedTuple):
    """One of `checked_out`.  `output` is relative to the tree's directory."""

    output: str
    node: str | None
    attempt: int
    seconds: float


class Failure(NamedTuple):
    """One of `failures`."""

    output: str
    command: str
    exit_status: int
    stderr: str


class Status(NamedTuple):
    """All that `buildfarm status` knows at the time `now`."""

    directory: str
    state: str  # none, running, complete, failed, interrupted
    now: float
    build: Build | None = None
    units: Units = Units()
    planning: Planning = Planning()
    links_done: int = 0
    links_running: int = 0
    nodes: tuple[NodeLine, ...] = ()
    checked_out: tuple[Out, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def resumable(self) -> bool:
        return self.state in ("interrupted", "failed")

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.state]

    @property
    def elapsed_seconds(self) -> float:
        if self.build is None:
            return 0.0
        return max(0.0, (self.build.ended if self.build.ended is not None else self.now) - self.build.started)


# --- for programs ----------------------------------------------------------------------------------------------


def document(status: Status) -> dict[str, object]:
    """The status document, ready for `json.dumps`."""
    units = status.units
    return {
        "schema": SCHEMA,
        "directory": encodable(status.directory),
        "state": status.state,
        "resumable": status.resumable,
        "build": None if status.build is None else _build(status.build, status.elapsed_seconds),
        "units": {
            "total": units.total,
            "total_is_final": units.total_is_final,
            "done": units.done,
            "checked_out": units.checked_out,
            "waiting": units.waiting,
            "failed": units.failed,
            "remote": units.remote,
            "local": units.local,
            "lookahead": units.lookahead,
            "retried": units.retried,
            "reused": units.reused,
            "retries": dict(units.retries),
        },
        "link_steps": {"done": status.links_done, "running": status.links_running},
        "planning": {**status.planning._asdict(), "seconds": round(status.planning.seconds, 3)},
        "nodes": [_node(node) for node in status.nodes],
        "checked_out": [
            {
                "output": encodable(out.output),
                "node": None if out.node is None else encodable(out.node),
                "attempt": out.attempt,
                "seconds": round(out.seconds, 1),
            }
            for out in status.checked_out
        ],
        "failures": [
            {
                "output": encodable(failure.output),
                "command": encodable(failure.command),
                "exit_status": failure.exit_status,
                "stderr": encodable(failure.stderr),
            }
            for failure in status.failures
        ],
    }


def as_json(status: Status, *, indent: int | None = 2) -> str:
    """The status document as JSON text in ASCII, without a newline at its end."""
    return json.dumps(document(status), indent=indent)


def iso(seconds: float) -> str:
    """UTC in ISO 8601, `2026-11-22T10:00:00Z`, for seconds since the epoch."""
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(int(seconds)))


def _rounded(seconds: float | None, digits: int = 1) -> float | None:
    return None if seconds is None else round(max(0.0, seconds), digits)


def _build(build: Build, elapsed: float) -> dict[str, object]:
    return {
        "id": build.id,
        "goals": [encodable(goal) for goal in build.goals],
        "variables": {encodable(name): encodable(value) for name, value in build.variables.items()},
        "pid": build.pid,
        "exit_status": build.exit_status,
        "started": iso(build.started),
        "ended": None if build.ended is None else iso(build.ended),
        "elapsed_seconds": round(elapsed, 1),
        "eta_seconds": _rounded(build.eta_seconds),
        "resumed_from": build.resumed_from,
        "make_pid": build.make_pid,
    }


def _node(node: NodeLine) -> dict[str, object]:
    return {
        "name": encodable(node.name),
        "port": node.port,
        "state": node.state,
        "slots": node.slots,
        "checked_out": node.checked_out,
        "done": node.done,
        "failed": node.failed,
        "compiler": None if node.compiler is None else encodable(node.compiler),
        "reason": None if node.reason is None else encodable(node.reason),
        "retry_in_seconds": _rounded(node.retry_in_seconds),
        "mean_seconds": _rounded(node.mean_seconds, 2),
    }


# --- for people --------------------------------------------------------------------------------------------------


def human(status: Status, columns: int | None = None) -> str:
    """The same for people: several lines, without a newline at the end and without escape codes.

    Commands are folded to `columns`.
    """
    directory = printable(status.directory)
    build = status.build
    if build is None:
        return f"{directory}: no build is known here; `buildfarm run` starts one"
    lines = [f"{directory}: {_headline(status, build)}"]
    words = [printable(goal) for goal in build.goals] or ["(default goal)"]
    words += [f"{printable(name)}={printable(value)}" for name, value in build.variables.items()]
    lines.append(f"  build {build.id}    {' '.join(words)}" + _resumed(build))
    lines.append(f"  units      {_units(status.units)}")
    if status.links_done or status.links_running:
        running = f", {status.links_running} running" if status.links_running else ""
        lines.append(f"  links      {status.links_done} done{running}")
    if status.nodes:
        lines.append("  nodes")
        lines.extend("    " + line for line in node_table(_ever_asked(status)))
    if status.checked_out:
        title = "checked out" if status.state == "running" else "was checked out"
        lines.append(f"  {title}")
        width = max(len(printable(out.output)) for out in status.checked_out)
        for out in status.checked_out:
            again = f", attempt {out.attempt}" if out.attempt > 1 else ""
            lines.append(
                f"    {printable(out.output):<{width}}  {printable(out.node or 'here')}  {duration(out.seconds)}{again}"
            )
    if status.state == "failed" and not status.failures:
        lines.append("  failed     no compile or link step that is known here: make has named the recipe")
    for failure in status.failures:
        minded = ", which make did not mind" if status.state == "complete" else ""
        lines.append(f"  failed     {printable(failure.output)} (status {failure.exit_status}){minded}")
        lines.append(f"    {folded(failure.command, indent=4, columns=columns)}")
        words_of_tool = harmless(failure.stderr).rstrip("\n").split("\n")
        lines.extend(f"    {line}" for line in words_of_tool[:STDERR_LINES] if line)
        if len(words_of_tool) > STDERR_LINES:
            lines.append(f"    ... {count(len(words_of_tool) - STDERR_LINES, 'more line')}: --json has them")
    return "\n".join(lines)


def _headline(status: Status, build: Build) -> str:
    gone = duration(status.elapsed_seconds)
    match status.state:
        case "running":
            return f"running for {gone} (pid {build.pid}){time_left(build.eta_seconds, status.units.total_is_final)}"
        case "complete":
            return f"complete, {gone}, ended {iso(build.ended or status.now)}"
        case "failed":
            return f"failed with status {build.exit_status} after {gone}; mend it, then `buildfarm resume` or `run`"
        case _ if build.make_pid is not None:
            runs = f"its make still runs (pid {build.make_pid})"
            return f"interrupted after {gone}; {runs}: `buildfarm resume` ends that and continues it"
        case _:
            return f"interrupted after {gone}; `buildfarm resume` continues it"


def time_left(seconds: float | None, total_is_final: bool) -> str:
    """`, 0:40 left`; nothing where that is not known."""
    if seconds is None:
        return ""
    return f", {'' if total_is_final else 'at least '}{clock(seconds)} left"


def _resumed(build: Build) -> str:
    return "" if build.resumed_from is None else f"  (resumed from build {build.resumed_from})"


def _units(units: Units) -> str:
    if not units.total:
        return "none" if units.total_is_final else "none yet"
    total = f"{units.total}{'' if units.total_is_final else '+'}"
    parts = [f"{units.done + units.reused}/{total} done"]
    for number, word in (
        (units.checked_out, "checked out"),
        (units.waiting, "waiting"),
        (units.failed, "failed"),
        (units.remote, "on nodes"),
        (units.local, "here"),
        (units.lookahead, "ahead of make"),
        (units.retried, f"retried{f' ({causes(dict(units.retries))})' if units.retries else ''}"),
        (units.reused, "kept from before"),
    ):
        if number:
            parts.append(f"{number} {word}")
    return ", ".join(parts)


def _ever_asked(status: Status) -> Iterator[NodeLine]:
    """The nodes as people should see them: one that was never asked who it is, or is asked again, is not down."""
    reason = NOT_PROBED if status.state == "running" else "was not needed"
    for node in status.nodes:
        if node.reason == NOT_PROBED:
            yield node._replace(state="not asked", reason=reason)
        else:
            yield node._replace(state="silent") if node.reason == ASKED_AGAIN else node


def node_table(nodes: Iterable[NodeLine], *, working: bool = True) -> list[str]:
    """A line for each node, in columns; not `working`: no build's numbers."""
    rows = [
        (
            printable(node.key),
            node.state,
            f"{node.checked_out}/{node.slots}" if working else count(node.slots, "slot"),
            f"{node.done} done" if working else "",
            f"{node.failed} failed" if node.failed else "",
            f"{node.mean_seconds:.2f} s each" if node.mean_seconds is not None else "",
            _node_remark(node),
        )
        for node in nodes
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(7)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width).rstrip() for row in rows
    ]


def _node_remark(node: NodeLine) -> str:
    parts = [printable(node.reason)] if node.reason else []
    if node.retry_in_seconds is not None:
        parts.append(again(node.retry_in_seconds))
    return "; ".join(parts) or (printable(node.compiler) if node.compiler else "")
