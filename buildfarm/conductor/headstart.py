"""Gets ready, in a thread, for the work that a build is going to have, while it is still busy with what comes first.

It decides nothing and touches no file of the tree.  Reading makefiles, sweeping, and asking make about its targets take
a core of their own; meanwhile the conductor is imported and the nodes are asked who they are, which would else come
between make's first compile call and its unit's leaving.  A build that may have nothing to do gets no head start: it
would ask nodes, and spend what a null build takes, for nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from importlib import import_module

from buildfarm.conductor.membership import Membership
from buildfarm.model import BuildState, Node
from buildfarm.state.journal import BuildRow


def is_likely_to_work(last: BuildRow | None) -> bool:
    """Whether the build after this one probably has something to compile."""
    return last is None or last.state is not BuildState.COMPLETE


def begin(membership: Membership, nodes: Sequence[Node]) -> None:
    """Ask these nodes and import the conductor, in the background."""
    threading.Thread(target=_prepare, args=(membership, nodes), name="head start", daemon=True).start()


def _prepare(membership: Membership, nodes: Sequence[Node]) -> None:
    try:
        if nodes:
            membership.prober.ask_early(nodes)
        import_module("buildfarm.conductor.workshop")
        import_module("buildfarm.graph.dag")  # for the first plan, which comes with the first calls
    except Exception:
        pass  # whatever it is, it happens again to who needs the result, and is told there
