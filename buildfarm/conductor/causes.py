"""Why a unit was compiled: what had changed since the compile before, or what the sweep had taken away.

It reads the journal's steps and the files' times, and asks make, by a dry run, what it would do now.  It never
guesses silently: what can't be known from them is said to be so.

make compiles for one of four reasons (GNU make manual, "How make Processes a Makefile"): the output is not there, a
prerequisite is newer, a prerequisite is remade, or it is told to.  The journal knows when the output was made and
what it was made from; a file's time says whether it changed between that and the compile in question.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from buildfarm.report.text import count, printable, relative
from buildfarm.state.views import StepView

SHOWN = 4  # changed files that are named
REMOVED = "it had been removed, or one of its prerequisites in the Makefile is made anew each time"
SLACK = 0.01  # seconds by which two clocks of one machine may differ


def why(step: StepView, earlier: Sequence[StepView], directory: str, make_words: Sequence[str]) -> str:
    """One line for `step`; `earlier`: the same output's steps before it, the latest first."""
    told = [other for other in earlier if other.state in ("done", "failed", "swept", "checked_out")]
    before = next((other for other in told if other.output is not None), None)
    if before is None and told:
        return f"build {told[0].build} was interrupted while it was being made ahead of make"
    if before is None:
        return "no build of this tree had made it before"
    if before.state == "swept":
        return f"build {before.build} was interrupted while it was being made, and what there was of it was removed"
    if before.state == "failed":
        return f"it had failed in build {before.build}"
    changed = _changed(step, before)
    if changed:
        names = [f"{printable(relative(path, directory))} {how}" for path, how in changed[:SHOWN]]
        more = f", and {count(len(changed) - SHOWN, 'more file')}" if len(changed) > SHOWN else ""
        return "; ".join(names) + more
    if step.argv != before.argv:
        return f"its command was another than in build {before.build}: {_difference(before.argv, step.argv)}"
    orders = [word for word in make_words if word in ("-B", "--always-make") or word.startswith(("-W", "--what-if"))]
    if orders:
        return f"make was told to, by {orders[0]}"
    if not before.inputs:
        unknown = f"what it read in build {before.build} is not known, for it was made here"
        return f"{unknown}: that had changed, or {REMOVED}"
    return f"nothing that it reads has changed since build {before.build}: {REMOVED}"


def _changed(step: StepView, before: StepView) -> list[tuple[str, str]]:
    """What `before` had read, or `step` reads now, and how it had changed in between."""
    made = before.ended if before.ended is not None else before.started
    found = []
    for path in dict.fromkeys(os.path.normpath(name) for name in (*step.inputs, *before.inputs, *_operands(step))):
        try:
            written = os.stat(path).st_mtime
        except OSError:
            if path in {os.path.normpath(name) for name in before.inputs}:
                found.append((path, "is gone"))
            continue
        if made + SLACK < written <= step.started + SLACK:
            found.append((path, f"was newer (written {_clock(written)})"))
        elif written > step.started + SLACK:
            found.append((path, f"has changed since, at {_clock(written)}, and perhaps before"))
    news = [item for item in found if not item[1].startswith("has changed since")]
    return news or found


def _operands(step: StepView) -> list[str]:
    """Words of the command that may be files, without the outputs."""
    outputs = {None if step.output is None else os.path.normpath(step.output)}
    words = (os.path.join(step.cwd, word) for word in step.argv[1:] if not word.startswith("-"))
    return [path for path in words if os.path.isfile(path) and os.path.normpath(path) not in outputs]


def _difference(old: Sequence[str], new: Sequence[str]) -> str:
    gone = [word for word in old if word not in new]
    come = [word for word in new if word not in old]
    parts = [f"{what} {printable(' '.join(words[:6]))}" for what, words in (("with", come), ("without", gone)) if words]
    return ", ".join(parts) or "the same words in another order"


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def now(directory: Path, words: Sequence[str], environment: Mapping[str, str], output: str) -> str | None:
    """What make would do with `output` (absolute) now; None: its plan does not know it."""
    from buildfarm.conductor.planner import plan_build

    graph = plan_build(str(directory), tuple(words), environment).graph
    views = [target for target in graph.targets() if target.key == output]
    if not views:
        return None
    remade = next((target for target in views if target.remade), None)
    if remade is None:
        return "up to date"
    if not os.path.lexists(output):
        return "make would make it: it is not there"
    if remade.due_to:
        return f"make would make it anew: newer are {printable(remade.due_to)}"
    return "make would make it anew"
