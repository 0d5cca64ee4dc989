"""A `Status` as the live view's model, so that `status --follow` draws what `run` draws.

Apart from `status`, which must start without the live view's modules.
"""

from __future__ import annotations

from collections.abc import Mapping

from buildfarm.report.progress import LOCAL_NAME, NodeView, Running, View
from buildfarm.report.status import NodeLine, Status


def view(status: Status) -> View:
    """The status as the live view's model: `status --follow` draws what `run` draws."""
    running: dict[str, list[Running]] = {}
    for out in sorted(status.checked_out, key=lambda out: -out.seconds):
        running.setdefault(out.node or "", []).append(Running(out.output, out.seconds, out.attempt))
    elapsed = status.elapsed_seconds
    nodes = [
        NodeView(
            name=node.key,
            state=node.state,
            slots=node.slots,
            running=tuple(running.pop(_key(node, running), ())),
            done=node.done,
            failed=node.failed,
            per_minute=60 * node.done / elapsed if node.done and elapsed else None,
            reason=node.reason,
            retry_in_seconds=node.retry_in_seconds,
        )
        for node in status.nodes
    ]
    here = running.pop("", [])
    # Nodes of which the journal has attempts but no word yet: the build has only just begun.
    nodes += [NodeView(name, "up", len(units), tuple(units)) for name, units in running.items()]
    if here or not nodes:
        nodes.append(NodeView(LOCAL_NAME, "up", max(1, len(here)), tuple(here), done=status.units.local))
    return View(
        done=status.units.done + status.units.reused,
        total=status.units.total,
        total_is_final=status.units.total_is_final,
        failed=status.units.failed,
        in_flight=status.units.checked_out,
        elapsed_seconds=elapsed,
        eta_seconds=status.build.eta_seconds if status.build else None,
        nodes=tuple(nodes),
        links=status.links_done,
        retried=status.units.retried,
    )


def _key(node: NodeLine, running: Mapping[str, object]) -> str:
    """How `checked_out` names the node: by its name, with the port where two nodes share the name."""
    with_port = f"{node.name}:{node.port}"
    return with_port if with_port in running else node.name
