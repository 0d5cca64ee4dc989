"""The conductor: one asyncio process that answers make's compiler calls and keeps the farm busy.

`run` is the only way in.  It prints nothing itself (reporters do) and exits nothing (the CLI does).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from buildfarm.conductor import nested
from buildfarm.errors import NoStateHere
from buildfarm.make.cache import cache_directory
from buildfarm.make.process import find_make
from buildfarm.request import RunRequest

__all__ = ["run"]


def run(request: RunRequest, *, cache: Path | None = None) -> int:
    """Run one build; the exit code of the process.  Raises BuildfarmError.

    `cache` is where the masquerade is kept; `cache_directory` by default.  A dry run (`-n`, `-q`, `-t`,
    ...) becomes make and does not return: it starts nothing, so nothing is journaled.  So does a run inside a recipe
    of a build that goes on: its compiles are that build's.  And one in a directory where no state can be kept, such as
    sources on a medium that can't be written: never worse than make.
    """
    if nested.inside(request.environment):
        nested.become_make(find_make(request.environment), request, request.environment)
    request = replace(request, environment=nested.outside(request.environment))
    if request.dry_run or nested.runs_no_recipe(request.environment):
        nested.become_make(find_make(request.environment), request, request.environment)

    from buildfarm.conductor.build import Build
    from buildfarm.report.console import open_reporters

    with open_reporters(plain=request.plain, color=request.color, events=request.events) as reporters:
        try:
            return Build(request, reporters, cache or cache_directory()).run()
        except NoStateHere as lack:
            if request.fallback == "never":
                raise
            reporters.note(f"{lack.message}: make runs alone, without nodes")
    nested.become_make(find_make(request.environment), request, request.environment)
    raise AssertionError("BUG: make was not executed")
