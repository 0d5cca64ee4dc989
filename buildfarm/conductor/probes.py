"""What a compile depends on and never reads: header names that its files ask `__has_include` for, and the clock.

Each text is searched once for as long as it has its stamp; most hold no such question.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from buildfarm.dispatch import directives
from buildfarm.dispatch.directives import NOTHING_PROBED, Probed
from buildfarm.dispatch.stamps import SYSTEM, Stamp, stamp
from buildfarm.model import Unit

_MOMENT = re.compile(rb"__(?:DATE|TIME)__")


class Probes:
    """What the files of one build ask for."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Stamp | None, Probed]] = {}
        self._values: dict[tuple[str, str], tuple[Stamp | None, tuple[str, ...] | None]] = {}
        self._dated: dict[str, tuple[Stamp | None, bool]] = {}

    def names(self, unit: Unit, inputs: Sequence[str]) -> tuple[str, ...] | None:
        """All names that the texts may ask for; None: it can't be said."""
        if unit.fortran is not None and not unit.fortran.cpp:
            return ()  # no preprocessor sees them
        found: dict[str, None] = {}
        macros: set[str] = set()
        for path in inputs:
            probed = self._of(path)
            if probed is NOTHING_PROBED:
                continue
            if not probed.is_clear:
                return None
            found.update(dict.fromkeys(probed.names))
            macros |= probed.macros
        for macro in macros:  # one that nobody defines is no name
            for values in (_given(unit, macro), *(self._value(path, macro) for path in inputs)):
                if values is None:
                    return None
                found.update(dict.fromkeys(values))
        return tuple(found)

    def tell_when(self, unit: Unit, inputs: Iterable[str]) -> bool:
        """Whether its words or texts name the moment of the compile, which in another build is another.

        Whether it gets into the object is not asked.
        """
        if unit.fortran is not None and not unit.fortran.cpp:
            return False
        words = map(os.fsencode, unit.preprocess_arguments)
        return any(map(_MOMENT.search, words)) or any(
            self._is_dated(path) for path in inputs if not path.startswith(SYSTEM)
        )

    def _is_dated(self, path: str) -> bool:
        now = stamp(path)
        known = self._dated.get(path)
        if known is None or known[0] != now:
            content = _content(path)
            is_text = b"\0" not in content  # and not the compiler, which results are made from too
            known = self._dated[path] = now, is_text and _MOMENT.search(content) is not None
        return known[1]

    def _of(self, path: str) -> Probed:
        now = stamp(path)
        known = self._known.get(path)
        if known is None or known[0] != now:
            known = self._known[path] = now, directives.probed(_content(path))
        return known[1]

    def _value(self, path: str, macro: str) -> tuple[str, ...] | None:
        now = stamp(path)
        known = self._values.get((path, macro))
        if known is None or known[0] != now:
            known = self._values[path, macro] = now, directives.values(_content(path), macro)
        return known[1]


def _given(unit: Unit, macro: str) -> tuple[str, ...] | None:
    """The names that options define the macro as."""
    text = "\n".join(
        "define " + word[2:].replace("=", " ", 1) for word in unit.preprocess_arguments if word.startswith("-D")
    )
    return directives.values(text.encode(errors="surrogateescape"), macro)


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""  # the caller's own look tells that it has changed
