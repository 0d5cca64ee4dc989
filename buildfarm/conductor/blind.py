"""Looks through a tree for objects that no step has made: what was compiled by calls that nobody saw.

It is asked when a program has run whose own calls the hook can't see (`Listener.blind`); it changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from buildfarm.home import STATE_DIRECTORY
from buildfarm.state.digest import digest_file

CLOCK_GRAIN = 0.02  # seconds by which a file's time may lag behind the clock's
_RELOCATABLE = b"\x01\x00"  # ET_REL, at offset 16 of an ELF header; big-endian machines swap it
_LEFT_OUT = (STATE_DIRECTORY, ".git")


def compiled_past(directory: str, since: float, paths: Collection[str], digests: Collection[str]) -> tuple[str, ...]:
    """ELF objects below `directory` written since then (Unix time), at none of `paths`, copies of none of `digests`."""
    found = []
    for path, written in _files(directory):
        if written < since - CLOCK_GRAIN or path in paths:
            continue
        try:
            if _is_object(path) and digest_file(path) not in digests:
                found.append(path)
        except OSError:
            continue
    return tuple(sorted(found))


def _files(directory: str) -> Iterator[tuple[str, float]]:
    """Regular files that are named as objects are, and when they were written."""
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _LEFT_OUT:
                    yield from _files(entry.path)
            elif entry.name.endswith(".o") and entry.is_file(follow_symlinks=False):
                yield entry.path, entry.stat().st_mtime
        except OSError:
            continue


def _is_object(path: str) -> bool:
    with open(path, "rb") as file:
        head = file.read(18)
    return head[:4] == b"\x7fELF" and head[16:18] in (_RELOCATABLE, _RELOCATABLE[::-1])
