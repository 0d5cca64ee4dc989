"""Paths, durations and strangers' text in the form that people and JSON readers can take.

It decides on characters only; it knows no terminal, no colour and no width.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

# Texts, compiled by `re` when first used: `status` must start fast.
_ESCAPE_SEQUENCE = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])"
_SURROGATE = "[\ud800-\udfff]"
_CONTROL = "[\x00-\x1f\x7f-\x9f\ud800-\udfff]"
_CONTROL_BUT_LAYOUT = "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]"


def _hexadecimal(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # PEP 383: the byte that was not UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def encodable(text: str) -> str:
    r"""`text` with every byte that was not UTF-8 as `\xNN`: a lone surrogate is no legal Unicode in JSON."""
    return text if text.isascii() else re.sub(_SURROGATE, _hexadecimal, text)


def printable(text: str) -> str:
    r"""`text` on one line, fit for a terminal: control characters and bytes that were not UTF-8 as `\xNN`."""
    if text.isascii() and text.isprintable():
        return text
    return re.sub(_CONTROL, _hexadecimal, text)


def harmless(text: str) -> str:
    """Several lines of a stranger's text for a terminal: escape sequences gone, controls made visible."""
    text = re.sub(_ESCAPE_SEQUENCE, "", text.replace("\r\n", "\n"))
    return re.sub(_CONTROL_BUT_LAYOUT, _hexadecimal, text)


def folded(command: str, *, indent: int, columns: int | None) -> str:
    """A shell's command in lines of at most `columns` that it takes as one, each behind an indent but the first.

    A word is never cut.  None: in one line.
    """
    if columns is None or indent + len(command) <= columns:
        return printable(command)
    import shlex

    lines, line = [], ""
    for word in map(printable, map(shlex.quote, shlex.split(command))):
        if line and indent + len(f"{line} {word} \\") > columns:
            lines.append(f"{line} \\")
            line = ""
        line = f"{line} {word}" if line else word
    return f"\n{' ' * indent}".join([*lines, line])


def relative(path: str, directory: str) -> str:
    """`path` in its normal form, seen from `directory`.

    Below it, or beside it where that is shorter (`../model/a.o`), else whole.
    """
    if "/." in path or "//" in path:
        path = os.path.normpath(path)
    prefix = directory.rstrip("/") + "/"
    if path.startswith(prefix):
        return path[len(prefix) :]
    if not path.startswith(os.path.dirname(os.path.dirname(directory)).rstrip("/") + "/"):
        return path
    beside = os.path.relpath(path, directory)
    return beside if len(beside) < len(path) else path


def shortest(path: str) -> str:
    """The last component of `path`."""
    return os.path.basename(path) or path


def clock(seconds: float) -> str:
    """`0:09`, `12:34`, `1:02:03` for a duration in seconds."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, second = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"


def again(seconds: float) -> str:
    """`tried again in 0:09`, or `tried again now`, for the time until then in seconds."""
    return f"tried again in {clock(seconds)}" if round(seconds) > 0 else "tried again now"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min` for a duration in seconds."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def count(number: int, noun: str) -> str:
    """`1 unit`, `2 units`, `2 retries`."""
    if number == 1:
        return f"{number} {noun}"
    return f"{number} {noun[:-1]}ies" if noun.endswith("y") else f"{number} {noun}s"


def causes(retries: Mapping[str, int]) -> str:
    """How the attempts ended that did not count, the most frequent first: `2 lost, 1 late`."""
    return ", ".join(f"{number} {outcome}" for outcome, number in sorted(retries.items(), key=lambda item: -item[1]))
