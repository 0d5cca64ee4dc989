"""What automake's command substitutions come to, known without running anything.

    depbase=`echo src/a.o | sed 's|[^/]*$|.deps/&|;s|\\.o$||'`      (automake, depend2.am)
    `test -f 'a.c' || echo '$(srcdir)/'`a.c                         (automake, for objects with flags of their own)

Any other is unknown; it reads no file but asks whether one is there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

_PLAIN = r"[\w./+,@%:=-]+"
_DEPENDENCY_BASE = re.compile(
    rf"\s*echo\s+(?P<path>{_PLAIN})\s*\|\s*"
    rf"sed 's\|\[\^/\]\*\$\|(?P<place>{_PLAIN})/&\|;s\|\\\.(?P<suffix>\w+)\$\|\|'\s*"
)
_SOURCE_PLACE = re.compile(rf"\s*test -f '?(?P<path>{_PLAIN})'?\s*\|\|\s*echo '?(?P<place>{_PLAIN})'?\s*")


def substituted(command: str, exists: Callable[[str], bool]) -> str | None:
    """What the shell puts in the place of `command`; None: not known.  `exists(path)`, as typed: a regular file."""
    found = _DEPENDENCY_BASE.fullmatch(command)
    if found is not None:
        directory, name = os.path.split(found["path"])
        stem = name.removesuffix(f".{found['suffix']}")
        return os.path.join(directory, found["place"], stem)
    found = _SOURCE_PLACE.fullmatch(command)
    if found is not None:
        return "" if exists(found["path"]) else found["place"]
    return None
