"""Frames between the masquerade stub and the conductor: bytes in, values out, and their twins.

It opens no socket and knows nothing of what is decided.  `server.py` uses it; `stub.c` and `stub.py` speak the
same bytes on their own, for they must start without the package.

The conversation (all integers little-endian; text is NUL-terminated, counts in text are decimal):

    stub       "BFS1" u32 length, body: name, argv[0], pid, cwd, argc, argv..., envc, "K=V"...
    conductor  "E"                               exec the real tool; no report; both ends close
               "M" u32 length, text              the same, with that text as its MAKEFLAGS
               "R"                               run it as a child and report:
               "C" u32 length, path              the same, with its stderr in that file, which must not be there:
                   it is copied whole to the stub's own stderr before the report and removed after K;
                   on a terminal there is no file, and C is R
    stub       "S" i32 wait status
    conductor  "K"                               the outputs have been looked at; the stub exits with that status
    conductor  "D" i32 wait status, u32 length of stdout, of stderr, of renames;
                   stdout, stderr, renames as (from, to) pairs
    stub       "A" i32 0                         installed; the stub prints both texts and ends with the status
               "A" i32 errno                     a rename failed; nothing printed, the stub waits for another answer

A stub whose conductor goes away before an answer is whole executes the real tool; after R it carries on and
ends with the tool's status.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Generator, Iterable, Mapping, Sequence
from functools import lru_cache

from buildfarm.model import Invocation
from buildfarm.value import dataclass

MAGIC = b"BFS1"
EXEC = b"E"
EXEC_WITH_FLAGS = b"M"
RUN = b"R"
CAPTURE = b"C"
RELEASE = b"K"

#: Longest call accepted, in bytes.  The kernel's limit for argv and environment is 6 MiB (execve(2)).
LONGEST_CALL = 64 << 20

ENVIRONMENTS_KEPT = 32  # of different makes and recipes

_HEAD = struct.Struct("<4sI")
_NUMBER = struct.Struct("<i")
_LENGTH = struct.Struct("<I")
_DONE = struct.Struct("<ciIII")


class PeerError(Exception):
    """The other end sent bytes that are no message of this protocol."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call as the stub saw it.  `called_as` is argv[0]; `name` its basename."""

    name: str
    called_as: str
    pid: int
    invocation: Invocation


@dataclass(frozen=True, slots=True)
class Ended:
    """The real tool, run as the stub's child, ended with this wait status."""

    status: int


@dataclass(frozen=True, slots=True)
class Delivered:
    """The stub performed the renames of a `D` answer (`error` 0) or failed with this errno."""

    error: int


Message = Call | Ended | Delivered


@dataclass(frozen=True, slots=True)
class Done:
    """A `D` answer: `status` is a wait status, `renames` are (from, to) paths."""

    status: int
    stdout: bytes = b""
    stderr: bytes = b""
    renames: tuple[tuple[str, str], ...] = ()


# --- stub to conductor -----------------------------------------------------------------------------------


def encode_call(call: Call) -> bytes:
    """The first message of a stub."""
    words = call.invocation.argv
    variables = [f"{name}={value}" for name, value in call.invocation.env.items()]
    head = (call.name, call.called_as, str(call.pid), call.invocation.cwd, str(len(words)))
    body = b"".join(os.fsencode(text) + b"\0" for text in (*head, *words, str(len(variables)), *variables))
    return _HEAD.pack(MAGIC, len(body)) + body


def decode_call(body: bytes) -> Call:
    """The call in `body` (without magic and length).  Raises PeerError."""
    try:
        *head, rest = body.split(b"\0", 5)
        argc = int(head[4])
        if argc < 0:
            raise PeerError(f"{argc} arguments")
        *words, count, variables = rest.split(b"\0", argc + 1)
        envc = int(count)
        # Text ends with a NUL, so what is behind the last variable is nothing.
        if len(words) != argc or envc != variables.count(b"\0") or variables[-1:] not in (b"", b"\0"):
            raise PeerError(f"counts of {argc} arguments and {envc} variables do not fit {len(body)} bytes")
        name, called_as, pid, cwd, _ = map(os.fsdecode, head)
        invocation = Invocation(tuple(map(os.fsdecode, words)), cwd, _environment(variables))
        return Call(name, called_as, int(pid), invocation)
    except (ValueError, IndexError) as error:
        raise PeerError(f"call of {len(body)} bytes is malformed: {error}") from error


