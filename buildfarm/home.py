"""Where our files are: the user's configuration, cache and state, and a tree's.  It makes no directory and reads none.

Somebody without HOME and without an entry in passwd(5), as in a container that runs under any number, has none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

STATE_DIRECTORY = ".buildfarm"  # in the directory where make runs
NOWHERE = Path(os.devnull, "buildfarm")  # nothing is below a device, and nothing can be made there


def own_directory(kind: Literal["cache", "config", "state"], environment: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_KIND_HOME/buildfarm` or the platform's equivalent; `NOWHERE` without a home."""
    base = environment.get(f"XDG_{kind.upper()}_HOME", "")
    if os.path.isabs(base):
        return Path(base, "buildfarm")
    import platformdirs  # 8 ms

    try:
        path = Path(getattr(platformdirs, f"user_{kind}_dir")("buildfarm"))
    except RuntimeError:
        return NOWHERE
    return path if path.is_absolute() else NOWHERE  # older ones give `~/...`
