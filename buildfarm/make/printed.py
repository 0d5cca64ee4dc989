"""Runs a small script for what it prints, confined as a dry run is, so that what it writes is thrown away.

It does not judge which scripts may be run where the kernel can't throw that away; whoever asks is told how it was.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from buildfarm.make import confining
from buildfarm.make.inmemory import run_in_memory

SECONDS = 60.0
"""Of the processors' time; one that only waits is ended as soon."""

SHELL = "/bin/sh"


class Printed(NamedTuple):
    """What came of a script."""

    status: int | None  # None: not in time
    text: bytes
    confinement: str  # as in `dryrun.DryRunOutput`


Confined = Callable[[str, str, Mapping[str, str]], Awaitable[Printed]]
"""`printed` with its tree and its confiner: a script, a directory, an environment."""


async def printed(
    script: str,
    cwd: str,
    environment: Mapping[str, str],
    *,
    tree: str | None,
    confiner: Path | None,
    seconds: float = SECONDS,
) -> Printed:
    """Run `script` in the directory `cwd`; it may seem to write below `tree`.  `seconds` are as `Patience` counts them.

    Raises OSError.
    """
    private = tempfile.mkdtemp(prefix="buildfarm-plan-")
    own = {**environment, "TMPDIR": private}  # in the common place a recipe's own run might meet its files
    own.pop("BUILDFARM_SOCKET", None)  # compilers that it calls are not the build's
    pieces: list[bytes] = []
    try:
        words = [*confining.words(cwd, tree, private, own), "", SHELL, "sh", "-c", script]
        status, _, how = await run_in_memory(words, confiner, cwd, own, seconds, pieces.append)
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return Printed(status, b"".join(pieces), how)
