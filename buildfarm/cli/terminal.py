"""Whether standard output is a terminal, and how wide."""

from __future__ import annotations

import os
import sys


def columns() -> int | None:
    """Its width; None: it is no terminal, and lines may be as long as they are."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None