def encode_ended(ended: Ended) -> bytes:
    return b"S" + _NUMBER.pack(ended.status)


def encode_delivered(delivered: Delivered) -> bytes:
    return b"A" + _NUMBER.pack(delivered.error)


class MessageReader:
    """Cuts the stub's stream into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._parser = self._parse()
        self._wanted = next(self._parser)

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completed.  Raises PeerError; the reader is of no use after that."""
        self._buffer += data
        messages: list[Message] = []
        while isinstance(self._wanted, int) and len(self._buffer) >= self._wanted:
            piece = bytes(self._buffer[: self._wanted])
            del self._buffer[: self._wanted]
            step = self._parser.send(piece)
            while not isinstance(step, int):
                messages.append(step)
                step = next(self._parser)
            self._wanted = step
        return messages

    @staticmethod
    def _parse() -> Generator[int | Message, bytes, None]:
        """Yields how many bytes it wants next, or a message."""
        magic, length = _HEAD.unpack((yield _HEAD.size))
        if magic != MAGIC:
            raise PeerError(f"expected {MAGIC!r}, got {magic!r}")
        if length > LONGEST_CALL:
            raise PeerError(f"call of {length} bytes; at most {LONGEST_CALL} are accepted")
        yield decode_call((yield length))
        while True:
            message = yield 1 + _NUMBER.size
            (number,) = _NUMBER.unpack(message[1:])
            match message[:1]:
                case b"S":
                    yield Ended(number)
                case b"A":
                    yield Delivered(number)
                case other:
                    raise PeerError(f"expected S or A, got {other!r}")


# --- conductor to stub -----------------------------------------------------------------------------------


def encode_capture(path: str) -> bytes:
    """A `C` answer."""
    return _with_text(CAPTURE, path)


def encode_exec(makeflags: str | None = None) -> bytes:
    """An `E` answer, or `M` where MAKEFLAGS are given."""
    return EXEC if makeflags is None else _with_text(EXEC_WITH_FLAGS, makeflags)


def _with_text(answer: bytes, text: str) -> bytes:
    data = os.fsencode(text)
    return answer + _LENGTH.pack(len(data)) + data


def encode_done(status: int, stdout: bytes, stderr: bytes, renames: Iterable[Sequence[str]] = ()) -> bytes:
    """A `D` answer."""
    pairs = b"".join(os.fsencode(path) + b"\0" for pair in renames for path in pair)
    head = _DONE.pack(b"D", status, len(stdout), len(stderr), len(pairs))
    return b"".join((head, stdout, stderr, pairs))


def decode_done(data: bytes) -> Done:
    """A whole `D` answer.  Raises PeerError."""
    try:
        letter, status, output, errors, pairs = _DONE.unpack_from(data)
    except struct.error as error:
        raise PeerError(f"answer of {len(data)} bytes is no D answer: {error}") from error
    at = _DONE.size
    if letter != b"D" or len(data) != at + output + errors + pairs:
        raise PeerError(f"answer of {len(data)} bytes does not hold what its head says")
    paths = os.fsdecode(data[at + output + errors :]).split("\0")[:-1]
    return Done(
        status,
        data[at : at + output],
        data[at + output : at + output + errors],
        tuple(zip(paths[::2], paths[1::2], strict=True)),
    )


@lru_cache(maxsize=ENVIRONMENTS_KEPT)
def _environment(variables: bytes) -> Mapping[str, str]:
    """The first of several definitions of a variable wins, as getenv(3) has it.

    The recipes of one make have the same, so their calls share it.
    """
    texts = os.fsdecode(variables).split("\0")[:-1]
    pairs = [text.partition("=")[::2] for text in texts if "=" in text]
    environment = dict(pairs)
    if len(environment) < len(pairs):
        environment.update(reversed(pairs))
    return environment
