"""A build's history in the Trace Event Format of Chrome, which Perfetto reads too.

Each place is a process, each slot a thread, each attempt a complete event (`ph: X`); the longest chain is a row of
its own and what waited for what along it are flow arrows; a counter says how many were at work.  Times are
microseconds from the build's start (Trace Event Format, "Complete Events", "Flow Events", "Counter Events").
"""

from __future__ import annotations

import json
from itertools import pairwise

from buildfarm.report.history import History, Step
from buildfarm.report.text import encodable

CHAIN = 1
FIRST_PLACE = 2


def chrome_trace(history: History) -> str:
    """The trace as JSON text."""
    events: list[dict[str, object]] = [
        _named("process_name", CHAIN, "longest chain"),
        {"ph": "M", "name": "process_sort_index", "pid": CHAIN, "args": {"sort_index": -1}},
    ]
    pids = {place.name: FIRST_PLACE + i for i, place in enumerate(history.places)}
    for place in history.places:
        events.append(_named("process_name", pids[place.name], f"{place.name} ({place.slots} slots)"))
    changes: list[tuple[float, int, bool]] = []
    here = {place.name for place in history.places if place.here}
    for step in history.steps:
        for attempt in step.attempts:
            args: dict[str, object] = {"attempt": attempt.number, "outcome": attempt.outcome, **_details(step)}
            if attempt.reason:
                args["reason"] = encodable(attempt.reason)
            events.append(
                {
                    "ph": "X",
                    "name": encodable(step.name),
                    "cat": _category(step),
                    "pid": pids[attempt.node],
                    "tid": attempt.slot + 1,
                    "ts": _microseconds(attempt.start),
                    "dur": _microseconds(attempt.end - attempt.start),
                    "args": args,
                }
            )
            changes += [(attempt.start, 1, attempt.node in here), (attempt.end, -1, attempt.node in here)]
    events += _chain(history)
    events += _counters(changes)
    return json.dumps({"displayTimeUnit": "ms", "otherData": _about(history), "traceEvents": events})


def _chain(history: History) -> list[dict[str, object]]:
    events: list[dict[str, object]] = []
    for number in history.critical_path:
        step = history.steps[number]
        if step.attempts:
            last = step.attempts[-1]
            start, length = _microseconds(last.start), _microseconds(last.end - last.start)
            events.append(
                {"ph": "X", "name": encodable(step.name), "cat": "chain", "pid": CHAIN, "tid": 1}
                | {"ts": start, "dur": length}
            )
    for number, (first, second) in enumerate(pairwise(history.critical_path)):
        one, other = history.steps[first], history.steps[second]
        if one.attempts and other.attempts:
            flow = {"name": "waits for", "cat": "chain", "id": number, "pid": CHAIN, "tid": 1}
            end = _microseconds(one.attempts[-1].end)
            events.append({**flow, "ph": "s", "ts": max(0, end - 1)})
            events.append({**flow, "ph": "f", "bp": "e", "ts": _microseconds(other.attempts[-1].start)})
    return events


def _counters(changes: list[tuple[float, int, bool]]) -> list[dict[str, object]]:
    events: list[dict[str, object]] = []
    running = {"on nodes": 0, "here": 0}
    for time, by, here in sorted(changes):
        running["here" if here else "on nodes"] += by
        event = {"ph": "C", "name": "at work", "pid": CHAIN, "ts": _microseconds(time), "args": dict(running)}
        events.append(event)
    return events


def _category(step: Step) -> str:
    if step.state in ("held", "dropped"):
        return "in vain"
    return "lookahead" if step.lookahead else step.kind


def _details(step: Step) -> dict[str, object]:
    details: dict[str, object] = {"command": encodable(step.command), "directory": encodable(step.cwd)}
    if step.bytes_sent or step.bytes_received:
        details |= {"bytes_sent": step.bytes_sent, "bytes_received": step.bytes_received}
    if step.reason:
        details["here_because"] = encodable(step.reason)
    if step.critical:
        details["longest_chain"] = True
    return details


def _about(history: History) -> dict[str, object]:
    return {"build": history.build, "directory": encodable(history.directory), "state": history.state}


def _named(what: str, pid: int, name: str) -> dict[str, object]:
    return {"ph": "M", "name": what, "pid": pid, "args": {"name": encodable(name)}}


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)
