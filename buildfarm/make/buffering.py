"""The library that lets a dry run's make buffer what it prints (`buffer.c`): compiled on first use, kept in the cache.

It runs no make.  Where it can't be had, a dry run takes longer and says the same.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

from buildfarm.make import native

LIBRARY = "buildfarm-buffer.so"


def prepare(cache: Path) -> Path | None:
    """The library for this machine, below `cache`; None where it can't be compiled, kept or loaded.  Never raises."""
    source = native.source("buffer.c")
    home = cache / "buffer" / native.digest(source, platform.machine(), platform.libc_ver()[0])
    library = home / LIBRARY
    if re.search(r"[:\s]", str(library)):
        return None  # ld.so(8): blanks and colons separate LD_PRELOAD's entries
    refused = home / "does-not-work"
    try:
        if library.exists():
            return library
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        if refused.exists():
            return None
        path = os.environ.get("PATH", os.defpath).split(os.pathsep)
        if native.build(source, library, path, (("-shared", "-fPIC"),), _loads):
            return library
        refused.touch()
    except OSError:
        pass
    return None


def _loads(library: Path) -> bool:
    """Whether a program starts with it and does not know of it."""
    environment = {"PATH": os.defpath, "LD_PRELOAD": str(library)}
    try:
        result = subprocess.run(
            ["/bin/sh", "-c", 'echo "${LD_PRELOAD-none}"'],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.stdout == b"none\n" and not result.stderr
