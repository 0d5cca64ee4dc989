"""Packs and unpacks LZO1X streams, the only form in which distcc's protocols 2 and 3 carry bodies.

It does not know the protocol, and it never inflates past the limit that the caller sets.

Theory of operation.  LZO1X has no header, no length and no checksum; a stream is a series of literal runs and
matches that ends with the bytes 11 00 00 (format: `Documentation/staging/lzo.rst` of Linux).  Whoever inflates
must guess the size, so a hostile 1 MB may claim 255 MB; every function here takes a limit first.

Three engines, best first; `engine()` says which one is in use:

- liblzo2 through ctypes: packs 550 MB/s, unpacks 600 MB/s.
- lzallright: packs 25 MB/s, which is dearer than preprocessing the text, so it is not used for that; unpacks 420
  MB/s.  It has no limit of its own, so a stream that might inflate past the limit is measured first.
- pure Python: unpacks 15 to 20 MB/s.

Without liblzo2 `encode()` sends the text as one literal run, which costs nothing: some 4 times the bytes on the
wire, where a gigabit link carries 115 MB/s and this machine's preprocessor makes less.  A slow network therefore
wants the package liblzo2-2.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

Buffer = bytes | bytearray | memoryview

_END = b"\x11\0\0"
_WORK_BYTES = 16384 * ctypes.sizeof(ctypes.c_void_p)  # LZO1X_1_MEM_COMPRESS, lzo1x.h
_OUTPUT_OVERRUN = -5  # LZO_E_OUTPUT_OVERRUN, lzoconf.h
_MOST_PER_BYTE = 255  # an extension byte of 0 adds 255 bytes of output
_MOST_WITHOUT_ZEROS = 72  # the densest instruction without such a byte: 4 bytes for a match of 288


_IDLE: list[ctypes.Array[ctypes.c_char]] = []  # the library's working memory, as large as a text


class LzoError(ValueError):
    """The bytes are no LZO1X stream, or they inflate past the limit."""


def literal(data: bytes) -> tuple[bytes, bytes, bytes]:
    """`data` as one literal run: head, the same object, tail.  Needs no library and copies nothing."""
    size = len(data)
    assert size, "BUG: an empty body is sent as length 0, not as a stream"
    if size <= 238:
        return bytes((17 + size,)), data, _END
    zeros, last = divmod(size - 18 - 1, 255)
    return b"\0" + bytes(zeros) + bytes((last + 1,)), data, _END


def encode(data: bytes) -> Sequence[Buffer]:
    """`data` as buffers that together make one stream, the cheapest way that this machine has."""
    library = _liblzo2()
    return literal(data) if library is None or len(data) < 64 else (_pack(library, data),)


def compress(data: bytes) -> bytes:
    """`data` as a stream that is as small as this machine can make it, whatever the cost."""
    library = _liblzo2()
    if library is not None:
        return _pack(library, data)
    other = _lzallright()
    return b"".join(literal(data)) if other is None else bytes(other.LZOCompressor().compress(data))


def decompress(data: bytes, limit: int) -> bytes:
    """The inflated bytes of one stream; LzoError if it is none, is cut, goes on, or exceeds `limit` bytes."""
    library = _liblzo2()
    if library is not None:
        return _unpack(library, data, limit)
    other = _lzallright()
    if other is None:
        return inflate(data, limit)
    if _bound(data) > limit:
        measure(data, limit)
    try:
        result = bytes(other.LZOCompressor.decompress(data, min(limit, 4 * len(data) + 64)))
    except other.LZOError as error:
        raise LzoError(f"bad LZO stream: {error.args[0]}") from error
    if len(result) > limit:
        raise _too_large(limit)
    return result


def engine() -> str:
    """What packs and unpacks here: `liblzo2`, `lzallright` or `python`."""
    if _liblzo2() is not None:
        return "liblzo2"
    return "lzallright" if _lzallright() is not None else "python"


def inflate(data: bytes, limit: int) -> bytes:
    """`decompress` in Python alone."""
    out = bytearray()
    _walk(data, limit, out)
    return bytes(out)


def measure(data: bytes, limit: int) -> int:
    """The inflated size of a stream, found without inflating it; errors as `decompress`."""
    return _walk(data, limit, None)


def _too_large(limit: int) -> LzoError:
    return LzoError(f"LZO stream inflates past {limit} bytes")


def _bound(data: bytes) -> int:
    """No stream of these bytes can inflate to more than this."""
    return min(_MOST_PER_BYTE * len(data), _MOST_WITHOUT_ZEROS * len(data) + _MOST_PER_BYTE * data.count(0))


def _walk(data: bytes, limit: int, out: bytearray | None) -> int:
    """Follow the instructions; with `out`, perform them.  Returns the inflated size.

    `state` is how many literals followed the last match (0 to 3), or 4 after a literal run: it decides what an
    instruction below 16 means.
    """
    size = 0
    try:
        at, state = 0, 0
        if data[0] > 17:
            run = data[0] - 17
            at = 1 + run
            size = run
            if out is not None:
                out += data[1:at]
            state = run if run < 4 else 4
        while True:
            op = data[at]
            at += 1
            if op >= 64:
                length = (op >> 5) + 1
                distance = ((op >> 2) & 7) + (data[at] << 3) + 1
                at += 1
                state = op & 3
            elif op >= 16:
                length = op & (31 if op >= 32 else 7)
                if not length:
                    start = at
                    while not data[at]:
                        at += 1
                    length = (31 if op >= 32 else 7) + 255 * (at - start) + data[at]
                    at += 1
                length += 2
                word = data[at] | data[at + 1] << 8
                at += 2
                distance = word >> 2
                state = word & 3
                if op >= 32:
                    distance += 1
                else:
                    distance += (op & 8) << 11
                    if not distance:
                        break
                    distance += 0x4000
            elif state == 0:
                if not op:
                    start = at
                    while not data[at]:
                        at += 1
                    op = 15 + 255 * (at - start) + data[at]
                    at += 1
                size += op + 3
                if out is not None:
                    out += data[at : at + op + 3]
                at += op + 3
                state = 4
                if size > limit:
                    raise _too_large(limit)
                continue
            else:
                length = 3 if state == 4 else 2
                distance = (op >> 2) + (data[at] << 2) + (2049 if state == 4 else 1)
                at += 1
                state = op & 3
            if distance > size:
                raise LzoError("bad LZO stream: a match reaches back before the start")
            size += length + state
            if size > limit:
                raise _too_large(limit)
            if out is not None:
                begin = len(out) - distance
                if distance >= length:
                    out += out[begin : begin + length]
                else:
                    piece = out[begin:]
                    out += (piece * (length // distance + 1))[:length]
                out += data[at : at + state]
            at += state
    except IndexError:
        raise LzoError("bad LZO stream: it is cut short") from None
    if length != 3 or at != len(data):
        raise LzoError("bad LZO stream: bytes after its end")
    if size > limit:
        raise _too_large(limit)
    return size


@cache
def _liblzo2() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("liblzo2.so.2")
        for function in (library.lzo1x_1_compress, library.lzo1x_decompress_safe):
            function.restype = ctypes.c_int
            function.argtypes = [
                ctypes.c_char_p,
                ctypes.c_size_t,
                ctypes.c_void_p,
                ctypes.POINTER(ctypes.c_size_t),
                ctypes.c_void_p,
            ]
    except (OSError, AttributeError):
        return None
    return library


@cache
def _lzallright() -> Any:
    try:
        import lzallright
    except ImportError:
        return None
    return lzallright


def _pack(library: ctypes.CDLL, data: bytes) -> bytes:
    out = bytearray(len(data) + len(data) // 16 + 64 + 3)  # the worst case, as LZO.FAQ gives it
    size = ctypes.c_size_t(len(out))
    work = _IDLE.pop() if _IDLE else ctypes.create_string_buffer(_WORK_BYTES)
    target = ctypes.byref(ctypes.c_char.from_buffer(out))
    code = library.lzo1x_1_compress(data, len(data), target, ctypes.byref(size), work)
    _IDLE.append(work)
    assert code == 0, f"BUG: lzo1x_1_compress says {code}"
    return bytes(memoryview(out)[: size.value])  # without the room for the worst case


def _unpack(library: ctypes.CDLL, data: bytes, limit: int) -> bytes:
    room = min(limit, 4 * len(data) + 1024)
    while True:
        out = bytearray(room)
        size = ctypes.c_size_t(room)
        target = ctypes.byref(ctypes.c_char.from_buffer(out))
        code = library.lzo1x_decompress_safe(data, len(data), target, ctypes.byref(size), None)
        if code == 0:
            return bytes(memoryview(out)[: size.value])
        if code != _OUTPUT_OVERRUN:
            raise LzoError(f"bad LZO stream: liblzo2 says {code}")
        if room >= limit:
            raise _too_large(limit)
        room = min(limit, 4 * room)
