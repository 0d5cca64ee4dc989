"""Writes the source of a unit that is made ahead, where make's recipe writes it before it compiles (`graph/drafts.py`).

The recipe's own commands run once more, confined as a dry run is, so that nothing of theirs is left but the text.
Where the kernel can't throw away what they write, there is no draft, and the unit waits until make asks for it.  What
the text was made from is nobody's evidence: that is the text alone, beside the one that make's recipe has written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from buildfarm.dispatch.prepared import CannotTravel
from buildfarm.make import confining
from buildfarm.make.cache import cache_directory
from buildfarm.make.printed import Printed, printed

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
                nothing = await self._printed("exit 0", cwd, environment)
                self._throws_away = nothing.confinement == THROWN_AWAY
        if not self._throws_away:
            raise CannotTravel("its recipe writes its source, which can't be done ahead here")
        draft = await self._printed(script, cwd, environment)
        if draft.status != 0:
            raise CannotTravel("its recipe writes its source, and can't yet")
        return draft.text

    async def _printed(self, script: str, cwd: str, environment: Mapping[str, str]) -> Printed:
        return await printed(script, cwd, environment, tree=self._tree, confiner=self._confiner)
