"""LZO1X streams: every engine reads what every engine writes, and none inflates past its limit."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.dispatch import lzo

MEGABYTE = 1 << 20
TEXT = b"".join(b'#define NAME_%d "value %d"\nint function_%d(void);\n' % (i, i * i, i % 7) for i in range(2000))
Reader = Callable[[bytes, int], bytes]


def _measured(data: bytes, limit: int) -> bytes:
    """`measure`, wearing the shape of a reader: the size must agree with what `inflate` makes."""
    size = lzo.measure(data, limit)
    made = lzo.inflate(data, limit)
    assert len(made) == size
    return made


@pytest.fixture(params=[lzo.decompress, lzo.inflate, _measured], ids=["best", "python", "measured"])
def reader(request: pytest.FixtureRequest) -> Reader:
    chosen: Reader = request.param
    return chosen


def _literal(data: bytes) -> bytes:
    return b"".join(lzo.literal(data))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 17, 18, 237, 238, 239, 240, 272, 273, 274, 528, 529, 70000])
def test_literal_runs_of_every_length_class_come_back(reader: Reader, size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert reader(_literal(data), size) == data


def test_a_literal_run_is_these_bytes() -> None:
    assert _literal(b"hello") == b"\x16hello\x11\0\0"
    assert _literal(b"x" * 300) == b"\0\0\x1b" + b"x" * 300 + b"\x11\0\0"


@pytest.mark.parametrize("pack", [lzo.compress, lambda data: b"".join(lzo.encode(data))], ids=["small", "cheap"])
@pytest.mark.parametrize(
    "data",
    [
        TEXT,
        bytes(100_000),
        b"ab" * 4000,
        random.Random(1).randbytes(50_000),
        TEXT + bytes(70_000) + TEXT,
        b"aaaa" * 20,
    ],
    ids=["text", "zeros", "pairs", "random", "far", "short"],
)
def test_packed_data_come_back(reader: Reader, pack: Callable[[bytes], bytes], data: bytes) -> None:
    assert reader(pack(data), len(data)) == data


@given(st.binary(min_size=1, max_size=600), st.integers(1, 60))
def test_whatever_is_packed_comes_back(piece: bytes, times: int) -> None:
    data = piece * times
    for packed in (lzo.compress(data), _literal(data)):
        assert lzo.decompress(packed, len(data)) == lzo.inflate(packed, len(data)) == data


@given(st.binary(max_size=400))
def test_junk_is_refused_or_read_alike_by_all(junk: bytes) -> None:
    results: list[bytes | None] = []
    for read in (lzo.decompress, lzo.inflate):
        try:
            results.append(read(junk, MEGABYTE))
        except lzo.LzoError:
            results.append(None)
    assert results[0] == results[1]


def test_a_cut_stream_is_refused_at_every_length(reader: Reader) -> None:
    packed = lzo.compress(TEXT[:3000])
    for length in range(len(packed)):
        with pytest.raises(lzo.LzoError):
            reader(packed[:length], MEGABYTE)


def test_bytes_after_the_end_are_refused(reader: Reader) -> None:
    with pytest.raises(lzo.LzoError):
        reader(lzo.compress(TEXT) + b"x", MEGABYTE)


def test_one_byte_too_much_is_refused(reader: Reader) -> None:
    packed = lzo.compress(TEXT)
    assert reader(packed, len(TEXT)) == TEXT
    with pytest.raises(lzo.LzoError, match=f"inflates past {len(TEXT) - 1} bytes"):
        reader(packed, len(TEXT) - 1)


def bomb(megabytes: int) -> bytes:
    """One literal byte and one match of that many megabytes, in 1/255 of the bytes."""
    zeros, last = divmod((megabytes << 20) - 31 - 2, 255)
    return b"\x12x" + b"\x20" + bytes(zeros) + bytes((last,)) + b"\0\0" + b"\x11\0\0"


def test_a_bomb_does_not_go_off(reader: Reader) -> None:
    assert len(reader(bomb(3), 4 * MEGABYTE)) == 3 * MEGABYTE + 1
    with pytest.raises(lzo.LzoError, match="inflates past"):
        reader(bomb(4096), 8 * MEGABYTE)


def test_the_pure_decoder_serves_when_no_library_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = lzo.compress(TEXT)
    monkeypatch.setattr(lzo, "_liblzo2", lambda: None)
    monkeypatch.setattr(lzo, "_lzallright", lambda: None)
    assert lzo.engine() == "python"
    assert lzo.decompress(packed, MEGABYTE) == TEXT
    assert lzo.decompress(lzo.compress(TEXT), MEGABYTE) == TEXT


def test_a_library_is_used_where_one_is_installed() -> None:
    assert lzo.engine() in ("liblzo2", "lzallright")
