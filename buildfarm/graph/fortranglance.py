"""Tells at a glance that a Fortran text has nothing to say of modules and included files, as most old ones haven't.

It reads no statement: where it is in doubt, `fortran.scan` must read them all.

Theory of operation.  What `scan` looks for are statements that begin with `use`, `module`, `submodule` or `include`,
and `#include` lines.  A statement begins at the beginning of a line, behind a label or a sentinel, or behind a `;`: a
line with a `;` that is no comment counts as found.  Blanks may stand between any two letters in fixed form, so they go
first.  A word may go on in a continuation line, so one that breaks off at the end of a line counts as found, and so
does a line of nothing but a label, whose statement begins in the next one.  What
gfortran refuses (letters in a label, a continuation of nothing) may be read otherwise than `scan` reads it.  A text of
LAPACK's takes 0.1 ms, where reading its statements takes 0.4, half of it being comments.
"""

from __future__ import annotations

import re
from typing import Final

_BLANKS: Final = b" \t\r\v\f\x1c\x1d\x1e\x1f\x85\xa0"  # what str.split takes for blank, as Latin-1
_BROKEN_OFF: Final = rb"[\n!&]"


def _word(letters: str) -> bytes:
    """Matches the word, and any beginning of it that breaks off at the end of a line."""
    pattern = letters[-1].encode()
    for letter in reversed(letters[:-1]):
        pattern = rb"%s(?:%s|%s)" % (letter.encode(), _BROKEN_OFF, pattern)
    return pattern


_BEGINNING: Final = re.compile(
    rb"\n(?:d|[!c*]\$)?&?[0-9]*(?:#include|(?<=[0-9$])%s|%s)"
    % (_BROKEN_OFF, b"|".join(map(_word, ("use", "modu", "subm", "incl"))))
)
_SEVERAL: Final = re.compile(rb"\n(?![cC*!][^$]|[ \t]*![^$])[^\n;]*;")
_SEVERAL_FREE: Final = re.compile(rb"\n(?!\s*![^$])[^\n;]*;")


def may_tell(text: str, *, free_form: bool, line_length: int) -> bool:
    """Whether `fortran.scan` might find anything in `text`.  `line_length` as in `fortranlines.LineRules`."""
    raw = text.encode("latin-1", "replace")
    if line_length and not free_form:
        lines = raw.split(b"\n")
        if len(max(lines, key=len)) > line_length:
            raw = b"\n".join([line if len(line) <= line_length else _cut(line, line_length) for line in lines])
    raw = b"\n%s\n" % raw
    if b";" in raw and (_SEVERAL_FREE if free_form else _SEVERAL).search(raw) is not None:
        return True
    return _BEGINNING.search(raw.translate(None, _BLANKS).lower()) is not None


def _cut(line: bytes, line_length: int) -> bytes:
    """What counts of a line: behind a tab in its first columns there is room for a whole body."""
    tab = line.find(b"\t", 0, 6)
    return line[: line_length if tab < 0 else tab + 1 + line_length - 6]
