"""Turns the lines of a Fortran text into statements, in free and in fixed form.

It knows comments, continuations, labels, character constants and the OpenMP sentinel, but no statement's meaning.
Source: Fortran 2018, clause 6.3.  `#` lines (directives before cpp, line markers after it) belong to no statement;
the names in `#include` are collected.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from buildfarm.value import dataclass

_SPECIAL: Final = re.compile("['\"!;&]")
_NOTHING_MORE: Final = re.compile(r"\s*(?:!|$)")
_LABEL: Final = re.compile(r"\d+\s*")
_CPP_INCLUDE: Final = re.compile(r'#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')
_SENTINEL: Final = re.compile(r"!\$[ \t&]")
_FIXED_SENTINEL: Final = re.compile(r"[!cC*]\$[ \t0-9]{3}")
_FIXED_COMMENT: Final = frozenset("cC*dD!")

_CONTINUING_DIGITS: Final = "123456789"
_QUOTED_OR_BLANK: Final = re.compile(r"('[^']*'?|\"[^\"]*\"?)|\s+")


@dataclass(frozen=True, slots=True)
class LineRules:
    """What options can change about the lines of a text."""

    openmp: bool = False  # lines behind the sentinel `!$` are code (-fopenmp)
    line_length: int = 72  # the last column of fixed form that counts; 0: all do (-ffixed-line-length-N)
    d_lines: bool = False  # fixed-form lines that begin with `d` are code, not comments (-fd-lines-as-code)


DEFAULT_RULES: Final = LineRules()


class _Cutter:
    """Cuts statements out of one line after the other; remembers an open character constant."""

    __slots__ = ("continued", "done", "part", "quote")

    def __init__(self) -> None:
        self.done: list[str] = []  # statements that have ended
        self.part: list[str] = []  # pieces of the statement that is open
        self.quote = ""  # the delimiter of a character constant that goes on in the next line
        self.continued = False  # the line ended in `&`

    def line(self, text: str, *, ampersands: bool) -> None:
        """Takes `text`, a line or the body of a fixed-form one; `ampersands` where `&` continues a line."""
        self.continued = False
        start = position = 0
        if self.quote:
            position = self._close(text, 0)
        while position >= 0:
            match = _SPECIAL.search(text, position)
            if match is None:
                self.part.append(text[start:])
                return
            at = match.start()
            char = text[at]
            position = at + 1
            if char == "!":
                self.part.append(text[start:at])
                return
            if char == ";":
                self.part.append(text[start:at])
                self.end()
                start = position
            elif char == "&":
                if ampersands and _NOTHING_MORE.match(text, position):
                    self.part.append(text[start:at])
                    self.continued = True
                    return
            else:
                self.quote = char
                position = self._close(text, position)
        if ampersands:
            text = text.rstrip()
            self.continued = text.endswith("&")
            if self.continued:
                text = text[:-1]
            else:
                self.quote = ""
        self.part.append(text[start:])

    def _close(self, text: str, position: int) -> int:
        """The position behind the end of the open character constant; -1 if it doesn't end in `text`."""
        at = text.find(self.quote, position)
        if at < 0:
            return -1
        self.quote = ""
        return at + 1

    def end(self) -> None:
        """Ends the open statement."""
        if self.part:
            self.done.append("".join(self.part))
            self.part.clear()

    def take(self) -> list[str]:
        """The statements that have ended since the last call."""
        done = self.done
        self.done = []
        return done


def free_statements(text: str, cpp_includes: dict[str, None], rules: LineRules) -> Iterator[str]:
    """The statements of a free-form text, neither labels nor outer blanks; `#include`d names to `cpp_includes`."""
    cutter = _Cutter()
    has_special = _SPECIAL.search
    in_directive = False
    for raw in text.split("\n"):
        line = raw.strip()
        if not line:
            continue
        if in_directive or raw[0] == "#":
            in_directive = _directive(line, cpp_includes)
            continue
        if line[0] == "!":
            if not rules.openmp or _SENTINEL.match(line) is None:
                continue
            raw = line = line[2:].lstrip()
        if cutter.continued:
            cutter.line(line[1:] if line[:1] == "&" else raw, ampersands=True)
        elif has_special(line) is None:
            yield from _unlabelled(line)
            continue
        else:
            cutter.line(line, ampersands=True)
        if not cutter.continued:
            cutter.end()
        for statement in cutter.take():
            yield from _unlabelled(statement.strip())
    cutter.end()
    for statement in cutter.take():
        yield from _unlabelled(statement.strip())


def fixed_statements(text: str, cpp_includes: dict[str, None], rules: LineRules) -> Iterator[str]:
    """The statements of a fixed-form text without blanks outside character constants.

    A line with a tab in its first six columns starts its
    body behind the tab, and is a continuation if a digit other than 0 comes first there.
    """
    cutter = _Cutter()
    limit = rules.line_length or None
    body_limit = rules.line_length - 6 if rules.line_length else None
    in_directive = False
    for raw in text.split("\n"):
        if not raw:
            continue
        if in_directive or raw[0] == "#":
            in_directive = _directive(raw.strip(), cpp_includes)
            continue
        if raw[0] in _FIXED_COMMENT:
            if rules.openmp and _FIXED_SENTINEL.match(raw):
                raw = f"  {raw[2:]}"
            elif rules.d_lines and raw[0] in "dD":
                raw = f" {raw[1:]}"
            else:
                continue
        tab = raw.find("\t", 0, 6)
        if tab < 0:
            head, body = raw[:5], raw[6:limit]
            continues = raw[5:6] not in ("", " ", "0", "\r")
        else:
            head, body = raw[:tab], raw[tab + 1 :][:body_limit]
            continues = body[:1] in _CONTINUING_DIGITS and bool(body)
            if continues:
                body = body[1:]
        if head.lstrip()[:1] == "!" or (not continues and not body.strip()):
            continue
        if not continues:
            cutter.quote = ""
            cutter.end()
            for statement in cutter.take():
                yield from _unblanked(statement)
        cutter.line(body, ampersands=False)
    cutter.end()
    for statement in cutter.take():
        yield from _unblanked(statement)


def _unlabelled(statement: str) -> Iterator[str]:
    """`statement`, if there is one, without its label."""
    if statement[:1].isdigit():
        statement = _LABEL.sub("", statement, count=1)
    if statement:
        yield statement


def _unblanked(statement: str) -> Iterator[str]:
    """`statement`, if there is one, without the blanks outside its character constants."""
    if "'" in statement or '"' in statement:
        statement = _QUOTED_OR_BLANK.sub(lambda match: match[1] or "", statement)
    else:
        statement = "".join(statement.split())
    if statement:
        yield statement


def _directive(line: str, cpp_includes: dict[str, None]) -> bool:
    """Notes an `#include`; says whether the directive goes on in the next line."""
    if match := _CPP_INCLUDE.match(line):
        cpp_includes[match[1] or match[2]] = None
    return line.endswith("\\")
