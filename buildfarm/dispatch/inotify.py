"""inotify(7): the kernel tells what changes in directories.

It knows no file and keeps no names; `vigil` and `listings` draw their conclusions.

An event is in the queue before the call that caused it returns, so a queue that is empty proves that nothing of what is
watched has changed.  Not told are changes by other machines on a network's disk, what is mounted over a directory,
writes through a memory mapping, and those through another name of the same file; so only directories on file systems
of this machine alone can be watched.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import termios
import weakref
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

# uapi/linux/inotify.h
ATTRIBUTES, MODIFIED = 0x4, 0x2
MOVED_FROM, MOVED_TO, CREATED, DELETED = 0x40, 0x80, 0x100, 0x200
DELETED_SELF, MOVED_SELF = 0x400, 0x800
OVERFLOW, IGNORED = 0x4000, 0x8000
_ONLY_DIRECTORIES = 0x01000000
_NONBLOCKING, _CLOSE_ON_EXEC = os.O_NONBLOCK, os.O_CLOEXEC
_EVENT = struct.Struct("iIII")
_PIECE = 1 << 16

# uapi/linux/magic.h: ext2 to 4, xfs, btrfs, f2fs, tmpfs, ramfs; and zfs's
_LOCAL = frozenset({0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x01021994, 0x858458F6, 0x2FC12FC1})


class Event(NamedTuple):
    """What has happened to the entry `name` of a watched directory, or to itself."""

    watch: int
    mask: int
    name: str


class Queue:
    """One queue of events, for as long as anybody keeps it.  Raises OSError where there is none to be had.

    A user has 128 of them (inotify(7), max_user_instances), in all of his processes.
    """

    def __init__(self) -> None:
        self._calls = _calls()
        self._descriptor = self._calls.inotify_init1(_NONBLOCKING | _CLOSE_ON_EXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self.close = weakref.finalize(self, os.close, self._descriptor)
        self._waiting = bytearray(4)

    def watch(self, directory: str, mask: int) -> int:
        """Its number; the same for each path to a directory.  Raises OSError; ENOENT, ENOTDIR: it is not there."""
        path = os.fsencode(directory)
        if not _is_local(path):
            raise OSError(errno.EOPNOTSUPP, "not told of all changes", directory)
        number: int = self._calls.inotify_add_watch(self._descriptor, path, mask | _ONLY_DIRECTORIES)
        if number < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch", directory)
        return number

    def events(self) -> list[Event]:
        """What has happened since the last call."""
        fcntl.ioctl(self._descriptor, termios.FIONREAD, self._waiting)
        if not any(self._waiting):  # mostly
            return []
        found = []
        try:
            while data := os.read(self._descriptor, _PIECE):
                at = 0
                while at < len(data):
                    number, mask, _, length = _EVENT.unpack_from(data, at)
                    at += _EVENT.size
                    found.append(Event(number, mask, os.fsdecode(data[at : at + length].rstrip(b"\0"))))
                    at += length
        except BlockingIOError:
            pass
        return found


def queue() -> Queue | None:
    """A new queue; None: there is none to be had here."""
    try:
        return Queue()
    except OSError:
        return None


@cache
def _calls() -> ctypes.CDLL:
    """Raises OSError where the C library has no such calls."""
    library = ctypes.CDLL(None, use_errno=True)
    try:
        library.inotify_init1.argtypes = [ctypes.c_int]
        library.inotify_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
        library.statfs.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    except AttributeError as error:
        raise OSError(errno.ENOSYS, str(error)) from error
    return library


def _is_local(path: bytes) -> bool:
    """Whether nobody but this machine changes what is there.  Raises OSError."""
    room = ctypes.create_string_buffer(512)  # struct statfs begins with f_type, a long (statfs(2))
    statfs: Callable[[bytes, object], int] = _calls().statfs
    if statfs(path, room) < 0:
        raise OSError(ctypes.get_errno(), "statfs", os.fsdecode(path))
    return ctypes.c_long.from_buffer(room).value & 0xFFFFFFFF in _LOCAL
