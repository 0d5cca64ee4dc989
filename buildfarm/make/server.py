"""The Unix socket on which the stubs call: one `StubCall` a connection, handed to the owner's handler.

It decides nothing about a call.  If a handler returns without an answer, or the server is closed, the connection
goes away and the stub runs the real tool.

Theory of operation.  A socket's path must be shorter than 108 bytes (unix(7)), so without a fitting `path` the
server makes one in a directory that only we can enter: `$XDG_RUNTIME_DIR/buildfarm`, or `buildfarm-UID` below the
system's temporary directory.  The name holds pid and start time of the owner; sockets whose owner is dead are
removed by the next server.  Peers of another uid are refused (SO_PEERCRED).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import socket
import stat
import struct
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

from buildfarm.errors import MachineError
from buildfarm.make import wire
from buildfarm.make.orphans import start_time
from buildfarm.model import Invocation

#: sun_path holds 108 bytes, the closing NUL among them (unix(7)).
LONGEST_PATH = 107
_BACKLOG = 4096
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
_SOCKET_NAME = re.compile(r"(\d+)-(\d+)-\d+\.sock")
_numbers = itertools.count()

Handler = Callable[["StubCall"], Awaitable[None]]


class StubLost(Exception):  # noqa: N818 - an event, no error
    """The stub's end of the connection is gone: it was killed, or make was."""


class DeliveryFailed(Exception):  # noqa: N818 - the seam's word
    """The stub could not rename an output into place (`errno`); it waits for another answer."""

    def __init__(self, errno: int) -> None:
        super().__init__(f"rename failed: {os.strerror(errno)}")
        self.errno = errno


