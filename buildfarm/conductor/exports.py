"""What other tools want of a tree: its compile commands, and make's graph of it or of one target's surroundings.

It asks make by dry runs and reads the journal; it builds nothing and writes no file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import networkx as nx

from buildfarm.conductor.planner import Planned, plan_build
from buildfarm.errors import MachineError, UsageError
from buildfarm.graph.classify import classify
from buildfarm.graph.dag import BuildGraph
from buildfarm.report.drawing import Arrow, Box, svg
from buildfarm.report.text import encodable
from buildfarm.state import reader


def planned(directory: Path, words: tuple[str, ...], environment: Mapping[str, str], *, everything: bool) -> Planned:
    """make's plan; `everything`: as if nothing were built yet, where make can say that.  Raises MachineError."""
    found = plan_build(str(directory), ("-B", *words) if everything else words, environment)
    if everything and (not found.graph.plans or found.troubles):
        found = plan_build(str(directory), words, environment)
    if not found.graph.plans:
        raise MachineError("; ".join(found.troubles) or "make gives no plan", hint="does `make -n` work here?")
    return found


def compile_commands(state_dir: Path, graph: BuildGraph | None) -> str:
    """`compile_commands.json`: what ran, and what make is still going to run.

    The format is https://clang.llvm.org/docs/JSONCompilationDatabase.html.  The latest command of an output counts.
    """
    entries: dict[str, dict[str, object]] = {}
    for call in graph.units() if graph is not None else ():
        _enter(entries, call.cwd, call.argv, call.environment)
    for cwd, argv in reader.compiles(state_dir):
        _enter(entries, cwd, argv, {})
    return json.dumps([entries[output] for output in sorted(entries)], indent=1) + "\n"


def _enter(
    entries: dict[str, dict[str, object]], cwd: str, argv: tuple[str, ...], environment: Mapping[str, str]
) -> None:
    unit = classify((os.path.basename(argv[0]), *argv[1:]), environment=environment).unit
    if unit is None:
        return
    output = os.path.normpath(os.path.join(cwd, unit.output))
    entries[output] = {
        "directory": encodable(cwd),
        "file": encodable(unit.source),
        "output": encodable(unit.output),
        "arguments": [encodable(word) for word in argv],
    }


def surroundings(graph: BuildGraph, target: str | None, directory: Path, depth: int) -> frozenset[str] | None:
    """The keys of the targets within `depth` steps of `target`; None: all.  Raises UsageError."""
    if target is None:
        return None
    whole = graph.graph
    key = _find(graph, target, directory)
    found = {key}
    for way in (whole, whole.reverse(copy=False)):
        found.update(nx.single_source_shortest_path_length(way, key, cutoff=depth))
    return frozenset(found)


def _find(graph: BuildGraph, target: str, directory: Path) -> str:
    for key in (os.path.normpath(directory / target), f"{directory}//{target}", os.path.abspath(target)):
        if key in graph.graph:
            return key
    named = [key for key in graph.graph if key.endswith("/" + target)]
    if len(named) == 1:
        return named[0]
    from difflib import get_close_matches

    short = {os.path.relpath(key, directory) if "//" not in key else key.rpartition("//")[2] for key in graph.graph}
    near = [os.path.relpath(key, directory) for key in named] or get_close_matches(target, short, n=3, cutoff=0.5)
    raise UsageError(
        f"{target}: make knows no such target here" if not named else f"{target}: there are several",
        hint=f"did you mean {', '.join(sorted(near)[:5])}?" if near else "`buildfarm export dot` lists them all",
    )


def picture(graph: BuildGraph, only: frozenset[str] | None, directory: Path, target: str | None) -> str:
    """The graph as SVG; targets that are up to date are pale."""
    asked = _find(graph, target, directory) if target is not None else None
    keys = [key for key in graph.graph if only is None or key in only]
    number = {key: i for i, key in enumerate(keys)}
    compiled = {call.target for call in graph.units()}
    boxes = []
    for key in keys:
        views = graph.graph.nodes[key]["targets"]
        kinds = {
            "unit": key in compiled or key.endswith(".o"),
            "phony": any(view.phony for view in views),
            "old": not any(view.remade for view in views),
            "asked": key == asked,
        }
        boxes.append(Box(graph.name(key), key, tuple(kind for kind, true in kinds.items() if true)))
    arrows = [
        Arrow(number[before], number[after], edge["kind"])
        for before, after, edge in graph.graph.edges(data=True)
        if before in number and after in number
    ]
    return svg(boxes, arrows)
