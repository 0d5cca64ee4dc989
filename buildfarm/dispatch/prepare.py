"""Turns a unit into what travels: the one entry to the recipes.

It chooses a recipe by language; the recipes know the rest.  Who wants a Fortran unit's modules before its code
calls the three steps `fortran_text.read`, `recipe_fortran.make_modules` and `recipe_fortran.prepare` instead.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from buildfarm.dispatch import fortran_text, recipe_c, recipe_fortran
from buildfarm.dispatch.fortran_text import Scan
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
    scan: Scan,
) -> Prepared:
    """Make the job of one unit, its module files and its depfile.

    `tool_path` is the real compiler's absolute path, `node_tool` the bare name that the node knows it by,
    `workdir` an existing private directory of this unit's; what is made there stands in `outputs_made`.
    `invocation.env` must be free of the masquerade directory; `scan` is
    `graph.fortran.scan` with the unit's form and line rules.
    Raises CannotTravel: compile here.
    """
    if unit.local_reason is not None:
        raise CannotTravel(unit.local_reason)
    if unit.language in (Language.C, Language.CXX):
        return await recipe_c.prepare(unit, invocation, tool_path, recipe=recipe, node_tool=node_tool, workdir=workdir)
    if unit.fortran is not None:
        text = await fortran_text.read(unit, invocation, tool_path, scan)
        modules = await recipe_fortran.make_modules(unit, invocation, tool_path, text, workdir=workdir)
        prepared = await recipe_fortran.prepare(unit, invocation, tool_path, text, node_tool=node_tool, workdir=workdir)
        return replace(prepared, outputs_made=(*prepared.outputs_made, *modules))
    raise CannotTravel(f"no recipe for the language {unit.language}")
