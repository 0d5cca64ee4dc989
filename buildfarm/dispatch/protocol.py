"""distcc's protocol, versions 1, 2 and 3, without I/O: a job becomes buffers, bytes become an answer.

It does not know sockets, time, nodes, or what an answer means; that is `client` and `verdict`.

A packet is a token of four letters, eight hex digits, and for most tokens a body of that many bytes (distcc's
`doc/protocol-1.txt`, `-2`, `-3`; `src/clirpc.c`, `src/srvrpc.c`).  One connection carries one job.

    request 1, 2     DIST version, ARGC n, ARGV*n, DOTI
    request 3        DIST 3, CDIR, ARGC n, ARGV*n, NFIL m, (NAME, FILE or LINK)*m
    answer           DONE version, STAT wait-status, SERR, SOUT, DOTO; in 3 also DOTD after a success

In 2 and 3 the bodies DOTI, FILE, SERR, SOUT, DOTO and DOTD are LZO1X streams; an empty one has length 0.  A node
that compiled by protocol 3 without a depfile closes instead of sending DOTD (`src/serve.c: dcc_run_job`), so the
answer counts once DOTO is whole; who wants the depfile sees that it is empty.  A peer's length is compared with its cap
before a byte is kept, and a stream is never inflated past its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import lru_cache

from buildfarm.dispatch import lzo
from buildfarm.dispatch.lzo import Buffer
from buildfarm.model import Answer, Job, SentFile, Text
from buildfarm.value import dataclass

TEXTS_KEPT = 1024  # words and names that units have in common
HEADER = 12  # bytes of token and parameter
_HEX = frozenset(b"0123456789abcdefABCDEF")
_LONGEST = 0xFFFFFFFF
_RATIO = 32  # objects and texts pack 2 to 12 times; zeros pack up to 255 times, hence the floor
_RATIO_FLOOR = 64 << 20

Encode = Callable[[bytes], Sequence[Buffer]]


class ProtocolViolation(Exception):
    """The peer sent what no distccd sends.  Our own mistakes are assertions.

    The text holds none of the peer's bytes: of a fault that comes again, people are told once.
    """


class Incomplete(Exception):
    """The peer closed before the answer was whole; the text says how much of what had come."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most bytes that we accept, packed or inflated."""

    text: int = 16 << 20  # of SERR, SOUT and DOTD each
    object: int = 512 << 20


def version(job: Job, *, lzo: bool) -> int:
    """The protocol that carries the job: 3 for files, else 2 where the node is configured for lzo, else 1."""
    if job.pump:
        return 3
    return 2 if lzo else 1


# --- requests ----------------------------------------------------------------------------------------------


def request(job: Job, version: int, encode: Encode = lzo.encode) -> list[Buffer]:
    """The request as buffers to send in order.  Bodies are passed on as they are, uncopied."""
    assert version in (1, 2, 3), f"BUG: protocol version {version}"
    assert job.pump == (version == 3), f"BUG: recipe {job.recipe} does not go by protocol {version}"
    assert job.argv, "BUG: a job without argv"
    head = [packet(b"DIST", version)]
    if version == 3:
        assert job.cwd is not None and job.cwd.startswith("/"), "BUG: a job's cwd must be absolute"
        head.append(_text(b"CDIR", job.cwd))
    head.append(packet(b"ARGC", len(job.argv)))
    head.extend(_text(b"ARGV", word) for word in job.argv)
    buffers: list[Buffer] = []
    if version < 3:
        assert job.source is not None, "BUG: a job without source"
        return _add_body(buffers, head, b"DOTI", _packed(job.source, encode) if version == 2 else (plain(job),))
    head.append(packet(b"NFIL", len(job.files)))
    for file in job.files:
        if file.wire is not None:
            if head:
                buffers.append(b"".join(head))
                head = []
            buffers.append(file.wire)
            continue
        assert file.name.startswith("/") and "/../" not in file.name, f"BUG: a file named {file.name!r}"
        head.append(_text(b"NAME", file.name))
        if file.link is not None:
            head.append(_text(b"LINK", file.link))
        elif file.content:
            _add_body(buffers, head, b"FILE", encode(file.content))
            head = []
        else:
            head.append(packet(b"FILE", 0))
    if head:
        buffers.append(b"".join(head))
    return buffers


def packed(file: SentFile) -> SentFile:
    """The file with its packets ready, for many jobs to share; so it pays to make them small."""
    body = lzo.compress(file.content) if file.content else b""
    return replace(file, wire=b"".join((_text(b"NAME", file.name), packet(b"FILE", len(body)), body)))


def plain(job: Job) -> bytes:
    """The text of a job that has one."""
    source = job.source
    assert source is not None, "BUG: a job without source"
    if not isinstance(source, Text):
        return source
    if source.plain is not None:
        return source.plain
    assert source.packed is not None, "BUG: a text without bytes"
    return lzo.decompress(source.packed, _LONGEST)


def pack(job: Job) -> None:
    """Keep the job's text packed from now on: it has to wait for a node that takes it so."""
    if isinstance(job.source, Text):
        _packed(job.source, lzo.encode)


