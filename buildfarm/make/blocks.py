"""Cuts make's data base into rows with a library in C (`blocks.c`): compiled on first use, kept in the cache.

It knows rows as `graph/makedb.py` describes them, and makes no rules.  Where it can't be had, makedb cuts by itself.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from buildfarm.make import native

LIBRARY = "buildfarm-blocks.so"

PIECE = 1 << 18  # characters that are cut at once: the text of a large project is not held three times

Cut = Callable[[str, int, int], Iterable[tuple[str, str, str, str, int]]]


class _Column(ctypes.Structure):
    _fields_ = (("text", ctypes.c_void_p), ("size", ctypes.c_size_t), ("room", ctypes.c_size_t))

    def content(self) -> bytes:
        return ctypes.string_at(self.text, self.size) if self.size else b""


class _Table(ctypes.Structure):
    _fields_ = (
        *((name, _Column) for name in ("names", "prerequisites", "also", "places", "facts")),
        ("out_of_memory", ctypes.c_int),
    )


def prepare(cache: Path) -> Cut | None:
    """What cuts on this machine; None where it can't be compiled, kept or loaded.  Never raises."""
    try:
        made = native.kept(native.source("blocks.c"), cache / "blocks", LIBRARY, (("-shared", "-fPIC"),), _cuts)
        return None if made is None else _load(made)
    except (OSError, AttributeError):
        return None


def _load(library: Path) -> Cut:
    """Raises OSError, AttributeError."""
    loaded = ctypes.CDLL(str(library))
    cut_blocks, free_table = loaded.cut_blocks, loaded.free_table
    cut_blocks.argtypes, cut_blocks.restype = (ctypes.c_char_p, ctypes.c_size_t), ctypes.POINTER(_Table)
    free_table.argtypes, free_table.restype = (ctypes.POINTER(_Table),), None

    def cut(text: str, start: int, stop: int) -> Iterator[tuple[str, str, str, str, int]]:
        """Other threads may run meanwhile.  Raises MemoryError."""
        end = text.find("\n# files hash-table stats:", start - 1, stop)
        end = end if end >= 0 else stop
        while start <= end:
            empty = text.find("\n\n", start + PIECE, end)
            while empty > start and text[empty - 1] == "\n":
                empty -= 1  # the first of several: a block begins behind two of them
            last = empty if empty > start else end
            yield from cut_piece(os.fsencode(text[start - 1 : last]))
            start = last + 2

    def cut_piece(files: bytes) -> Iterable[tuple[str, str, str, str, int]]:
        table = cut_blocks(files, len(files))
        if not table:
            raise MemoryError
        try:
            found = table.contents
            if found.out_of_memory:
                raise MemoryError
            columns = (found.names, found.prerequisites, found.also, found.places)
            lines = [os.fsdecode(column.content()).split("\n") for column in columns]
            return zip(*lines, found.facts.content(), strict=False)
        finally:
            free_table(table)

    return cut


def _cuts(library: Path) -> bool:
    """Whether it can be loaded, and reads a rule."""
    try:
        cut = _load(library)
    except (OSError, AttributeError):
        return False
    text = "\n# makefile\na.o: a.c\n#  Implicit rule search has not been done.\n\n# files hash-table stats:\n"
    return list(cut(text, 1, len(text))) == [("a.o", "a.c", "", "", 1)]
