"""How paths, arguments and their lists stand in the database: as the kernel's own bytes.

A `str` from `os.fsdecode` may hold lone surrogates, which SQLite's TEXT refuses; BLOBs round-trip them.  This
file knows neither the schema nor what the words mean.  Nothing that a process can be given holds a NUL.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping

_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()  # what os.fsencode goes by


def pack(text: str) -> bytes:
    """The bytes of one path or word.  What the file system's encoding can't say is stored as UTF-8."""
    try:
        return text.encode(_ENCODING, _ERRORS)
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def unpack(data: bytes) -> str:
    """The word that `pack` was given."""
    return os.fsdecode(data)


def pack_words(words: Iterable[str]) -> bytes:
    """Each word ended by NUL, so that no words and one empty word differ."""
    words = tuple(words)
    if not words:
        return b""
    try:
        return ("\0".join(words) + "\0").encode(_ENCODING, _ERRORS)
    except UnicodeEncodeError:
        return b"".join(pack(word) + b"\0" for word in words)


def unpack_words(data: bytes) -> tuple[str, ...]:
    return tuple(unpack(word) for word in data.split(b"\0")[:-1])


def pack_mapping(mapping: Mapping[str, str]) -> bytes:
    """Names and values in turn, in the mapping's own order."""
    return pack_words(word for pair in mapping.items() for word in pair)


def unpack_mapping(data: bytes) -> dict[str, str]:
    words = unpack_words(data)
    return dict(zip(words[::2], words[1::2], strict=True))


def plain(text: str | None) -> str | None:
    """A message for a TEXT column: bytes that are not UTF-8 are shown as U+FFFD."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape" if not _has_odd(text) else "replace").decode("utf-8", "replace")


def _has_odd(text: str) -> bool:
    """Whether there are surrogates that did not come from `os.fsdecode`."""
    return any("\ud800" <= c <= "\udfff" and not "\udc80" <= c <= "\udcff" for c in text)