def _packed(source: bytes | Text, encode: Encode) -> Sequence[Buffer]:
    """The text as a stream, which stays instead of it."""
    if not isinstance(source, Text):
        return encode(source) if source else (source,)
    if source.packed is None:
        assert source.plain is not None, "BUG: a text without bytes"
        body = encode(source.plain) if source.plain else (source.plain,)
        if len(body) > 1 or not body[0]:
            return body  # empty, or with no library to pack it
        source.packed, source.plain = bytes(body[0]), None
    return (source.packed,)


def packet(token: bytes, parameter: int) -> bytes:
    """A packet's first 12 bytes; all of it when it has no body."""
    assert len(token) == 4 and 0 <= parameter <= _LONGEST, f"BUG: packet {token!r} {parameter}"
    return b"%s%08x" % (token, parameter)


@lru_cache(maxsize=TEXTS_KEPT)
def _text(token: bytes, text: str) -> bytes:
    data = os.fsencode(text)
    assert b"\0" not in data, f"BUG: a NUL in {text!r}"
    return packet(token, len(data)) + data


def _add_body(buffers: list[Buffer], head: list[bytes], token: bytes, body: Sequence[Buffer]) -> list[Buffer]:
    head.append(packet(token, sum(len(part) for part in body)))
    buffers.append(b"".join(head))
    buffers.extend(part for part in body if len(part))
    return buffers


# --- answers -----------------------------------------------------------------------------------------------


class AnswerReader:
    """Takes the node's bytes in pieces of any size; `answer` is set once they are an answer.

    `answer` may be set before `complete` is: then only the unwanted depfile is missing.  Raises
    ProtocolViolation from `feed`, Incomplete from `feed_eof`; after either it is not fed again.
    """

    def __init__(self, version: int, limits: Limits | None = None) -> None:
        self.answer: Answer | None = None
        self.complete = False
        self.received = 0  # bytes
        self._version = version
        self._limits = limits or Limits()
        self._pending = bytearray()
        self._awaited = ""  # what the parser waits for, in words
        self._wanted = HEADER
        self._parser = self._read()
        next(self._parser)

    def feed(self, data: Buffer) -> None:
        self.received += len(data)
        if self.complete:
            raise ProtocolViolation(f"{len(data)} bytes after the end of the answer")
        self._pending += data
        if len(self._pending) < self._wanted:
            return
        try:
            next(self._parser)
        except StopIteration:
            self.complete = True
            if self._pending:
                raise ProtocolViolation(f"{len(self._pending)} bytes after the end of the answer") from None

    def feed_eof(self) -> Answer:
        if self.answer is None:
            raise Incomplete(self.progress())
        self.complete = True
        return self.answer

    def progress(self) -> str:
        """What had come, such as `12 of 4096 bytes of DOTO`."""
        if not self.received:
            return "no answer"
        return f"{len(self._pending)} of {self._wanted} bytes of {self._awaited}"

    def _read(self) -> Generator[None, None, None]:
        """The answer, read from top to bottom."""
        answered = yield from self._head(b"DONE")
        if answered != self._version:
            raise ProtocolViolation(f"asked in protocol {self._version}, answered in {answered}")
        status = yield from self._head(b"STAT")
        if status > 0xFFFF or status & 0xFF == 0x7F:
            raise ProtocolViolation(f"0x{status:x} is not the status of a process that ended")
        stderr = yield from self._body(b"SERR", self._limits.text)
        stdout = yield from self._body(b"SOUT", self._limits.text)
        result = yield from self._body(b"DOTO", self._limits.object)
        if status and result:
            raise ProtocolViolation(f"{len(result)} bytes of object with the failure 0x{status:x}")
        self.answer = Answer(status, stderr, stdout, result, bytes_received=self.received)
        if self._version == 3 and not status:
            depfile = yield from self._body(b"DOTD", self._limits.text)
            self.answer = Answer(status, stderr, stdout, result, depfile=depfile, bytes_received=self.received)

    def _head(self, token: bytes) -> Generator[None, None, int]:
        self._awaited = f"{token.decode()}'s head"
        head = yield from self._take(HEADER)
        if head[:4] != token:
            raise ProtocolViolation(f"expected {token.decode()}, got something else")
        if not _HEX.issuperset(head[4:]):
            raise ProtocolViolation(f"expected eight hex digits after {token.decode()}")
        return int(head[4:], 16)

    def _body(self, token: bytes, limit: int) -> Generator[None, None, bytes]:
        size = yield from self._head(token)
        if size > limit:
            raise ProtocolViolation(f"{token.decode()} of {size} bytes; the limit is {limit}")
        if not size:
            return b""
        self._awaited = token.decode()
        data = yield from self._take(size)
        if self._version == 1:
            return data
        try:
            return lzo.decompress(data, min(limit, max(_RATIO_FLOOR, _RATIO * size)))
        except lzo.LzoError as error:
            raise ProtocolViolation(f"{token.decode()}: {error}") from error

    def _take(self, size: int) -> Generator[None, None, bytes]:
        self._wanted = size
        while len(self._pending) < size:
            yield
        if len(self._pending) == size:
            data = bytes(self._pending)
            self._pending.clear()
            return data
        with memoryview(self._pending) as view:
            data = bytes(view[:size])
        del self._pending[:size]
        return data
