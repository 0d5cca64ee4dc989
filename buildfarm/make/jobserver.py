"""An outer make's job server, as a client that never blocks: tokens are given to it and taken from it.

It decides nothing about when (`conductor/lending.py` does), and counts nothing.

Theory of operation.  A job server is a pipe or a fifo with a byte for every job that may begin (GNU make manual,
"POSIX Jobserver").  Each make holds one token that is not in it, for the recipe that started it.

- *R,W* (make before 4.4): two descriptors that only recipes marked as recursive inherit.  A number in MAKEFLAGS may
  mean any other file where that mark is missing, so both must be ends of one pipe, and inherited (what we open
  ourselves is closed on exec).
- *fifo:PATH* (since 4.4): opened by its name.

Reads must not block, for an event loop waits behind them; but O_NONBLOCK belongs to the open file description, which
every make and every recipe shares, and who reads there with patience would fail for it (make 4.2 does).  So the pipe is
opened anew through /proc/self/fd, which makes a description of our own.  Where that is refused (no /proc, another
user's pipe) there is no `JobServer`, and nothing is lent.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

_AUTH = re.compile(r"(?:^|\s)--jobserver-(?:auth|fds)=(\S+)")  # -fds before 4.2
_FIFO = "fifo:"
_TOKEN = b"+"
_MAKES = frozenset({b"make", b"gmake"})


class JobServer:
    """The job server that `environment` names.  `descriptor` is readable when there may be a token to take."""

    def __init__(self, auth: str, read: str, write: str) -> None:
        """`read`, `write`: what to open.  Raises OSError."""
        self.auth = auth
        self._read_path = read
        # A fifo can't be opened for writing alone before somebody reads.
        self.descriptor = os.open(read, os.O_RDONLY | os.O_NONBLOCK)
        try:
            self._write = os.open(write, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            os.close(self.descriptor)
            raise
        self._identity = _identity(self.descriptor)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> JobServer | None:
        """The job server of the make that started us; None: there is none that can be used."""
        named = auths(environment.get("MAKEFLAGS", ""))
        if not named:
            return None
        auth = named[-1]
        read, write = (auth.removeprefix(_FIFO),) * 2 if auth.startswith(_FIFO) else _inherited(auth)
        if not read:
            return None
        try:
            server = cls(auth, read, write)
        except OSError:
            return None
        if server._identity is None:
            server.close()
            return None
        return server

    def give(self) -> bool:
        """Put a token in; False: it is full or gone."""
        try:
            return os.write(self._write, _TOKEN) == 1
        except OSError:
            return False

    def take(self, most: int) -> int:
        """Take out at most so many tokens, without waiting; how many there were."""
        try:
            return len(os.read(self.descriptor, most)) if most else 0
        except OSError:
            return 0

    def recipe(self, pid: int, environment: Mapping[str, str]) -> int | None:
        """The process that a make with a token of this job server runs as a recipe, above `pid` or `pid` itself.

        None: the make has none, or another's (`make -j3` in a recipe), as far as one can see.
        """
        if self.auth not in auths(environment.get("MAKEFLAGS", "")):
            return None
        while pid > 1:
            parent = _parent(pid)
            if _is_make(parent):
                return pid if self._is_held_by(parent) else None
            pid = parent
        return None

    def take_later(self, count: int) -> subprocess.Popen[bytes] | None:
        """Have so many tokens taken by a process that stays behind; it ends with the job server at the latest.

        It holds no end for writing, for the outermost make waits at its end until nobody does.
        """
        try:
            descriptor = os.open(self._read_path, os.O_RDONLY)
        except OSError:
            return None
        try:
            return subprocess.Popen(
                ["head", "-c", str(count)],
                stdin=descriptor,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of it."""
        os.close(self.descriptor)
        os.close(self._write)

    def _is_held_by(self, make: int) -> bool:
        """Whether a make has this very pipe open; its numbers alone may be those of another one."""
        directory = f"/proc/{make}/fd"
        with contextlib.suppress(OSError):
            for name in os.listdir(directory):
                with contextlib.suppress(OSError):
                    found = os.stat(os.path.join(directory, name))
                    if (found.st_dev, found.st_ino) == self._identity:
                        return True
        return False


def auths(flags: str) -> list[str]:
    """The job servers that a value of MAKEFLAGS names; the last one counts."""
    return _AUTH.findall(flags.partition(" -- ")[0])


def _inherited(auth: str) -> tuple[str, str]:
    """Names of the two ends in "R,W", as this process has them; empty: they are no job server's."""
    try:
        ends = [int(number) for number in auth.split(",")]
        if len(ends) != 2 or _identity(ends[0]) is None or _identity(ends[0]) != _identity(ends[1]):
            return "", ""
        if any(fcntl.fcntl(end, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for end in ends):
            return "", ""
    except (ValueError, OSError, OverflowError):
        return "", ""
    return f"/proc/self/fd/{ends[0]}", f"/proc/self/fd/{ends[1]}"


def _identity(descriptor: int) -> tuple[int, int] | None:
    """Device and inode of a pipe; None for anything else.  Raises OSError."""
    status = os.fstat(descriptor)
    return (status.st_dev, status.st_ino) if stat.S_ISFIFO(status.st_mode) else None


def _parent(pid: int) -> int:
    """0 where that can't be told (proc(5): the name in parentheses may hold anything)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    return int(text[text.rindex(b")") + 2 :].split()[1])


def _is_make(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_bytes().strip() in _MAKES
    except OSError:
        return False
