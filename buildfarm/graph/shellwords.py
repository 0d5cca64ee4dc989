"""Reads the words of a POSIX shell command (XCU 2.2, 2.6) and expands what can be known without running anything.

It knows no commands and no grammar; `graph/shell.py` does.  Arithmetic, globs, `~` and `${x:-y}` are read to their
end, so that what follows is found, but their value is unknown; that of a command substitution is the caller's to know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from buildfarm.value import dataclass

_BACKQUOTED = re.compile(r"\\([$`\\])")  # XCU 2.6.3: what a backslash escapes within backquotes
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class NotUnderstoodError(Exception):
    """The text from here on is not understood."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a word: text; with `variable` the name of a variable, with `command` one that is substituted."""

    text: str
    quoted: bool
    variable: bool = False
    command: bool = False


Word = tuple[Piece, ...] | None
"""None: it holds an expansion that is not understood."""


def _unknown(_: str) -> None:
    return None


def expand(
    word: Word, variables: Mapping[str, str | None], substituted: Callable[[str], str | None] = _unknown
) -> list[str] | None:
    """The fields that a word becomes; None: it can't be known.  `substituted(command)`: what stands in its place."""
    if word is None:
        return None
    fields: list[str] = []
    current: str | None = None
    for piece in word:
        text = piece.text
        if piece.variable:
            value = variables.get(piece.text, "")
            if value is None:
                return None
            text = value
        elif piece.command:
            value = substituted(piece.text)
            if value is None:
                return None
            text = value
        if not piece.quoted and any(c in text for c in "*?["):
            if text not in ("[", "[["):
                return None
        elif not piece.quoted and not piece.variable and current is None and text.startswith("~"):
            return None
        if piece.quoted or not (piece.variable or piece.command):
            current = (current or "") + text
            continue
        parts = text.split()
        if text[:1].isspace() and current is not None:
            fields.append(current)
            current = None
        for number, part in enumerate(parts):
            if number:
                fields.append(current or "")
                current = None
            current = (current or "") + part
        if parts and text[-1:].isspace():
            fields.append(current or "")
            current = None
    if current is not None:
        fields.append(current)
    return fields


class WordReader:
    """A place in a text, and what reads words from there on."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def blanks(self, *, newlines: bool = False) -> None:
        text = self.text
        while self.at < len(text):
            character = text[self.at]
            if character in " \t" or (newlines and character == "\n"):
                self.at += 1
            elif character == "\\" and text[self.at + 1 : self.at + 2] == "\n":
                self.at += 2
            elif character == "#" and (self.at == 0 or text[self.at - 1] in " \t\n;&|("):
                end = text.find("\n", self.at)
                self.at = end if end >= 0 else len(text)
            else:
                return

    def peek_word(self) -> str:
        end = self.at
        while end < len(self.text) and self.text[end] not in " \t\n;&|()<>\\'\"$`":
            end += 1
        return self.text[self.at : end]

    def word(self) -> Word:
        """Read one word; unknown expansions are read to their end and make it None."""
        pieces: list[Piece] = []
        known = True
        text = self.text
        while self.at < len(text):
            character = text[self.at]
            if character in " \t\n;&|()<>":
                break
            if character == "\\":
                if text[self.at + 1 : self.at + 2] != "\n":
                    pieces.append(Piece(text[self.at + 1 : self.at + 2], True))
                self.at += 2
            elif character == "'":
                end = text.find("'", self.at + 1)
                if end < 0:
                    raise NotUnderstoodError
                pieces.append(Piece(text[self.at + 1 : end], True))
                self.at = end + 1
            elif character == '"':
                known &= self._double_quoted(pieces)
            elif character in "$`":
                known &= self._dollar(pieces, quoted=False)
            else:
                end = self.at + 1
                while end < len(text) and text[end] not in " \t\n;&|()<>\\'\"$`":
                    end += 1
                pieces.append(Piece(text[self.at : end], False))
                self.at = end
        return tuple(pieces) if known else None

    def _double_quoted(self, pieces: list[Piece]) -> bool:
        self.at += 1
        known = True
        plain = [""]
        while True:
            character = self.text[self.at : self.at + 1]
            if character == "":
                raise NotUnderstoodError
            if character == '"':
                self.at += 1
                pieces.append(Piece("".join(plain), True))
                return known
            if character == "\\" and self.text[self.at + 1 : self.at + 2] in ("$", "`", '"', "\\", "\n"):
                if self.text[self.at + 1] != "\n":
                    plain.append(self.text[self.at + 1])
                self.at += 2
            elif character in "$`":
                pieces.append(Piece("".join(plain), True))
                plain = []
                known &= self._dollar(pieces, quoted=True)
            else:
                plain.append(character)
                self.at += 1

    def _dollar(self, pieces: list[Piece], *, quoted: bool) -> bool:
        """A `$...` or backquotes; False if it is no plain variable."""
        text = self.text
        if text[self.at] == "`":
            end = self.at + 1
            while end < len(text) and text[end] != "`":
                end += 2 if text[end] == "\\" else 1
            if end >= len(text):
                raise NotUnderstoodError
            pieces.append(Piece(_BACKQUOTED.sub(r"\1", text[self.at + 1 : end]), quoted, command=True))
            self.at = end + 1
            return True
        following = text[self.at + 1 : self.at + 2]
        name = NAME.match(text, self.at + 1)
        if name is not None:
            pieces.append(Piece(name[0], quoted, variable=True))
            self.at = name.end()
            return True
        if following == "{":
            end = self._balanced(self.at + 1, "{", "}")
            inside = text[self.at + 2 : end - 1]
            self.at = end
            if NAME.fullmatch(inside) is None:
                return False
            pieces.append(Piece(inside, quoted, variable=True))
            return True
        if following == "(":
            start, self.at = self.at + 2, self._balanced(self.at + 1, "(", ")")
            pieces.append(Piece(text[start : self.at - 1], quoted, command=True))
            return text[start] != "("  # arithmetic
        if following and (following in "?#@*!$-" or following.isdigit()):
            self.at += 2
            return False
        pieces.append(Piece("$", True))
        self.at += 1
        return True

    def _balanced(self, start: int, opening: str, closing: str) -> int:
        """Behind the bracket that closes the one at `start`; quotes are respected."""
        depth = 0
        at = start
        quote = ""
        while at < len(self.text):
            character = self.text[at]
            if character == "\\" and quote != "'":
                at += 1
            elif quote:
                quote = "" if character == quote else quote
            elif character in "'\"":
                quote = character
            elif character == opening:
                depth += 1
            elif character == closing:
                depth -= 1
                if depth == 0:
                    return at + 1
            at += 1
        raise NotUnderstoodError
