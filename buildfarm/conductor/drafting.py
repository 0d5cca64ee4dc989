"""Writes the source of a unit that is made ahead, where make's recipe writes it before it compiles (`graph/drafts.py`).

The recipe's own commands run once more, confined as a dry run is, so that nothing of theirs is left but the text.
Where the kernel can't throw away what they write, there is no draft, and the unit waits until make asks for it.  What
the text was made from is nobody's evidence: that is the text alone, beside the one that make's recipe has written.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from buildfarm.dispatch.prepared import CannotTravel
from buildfarm.make import confining
from buildfarm.make.cache import cache_directory
from buildfarm.make.inmemory import run_in_memory

SECONDS = 60.0
SHELL = "/bin/sh"
THROWN_AWAY = "overlay"  # `confine`'s word


class Drafts:
    """The drafts of one build's sources."""

    def __init__(self, tree: str) -> None:
        self._tree = tree
        self._throws_away: bool | None = None
        self._confiner: Path | None = None
        self._asking = asyncio.Lock()

    async def source(self, script: str, cwd: str, environment: Mapping[str, str]) -> bytes:
        """What `script` prints in the directory `cwd`.  Raises CannotTravel, OSError."""
        async with self._asking:
            if self._throws_away is None:  # asked with a script that does nothing: one that may write must not find out
                self._confiner = await asyncio.to_thread(confining.prepare, cache_directory())
                _, _, how = await self._run("exit 0", cwd, environment)
                self._throws_away = how == THROWN_AWAY
        if not self._throws_away:
            raise CannotTravel("its recipe writes its source, which can't be done ahead here")
        status, text, _ = await self._run(script, cwd, environment)
        if status != 0:
            raise CannotTravel("its recipe writes its source, and can't yet")
        return text

    async def _run(self, script: str, cwd: str, environment: Mapping[str, str]) -> tuple[int | None, bytes, str]:
        private = tempfile.mkdtemp(prefix="buildfarm-plan-")
        own = {**environment, "TMPDIR": private}  # in the common place the recipe's own run might meet its files
        pieces: list[bytes] = []
        try:
            words = [*confining.words(cwd, self._tree, private, own), "", SHELL, "sh", "-c", script]
            status, _, how = await run_in_memory(words, self._confiner, cwd, own, SECONDS, pieces.append)
        finally:
            shutil.rmtree(private, ignore_errors=True)
        return status, b"".join(pieces), how
