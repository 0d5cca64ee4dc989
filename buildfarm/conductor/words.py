"""The words of compilers that run on this machine: read for the journal, and never lost.

A stub keeps its compiler's stderr in a file here (make/wire.py, `C`) and prints it when the compiler has ended.  What
is still here when no stub can print it any more, because it was killed, is printed by `print_left`.  On a terminal
there are no files: a compiler must see the terminal to colour its words.
"""

from __future__ import annotations

import os
from pathlib import Path

LONGEST = 64 * 1024  # bytes that the journal keeps of a step's words
ROOM = 64 << 20  # bytes that must be free on the disk: a full one would swallow the very words that say so
STDERR = 2


class Words:
    """A directory of files of words in the build's private directory."""

    def __init__(self, workroom: Path) -> None:
        self._directory = workroom / "words"
        self._directory.mkdir(mode=0o700, exist_ok=True)

    def file(self, step: int) -> Path | None:
        """Where the words of a step's tool may go; None: it must keep the real stderr."""
        try:
            disk = os.statvfs(self._directory)
        except OSError:
            return None
        return self._directory / str(step) if disk.f_bavail * disk.f_frsize > ROOM else None

    @staticmethod
    def read(file: Path | None) -> bytes:
        """The beginning of what the tool has said; empty where there is no file."""
        if file is None:
            return b""
        try:
            with open(file, "rb", buffering=0) as words:
                return words.read(LONGEST)
        except OSError:
            return b""


def print_left(workroom: Path, descriptor: int = STDERR) -> None:
    """Print to stderr what stubs that were killed have left in a build's directory, and remove it."""
    try:
        files = sorted((workroom / "words").iterdir(), key=lambda file: file.stat().st_mtime_ns)
    except OSError:
        return
    for file in files:
        try:
            words = memoryview(file.read_bytes())
            while words:
                words = words[os.write(descriptor, words) :]
            file.unlink()
        except OSError:
            continue
