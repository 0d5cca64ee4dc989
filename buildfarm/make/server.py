"""The Unix socket on which the stubs call: one `StubCall` a connection, handed to the owner's handler.

It decides nothing about a call.  If a handler returns without an answer, or the server is closed, the connection
goes away and the stub runs the real tool.

Sockets are used directly (`add_reader`), not through asyncio's transports: a call is one short message each way,
and accepting, reading and closing by transport costs eight rounds of the event loop instead of five.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from buildfarm.make import wire
from buildfarm.make.listener import Listener
from buildfarm.make.prelude import EarlyCall
from buildfarm.model import Invocation

_PIECE = 64 * 1024  # below malloc's threshold for mmap
_PAUSE_SECONDS = 0.05

Handler = Callable[["StubCall"], Awaitable[None]]


class StubLost(Exception):
    """The stub's end of the connection is gone: it was killed, or make was."""


class DeliveryFailed(Exception):
    """The stub could not rename an output into place (`errno`); it waits for another answer."""

    def __init__(self, error: int) -> None:
        super().__init__(f"rename failed: {os.strerror(error)}")
        self.errno = error


class StubCall:
    """A stub that waits for an answer: one of `exec_real`, `run_real` and `release`, or `done`."""

    def __init__(self, call: wire.Call, connection: _Connection) -> None:
        self.name = call.name
        self.called_as = call.called_as
        self.pid = call.pid
        self.invocation: Invocation = call.invocation
        self._connection = connection
        self._reply: asyncio.Future[wire.Message] | None = None
        self._expected: type[wire.Message] = wire.Ended
        self._answered = False
        self._lost = False
        self._on_lost: Callable[[], object] | None = None

    @property
    def answered(self) -> bool:
        """Whether an answer was given that the stub has not refused; then `exec_real` comes too late."""
        return self._answered or self._lost

    async def exec_real(self, makeflags: str | None = None) -> None:
        """Let the stub become the real tool, with these MAKEFLAGS if any.  Nothing more is heard of it."""
        self._answered = True
        self._connection.write(wire.encode_exec(makeflags))
        self._connection.close()

    async def run_real(self, words: Path | None = None) -> int:
        """Let the stub run the real tool as its child; the wait status.  Raises StubLost.

        The stub goes on when `release` is called.  With `words` the tool's stderr is that file until then, and has
        been copied to the stub's own; where that is a terminal there is no file.
        """
        reply = await self._ask(wire.RUN if words is None else wire.encode_capture(os.fspath(words)))
        assert isinstance(reply, wire.Ended), f"BUG: {reply!r} accepted as an answer to R"
        return reply.status

    async def release(self) -> None:
        """Let the stub exit with its child's status.  A stub that is gone is no error."""
        self._connection.write(wire.RELEASE)
        self._connection.close()

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
            self._answered = False
            raise DeliveryFailed(reply.error)
        self._connection.close()

    @property
    def is_lost(self) -> bool:
        """Whether the stub's end of the connection is gone; it is also gone after a final answer."""
        return self._lost

    def when_lost(self, act: Callable[[], object] | None) -> None:
        """Call `act` once the connection is gone, at once if it is; None: no longer."""
        self._on_lost = act
        if act is not None and self._lost:
            act()

    def _ask(self, message: bytes) -> asyncio.Future[wire.Message]:
        assert self._reply is None or self._reply.done(), "BUG: two answers to one stub at a time"
        self._reply = asyncio.get_running_loop().create_future()
        self._answered = True
        if self._lost:
            self._reply.set_exception(StubLost(f"{self.name} (pid {self.pid}) is gone"))
        else:
            self._expected = wire.Ended if message[:1] in (wire.RUN, wire.CAPTURE) else wire.Delivered
            self._connection.write(message)
        return self._reply

    def take(self, message: wire.Message) -> None:
        """Hand over a message of the stub after its call.  Raises wire.PeerError if nothing asked for it."""
        if self._reply is None or self._reply.done() or not isinstance(message, self._expected):
            raise wire.PeerError(f"{message!r} out of turn")
        self._reply.set_result(message)

    def lose(self) -> None:
        """The connection is gone."""
        self._lost = True
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(StubLost(f"{self.name} (pid {self.pid}) is gone"))
        if self._on_lost is not None:
            self._on_lost()


