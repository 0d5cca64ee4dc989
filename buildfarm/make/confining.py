"""The program that confines a dry run (`confine.c`): compiled on first use, kept in the cache; and what it is told.

It confines nothing itself.  Where it can't be had, `confine.py` does the same and takes ten milliseconds more.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

from buildfarm.make import native

PROGRAM = "buildfarm-confine"
NOT_AT_ALL = "free"  # what it reports where the kernel can't


def prepare(cache: Path) -> Path | None:
    """The program for this machine, below `cache`; None where it can't be compiled, kept or executed.  Never raises."""
    try:
        return native.kept(native.source("confine.c"), cache / "confine", PROGRAM, (("-static",), ()), _confines)
    except OSError:
        return None


def words(directory: str, tree: str | None, private: str, environment: MutableMapping[str, str]) -> list[str]:
    """The program's first words, up to its library, for work in `directory` that may seem to write below `tree`.

    `private` is a directory for this work alone.  The work's temporary files go there, in its `environment`, if their
    usual place has `tree` in it.
    """
    trees = _trees(directory, tree)
    writable = ["/dev", private]
    common = os.path.realpath(environment.get("TMPDIR") or tempfile.gettempdir())
    if any(os.path.commonpath((common, path)) == common for path in trees):
        environment["TMPDIR"] = private
    else:
        writable.append(common)
    return [directory, os.path.join(private, "layers"), *trees, "--", *writable, "--"]


def _trees(directory: str, tree: str | None) -> list[str]:
    """Where writing is to be thrown away: the tree, and the work's directory if it is elsewhere."""
    real = os.path.realpath(directory)
    root = os.path.realpath(tree) if tree is not None else real
    return [root] if os.path.commonpath((root, real)) == root else [root, real]


def _confines(program: Path) -> bool:
    """Whether it reports how a shell is confined, and lets it run."""
    with tempfile.TemporaryDirectory(prefix="buildfarm-plan-") as scratch:
        command = [str(program), "/", scratch, "2", "--", "/dev", "--", "", "/bin/sh", "sh", "-c", "echo runs"]
        try:
            result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return False
    return result.stdout == b"runs\n" and result.stderr in (b"free", b"refused", b"overlay")
