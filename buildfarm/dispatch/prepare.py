"""Turns a unit into what travels: the one entry to the recipes.

It chooses a recipe by language; the recipes know the rest.
"""

from __future__ import annotations

from pathlib import Path

from buildfarm.dispatch import recipe_c
from buildfarm.dispatch.prepared import CannotTravel, Made, Prepared, Repeat
from buildfarm.model import Invocation, Language, Unit

__all__ = ["CannotTravel", "Made", "Prepared", "Repeat", "prepare"]


async def prepare(
    unit: Unit,
    invocation: Invocation,
    tool_path: str,
    *,
    recipe: str | None = None,
    node_tool: str,
    workdir: Path,
) -> Prepared:
    """Make the job of one unit.

    `tool_path` is the real compiler's absolute path, `node_tool` the bare name that the node knows it by,
    `workdir` an existing private directory of this unit's; what is made there stands in `outputs_made`.
    `invocation.env` must be free of the masquerade directory.  Raises CannotTravel: compile here.
    """
    if unit.local_reason is not None:
        raise CannotTravel(unit.local_reason)
    if unit.language in (Language.C, Language.CXX):
        return await recipe_c.prepare(
            unit, invocation, tool_path, recipe=recipe, node_tool=node_tool, workdir=workdir
        )
    raise CannotTravel(f"no recipe for the language {unit.language}")
