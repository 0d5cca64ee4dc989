"""Makes a `History` of a journal: what ran where and when, what waited for what, and what would have been faster.

It reads the journal and the commands' own words; it asks neither make nor a node, and draws nothing.

Theory of operation.  One step waits for another if it reads what that one made: the journal knows what a remote
unit has read, and the words of a link or an archive name its objects.  This is the work's own graph, as it ran;
make's graph, with its barriers, is what `export dot` shows.  A result that was made ahead and went through the store
is two steps in the journal, one held and one delivered; here they are one again.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from buildfarm.errors import UsageError
from buildfarm.graph.whatif import MODULE_SHARE, Edge, Work
from buildfarm.model import MODULE_SUFFIXES
from buildfarm.report.history import Ahead, Attempt, Chance, History, Place, Step
from buildfarm.report.text import duration, relative
from buildfarm.state import reader
from buildfarm.state.views import AttemptView, BuildView, NodeView, StepView, named_output

HERE = "this machine"
WORTH_TELLING = 0.02  # of the time that the build would need: a smaller gain is noise
WORTH_SECONDS = 0.1  # reports tell tenths
MORE_SLOTS = 2


def read(state_dir: Path, build: int | None = None) -> History:
    """The build's history (the last one's by default).  Raises UsageError where there is none, StateError."""
    rows = reader.snapshot(state_dir, build)
    if rows.build is None:
        last = reader.snapshot(state_dir).build if build is not None else None
        if last is not None:
            raise UsageError(
                f"{state_dir.parent}: build {build} is not known",
                hint=f"the last one is {last.id}; the last ten are kept",
            )
        raise UsageError(
            f"{state_dir.parent}: {rows.problem or 'no build is known here'}", hint="`buildfarm run` starts one"
        )
    view = rows.build
    found = reader.steps(state_dir, view.id)
    end = _end(view, found)
    steps, outputs, ahead = _steps(view, found, reader.outputs(state_dir), end)
    places = _places(rows.nodes, steps)
    steps = _packed(steps)
    edges = _edges(steps, outputs, found_inputs(found, steps), view.directory)
    work = Work([step.seconds for step in steps], edges, _local(steps))
    path = work.longest_chain()
    critical = frozenset(path)
    slots = sum(place.slots for place in places if not place.here)
    cores = max([place.slots for place in places if place.here], default=1)
    return History(
        build=view.id,
        directory=view.directory,
        state=rows.state,
        goals=view.goals,
        variables=view.variables,
        started=view.started,
        seconds=end - view.started,
        exit_status=view.exit_status,
        resumed_from=view.resumed_from,
        reused=rows.counters.reused,
        places=places,
        steps=tuple(replace(step, critical=True) if i in critical else step for i, step in enumerate(steps)),
        edges=tuple((edge.before, edge.after) for edge in edges),
        critical_path=tuple(path),
        critical_seconds=work.remaining()[path[0]] if path else 0.0,
        ahead=ahead,
        chances=_chances(work, steps, path, slots, cores) if rows.state == "complete" and path else (),
    )


def _end(view: BuildView, found: Sequence[StepView]) -> float:
    if view.ended is not None:
        return view.ended
    times = [view.started]
    for step in found:
        times += [time for time in (step.started, step.ended) if time is not None]
    return max(times)


def _steps(
    view: BuildView, found: Sequence[StepView], outputs: dict[str, tuple[str, ...]], end: float
) -> tuple[list[Step], list[tuple[str, ...]], Ahead]:
    """Steps, for each what it made, and lookahead's account."""
    held: dict[str, list[StepView]] = {}
    for step in found:
        if step.state in ("held", "dropped"):
            held.setdefault(step.fingerprint, []).append(step)
    steps: list[Step] = []
    made: list[tuple[str, ...]] = []
    delivered, seconds, spared = 0, 0.0, 0.0
    for row in found:
        if row.state in ("held", "dropped"):
            continue
        attempts = list(row.attempts)
        before = held.get(row.fingerprint, [])
        if row.lookahead and row.state == "done":
            source = next((other for other in before if other.state == "held"), None)
            if source is not None:
                before.remove(source)
                attempts = list(source.attempts)
            delivered += 1
            seconds += row.seconds or 0.0
            started = min((attempt.started for attempt in attempts), default=row.started)
            spared += max(0.0, min(row.seconds or 0.0, (row.ended or end) - started))
        steps.append(_step(view, row, attempts, end))
        made.append((row.output, *outputs.get(row.output, ())) if row.output else ())
    wasted = [step for steps_held in held.values() for step in steps_held]
    lost = 0.0
    for row in wasted:
        steps.append(_step(view, row, list(row.attempts), end))
        made.append(())
        lost += sum(max(0.0, (a.ended or a.started) - a.started) for a in row.attempts)
    return steps, made, Ahead(delivered, seconds, spared, len(wasted), lost)


