"""The link and archive calls in the script that CMake's Makefiles hand to `cmake -E cmake_link_script`.

It reads no file: the script's text is handed in.  cmake runs the script's lines one after the other, each split into
words as a shell splits them, without one (CMake, `cmcmd.cxx`, `ExecuteLinkScript`).
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence


def links(argv: Sequence[str], read: Callable[[str], str | None]) -> tuple[tuple[str, ...], ...]:
    """The calls that this command makes, in order; none: it runs no link script that can be read.

    `read(path)` gives the text of the script of that name, as typed, or None.
    """
    if len(argv) < 4 or os.path.basename(argv[0]) != "cmake" or tuple(argv[1:3]) != ("-E", "cmake_link_script"):
        return ()
    try:
        lines = [shlex.split(line) for line in (read(argv[3]) or "").splitlines()]
    except ValueError:  # a quote without its other half
        return ()
    return tuple(tuple(words) for words in lines if words)
