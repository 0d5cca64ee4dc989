"""The Unix socket at which the stubs call: made in a private place, and taken away again.

It answers no call; `server` does, and `prelude` before there is a server.

Theory of operation.  A socket's path must be shorter than 108 bytes (unix(7)), so without a fitting `path` the
listener makes one in a directory that only we can enter: `$XDG_RUNTIME_DIR/buildfarm`, or `buildfarm-UID` below the
system's temporary directory.  The name holds pid and start time of the owner; sockets whose owner is dead are
removed by the next one.  Peers of another uid are refused (SO_PEERCRED).
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from buildfarm.errors import MachineError
from buildfarm.make.orphans import start_time

#: sun_path holds 108 bytes, the closing NUL among them (unix(7)).
LONGEST_PATH = 107
_BACKLOG = 4096
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
BLIND_MARK = ".blind"  # hook.c knows it
DEAF = ".new"  # instead of `.sock`: it does not listen yet
_SOCKET_NAME = re.compile(rf"(\d+)-(\d+)-\d+(?:{re.escape(DEAF)}|\.sock(?:{re.escape(BLIND_MARK)})?)")
TRIES = 8
_numbers = itertools.count()


class Listener:
    """A listening socket.  `path` tells where, `socket` is not blocking."""

    def __init__(self, path: Path | None = None) -> None:
        """Listen at `path`, or where there is room (None, or one too long for a socket).  Raises MachineError."""
        self._own_directory: Path | None = None
        place = path if path is not None and len(os.fsencode(path)) <= LONGEST_PATH else None
        try:
            if place is None:
                self.socket, place, self._own_directory = _listen_privately()
            else:
                place.unlink(missing_ok=True)
                self.socket = _listen(place)
        except OSError as error:
            raise MachineError(
                f"{place or 'socket'}: can't listen for compiler calls: {error.strerror}",
                hint="set XDG_RUNTIME_DIR or TMPDIR to a short, writable directory of your own",
            ) from error
        self.path = place

    def accept(self) -> Iterator[socket.socket]:
        """Those who wait to be heard, not blocking.  Raises OSError when this process has no descriptor left."""
        for _ in range(_BACKLOG):
            try:
                peer, _ = self.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            peer.setblocking(False)
            credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            if _CREDENTIALS.unpack(credentials)[1] != os.geteuid():
                peer.close()
                continue
            yield peer

    @property
    def blind(self) -> tuple[str, ...]:
        """Programs that ran and whose own calls can't be seen: static, with a sanitizer, of another loader."""
        try:
            return tuple(os.fsdecode(line) for line in self._mark.read_bytes().splitlines())
        except OSError:
            return ()

    @property
    def _mark(self) -> Path:
        return self.path.with_name(self.path.name + BLIND_MARK)

    def close(self) -> None:
        """Listen no more and remove the socket; harmless when that was done."""
        if self.socket.fileno() < 0:
            return
        self.path.unlink(missing_ok=True)
        self._mark.unlink(missing_ok=True)
        self.socket.close()
        if self._own_directory is not None:
            try:
                self._own_directory.rmdir()
            except OSError:
                pass  # another conductor's socket is there


def _listen(path: Path) -> socket.socket:
    """A socket that listens at `path`: what stands under that name answers from the first.  Raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    deaf = path.with_suffix(DEAF)
    try:
        deaf.unlink(missing_ok=True)
        listener.bind(os.fspath(deaf))
        listener.listen(_BACKLOG)
        deaf.chmod(0o600)
        deaf.rename(path)
    except BaseException:
        listener.close()
        raise
    return listener


def _listen_privately() -> tuple[socket.socket, Path, Path]:
    """Listen in the first private directory that can hold a socket, and remove dead ones there.

    Returns the socket, its path and the directory.  Raises OSError.
    """
    name = f"{os.getpid()}-{start_time(os.getpid())}-{next(_numbers)}.sock"
    failure = OSError(errno.ENOENT, "no private directory")
    for directory in _private_directories():
        path = directory / name
        if len(os.fsencode(path)) > LONGEST_PATH:
            continue
        # Under our feet another conductor's close may remove the empty directory, and one in another pid namespace
        # the socket that does not listen yet.
        for _ in range(TRIES):
            try:
                _make_private(directory)
                listener = _listen(path)
            except OSError as error:
                failure = error
                if isinstance(error, FileNotFoundError):
                    continue
                break
            _remove_stale(directory)
            return listener, path, directory
    raise failure


def _private_directories() -> Iterator[Path]:
    """Where a socket may live, best first.  The last is new at each call, for the case that others squat."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        yield Path(runtime) / "buildfarm"
    named = (os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    for root in dict.fromkeys((*filter(None, named), "/tmp")):
        yield Path(os.path.abspath(root)) / f"buildfarm-{os.geteuid()}"

    import tempfile  # 3 ms that are nearly always spared

    yield Path(tempfile.mkdtemp(prefix="buildfarm-", dir="/tmp"))


def _make_private(directory: Path) -> None:
    """Raises OSError unless `directory` is there, ours and closed to others."""
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        pass
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "not a private directory of ours", str(directory))


def _remove_stale(directory: Path) -> None:
    """Remove the sockets of conductors that are dead."""
    for path in directory.iterdir():
        match = _SOCKET_NAME.fullmatch(path.name)
        socket_path = path.with_name(path.name.removesuffix(BLIND_MARK))
        if match and start_time(int(match[1])) != int(match[2]) and not _answers(socket_path):
            path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    """Whether someone listens there; an owner in another pid namespace is dead only by the looks of it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(os.fspath(path))
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True