def _step(view: BuildView, row: StepView, attempts: list[AttemptView], end: float) -> Step:
    """A step with its attempts, the one that counted last: a straggler may have won against its rival."""
    zero = view.started
    shown = []
    for attempt in sorted(attempts, key=lambda attempt: (attempt.attempt == row.attempt, attempt.attempt)):
        over = attempt.ended if attempt.ended is not None else end
        counted = attempt.attempt == row.attempt and row.seconds is not None and row.state in ("done", "failed")
        if counted and row.seconds:
            over = min(over, attempt.started + row.seconds)
        outcome = attempt.outcome or ""
        if row.lookahead and outcome == "done":
            outcome = "held"
        elif row.lookahead and row.state == "done" and outcome == "held" and attempt.attempt != row.attempt:
            outcome = "superseded"
        shown.append(
            Attempt(
                node=attempt.node or HERE,
                slot=0,
                start=max(0.0, attempt.started - zero),
                end=max(0.0, over - zero, attempt.started - zero),
                number=attempt.attempt,
                outcome=outcome,
                reason=attempt.reason,
            )
        )
    name = row.output or named_output(row.argv, row.cwd)
    return Step(
        name=relative(name, view.directory),
        kind=row.kind,
        state=row.state,
        node=row.node or HERE,
        seconds=row.seconds or sum(attempt.end - attempt.start for attempt in shown[-1:]),
        attempts=tuple(shown),
        command=shlex.join(row.argv),
        cwd=row.cwd,
        lookahead=row.lookahead,
        asked=row.ended - zero if row.lookahead and row.state == "done" and row.ended is not None else None,
        bytes_sent=row.bytes_sent or 0,
        bytes_received=row.bytes_received or 0,
        exit_status=row.exit_status or 0,
        reason=row.reason,
        stderr=os.fsdecode(row.stderr),
        source=relative(os.path.normpath(row.inputs[0]), view.directory) if row.inputs else "",
    )


def _places(nodes: Iterable[NodeView], steps: Sequence[Step]) -> tuple[Place, ...]:
    """The nodes as the journal saw them last, those that it has only attempts of, and this machine."""
    places = {node.key: Place(node.key, node.slots, node.state, node.compiler, node.reason) for node in nodes}
    used = {attempt.node for step in steps for attempt in step.attempts}
    for key in sorted(used - places.keys() - {HERE}):
        places[key] = Place(key, 0)
    places[HERE] = Place(HERE, len(os.sched_getaffinity(0)), here=True)
    return tuple(places.values())


def _packed(steps: list[Step]) -> list[Step]:
    """Every attempt in a row of its node's that is free then; a node's rows may exceed its slots for a moment."""
    free: dict[str, list[float]] = {}
    slots: dict[tuple[int, int], int] = {}
    order = sorted(
        ((attempt.start, i, k) for i, step in enumerate(steps) for k, attempt in enumerate(step.attempts)),
    )
    for start, i, k in order:
        attempt = steps[i].attempts[k]
        rows = free.setdefault(attempt.node, [])
        row = next((row for row, until in enumerate(rows) if until <= start + 1e-6), len(rows))
        if row == len(rows):
            rows.append(0.0)
        rows[row] = attempt.end
        slots[i, k] = row
    return [
        replace(step, attempts=tuple(replace(attempt, slot=slots[i, k]) for k, attempt in enumerate(step.attempts)))
        for i, step in enumerate(steps)
    ]


def found_inputs(found: Sequence[StepView], steps: Sequence[Step]) -> list[tuple[str, ...]]:
    """For each step what it read: the journal's list, and the words of its command that may be files."""
    rows = [row for row in found if row.state not in ("held", "dropped")]
    inputs = []
    for row in rows:
        named = (os.path.join(row.cwd, word) for word in row.argv[1:] if not word.startswith("-"))
        inputs.append(tuple(os.path.normpath(path) for path in (*row.inputs, *named)))
    return inputs + [()] * (len(steps) - len(inputs))


def _edges(
    steps: Sequence[Step], outputs: Sequence[tuple[str, ...]], inputs: Sequence[tuple[str, ...]], directory: str
) -> list[Edge]:
    maker = {os.path.normpath(path): i for i, paths in enumerate(outputs) for path in paths}
    edges: dict[tuple[int, int], float] = {}
    for after, paths in enumerate(inputs):
        for path in paths:
            before = maker.get(path)
            if before is None or before == after or steps[before].kind == steps[after].kind == "archive":
                continue
            if (after, before) in edges:  # two that name each other: no order
                continue
            module = path.endswith(MODULE_SUFFIXES) and steps[after].lookahead
            share = MODULE_SHARE if module else 1.0
            edges[before, after] = max(share, edges.get((before, after), 0.0))
    return [Edge(before, after, share) for (before, after), share in edges.items()]


def _local(steps: Sequence[Step]) -> frozenset[int]:
    return frozenset(i for i, step in enumerate(steps) if step.kind != "compile" or step.node == HERE)


def _chances(work: Work, steps: Sequence[Step], path: Sequence[int], slots: int, cores: int) -> tuple[Chance, ...]:
    """Simulated with the seconds that each step took; so a node's own slowness is in them."""
    now = work.makespan(slots, cores)
    chances = [Chance(f"the same {slots or cores} slots, nothing ever idle by chance", now, "what was reachable here")]

    def offer(what: str, seconds: float, remark: str) -> None:
        if seconds <= now - max(WORTH_SECONDS, WORTH_TELLING * now):
            chances.append(Chance(what, seconds, remark))

    if slots:
        offer(
            f"{slots * MORE_SLOTS} slots instead of {slots}",
            work.makespan(slots * MORE_SLOTS, cores),
            "more nodes of the same speed",
        )
    chain = work.remaining()[path[0]]
    offer("unlimited slots", work.makespan(len(steps), len(steps)), "what is left is the longest chain")
    longest = max(
        (step for step in path if steps[step].kind == "compile"), key=lambda i: steps[i].seconds, default=None
    )
    if longest is not None:
        halved = work.with_seconds({longest: steps[longest].seconds / 2})
        offer(
            f"{steps[longest].name} split in two",
            halved.makespan(slots, cores),
            f"the greatest unit of the longest chain: {duration(steps[longest].seconds)} of {duration(chain)}",
        )
    return tuple(chances)
