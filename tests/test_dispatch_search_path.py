"""A compiler is asked once where it searches, however many units want to know."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from buildfarm.dispatch.search_path import Compilers, sort
from buildfarm.model import Language


def test_units_that_begin_together_ask_the_compiler_once(tmp_path: Path) -> None:
    compiler = tmp_path / "gcc"
    compiler.write_text(f'#!/bin/sh\necho asked >>{tmp_path}/log\nexec gcc "$@"\n')
    compiler.chmod(0o755)
    options = sort(("-DX", "-O2"), {})

    async def ask() -> None:
        compilers = Compilers()
        told = await asyncio.gather(
            *(
                compilers.directories(str(compiler), Language.C, options, cwd=str(tmp_path), env=os.environ)
                for _ in range(5)
            )
        )
        assert told[0].directories and all(own == told[0] for own in told)

    asyncio.run(ask())
    assert (tmp_path / "log").read_text() == "asked\n"
