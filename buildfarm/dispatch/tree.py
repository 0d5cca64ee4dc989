"""The files of a protocol-3 request, so placed that the node finds them under the names that we find them by.

It reads nothing: contents are given.
"""

from __future__ import annotations

import os

from buildfarm.model import SentFile

OURS = "bf__"  # how every name of ours in the node's tree begins


class Tree:
    """Files by their absolute, normal names; the first content given for a name stays.

    A name may hold `..`, as compilers' arguments do.  The node's directories are plain ones, so there `a/../b` is
    `b` if only `a` exists; a directory that must exist gets an empty file, for distccd makes those of files only.
    """

    def __init__(self) -> None:
        self._files: dict[str, SentFile] = {}

    def add(self, path: str, content: bytes) -> None:
        """Have the node open `content` under `path`, which is absolute."""
        name = self._normal(path)
        self._files.setdefault(name, SentFile(name, content))

    def place(self, path: str, sent: SentFile) -> None:
        """As `add`, with a file whose name is the normal form of `path`."""
        name = self._normal(path)
        assert name == sent.name, f"BUG: {sent.name!r} for {path!r}"
        self._files.setdefault(name, sent)

    def add_link(self, path: str, target: str) -> None:
        """A symbolic link; an absolute target starts at the root of the node's tree (srvrpc.c)."""
        name = self._normal(path)
        self._files.setdefault(name, SentFile(name, link=target))

    def add_directory(self, path: str) -> None:
        self.add(os.path.join(path, OURS), b"")

    def files(self) -> tuple[SentFile, ...]:
        return tuple(self._files.values())

    def _normal(self, path: str) -> str:
        assert path.startswith("/"), f"BUG: {path!r} is not absolute"
        if "/../" not in path and "/./" not in path and "//" not in path:
            return path
        names: list[str] = []
        for part in path.split("/"):
            if part == "..":
                self.add_directory("/" + "/".join(names))
                del names[-1:]
            elif part not in ("", "."):
                names.append(part)
        return "/" + "/".join(names)
