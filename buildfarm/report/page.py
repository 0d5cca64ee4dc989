"""A build's history as one self-contained HTML page: `buildfarm report`.

It computes what the tables say and hands the rest to the page's own script as JSON; it measures nothing and reads no
journal.  The page loads nothing: its Content-Security-Policy forbids it.  Texts of strangers (paths, commands,
compilers' words) reach it escaped, by jinja2 or as JSON in which `<` cannot end the script.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

import jinja2

from buildfarm.model import TRIAL
from buildfarm.report.history import History
from buildfarm.report.layout import layers
from buildfarm.report.text import clock, count, duration, encodable, harmless, printable
from buildfarm.value import dataclass

SLOWEST = 25
MOST_ROWS = 500  # of retries and faults
STDERR_SHOWN = 4000  # characters of a step's words; `explain` has all of them


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node's share of the build."""

    name: str
    slots: int
    units: int
    share: float  # of all compile seconds
    busy: float  # of its slots' time
    mean: float | None  # seconds a unit
    speed: float | None  # how fast a unit is made there against the mean of all
    faults: int
    remark: str


def render(history: History) -> str:
    """The page's text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("buildfarm.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(duration=duration, clock=clock, size=size, printable=printable)
    template = environment.get_template("report.html")
    goals = [*history.goals] or ["(default goal)"]
    return template.render(
        history=history,
        words=" ".join(printable(word) for word in (*goals, *(f"{k}={v}" for k, v in history.variables.items()))),
        started=time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(history.started)),
        tiles=tiles(history),
        nodes=node_rows(history),
        slowest=sorted(history.units, key=lambda step: -step.seconds)[:SLOWEST],
        critical=[history.steps[i] for i in history.critical_path],
        faults=_faults(history)[:MOST_ROWS],
        numbers={id(step): i for i, step in enumerate(history.steps)},
        number_of=id,
        data=_embedded(_data(history)),
    )


def size(number: float) -> str:
    """`812 bytes`, `3.4 kB`, `12.0 MB`."""
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def tiles(history: History) -> list[tuple[str, str, str]]:
    """The page's headlines: what, how much, and a remark."""
    units = history.units
    work = sum(step.seconds for step in units)
    remote = [step for step in units if step.node != _here(history)]
    at_once = work / history.seconds if history.seconds else 0.0
    kept = f", {history.reused} kept from before" if history.reused else ""
    found = [
        ("Time", duration(history.seconds), f"build {history.build}, {history.state}"),
        ("Units", str(len(units)), f"{len(remote)} on nodes, {len(units) - len(remote)} here{kept}"),
        ("Compiling", duration(work), f"{at_once:.1f} at once on average, of {count(history.slots, 'slot')}"),
        ("Longest chain", duration(history.critical_seconds), f"{count(len(history.critical_path), 'step')} in a row"),
    ]
    ahead = history.ahead
    if ahead.delivered or ahead.wasted:
        wasted = f"; {ahead.wasted} in vain ({duration(ahead.wasted_seconds)})" if ahead.wasted else ""
        found.append(
            (
                "Ahead of make",
                count(ahead.delivered, "unit"),
                f"{duration(ahead.spared)} of compiling that make did not wait for{wasted}",
            )
        )
    traffic = sum(step.bytes_sent + step.bytes_received for step in units)
    if traffic:
        found.append(("Network", size(traffic), "sent and received"))
    return found


def node_rows(history: History) -> list[NodeRow]:
    """Each place's share and speed; a node's speed is judged by how long it takes for a unit."""
    total = sum(step.seconds for step in history.units) or 1.0
    rates = _rates(history)
    known = [rate for rate in rates.values() if rate]
    typical = sum(known) / len(known) if known else 0.0
    rows = []
    for place in history.places:
        own = [step for step in history.units if step.node == place.name]
        busy = sum(a.end - a.start for step in history.steps for a in step.attempts if a.node == place.name)
        if place.here and not own and not busy:
            continue
        faults = sum(a.is_fault for step in history.steps for a in step.attempts if a.node == place.name)
        spent = sum(step.seconds for step in own)
        room = place.slots * history.seconds
        rate = rates.get(place.name)
        rows.append(
            NodeRow(
                name=place.name,
                slots=place.slots,
                units=len(own),
                share=spent / total,
                busy=min(1.0, busy / room) if room else 0.0,
                mean=spent / len(own) if own else None,
                speed=typical / rate if rate and len(known) > 1 else None,
                faults=faults,
                remark=printable(place.reason or place.compiler or ""),
            )
        )
    return rows


