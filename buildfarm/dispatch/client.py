"""Sends one job to one node and brings back its answer, on asyncio.

It does not judge the answer (`verdict`), retry, or choose nodes (`scheduler`).

Theory of operation.  A job is four phases on a connection of its own, each with a deadline: connect, send,
compile (until the answer's first byte), receive.  distcc's own client has one timeout of 300 s a read and no
keepalive.  A node that vanished is found by keepalive and TCP_USER_TIMEOUT in a quarter of a minute, whatever the
deadlines; a daemon that hangs acknowledges for ever and is found by the deadline alone.

The request is never half-closed: distccd takes SHUT_WR for a lost client (`src/util.c: dcc_collect_child` watches
the socket).  Cancelling the task resets the connection before the cancellation goes on, upon which the node ends its
compiler within a second.

The socket is used bare (`sendmsg` of the caller's buffers, `recv`), because asyncio's transports join what
`writelines` is given (until Python 3.12) and its streams copy once more.  No thread: a node's name is looked up by
asyncio's resolver thread once a minute at most, an address never.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial

from buildfarm.dispatch import protocol
from buildfarm.dispatch.addresses import is_public
from buildfarm.dispatch.faults import NodeCorrupt, NodeForbidden, NodeLate, NodeLost, NodeRefused
from buildfarm.dispatch.lzo import Buffer
from buildfarm.dispatch.ssh import Tunnel
from buildfarm.model import Answer, Job, Node
from buildfarm.value import dataclass

KEEPALIVE_IDLE = 5  # seconds of silence before the first keepalive probe,
KEEPALIVE_INTERVAL = 3  # between probes,
KEEPALIVE_COUNT = 3  # and unanswered probes until the connection is lost
USER_TIMEOUT = 15  # seconds that sent bytes may stay unacknowledged
SSH_LAST_WORDS = 1.0  # seconds that ssh may take to end, when its connection has, and to say why
TRAILER_SECONDS = 2.0  # how long a node may take to close after a whole answer
LOOKUP_SECONDS = 60.0  # how long a node's looked-up address is believed

_RECEIVE = 1 << 17
_BUFFERS = 256  # well under IOV_MAX, 1024

Address = tuple[socket.AddressFamily, tuple[str | int, int | bytes] | tuple[str, int, int, int]]

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() drops what is not sent and resets the connection
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that each phase may take."""

    connect: float = 10.0
    send: float = 120.0
    compile: float = 300.0
    receive: float = 120.0


class Phase(StrEnum):
    """Where an attempt stands."""

    CONNECT = "connect"
    SEND = "send"
    COMPILE = "compile"
    RECEIVE = "receive"


class AddressBook:
    """The addresses of nodes that are given by name, looked up at most once in `LOOKUP_SECONDS`."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], tuple[float, list[Address]]] = {}

    async def find(self, host: str, port: int) -> list[Address]:
        """All addresses of `host`, best first; OSError when it has none."""
        for family in _FAMILIES:
            try:
                socket.inet_pton(family, host)
            except OSError:
                continue
            return [(family, (host, port) if family == socket.AF_INET else (host, port, 0, 0))]
        known = self._known.get((host, port))
        if known is not None and known[0] > time.monotonic():
            return known[1]
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError as error:
            raise OSError(errno.EADDRNOTAVAIL, f"{host!r} is no host name") from error
        addresses: list[Address] = [(kind, address) for kind, _, _, _, address in found if kind in _FAMILIES]
        self._known[host, port] = (time.monotonic() + LOOKUP_SECONDS, addresses)
        return addresses

    def forget(self, host: str, port: int) -> None:
        self._known.pop((host, port), None)


_ADDRESSES = AddressBook()


async def compile(
    node: Node,
    job: Job,
    *,
    deadlines: Deadlines | None = None,
    on_phase: Callable[[Phase], None] | None = None,
    limits: protocol.Limits | None = None,
    addresses: AddressBook = _ADDRESSES,
) -> Answer:
    """The node's answer to the job, whole but not judged.

    `on_phase` is called as each phase begins.  Raises NodeRefused, NodeLost, NodeLate or NodeCorrupt.
    """
    deadlines = deadlines or Deadlines()
    tell = on_phase or _ignore
    version = protocol.version(job, lzo=node.lzo)
    buffers = protocol.request(job, version)
    exchange = partial(_exchange, buffers=buffers, version=version, deadlines=deadlines, tell=tell, limits=limits)
    tell(Phase.CONNECT)
    if node.ssh:
        return await _through_ssh(node, exchange)
    sock = await _connect(node, deadlines.connect, addresses)
    try:
        return await exchange(sock)
    except BaseException:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        raise
    finally:
        sock.close()


async def _through_ssh(node: Node, exchange: Callable[[socket.socket], Awaitable[Answer]]) -> Answer:
    """The same through a process of ssh, whose own complaint is the better reason when it fails."""
    try:
        tunnel = Tunnel(node)
    except OSError as error:
        raise NodeRefused(f"ssh does not start: {error.filename}: {_words(error)}") from error
    try:
        return await exchange(tunnel.socket)
    except (NodeRefused, NodeLost) as fault:
        ended = await tunnel.gone(SSH_LAST_WORDS)
        words = tunnel.words()
        if ended is not None and words:
            raise type(fault)(f"ssh: {words}") from fault
        raise
    finally:
        tunnel.close()


async def _exchange(
    sock: socket.socket,
    buffers: Sequence[Buffer],
    version: int,
    deadlines: Deadlines,
    tell: Callable[[Phase], None],
    limits: protocol.Limits | None,
) -> Answer:
    """The phases after connect, on a connected non-blocking socket, which stays the caller's."""
    tell(Phase.SEND)
    sent = await _send(sock, buffers, deadlines.send)
    reader = protocol.AnswerReader(version, limits)
    tell(Phase.COMPILE)
    try:
        answer = await _receive(sock, reader, deadlines, tell)
    except protocol.ProtocolViolation as violation:
        raise NodeCorrupt(f"sent rubbish: {violation}") from violation
    return replace(answer, bytes_sent=sent, bytes_received=reader.received)


