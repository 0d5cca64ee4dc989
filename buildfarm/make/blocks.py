"""Cuts make's data base into rows with a library in C (`blocks.c`): compiled on first use, kept in the cache.

It knows rows as `graph/makedb.py` describes them, and makes no rules.  Where it can't be had, makedb cuts by itself.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from buildfarm.make import native

LIBRARY = "buildfarm-blocks.so"

Cut = Callable[[bytes], Iterable[tuple[str, str, str, str, int]]]


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

    def cut(files: bytes) -> Iterable[tuple[str, str, str, str, int]]:
        """Other threads may run meanwhile.  Raises MemoryError."""
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
    blocks = b"\n# makefile\na.o: a.c\n#  Implicit rule search has not been done.\n"
    return list(cut(blocks)) == [("a.o", "a.c", "", "", 1)]
