"""The library that makes a dry run's make cheap (`buffer.c` and its headers): compiled on first use, kept in the cache.

It runs no make.  Where it can't be had, a dry run takes longer and says the same.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from buildfarm.make import native

LIBRARY = "buildfarm-buffer.so"


def prepare(cache: Path) -> Path | None:
    """The library for this machine, below `cache`; None where it can't be compiled, kept or loaded.  Never raises."""
    if re.search(r"[:\s]", str(cache)):
        return None  # ld.so(8): blanks and colons separate LD_PRELOAD's entries
    try:
        options = ("-shared", "-fPIC", "-ldl")
        return native.kept(native.source("buffer.c"), cache / "buffer", LIBRARY, (options,), _loads)
    except OSError:
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
