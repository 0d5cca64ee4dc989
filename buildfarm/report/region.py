"""The live region: a few lines at the bottom of a terminal that are redrawn while text scrolls above them.

It turns "put this text above, draw these lines below" into bytes and remembers what stands on the screen.  It
writes nowhere, and knows neither builds nor threads.

Theory of operation.  The region is always erased before text goes out, so the terminal's scroll-back holds the
text alone, whole and in order.  Text goes out up to its last newline; an unfinished line (a prompt, a curl
that counts with carriage returns) is shown as the first line of the region until it is finished.  A program
that takes over the screen (an editor, menuconfig) shows itself by its escape codes; from there on everything
passes untouched and nothing is drawn any more.  The alternative, a scroll region (DECSTBM) with make writing to
the terminal itself, needs no copying, but tears escape sequences apart and leaves a terminal that must be reset
when buildfarm is killed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

HIDE_CURSOR = b"\x1b[?25l"
SHOW_CURSOR = b"\x1b[?25h"
_NO_WRAP = b"\x1b[?7l"
_WRAP = b"\x1b[?7h"
_PLAIN = b"\x1b[0m"
_SYNC_BEGIN = b"\x1b[?2026h"  # terminals that know it show the frame whole; others ignore it
_SYNC_END = b"\x1b[?2026l"
_TAKES_SCREEN = re.compile(rb"\x1b\[\?(?:1049|1047|47)h|\x1b\[2J|\x1b\[\d*(?:;\d*)?H")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Region:
    """What stands on the screen, and the bytes that change it."""

    def __init__(self) -> None:
        self._drawn: list[str] = []
        self._partial = b""
        self.passing = False  # a full-screen program has taken over: everything passes as it is

    @property
    def unfinished(self) -> bool:
        """Whether the text so far ends without a newline."""
        return bool(self._partial)

    def text(self, data: bytes, columns: int) -> bytes:
        """The bytes that put `data` above the region, which is erased until the next `draw`."""
        if self.passing:
            return data
        if _TAKES_SCREEN.search(data):
            out = self.erase(columns) + SHOW_CURSOR + self._partial + data
            self.passing, self._partial = True, b""
            return out
        whole = self._partial + data
        end = whole.rfind(b"\n") + 1
        complete, self._partial = whole[:end], whole[end:]
        if not complete:
            return b""
        return self.erase(columns) + complete + _PLAIN

    def say(self, line: str, columns: int) -> bytes:
        """The bytes that put a line of our own above the region, never into an unfinished line of make's."""
        return self.erase(columns) + line.encode("utf-8", "replace") + b"\r\n"

    def draw(self, lines: Sequence[str], columns: int) -> bytes:
        """The bytes that replace what is drawn by `lines`, none of them wider than `columns`."""
        if self.passing:
            return b""
        frame = list(lines)
        if self._partial:
            # What a terminal would show: the text after the last carriage return, on one row.
            visible = self._partial.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")
            frame.insert(0, _ESCAPES.sub("", visible).expandtabs()[: columns - 1])
        body = "\r\n".join(line + "\x1b[K" for line in frame).encode("utf-8", "replace")
        out = _SYNC_BEGIN + HIDE_CURSOR + self.erase(columns) + _NO_WRAP + body + _WRAP + _SYNC_END
        self._drawn = frame
        return out

    def close(self, columns: int) -> bytes:
        """The bytes that take the region away and leave the cursor below the text."""
        if self.passing:
            return b""
        return self.erase(columns) + self._partial + _PLAIN + SHOW_CURSOR

    def erase(self, columns: int) -> bytes:
        """The bytes that erase the drawn lines; lines that a narrower terminal has folded count as folded."""
        if not self._drawn:
            return b""
        rows = sum(_rows(line, columns) for line in self._drawn)
        self._drawn = []
        up = b"\x1b[%dA" % (rows - 1) if rows > 1 else b""
        return b"\r" + up + b"\x1b[J"


def _rows(line: str, columns: int) -> int:
    visible = len(_ESCAPES.sub("", line))
    return max(1, -(-visible // max(1, columns)))
