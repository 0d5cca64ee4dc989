"""The frames between stub and conductor: literal bytes, whole, in pieces, and cut at every length."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.make import wire
from buildfarm.model import Invocation

BODY = b"gcc\x00/m/gcc\x00421\x00/w\x003\x00gcc\x00-c\x00a b.c\x002\x00PATH=/m:/bin\x00E=\x00"
STREAM = b"BFS1" + len(BODY).to_bytes(4, "little") + BODY + b"A\x02\x00\x00\x00" + b"S\x00\x01\x00\x00"
CALL = wire.Call("gcc", "/m/gcc", 421, Invocation(("gcc", "-c", "a b.c"), "/w", {"PATH": "/m:/bin", "E": ""}))
MESSAGES = [CALL, wire.Delivered(2), wire.Ended(256)]

texts = st.binary(max_size=40).map(lambda data: os.fsdecode(data.replace(b"\0", b"")))
names = st.binary(max_size=40).map(lambda data: os.fsdecode(data.replace(b"\0", b"").replace(b"=", b"")))


def test_a_stream_is_cut_into_its_messages() -> None:
    assert wire.MessageReader().feed(STREAM) == MESSAGES


def test_a_stream_is_cut_into_its_messages_byte_by_byte() -> None:
    reader = wire.MessageReader()
    assert [message for byte in STREAM for message in reader.feed(bytes([byte]))] == MESSAGES


def test_an_incomplete_stream_gives_what_is_complete_and_no_error() -> None:
    for length in range(len(STREAM)):
        assert (
            wire.MessageReader().feed(STREAM[:length])
            == MESSAGES[: (length >= len(BODY) + 8) + (length >= len(BODY) + 13)]
        )


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\n",
        b"BFS1\xff\xff\xff\xff",
        b"BFS1\x04\x00\x00\x00gcc\x00",
        STREAM[: 8 + len(BODY)] + b"X\x00\x00\x00\x00",
        b"BFS1\x12\x00\x00\x00a\x00a\x001\x00/\x001\x00a\x005\x00A=1\x00",
        b"BFS1\x0f\x00\x00\x00a\x00a\x00x\x00/\x001\x00a\x000\x00\x00",
        b"BFS1\x0f\x00\x00\x00a\x00a\x001\x00/\x00-1\x00a\x000\x00",
    ],
)
def test_junk_is_the_peers_error(junk: bytes) -> None:
    with pytest.raises(wire.PeerError):
        wire.MessageReader().feed(junk)


def test_the_first_of_two_definitions_of_a_variable_counts() -> None:
    body = b"a\x00a\x001\x00/\x000\x003\x00A=1\x00A=2\x00odd\x00"
    assert wire.decode_call(body).invocation.env == {"A": "1"}


def test_a_done_answer_has_these_bytes() -> None:
    data = wire.encode_done(256, b"out", b"error", [("t", "a.o")])
    assert data == b"D\x00\x01\x00\x00\x03\x00\x00\x00\x05\x00\x00\x00\x06\x00\x00\x00outerrort\x00a.o\x00"


@given(texts, texts, st.integers(1, 1 << 22), st.lists(texts), texts, st.dictionaries(names, texts))
def test_a_call_survives_the_wire(
    name: str, called_as: str, pid: int, words: list[str], cwd: str, environment: dict[str, str]
) -> None:
    call = wire.Call(name, called_as, pid, Invocation(tuple(words), cwd, environment))
    assert wire.MessageReader().feed(wire.encode_call(call)) == [call]


@given(st.integers(-(1 << 31), (1 << 31) - 1), st.binary(), st.binary(), st.lists(st.tuples(texts, texts)))
def test_a_done_answer_survives_the_wire(
    status: int, stdout: bytes, stderr: bytes, renames: list[tuple[str, str]]
) -> None:
    data = wire.encode_done(status, stdout, stderr, renames)
    assert wire.decode_done(data) == wire.Done(status, stdout, stderr, tuple(renames))
    for length in range(len(data)):
        with pytest.raises(wire.PeerError):
            wire.decode_done(data[:length])


@given(st.sampled_from([wire.Ended(9), wire.Ended(-1), wire.Delivered(0), wire.Delivered(18)]))
def test_a_report_survives_the_wire(message: wire.Ended | wire.Delivered) -> None:
    encode = wire.encode_ended(message) if isinstance(message, wire.Ended) else wire.encode_delivered(message)
    assert wire.MessageReader().feed(wire.encode_call(CALL) + encode) == [CALL, message]
