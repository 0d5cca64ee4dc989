"""Takes the plan shell's records out of what a dry run prints, piece by piece; numbered marks come in their place.

It runs nothing and knows no makefile; `dryrun` says what a record is and who writes it.  Of the probe, the recipe by
which `dryrun` learns the environment, nothing is passed on: not the line of the trace, nor the recipe, nor its mark.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

_END = b"# Finished Make data base on "


class Records:
    """Gets pieces of any size, and passes on whole lines, the last one aside."""

    def __init__(self, token: str, listen: Callable[[bytes], None]) -> None:
        self.found: list[tuple[str, dict[str, str]]] = []  # recipe line and its environment, by number
        self.complete = False  # a whole data base came
        self._listen = listen
        self._kept = b""
        self._border = f"\x1e{token}\n".encode()  # before and behind each record
        self._record = re.compile(
            f"\x1e{token}\n([^\x1e]*(?:\x1e(?!{token})[^\x1e]*)*)\x1e{token}\n".encode()  # ENVIRONMENT \x1e LINE
        )
        # make 4.4 traces nothing while it remakes makefiles (main.c, `orig_db_level`): there the recipe stands alone
        announced = rf"(?:[^\n]*:\d+: (?:update )?target '[^\n]*/{token}\.mk'[^\n]*\n)?"
        self._probe = re.compile(f"(?m)^{announced}: {token}\n\x1e[^\n]*\n".encode())

    def __call__(self, piece: bytes) -> None:
        """Another piece of what was printed."""
        text = self._kept + piece
        closed, is_open = text.rfind(self._border), text.count(self._border) % 2
        end = closed if is_open else len(text)
        if is_open:
            closed = text.rfind(self._border, 0, closed)
        for _ in range(3):  # a line that may go on, a recipe line that may be recorded, what has announced it
            end = text.rfind(b"\n", 0, max(end - 1, 0)) + 1
        end = max(end, closed + len(self._border) if closed >= 0 else 0)
        self._kept = text[end:]
        self._pass_on(text[:end])

    def end(self) -> None:
        """No more pieces come."""
        self._pass_on(self._kept)
        self._kept = b""

    def _pass_on(self, text: bytes) -> None:
        if self._border in text:
            text = self._probe.sub(b"", self._record.sub(self._mark, text))
        if text:
            self.complete = self.complete or text.startswith(_END) or b"\n" + _END in text
            self._listen(text)

    def _mark(self, record: re.Match[bytes]) -> bytes:
        environment, _, line = os.fsdecode(record[1]).rpartition("\0\x1e")
        pairs = (entry.partition("=") for entry in environment.split("\0") if "=" in entry)
        self.found.append((line, {name: value for name, _, value in pairs}))
        return b"\x1e%d\n" % (len(self.found) - 1)