class StubServer:
    """Listens at `path` and runs `handler` as a task of `tasks` for each call.

    `path` None (or one that is too long for a socket) lets the listener choose; `self.path` tells where it listens
    once `start` has returned.
    """

    def __init__(self, path: Path | None, handler: Handler, tasks: asyncio.TaskGroup) -> None:
        self.path = path
        self._handler = handler
        self._tasks = tasks
        self._listener: Listener | None = None
        self._connections: set[_Connection] = set()

    async def start(self, listener: Listener | None = None) -> None:
        """Listen; `listener`: one that is there already, the server's own from now on.  Raises MachineError."""
        self._listener = listener or Listener(self.path)
        self.path = self._listener.path
        asyncio.get_running_loop().add_reader(self._listener.socket, self._accept)

    def adopt(self, early: EarlyCall) -> None:
        """Serve a stub that had called before there was a server."""
        connection = _Connection(self, early.peer, early.reader)
        self._connections.add(connection)
        if early.call is not None:
            connection.called(early.call)

    async def close(self) -> None:
        """Stop listening, drop every connection and remove the socket.  Stubs that still wait run the real tool."""
        if self._listener is None:
            return
        asyncio.get_running_loop().remove_reader(self._listener.socket)
        self._listener.close()
        self._listener = None
        for connection in tuple(self._connections):
            connection.abort()

    def begin(self, connection: _Connection, call: StubCall) -> None:
        """A connection brought a call: let the handler answer it."""
        if self._listener is None:
            connection.abort()
            return
        work = self._serve(connection, call)
        try:
            self._tasks.create_task(work, name=f"stub {call.name} {call.pid}")
        except RuntimeError:  # the group is shutting down: the stub runs the real tool
            work.close()
            connection.abort()

    def discard(self, connection: _Connection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)

    def _accept(self) -> None:
        assert self._listener is not None, "BUG: accepting after close"
        try:
            for peer in self._listener.accept():
                self._connections.add(_Connection(self, peer, wire.MessageReader()))
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            self._pause(self._listener.socket)

    def _pause(self, listener: socket.socket) -> None:
        """Out of descriptors: the stubs wait in the backlog until some calls have ended."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        loop.call_later(_PAUSE_SECONDS, self._go_on)

    def _go_on(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener.socket, self._accept)

    async def _serve(self, connection: _Connection, call: StubCall) -> None:
        try:
            await self._handler(call)
        except StubLost:
            pass  # make or the stub was killed: nobody waits for this answer
        finally:
            connection.close()


class _Connection:
    """One stub's connection: cuts the stream into messages, passes them on, writes what does not fit at once."""

    def __init__(self, server: StubServer, peer: socket.socket, reader: wire.MessageReader) -> None:
        self._server = server
        self._peer = peer
        self._reader = reader
        self._call: StubCall | None = None
        self._unsent = b""
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._descriptor = peer.fileno()  # asyncio, given the socket, takes its repr: nine system calls
        self._loop.add_reader(self._descriptor, self._readable)

    def called(self, call: wire.Call) -> None:
        """The stub has said what it was called for."""
        self._call = StubCall(call, self)
        self._server.begin(self, self._call)

    def write(self, data: bytes) -> None:
        """Send `data`, now or as the stub takes it; nothing happens if it is gone."""
        if self._closing:
            return
        if not self._unsent:
            data = data[self._send(data) :]
            if data and not self._closing:
                self._loop.add_writer(self._descriptor, self._writable)
        self._unsent += data

    def close(self) -> None:
        """Close when what was written has gone out."""
        if not self._unsent:
            self.abort()
        self._closing = True

    def abort(self) -> None:
        """Close now."""
        if self._peer.fileno() < 0:
            return
        self._closing = True
        self._loop.remove_reader(self._descriptor)
        if self._unsent:
            self._loop.remove_writer(self._descriptor)
        self._peer.close()
        self._server.discard(self)
        if self._call is not None:
            self._call.lose()

    def _send(self, data: bytes) -> int:
        try:
            return self._peer.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self.abort()
            return 0

    def _writable(self) -> None:
        self._unsent = self._unsent[self._send(self._unsent) :]
        if self._peer.fileno() >= 0 and not self._unsent:
            self._loop.remove_writer(self._descriptor)
            if self._closing:
                self.abort()

    def _readable(self) -> None:
        try:
            data = self._peer.recv(_PIECE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.abort()
            return
        try:
            for message in self._reader.feed(data):
                if isinstance(message, wire.Call):
                    self.called(message)
                else:
                    assert self._call is not None, "BUG: the reader gave a report before a call"
                    self._call.take(message)
        except wire.PeerError:
            self.abort()  # the stub, if it is one, runs the real tool
