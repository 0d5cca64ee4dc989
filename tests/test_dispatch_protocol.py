"""The wire: literal bytes in and out, cut at every length, and every lie a peer can tell."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.dispatch import lzo
from buildfarm.dispatch.protocol import (
    AnswerReader,
    Incomplete,
    Limits,
    ProtocolViolation,
    packet,
    plain,
    request,
    version,
)
from buildfarm.model import Answer, Job, SentFile, Text
from tests.test_dispatch_lzo import bomb

JOB = Job(("gcc", "-c", "a.c"), source=b"int x;\n")
PUMP = Job(
    ("gcc", "-c", "a.c"),
    cwd="/home/pi",
    files=(
        SentFile("/home/pi/a.c", b"int x;\n"),
        SentFile("/home/pi/d/empty"),
        SentFile("/link", link="/target"),
    ),
)

ANSWER_1 = b"DONE00000001STAT00000000SERR00000004warnSOUT00000000DOTO00000006object"
ANSWER_2 = b"DONE00000002STAT00000000SERR00000008\x15warn\x11\0\0SOUT00000000DOTO0000000a\x17object\x11\0\0"
ANSWER_3 = ANSWER_2.replace(b"DONE00000002", b"DONE00000003") + b"DOTD00000008\x15a: b\x11\0\0"
FAILED_3 = b"DONE00000003STAT00000100SERR00000008\x15oops\x11\0\0SOUT00000000DOTO00000000"


def _packed(version: int, data: bytes) -> bytes:
    return data if version == 1 or not data else lzo.compress(data)


def answer_bytes(version: int, answer: Answer, depfile: bytes | None = b"a.o: a.c\n") -> bytes:
    """What distccd would send."""
    parts = [packet(b"DONE", version), packet(b"STAT", answer.status)]
    bodies = [(b"SERR", answer.stderr), (b"SOUT", answer.stdout), (b"DOTO", answer.object)]
    if version == 3 and not answer.status and depfile is not None:
        bodies.append((b"DOTD", depfile))
    for token, body in bodies:
        packed = _packed(version, body)
        parts += [packet(token, len(packed)), packed]
    return b"".join(parts)


def _read(version: int, data: bytes, step: int = 0, limits: Limits | None = None) -> AnswerReader:
    reader = AnswerReader(version, limits)
    for at in range(0, len(data), step or len(data)):
        reader.feed(data[at : at + (step or len(data))])
    return reader


# --- requests ----------------------------------------------------------------------------------------------


def test_a_text_that_was_packed_for_one_node_is_held_packed_alone_and_is_the_same_for_all() -> None:
    if lzo.engine() != "liblzo2":
        pytest.skip("liblzo2 is missing: install liblzo2-2")
    content = b"int many(void);\n" * 10_000
    text = Text(content)
    job = Job(("gcc", "-c", "a.c"), source=text)
    first = b"".join(request(job, 2))
    assert text.plain is None and text.packed is not None and len(text.packed) < len(content) / 4
    assert b"".join(request(job, 2)) == first == b"".join(request(Job(job.argv, source=content), 2))
    assert plain(job) == content
    assert b"".join(request(job, 1)).endswith(content)


def test_a_request_of_protocol_1_is_these_bytes() -> None:
    assert b"".join(request(JOB, 1)) == (
        b"DIST00000001ARGC00000003ARGV00000003gccARGV00000002-cARGV00000003a.cDOTI00000007int x;\n"
    )


def test_a_request_of_protocol_2_is_these_bytes() -> None:
    assert b"".join(request(JOB, 2)) == (
        b"DIST00000002ARGC00000003ARGV00000003gccARGV00000002-cARGV00000003a.cDOTI0000000b\x18int x;\n\x11\0\0"
    )


def test_a_request_of_protocol_3_is_these_bytes() -> None:
    assert b"".join(request(PUMP, 3)) == (
        b"DIST00000003CDIR00000008/home/piARGC00000003ARGV00000003gccARGV00000002-cARGV00000003a.c"
        b"NFIL00000003NAME0000000c/home/pi/a.cFILE0000000b\x18int x;\n\x11\0\0"
        b"NAME00000010/home/pi/d/emptyFILE00000000NAME00000005/linkLINK00000007/target"
    )


@pytest.mark.parametrize("number", [1, 2])
def test_an_empty_body_has_length_0_and_no_stream(number: int) -> None:
    assert b"".join(request(replace(JOB, source=b""), number)).endswith(b"DOTI00000000")


def test_bytes_that_are_not_utf_8_survive() -> None:
    job = Job(("gcc", "-DX=\udce9"), source=b"")
    assert b"ARGV00000005-DX=\xe9" in b"".join(request(job, 1))


def test_the_callers_source_is_sent_uncopied() -> None:
    source = b"x" * 50
    assert any(part is source for part in request(replace(JOB, source=source), 1))
    assert any(part is source for part in request(replace(JOB, source=source), 2))


def test_the_node_and_the_job_decide_the_version() -> None:
    assert [version(JOB, lzo=False), version(JOB, lzo=True), version(PUMP, lzo=False)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("job", "number"),
    [
        (PUMP, 2),
        (JOB, 3),
        (replace(JOB, argv=()), 1),
        (replace(JOB, source=None), 1),
        (replace(JOB, argv=("a\0b",)), 1),
        (replace(PUMP, files=(SentFile("relative"),)), 3),
        (replace(PUMP, files=(SentFile("/a/../b"),)), 3),
        (replace(PUMP, cwd="relative"), 3),
    ],
)
def test_our_own_mistakes_are_assertions(job: Job, number: int) -> None:
    with pytest.raises(AssertionError, match="BUG: "):
        request(job, number)


# --- answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize(("number", "data"), [(1, ANSWER_1), (2, ANSWER_2), (3, ANSWER_3)])
def test_an_answer_is_read_whole_or_in_pieces(number: int, data: bytes, step: int) -> None:
    reader = _read(number, data, step)
    assert reader.complete
    assert reader.answer is not None
    answer = replace(reader.answer, bytes_received=0)
    assert replace(answer, depfile=b"") == Answer(0, b"warn", b"", b"object")
    assert answer.depfile == (b"a: b" if number == 3 else b"")


def test_a_failure_has_no_depfile() -> None:
    reader = _read(3, FAILED_3)
    assert reader.complete
    assert reader.answer is not None
    assert (reader.answer.status, reader.answer.stderr) == (0x100, b"oops")


@pytest.mark.parametrize(("number", "data"), [(1, ANSWER_1), (2, ANSWER_2), (3, FAILED_3)])
def test_a_cut_answer_is_incomplete_at_every_length(number: int, data: bytes) -> None:
    for length in range(len(data)):
        reader = AnswerReader(number)
        reader.feed(data[:length])
        assert reader.answer is None
        with pytest.raises(Incomplete):
            reader.feed_eof()


def test_protocol_3_counts_once_the_object_is_whole() -> None:
    whole = len(ANSWER_3) - len(b"DOTD00000008\x15a: b\x11\0\0")
    for length in range(len(ANSWER_3)):
        reader = AnswerReader(3)
        reader.feed(ANSWER_3[:length])
        assert (reader.answer is not None) == (length >= whole)
        assert not reader.complete
    assert reader.feed_eof().object == b"object"
    assert reader.complete


def test_progress_tells_how_much_of_what_had_come() -> None:
    reader = AnswerReader(1)
    assert reader.progress() == "no answer"
    reader.feed(ANSWER_1[:-2])
    assert reader.progress() == "4 of 6 bytes of DOTO"
    with pytest.raises(Incomplete, match=r"^4 of 6 bytes of DOTO$"):
        reader.feed_eof()


@pytest.mark.parametrize(("number", "data"), [(1, ANSWER_1), (2, ANSWER_2), (3, ANSWER_3), (3, FAILED_3)])
@pytest.mark.parametrize("step", [0, 1])
def test_bytes_after_the_end_are_a_violation(number: int, data: bytes, step: int) -> None:
    with pytest.raises(ProtocolViolation, match=r"[13] bytes after the end"):
        _read(number, data + b"xyz", step)


@pytest.mark.parametrize(
    ("number", "data", "words"),
    [
        (1, b"HTTP/1.1 400 Bad Request\r\n", "expected DONE, got something else$"),
        (1, b"\0" * 64, "expected DONE"),
        (2, ANSWER_1, "asked in protocol 2, answered in 1"),
        (1, b"DONE0000000g", "eight hex digits"),
        (1, b"DONE      +1", "eight hex digits"),
        (1, b"DONE0x000001", "eight hex digits"),
        (1, b"DONE00000001STATffffffff", "not the status of a process"),
        (1, b"DONE00000001STAT0000137f", "not the status of a process"),
        (1, b"DONE00000001SERR00000000", "expected STAT"),
        (1, b"DONE00000001STAT00000000SERRffffffff", "SERR of 4294967295 bytes; the limit is"),
        (
            1,
            b"DONE00000001STAT00000000SERR00000000SOUT00000000DOTOffffffff",
            "DOTO of 4294967295 bytes; the limit",
        ),
        (1, b"DONE00000001STAT00000100SERR00000000SOUT00000000DOTO00000001x", "of object with the failure"),
        (2, b"DONE00000002STAT00000000SERR00000004junk", "SERR: bad LZO stream"),
    ],
)
@pytest.mark.parametrize("step", [0, 1])
def test_a_lie_is_a_violation(number: int, data: bytes, words: str, step: int) -> None:
    with pytest.raises(ProtocolViolation, match=words.replace("(", r"\(")):
        _read(number, data, step)


def test_lengths_are_capped_before_a_byte_is_kept() -> None:
    limits = Limits(text=10, object=20)
    head = b"DONE00000001STAT00000000SERR%08xSOUT%08xDOTO%08x"
    assert _read(1, head % (0, 0, 20), limits=limits).answer is None
    for sizes in ((11, 0, 0), (0, 11, 0), (0, 0, 21)):
        with pytest.raises(ProtocolViolation, match="the limit is"):
            _read(1, head % sizes, limits=limits)


def test_a_bomb_is_a_violation() -> None:
    packed = bomb(1024)
    data = b"DONE00000002STAT00000000SERR00000000SOUT00000000" + packet(b"DOTO", len(packed)) + packed
    assert len(packed) < 5 << 20
    with pytest.raises(ProtocolViolation, match="DOTO: LZO stream inflates past"):
        _read(2, data)


@given(
    number=st.integers(1, 3),
    status=st.sampled_from([0, 0x100, 0x7600, 9, 0x8B]),
    texts=st.tuples(st.binary(max_size=300), st.binary(max_size=300), st.binary(min_size=1, max_size=5000)),
    cuts=st.lists(st.integers(1, 200), min_size=1, max_size=40),
)
def test_what_distccd_would_send_comes_back(
    number: int, status: int, texts: tuple[bytes, bytes, bytes], cuts: list[int]
) -> None:
    sent = Answer(status, texts[0], texts[1], b"" if status else texts[2])
    data = answer_bytes(number, sent)
    reader = AnswerReader(number)
    at = 0
    while at < len(data):
        step = cuts[at % len(cuts)]
        reader.feed(data[at : at + step])
        at += step
    assert reader.complete
    assert reader.answer is not None
    assert replace(reader.answer, bytes_received=0, depfile=b"") == sent


@given(number=st.integers(1, 3), data=st.binary(max_size=300), prefix=st.integers(0, 100))
def test_junk_is_a_violation_or_incomplete(number: int, data: bytes, prefix: int) -> None:
    reader = AnswerReader(number)
    genuine = (ANSWER_1, ANSWER_2, FAILED_3)[number - 1]
    try:
        reader.feed(genuine[: prefix % len(genuine)] + data)
        reader.feed_eof()
    except (ProtocolViolation, Incomplete):
        assert not (reader.complete and reader.answer is None)
