"""`buildfarm run` inside a recipe of a build that buildfarm runs already: it joins that build.

It becomes the real make, in the surroundings that make's recipes have, so its compiles go to the conductor that is
there, which also holds the journal and the tree's lock; -j, if not given, is the outer make's job server.
Hosts and options of ours have no say: one build has one farm.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from buildfarm.make.masquerade import with_hook
from buildfarm.make.process import RealMake
from buildfarm.request import RunRequest


def inside(environment: Mapping[str, str]) -> bool:
    """Whether a conductor listens to this process's tools.  One that is dead (a shell left open) does not count."""
    path = environment.get("BUILDFARM_SOCKET") or _hidden_socket()
    if not path:
        return False
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(path)
        except OSError:
            return False
    return True


def _hidden_socket() -> str:
    """What a recipe's `env -i` has cleared and the exec hook has put back out of sight (hook.c, `hide`)."""
    try:
        entries = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    found = {name: value for name, _, value in (os.fsdecode(entry).partition("=") for entry in entries)}
    return found.get("BUILDFARM_SOCKET", "") if "BUILDFARM_HIDDEN" in found else ""


def outside(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what a dead build has left in it."""
    left = (
        "BUILDFARM_SOCKET",
        "BUILDFARM_TOKEN",
        "BUILDFARM_MASQUERADE",
        "BUILDFARM_HOOK",
        "BUILDFARM_REAL",
        "BUILDFARM_UMASK",
    )
    return {name: value for name, value in environment.items() if name not in left}


def runs_no_recipe(environment: Mapping[str, str]) -> bool:
    """Whether an outer make, or the user, says -n, -q or -t in MAKEFLAGS.

    The flags without operands are its first word, with or without a dash (GNU make manual, "Options/Recursion").
    """
    for name in ("GNUMAKEFLAGS", "MAKEFLAGS"):
        first = environment.get(name, "").partition(" ")[0]
        if not first.startswith("--") and "=" not in first and set("nqt") & set(first):
            return True
    return False


def become_make(make: RealMake, request: RunRequest, environment: Mapping[str, str]) -> None:
    """Does not return.  Raises OSError."""
    jobs = () if request.jobs is None else (f"-j{request.jobs or ''}",)
    os.chdir(request.directory)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and make would inherit that
        signal.signal(number, signal.SIG_DFL)
    os.execve(make.path, [os.path.basename(make.path), *jobs, *request.make_command], with_hook(environment))
