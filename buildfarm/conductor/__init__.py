"""The conductor: one asyncio process that answers make's compiler calls and keeps the farm busy.

`run` is the only way in.  It prints nothing itself (reporters do) and exits nothing (the CLI does).
"""

from __future__ import annotations

import os
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
    sources on a medium that can't be written: never worse than make.  A `resume` does not, for it promises to sweep.
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
            if request.fallback == "never" or request.resumed_from is not None:
                raise
            reporters.note(f"{lack.message}{_unswept(request)}: make runs alone, without nodes")
    nested.become_make(find_make(request.environment), request, request.environment)
    raise AssertionError("BUG: make was not executed")


def _unswept(request: RunRequest) -> str:
    """What the state that can't be written says of a dead build whose half-written files make may find; or nothing."""
    from buildfarm.home import STATE_DIRECTORY
    from buildfarm.state import reader
    from buildfarm.state.lock import read_owner

    state_dir = request.directory / STATE_DIRECTORY
    if os.path.exists(state_dir) and not os.access(state_dir, os.R_OK | os.X_OK, effective_ids=True):
        return "; whether a build was interrupted there can't be read, and nothing is swept"
    last = reader.snapshot(state_dir)
    if last.build is not None and last.state == "interrupted":
        return f"; build {last.build.id} was interrupted and what it left half-written is not swept"
    if last.problem is not None or read_owner(state_dir) is not None:
        return "; a build may have been interrupted there, and what it left half-written is not swept"
    return ""
