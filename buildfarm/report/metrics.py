"""A build's numbers as a Prometheus text file, for node_exporter's textfile collector.

The format is that of https://prometheus.io/docs/instrumenting/exposition_formats/ (text, version 0.0.4).  Every
metric is a gauge: it speaks of the last build, and the next one starts anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from buildfarm.report.history import History
from buildfarm.report.page import node_rows
from buildfarm.report.text import encodable

STATES = ("running", "complete", "failed", "interrupted")

Sample = tuple[Mapping[str, str], float]


def prometheus(history: History) -> str:
    """The text file."""
    tree = {"directory": history.directory}
    units = history.units
    here = {place.name for place in history.places if place.here}
    local = sum(step.node in here for step in units)
    compiles = [step for step in history.steps if step.kind == "compile"]
    retried = sum(any(attempt.is_fault for attempt in step.attempts) for step in compiles)
    failed = sum(step.state == "failed" for step in compiles)
    ahead = history.ahead
    rows = node_rows(history)
    metrics: list[tuple[str, str, Sequence[Sample]]] = [
        ("build_number", "the build's number in its tree", [(tree, history.build)]),
        ("build_state", "1 for the state that the build is in", [
            ({**tree, "state": state}, float(history.state == state)) for state in STATES
        ]),
        ("build_started_timestamp_seconds", "when it began", [(tree, history.started)]),
        ("build_duration_seconds", "how long it took", [(tree, history.seconds)]),
        ("build_longest_chain_seconds", "what no number of nodes makes shorter", [(tree, history.critical_seconds)]),
        ("units", "units done, by where", [
            ({**tree, "where": "nodes"}, len(units) - local),
            ({**tree, "where": "here"}, local),
            ({**tree, "where": "kept"}, history.reused),
        ]),
        ("units_failed", "units that failed for good", [(tree, failed)]),
        ("units_retried", "units of which an attempt did not count", [(tree, retried)]),
        ("compile_seconds", "seconds of compiling in all", [(tree, sum(step.seconds for step in units))]),
        ("lookahead_units", "units compiled before make asked", [
            ({**tree, "used": "yes"}, ahead.delivered),
            ({**tree, "used": "no"}, ahead.wasted),
        ]),
        ("lookahead_spared_seconds", "seconds of compiling that make did not wait for", [(tree, ahead.spared)]),
        ("network_bytes", "bytes between this machine and the nodes", [
            ({**tree, "way": "sent"}, sum(step.bytes_sent for step in units)),
            ({**tree, "way": "received"}, sum(step.bytes_received for step in units)),
        ]),
        ("node_up", "1 unless a node is down, quarantined or draining", [
            ({**tree, "node": place.name}, float(place.state in ("up", "busy")))
            for place in history.places if not place.here
        ]),
        ("node_slots", "slots", [({**tree, "node": row.name}, row.slots) for row in rows]),
        ("node_units", "units done", [({**tree, "node": row.name}, row.units) for row in rows]),
        ("node_busy_ratio", "share of its slots' time at work", [
            ({**tree, "node": row.name}, row.busy) for row in rows
        ]),
        ("node_faults", "attempts that did not count", [({**tree, "node": row.name}, row.faults) for row in rows]),
    ]  # fmt: skip
    lines = []
    for name, words, samples in metrics:
        if samples:
            lines += [f"# HELP buildfarm_{name} {words}", f"# TYPE buildfarm_{name} gauge"]
            lines += [f"buildfarm_{name}{_labels(labels)} {_number(value)}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    escaped = (
        f'{name}="{encodable(value)}"'
        for name, value in (
            (name, value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))
            for name, value in labels.items()
        )
    )
    return "{" + ",".join(escaped) + "}"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}".rstrip("0").rstrip(".")
