"""The graph of a build as text for other programs: JSON, and the dot language of Graphviz.

It computes nothing that `dag` doesn't.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from buildfarm.graph.dag import BuildGraph

_STYLES = {
    "order-only": " [style=dashed]",
    "submake": " [style=dotted]",
    "grouped": " [arrowhead=none]",
}


def to_json(graph: BuildGraph, durations: Mapping[str, float]) -> str:
    """The graph as JSON: `targets`, `units`, `link_steps`, `missing`, `critical_path`.  The schema may change.

    `durations` are seconds, by the key of a call.
    """
    path, seconds = graph.critical_path(durations)
    before = graph.unit_dependencies()
    needs = graph.needs()
    targets = [
        {
            "target": key,
            "phony": any(target.phony for target in views),
            "remade": any(target.remade for target in views),
            "needs": needs.get(key, {}),
        }
        for key, views in graph.vertices()
    ]
    units: list[dict[str, object]] = []
    link_steps: list[dict[str, object]] = []
    for call in graph.calls():
        (units if call.is_unit else link_steps).append(
            {
                "key": call.key,
                "target": call.target,
                "directory": call.cwd,
                "command": list(call.argv),
                "outputs": list(call.outputs),
                "certain": call.certain,
                "after": list(before.get(call.key, ())),
                "seconds": durations.get(call.key),
            }
        )
    document = {
        "targets": targets,
        "units": units,
        "link_steps": link_steps,
        "missing": [
            {"directory": plan.directory, "target": rule.target, "needed_by": rule.needed_by}
            for plan in graph.plans.values()
            for rule in plan.missing
        ],
        "critical_path": {"units": path, "seconds": seconds},
    }
    return json.dumps(document, indent=1)


def to_dot(graph: BuildGraph, only: Collection[str] | None = None) -> str:
    """Graphviz text, of the targets whose keys are in `only` if that is given.

    Dashed edges are order-only, dotted ones recursive makes, grey targets are up to date.
    """
    lines = ["digraph build {", "  rankdir=LR;", "  node [shape=box];"]
    for key, views in graph.vertices():
        if only is not None and key not in only:
            continue
        shape = " shape=ellipse" if any(target.phony for target in views) else ""
        colour = "" if any(target.remade for target in views) else " color=grey fontcolor=grey"
        lines.append(f"  {_quoted(key)} [label={_quoted(graph.name(key))}{shape}{colour}];")
    for key, needs in graph.needs().items():
        if only is None or key in only:
            lines += [
                f"  {_quoted(needed)} -> {_quoted(key)}{_STYLES.get(kind, '')};"
                for needed, kind in needs.items()
                if only is None or needed in only
            ]
    return "\n".join([*lines, "}", ""])


def _quoted(text: str) -> str:
    """A string in Graphviz's quotes; bytes that are no UTF-8 come out as escapes."""
    safe = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return '"' + safe.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
