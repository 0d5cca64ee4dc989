"""Reads recipe lines that are one plain call of a compiler, linker or archiver, each line once.

It takes no line that a shell would have to interpret, no recursive make and no libtool: `graph/plan.py` reads those.
What a line says depends on the line, the directory and the environment only, so lines can be read while make still
prints (`conductor/planner.py`), long before it is known whose recipe they stand in.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from buildfarm.graph import shell
from buildfarm.graph.names import without_distributor
from buildfarm.model import Kind, ToolCall

TOOL_KINDS = frozenset({Kind.COMPILE, Kind.LINK, Kind.ARCHIVE})
MAKES = frozenset({"make", "gmake"})


class PlainCall(NamedTuple):
    """What one line does."""

    line: str
    argv: tuple[str, ...]
    call: ToolCall
    outputs: tuple[str, ...]  # absolute paths
    digest: str


class PlainLines:
    """The lines of one make instance's recipes that have been read."""

    def __init__(self, directory: str, classify: Callable[[Sequence[str]], ToolCall]) -> None:
        self.directory = directory
        self.words: dict[str, str] = {}  # one copy of each
        self.paths: dict[str, str] = {}  # of names that were asked about
        self.classify = classify
        self._read: dict[str, PlainCall | None] = {}
        self._below = os.path.normpath(directory).rstrip("/") + "/"

    def __call__(self, line: str) -> PlainCall | None:
        """What `line` does; None: another reader is needed."""
        try:
            return self._read[line]
        except KeyError:
            found = self._read[line] = self._call(line)
            return found

    def _call(self, line: str) -> PlainCall | None:
        words = shell.plain(line)
        if words is None or words[0].rpartition("/")[2] in MAKES or words[0].endswith("libtool"):
            return None
        share = self.words.setdefault
        argv = tuple([share(word, word) for word in without_distributor(words)])
        call = self.classify(argv)
        if call.kind not in TOOL_KINDS:
            return None
        outputs = tuple([self.path(name) for name in call.outputs])
        return PlainCall(line, argv, call, outputs, digest(self.directory, argv))

    def path(self, name: str) -> str:
        """`name` as make in the directory means it, normalised."""
        found = self.paths.get(name)
        if found is None:
            found = self._below + name if is_plain_name(name) else absolute(self.directory, name)
            self.paths[name] = found
        return found


def is_plain_name(name: str) -> bool:
    """Whether it needs no normalising: it has no directory."""
    return "/" not in name and name not in ("", ".", "..")


def absolute(directory: str, name: str) -> str:
    """`name`, seen from the absolute `directory`, as a normalised path."""
    return os.path.normpath(name if name.startswith("/") else f"{directory.rstrip('/')}/{name}")


def digest(cwd: str, argv: Sequence[str]) -> str:
    """The same for the same call in the same directory, in every plan."""
    words = "\0".join((cwd, *argv)).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(words, digest_size=8).hexdigest()
