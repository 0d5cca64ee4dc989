"""A make that has outlived its conductor: which process it is, and up to when all that it made is whole.

After `kill -9` of the conductor alone make goes on by itself, and its recipes with it.  What they have finished is as
whole as what any make leaves: only a recipe that still runs may be in the middle of a file.  So a file that was last
changed before the oldest of them began is vouched for by the living make.  Were make itself killed, nobody could tell
whose recipes had ended: then nothing is settled.  It ends no process and judges no file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from buildfarm.model import BuildSpec
from buildfarm.state import recipes
from buildfarm.state.identity import process_start

READ_CLOCK = "lock"  # in `.buildfarm`: touched to read the file system's clock; its own time says nothing
_LEVEL = b"MAKELEVEL="


def surviving_make(processes: Sequence[int], spec: BuildSpec) -> int | None:
    """Of the living processes of a dead build the one that is its first make, or None."""
    level = spec.environment.get("MAKELEVEL", "0").encode()
    words = tuple(map(os.fsencode, spec.make_arguments))
    for pid in processes:
        try:
            called = tuple(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1])
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        at = next((entry[len(_LEVEL) :] for entry in environment if entry.startswith(_LEVEL)), b"0")
        name = os.fsdecode(os.path.basename(called[0])) if called else ""
        if name not in recipes.MAKES or at != level or called[len(called) - len(words) :] != words:
            continue
        if os.path.realpath(f"/proc/{pid}/cwd") == os.path.realpath(spec.directory):
            return pid
    return None


def settled_until(processes: Sequence[int], spec: BuildSpec, state_dir: Path) -> int | None:
    """Up to when (ns, the tree's clock) what was last changed is whole, by the word of a make that lives; or None."""
    make = surviving_make(processes, spec)
    if make is None:
        return None
    strays = [pid for pid in processes if pid != make and not _is_below(pid, make)]
    return recipes.oldest_start(make, state_dir / READ_CLOCK, strays)


def _is_below(pid: int, ancestor: int) -> bool:
    """Whether `ancestor` has started it, itself or by others; one that is gone meanwhile writes no more."""
    while pid > 1:
        try:
            text = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return process_start(pid) is None
        pid = int(text[text.rindex(b")") + 2 :].split()[1])
        if pid == ancestor:
            return True
    return False