def _rates(history: History) -> dict[str, float]:
    """Mean seconds a unit, by node.  Bytes received would weigh better, but a node with `,lzo` sends fewer of them."""
    seconds: dict[str, list[float]] = {}
    for step in history.units:
        if step.bytes_received:
            seconds.setdefault(step.node, []).append(step.seconds)
    return {name: sum(found) / len(found) for name, found in seconds.items()}


@dataclass(frozen=True, slots=True)
class FaultRow:
    """Something that did not go as it should."""

    number: int
    name: str
    at: float
    node: str
    what: str
    reason: str


def _faults(history: History) -> list[FaultRow]:
    rows = []
    for number, step in enumerate(history.steps):
        name = printable(step.name)
        for attempt in step.attempts:
            if attempt.is_fault:
                reason = printable(attempt.reason or "")
                rows.append(FaultRow(number, name, attempt.end, attempt.node, f"attempt {attempt.number}", reason))
        if step.state == "failed" and step.reason != TRIAL:
            words = harmless(step.stderr).strip().split("\n")[0]
            what = f"FAILED with status {step.exit_status}"
            end = max((attempt.end for attempt in step.attempts), default=0.0)
            rows.append(FaultRow(number, name, end, step.node, what, words))
    return sorted(rows, key=lambda row: row.at)


def _here(history: History) -> str:
    return next((place.name for place in history.places if place.here), "")


def _data(history: History) -> dict[str, object]:
    """What the page's script draws; arrays rather than objects where there are thousands."""
    place_of = {place.name: i for i, place in enumerate(history.places)}
    grid = layers(len(history.steps), history.edges)
    position = {vertex: (x, y - len(layer) / 2) for x, layer in enumerate(grid) for y, vertex in enumerate(layer)}
    return {
        "seconds": round(history.seconds, 3),
        "slots": history.slots,
        "places": [[printable(place.name), place.slots, place.here] for place in history.places],
        "steps": [
            {
                "n": printable(step.name),
                "k": step.kind,
                "s": step.state,
                "p": place_of.get(step.node, -1),
                "t": round(step.seconds, 3),
                "c": int(step.critical),
                "l": int(step.lookahead),
                "q": None if step.asked is None else round(step.asked, 3),
                "o": step.bytes_sent,
                "i": step.bytes_received,
                "x": step.exit_status,
                "r": printable(step.reason or ""),
                "w": printable(step.source),
                "m": printable(step.command),
                "d": printable(step.cwd),
                "e": harmless(step.stderr)[:STDERR_SHOWN],
                "a": [
                    [
                        place_of[a.node],
                        a.slot,
                        round(a.start, 3),
                        round(a.end, 3),
                        a.number,
                        a.outcome,
                        printable(a.reason or ""),
                    ]
                    for a in step.attempts
                ],
                "g": position[number],
            }
            for number, step in enumerate(history.steps)
        ],
        "edges": [number for edge in history.edges for number in edge],
        "path": list(history.critical_path),
    }


def _embedded(data: object) -> str:
    """JSON that can stand in a script element: no `<` and no character that is none (HTML, "Restrictions")."""
    text = json.dumps(_plain(data), separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plain(value: object) -> object:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


WORTH_SAYING = 0.95
"""What gains less than a twentieth is no advice."""


def text_lines(history: History) -> Iterable[str]:
    """The headlines for a terminal."""
    for what, number, remark in tiles(history):
        yield f"  {what:<14} {number:>12}  {remark}"
    if not history.steps:
        yield "  nothing was compiled or linked in this build; --build N shows an earlier one"
    for chance in history.chances[1:]:
        if chance.seconds > WORTH_SAYING * history.chances[0].seconds:
            continue
        yield f"  faster         {duration(chance.seconds):>12}  with {printable(chance.what)}"
