"""Puts the compilers that MPI's wrapper scripts call (MPICH's, Intel's) in their place in a plan.

The script itself runs as it is when make runs it, and what comes then is the compiler, with the words that the script
`-show`s.  So it is those words that a plan must know.  Wrappers that are programs (Open MPI's) are themselves what
comes, and stay; so does a call that the script does not show, which is then made when make asks for it.  A script may
be anybody's, so it is asked confined: one that knows no `-show` may compile, or note what it was called with.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace

from buildfarm.conductor.toolbox import is_script
from buildfarm.dispatch.local import Finished
from buildfarm.dispatch.prepared import CannotTravel
from buildfarm.dispatch.wrappers import Wrappers, is_wrapper
from buildfarm.graph.classify import classify
from buildfarm.graph.plain import digest
from buildfarm.graph.plan import InstancePlan, PlannedCall
from buildfarm.make.masquerade import real_directories
from buildfarm.make.printed import Confined

_FOR_THE_SCRIPT = ("-f90=", "-f77=", "-fc=", "-cc=", "-cxx=", "-CC=", "-config=", "-profile=")
"""Options that it takes for itself (mpifort(1) of MPICH), so that what it shows without them is not what it calls."""


async def without_scripts(plan: InstancePlan, confined: Confined) -> InstancePlan:
    """The plan with the compilers' own calls for those of wrapper scripts."""

    async def show(argv: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> Finished:
        told = await confined(shlex.join(argv), cwd, env)
        return Finished(-1 if told.status is None else told.status, told.text, b"")

    wrappers = Wrappers(show)
    changed = {}
    for key, target in plan.targets.items():
        if any(map(_is_wrapped, target.calls)):
            calls = [await _behind(call, wrappers) if _is_wrapped(call) else call for call in target.calls]
            changed[key] = target._replace(calls=tuple(calls))
    return replace(plan, targets={**plan.targets, **changed}) if changed else plan


def _is_wrapped(call: PlannedCall) -> bool:
    return call.is_unit and is_wrapper(call.argv[0].rpartition("/")[2])


async def _behind(call: PlannedCall, wrappers: Wrappers) -> PlannedCall:
    """What the call's script calls; the call itself if it is no script, or does not say."""
    own = call.environment
    path = os.pathsep.join(real_directories(own.get("PATH", os.defpath)))
    name = call.argv[0]
    wrapper = os.path.join(call.cwd, name) if os.sep in name else shutil.which(name, path=path)
    if wrapper is None or not is_script(wrapper) or any(word.startswith(_FOR_THE_SCRIPT) for word in call.argv):
        return call
    try:
        argv = await wrappers.real_command(call.argv, wrapper, cwd=call.cwd, env={**own, "PATH": path})
    except (CannotTravel, OSError):
        return call
    real = classify((os.path.basename(argv[0]), *argv[1:]), environment=own)
    if real.unit is None:
        return call
    return call._replace(key=f"{call.target}#{digest(call.cwd, argv)}", argv=argv, call=real)
