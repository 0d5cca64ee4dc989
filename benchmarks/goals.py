"""The goals and what is reached of them, read from the tables that docs/performance.md has.

It measures nothing; run it last.  A goal whose table is not there, or has no such row, is told as not measured.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import frame

Row = Mapping[str, str]
NOT_MEASURED = "not measured yet"


@dataclass(frozen=True, slots=True)
class Goal:
    """One line: where its figure stands, and the largest that reaches it, if there is a goal."""

    measure: str
    goal: str
    benchmark: str
    which: Callable[[Row], bool]
    column: str
    limit: float | None  # None: no goal, told for comparison


def _is(**wanted: str) -> Callable[[Row], bool]:
    """Rows whose columns begin so; `_` in a name stands for a blank."""
    return lambda row: all(row.get(name.replace("_", " "), "").startswith(text) for name, text in wanted.items())


RATIO, UNIT_RATIO = "ratio, median (spread)", "buildfarm to it: a unit, median (spread)"
GOALS = (
    Goal(
        "master CPU per C unit to make + distcc, plain",
        "0.5",
        "master_cpu",
        lambda row: row.get("language") == "C" and row.get("build") == "make + distcc",
        UNIT_RATIO,
        0.5,
    ),
    Goal(
        "the same to distcc's pump mode, include server counted",
        "0.8",
        "master_cpu",
        lambda row: row.get("language") == "C" and row.get("build") == "make + distcc, pump",
        UNIT_RATIO,
        0.8,
    ),
    Goal("makespan of git at 64 slots", "0.9", "makespan", _is(project="git", slots="64"), RATIO, 0.9),
    Goal(
        "makespan of LAPACK at 64 slots to make -j64 + distcc",
        "0.5",
        "makespan",
        _is(project="lapack", slots="64", peer="make + distcc"),
        RATIO,
        0.5,
    ),
    Goal(
        "makespan of ModelE at 16 slots to make -j16, 16 local cores simulated",
        "0.35",
        "makespan",
        _is(project="modele", slots="16"),
        RATIO,
        0.35,
    ),
    Goal("makespan to the lower bound, the worst row", "1.10", "makespan", _is(), "above the bound", 1.10),
    Goal("the same where all CPU by these cores is a bound too", "", "makespan", _is(), "above both bounds", None),
    Goal("the same, 64 slots that are eight times slower", "", "slow_nodes", _is(), "above the bound", None),
    Goal(
        "null build, 500 units: seconds more than make",
        "0.15",
        "null_build",
        _is(changed="nothing", units="500", figure="seconds"),
        "extra, median (spread)",
        0.15,
    ),
    Goal(
        "resume to first dispatch, 2,000 units, seconds",
        "1",
        "resume",
        _is(units="2,000"),
        "resume to first dispatch, s",
        1.0,
    ),
    Goal("planning 100,000 units to make -n's own time", "1.5", "scale", _is(units="100,000"), RATIO, 1.5),
    Goal("the same, peak memory, MB", "1,500", "scale", _is(units="100,000"), "peak, MB", 1500.0),
    Goal(
        "the conductor's memory for each unit in flight, KB",
        "300",
        "memory",
        lambda row: "in flight" in row.get("between", ""),
        "KB a unit, median (spread)",
        300.0,
    ),
    Goal(
        "the conductor's memory for each unit known, KB",
        "5",
        "memory",
        lambda row: "known" in row.get("between", ""),
        "KB a unit, median (spread)",
        5.0,
    ),
)


def run(*, quick: bool) -> str:
    """The table; `quick` changes nothing."""
    return render(frame.DOCUMENT.read_text())


def render(document: str) -> str:
    """The goals as this document's tables tell them."""
    return frame.table(["measure", "goal", "reached", ""], [_line(goal, document) for goal in GOALS])


def _line(goal: Goal, document: str) -> Sequence[str]:
    told = [row[goal.column] for row in rows(document, goal.benchmark) if goal.which(row) and row.get(goal.column)]
    figures = [(float(match[0].replace(",", "")), text) for text in told if (match := re.match(r"-?[\d.,]+", text))]
    if not figures:
        return [goal.measure, goal.goal, NOT_MEASURED, ""]
    worst, text = max(figures)
    if goal.limit is None:
        return [goal.measure, "", text, ""]
    return [goal.measure, f"{goal.goal} or less", text, "yes" if worst <= goal.limit else "no"]


def rows(document: str, benchmark: str) -> list[Row]:
    """The published table of a benchmark, a row as its columns' texts."""
    _, begun, rest = document.partition(f"<!-- benchmark {benchmark} -->")
    section, ended, _ = rest.partition(f"<!-- end {benchmark} -->")
    lines = [line for line in section.splitlines() if line.startswith("|")]
    if not (begun and ended) or len(lines) < 3:
        return []
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:] if len(row) == len(cells[0])]
