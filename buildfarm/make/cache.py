"""Where what was compiled once is kept: the user's cache, or a private place beside temporary files.

A build as a service's user, in a container or with somebody else's HOME has no cache that it can write, and make needs
none.  It makes the directory and nothing in it.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from platformdirs import user_cache_path


def cache_directory() -> Path:
    """The directory, there and writable if that can be had at all; who writes to it finds out."""
    own = user_cache_path("buildfarm")
    if _is_usable(own):
        return own
    private = Path(tempfile.gettempdir(), f"buildfarm-cache-{os.geteuid()}")
    return private if _is_usable(private) and _is_private(private) else own


def _is_usable(directory: Path) -> bool:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return False
    return os.access(directory, os.W_OK | os.X_OK, effective_ids=True)


def _is_private(directory: Path) -> bool:
    """What lies there is executed: nobody else may have made it or write to it."""
    found = directory.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