class StubCall:
    """A stub that waits for an answer: one of `exec_real`, `run_real` and `release`, or `done`."""

    def __init__(self, call: wire.Call, transport: asyncio.Transport) -> None:
        self.name = call.name
        self.called_as = call.called_as
        self.pid = call.pid
        self.invocation: Invocation = call.invocation
        self._transport = transport
        self._reply: asyncio.Future[wire.Message] | None = None
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def answered(self) -> bool:
        """Whether an answer was given; then `exec_real` comes too late."""
        return self._reply is not None or self._transport.is_closing()

    async def exec_real(self) -> None:
        """Let the stub become the real tool.  Nothing more is heard of it."""
        self._transport.write(wire.EXEC)
        self._transport.close()

    async def run_real(self) -> int:
        """Let the stub run the real tool as its child; the wait status.  Raises StubLost.

        The stub goes on when `release` is called.
        """
        reply = await self._ask(wire.RUN)
        assert isinstance(reply, wire.Ended), f"BUG: {reply!r} accepted as an answer to R"
        return reply.status

    async def release(self) -> None:
        """Let the stub exit with its child's status.  A stub that is gone is no error."""
        self._transport.write(wire.RELEASE)
        self._transport.close()

    async def done(
        self,
        status: int,
        stdout: bytes,
        stderr: bytes,
        renames: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Let the stub install `renames` (from, to), print both texts and end with the wait status `status`.

        Returns when the outputs are in place.  Raises StubLost (it is unknown which of the renames happened), or
        DeliveryFailed at the first rename that fails: then nothing was printed, later renames were not tried, and
        another answer must be given.
        """
        reply = await self._ask(wire.encode_done(status, stdout, stderr, renames))
        assert isinstance(reply, wire.Delivered), f"BUG: {reply!r} accepted as an answer to D"
        if reply.error:
            raise DeliveryFailed(reply.error)
        self._transport.close()

    async def lost(self) -> None:
        """Wait until the stub's end of the connection is gone; it is also gone after a final answer."""
        await asyncio.shield(self._lost)

    def _ask(self, message: bytes) -> asyncio.Future[wire.Message]:
        assert self._reply is None or self._reply.done(), "BUG: two answers to one stub at a time"
        self._reply = asyncio.get_running_loop().create_future()
        if self._lost.done():
            self._reply.set_exception(StubLost(f"{self.name} (pid {self.pid}) is gone"))
        else:
            self._expected = wire.Ended if message == wire.RUN else wire.Delivered
            self._transport.write(message)
        return self._reply

    def _take(self, message: wire.Message) -> None:
        """A message of the stub after its call.  Raises wire.PeerError if nothing asked for it."""
        if self._reply is None or self._reply.done() or not isinstance(message, self._expected):
            raise wire.PeerError(f"{message!r} out of turn")
        self._reply.set_result(message)

    def _lose(self) -> None:
        if not self._lost.done():
            self._lost.set_result(None)
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(StubLost(f"{self.name} (pid {self.pid}) is gone"))


class StubServer:
    """Listens at `path` and runs `handler` as a task of `tasks` for each call.

    `path` None (or one that is too long for a socket) lets the server choose; `self.path` tells where it listens
    once `start` has returned.
    """

    def __init__(self, path: Path | None, handler: Handler, tasks: asyncio.TaskGroup) -> None:
        self.path = path if path is not None and len(os.fsencode(path)) <= LONGEST_PATH else None
        self._handler = handler
        self._tasks = tasks
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._own_directory: Path | None = None

    async def start(self) -> None:
        """Listen.  Raises MachineError if no directory can hold the socket."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            if self.path is None:
                self.path = self._bind_private(listener)
            else:
                self.path.unlink(missing_ok=True)
                listener.bind(os.fspath(self.path))
            self.path.chmod(0o600)
            self._server = await asyncio.get_running_loop().create_unix_server(
                lambda: _Connection(self), sock=listener, backlog=_BACKLOG
            )
        except OSError as error:
            listener.close()
            raise MachineError(
                f"{self.path}: can't listen for compiler calls: {error.strerror}",
                hint="set XDG_RUNTIME_DIR or TMPDIR to a short, writable directory of your own",
            ) from error

    async def close(self) -> None:
        """Stop listening, drop every connection and remove the socket.  Stubs that still wait run the real tool."""
        if self._server is None or self.path is None:
            return
        self._server.close()
        self._server = None
        for connection in tuple(self._connections):
            connection.abort()
        self.path.unlink(missing_ok=True)
        if self._own_directory is not None:
            try:
                self._own_directory.rmdir()
            except OSError:
                pass  # another conductor's socket is there

    def _bind_private(self, listener: socket.socket) -> Path:
        """Bind in the first private directory that can hold a socket, and remove dead ones there."""
        name = f"{os.getpid()}-{start_time(os.getpid())}-{next(_numbers)}.sock"
        failure: OSError = OSError(0, "no private directory")
        for directory in _private_directories():
            path = directory / name
            if len(os.fsencode(path)) > LONGEST_PATH:
                continue
            for _ in range(3):  # another conductor's close may remove the empty directory under our feet
                try:
                    _make_private(directory)
                    listener.bind(os.fspath(path))
                except OSError as error:
                    failure = error
                    if isinstance(error, FileNotFoundError):
                        continue
                    break
                _remove_stale(directory)
                self._own_directory = directory
                return path
        raise failure

    # --- called by _Connection ---

    def _begin(self, connection: _Connection, call: StubCall) -> None:
        self._tasks.create_task(self._serve(connection, call), name=f"stub {call.name} {call.pid}")

    async def _serve(self, connection: _Connection, call: StubCall) -> None:
        try:
            await self._handler(call)
        except StubLost:
            pass  # make or the stub was killed: nobody waits for this answer
        finally:
            connection.close()


class _Connection(asyncio.Protocol):
    """One stub's connection: checks who calls, cuts the stream into messages, passes them on."""

    def __init__(self, server: StubServer) -> None:
        self._server = server
        self._reader = wire.MessageReader()
        self._transport: asyncio.Transport | None = None
        self._call: StubCall | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("socket")
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if _CREDENTIALS.unpack(credentials)[1] != os.geteuid() or self._server._server is None:
            transport.abort()
            return
        self._server._connections.add(self)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        try:
            for message in self._reader.feed(data):
                if isinstance(message, wire.Call):
                    self._call = StubCall(message, self._transport)
                    self._server._begin(self, self._call)
                else:
                    assert self._call is not None, "BUG: the reader gave a report before a call"
                    self._call._take(message)
        except wire.PeerError:
            self._transport.abort()  # the stub, if it is one, runs the real tool

    def connection_lost(self, error: Exception | None) -> None:
        self._server._connections.discard(self)
        if self._call is not None:
            self._call._lose()

    def close(self) -> None:
        """Close when what was written has gone out."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


# --- the socket's place ----------------------------------------------------------------------------------


def _private_directories() -> Iterator[Path]:
    """Where a socket may live, best first.  The last is new at each call, for the case that others squat."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        yield Path(runtime) / "buildfarm"
    for root in dict.fromkeys((tempfile.gettempdir(), "/tmp")):
        yield Path(root) / f"buildfarm-{os.geteuid()}"
    yield Path(tempfile.mkdtemp(prefix="buildfarm-", dir="/tmp"))


def _make_private(directory: Path) -> None:
    """Raises OSError unless `directory` is there, ours and closed to others."""
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        pass
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PermissionError(1, "not a private directory of ours", str(directory))


def _remove_stale(directory: Path) -> None:
    """Remove the sockets of conductors that are dead."""
    for path in directory.iterdir():
        match = _SOCKET_NAME.fullmatch(path.name)
        if match and start_time(int(match[1])) != int(match[2]) and not _answers(path):
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