def _ignore(phase: Phase) -> None:
    pass


async def _connect(node: Node, seconds: float, addresses: AddressBook) -> socket.socket:
    """A connected socket to the first of the node's addresses that answers."""
    try:
        async with asyncio.timeout(seconds) as timeout:
            found = await addresses.find(node.host, node.port)
            _permit(node, found)
            fault: OSError = OSError(errno.EADDRNOTAVAIL, f"{node.host} has no address")
            for left, address in zip(range(len(found), 0, -1), found, strict=True):
                try:
                    if left == 1:
                        return await _connect_to(address)
                    async with asyncio.timeout(seconds / left):
                        return await _connect_to(address)
                except OSError as error:
                    fault = error
            raise fault
    except OSError as error:
        addresses.forget(node.host, node.port)
        if timeout.expired():
            raise NodeRefused(f"no connection within {seconds:g} s") from error
        raise NodeRefused(f"no connection: {_words(error)}") from error


def _permit(node: Node, found: Sequence[Address]) -> None:
    """Raise NodeForbidden for an address that the whole Internet can reach, unless the user allows those."""
    if node.public:
        return
    for _, address in found:
        if is_public(str(address[0])):
            named = "" if address[0] == node.host else f" ({node.host})"
            raise NodeForbidden(
                f"{address[0]}{named} is no private address, and sources travel unencrypted; "
                "--allow-public permits it, @HOST goes through ssh"
            )


async def _connect_to(address: Address) -> socket.socket:
    sock = socket.socket(address[0], socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        for level, option, value in (
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT),
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT * 1000),
        ):
            sock.setsockopt(level, option, value)
        await asyncio.get_running_loop().sock_connect(sock, address[1])
    except BaseException:
        sock.close()
        raise
    return sock


async def _send(sock: socket.socket, buffers: Sequence[Buffer], seconds: float) -> int:
    """Send it all; returns the bytes."""
    total = sum(len(buffer) for buffer in buffers)
    parts = list(buffers)
    timeout: asyncio.Timeout | None = None
    try:
        if not _fitted(sock, parts):
            async with asyncio.timeout(seconds) as timeout:
                while not _fitted(sock, parts):
                    await _writable(sock)
    except OSError as error:
        so_far = f"{total - sum(map(len, parts))} of {total} bytes"
        if timeout is not None and timeout.expired():
            raise NodeLate(f"took {so_far} of the request within {seconds:g} s") from error
        if error.errno in (errno.EPIPE, errno.ECONNRESET):
            raise NodeRefused(f"closed after it had taken {so_far} of the request") from error
        raise NodeLost(f"{_words(error)} after {so_far} of the request were sent") from error
    return total


def _fitted(sock: socket.socket, parts: list[Buffer]) -> bool:
    """Send what the socket takes now; `parts` is what is left then.  Whether that is nothing.  Raises OSError."""
    while parts:
        try:
            count = sock.sendmsg(parts[:_BUFFERS])
        except BlockingIOError:
            return False
        whole = 0
        while whole < len(parts) and count >= len(parts[whole]):
            count -= len(parts[whole])
            whole += 1
        del parts[:whole]
        if count:
            parts[0] = memoryview(parts[0])[count:]
    return True


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_writer(sock.fileno(), wake)
    try:
        await ready
    finally:
        loop.remove_writer(sock.fileno())


async def _receive(
    sock: socket.socket, reader: protocol.AnswerReader, deadlines: Deadlines, tell: Callable[[Phase], None]
) -> Answer:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(deadlines.compile) as timeout:
            data = await loop.sock_recv(sock, _RECEIVE)
    except OSError as error:
        if timeout.expired():
            raise NodeLate(f"no answer within {deadlines.compile:g} s") from error
        if error.errno == errno.ECONNRESET:
            raise NodeRefused("closed without an answer") from error
        raise NodeLost(f"{_words(error)} while it compiled") from error
    if not data:
        raise NodeRefused("closed without an answer")
    tell(Phase.RECEIVE)
    reader.feed(data)
    if reader.complete:  # mostly at once
        return reader.feed_eof()
    seconds = deadlines.receive if reader.answer is None else min(TRAILER_SECONDS, deadlines.receive)
    try:
        async with asyncio.timeout(seconds) as timeout:
            while data := await loop.sock_recv(sock, _RECEIVE):
                unanswered = reader.answer is None
                reader.feed(data)
                if reader.complete:
                    break
                if unanswered and reader.answer is not None:
                    timeout.reschedule(loop.time() + min(TRAILER_SECONDS, deadlines.receive))
    except OSError as error:
        if reader.answer is None:
            if timeout.expired():
                raise NodeLate(f"sent {reader.progress()} within {deadlines.receive:g} s") from error
            raise NodeLost(f"{_words(error)} after {reader.progress()}") from error
    try:
        return reader.feed_eof()
    except protocol.Incomplete as incomplete:
        raise NodeLost(f"closed after {incomplete}") from None


def _words(error: OSError) -> str:
    """`Connection refused`, without Python's `[Errno 111]` and asyncio's `Connect call failed ('::1', 3632)`."""
    if error.errno is not None and (error.strerror or "").startswith("Connect call"):
        return os.strerror(error.errno)
    return error.strerror or str(error) or "no answer"
