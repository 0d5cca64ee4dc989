"""The program that confines a dry run (`confine.c`): compiled on first use, kept in the cache.

It confines nothing itself.  Where it can't be had, `confine.py` does the same and takes ten milliseconds more.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from buildfarm.make import native

PROGRAM = "buildfarm-confine"


def prepare(cache: Path) -> Path | None:
    """The program for this machine, below `cache`; None where it can't be compiled, kept or executed.  Never raises."""
    try:
        return native.kept(native.source("confine.c"), cache / "confine", PROGRAM, (("-static",), ()), _confines)
    except OSError:
        return None


def _confines(program: Path) -> bool:
    """Whether it reports how a shell is confined, and lets it run."""
    with tempfile.TemporaryDirectory(prefix="buildfarm-plan-") as scratch:
        words = [str(program), "/", scratch, "2", "--", "/dev", "--", "", "/bin/sh", "sh", "-c", "echo runs"]
        try:
            result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return False
    return result.stdout == b"runs\n" and result.stderr in (b"free", b"refused", b"overlay")
