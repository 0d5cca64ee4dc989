"""Which earlier builds a build continues, as SQL: their units stand for its own where they were kept.

It asks nothing itself; the sweep, the taint and the pruning of old steps join it into their queries.
"""

from __future__ import annotations

LINEAGE = (
    "WITH RECURSIVE lineage(id) AS (VALUES (?) UNION"
    " SELECT earlier.id FROM lineage JOIN build AS later ON later.id = lineage.id JOIN build AS earlier"
    " ON earlier.id = later.resumed_from OR (earlier.state = 'interrupted'"
    " AND earlier.id = (SELECT max(id) FROM build WHERE id < later.id)))"
)
"""`lineage(id)`: the build that the one parameter names, what it resumed, and the interrupted builds just before it.

A `run` in the tree of an interrupted build keeps what that build has checked in, as `resume` does, and says nowhere
whom it follows.
"""
