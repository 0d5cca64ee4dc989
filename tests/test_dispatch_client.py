"""One job, one connection: what goes wrong on the way is told by its right name, and real distccd compiles."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from buildfarm.dispatch import client
from buildfarm.dispatch.client import Deadlines, Phase, compile
from buildfarm.dispatch.faults import NodeCorrupt, NodeFault, NodeLate, NodeLost, NodeRefused
from buildfarm.dispatch.protocol import Limits
from buildfarm.model import Answer, Job, Node, SentFile
from tests.farm import PATIENCE, Farm, dead_port, wait_until

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

JOB = Job(("gcc", "-c", "a.c", "-o", "a.o"), source=b"int x;\n")
GOOD = b"DONE00000001STAT00000000SERR00000000SOUT00000000DOTO00000006object"
SHORT = Deadlines(send=0.1, compile=0.1)
SHORT_RECEIVE = Deadlines(receive=0.1)


def _meet(
    behaviour: Behaviour,
    *,
    job: Job = JOB,
    deadlines: Deadlines | None = None,
    on_phase: Callable[[Phase], None] | None = None,
    limits: Limits | None = None,
) -> Answer:
    """Send the job to a fake node on loopback that behaves so."""

    async def scene() -> Answer:
        finished = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await behaviour(reader, writer)
            except ConnectionError:
                pass
            finally:
                writer.close()
                finished.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server, asyncio.timeout(PATIENCE):
            port = server.sockets[0].getsockname()[1]
            try:
                return await compile(
                    Node("127.0.0.1", port), job, deadlines=deadlines, on_phase=on_phase, limits=limits
                )
            finally:
                await finished.wait()

    return asyncio.run(scene())


async def _request(reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"int x;\n")


def _answers(data: bytes) -> Behaviour:
    async def behaviour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(data)
        await writer.drain()

    return behaviour


def _then_silent(data: bytes) -> Behaviour:
    """Sends this and then nothing until the client leaves."""

    async def behaviour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(data)
        assert await reader.read() == b""

    return behaviour


async def _reset(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


# --- the good and the bad ----------------------------------------------------------------------------------


def test_an_answer_comes_with_its_phases_and_its_bytes_counted() -> None:
    phases: list[Phase] = []
    answer = _meet(_answers(GOOD), on_phase=phases.append)
    assert answer == Answer(0, b"", b"", b"object", bytes_sent=116, bytes_received=len(GOOD))
    assert phases == [Phase.CONNECT, Phase.SEND, Phase.COMPILE, Phase.RECEIVE]


def test_an_answer_one_byte_at_a_time_is_whole() -> None:
    async def dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        for byte in GOOD:
            writer.write(bytes((byte,)))
            await writer.drain()

    assert _meet(dribble).object == b"object"


def test_nobody_listening_is_refused() -> None:
    with pytest.raises(NodeRefused, match=r"^no connection: Connection refused$"):
        asyncio.run(compile(Node("127.0.0.1", dead_port()), JOB))


def test_a_name_without_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object, **__: object) -> None:  # whatever answers this machine's questions, and however late
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises(NodeRefused, match=r"^no connection: Name or service not known$"):
        asyncio.run(compile(Node("no-such-node.invalid"), JOB))


def test_a_name_that_is_no_name_is_refused() -> None:
    with pytest.raises(NodeRefused, match="is no host name"):
        asyncio.run(compile(Node("a" * 70 + "..example"), JOB))


def test_closing_without_an_answer_is_refused() -> None:
    with pytest.raises(NodeRefused, match=r"^closed without an answer$"):
        _meet(_answers(b""))


def test_a_reset_without_an_answer_is_refused() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        await _reset(writer)

    with pytest.raises(NodeRefused, match=r"^closed without an answer$"):
        _meet(reset)


def test_closing_while_we_send_is_refused() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        await _reset(writer)

    with pytest.raises(NodeRefused, match=r"^closed after it had taken \d+ of 50000\d\d\d bytes of the request$"):
        _meet(hang_up, job=Job(("gcc",), source=bytes(50_000_000)))


def test_a_cut_answer_is_lost() -> None:
    with pytest.raises(NodeLost, match=r"^closed after 4 of 6 bytes of DOTO$"):
        _meet(_answers(GOOD[:-2]))


def test_a_reset_within_the_answer_is_lost() -> None:
    arriving = asyncio.Event()

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(GOOD[:-2])
        await arriving.wait()
        await _reset(writer)

    def on_phase(phase: Phase) -> None:
        if phase is Phase.RECEIVE:
            arriving.set()

    with pytest.raises(NodeLost, match=r"^Connection reset by peer after 4 of 6 bytes of DOTO$"):
        _meet(reset, on_phase=on_phase)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "sent rubbish: expected DONE"),
        (GOOD[:-18] + b"DOTOffffffff", "sent rubbish: DOTO of 4294967295 bytes"),
        (GOOD + b"!", "sent rubbish: 1 bytes after the end"),
    ],
)
def test_rubbish_is_corrupt(data: bytes, words: str) -> None:
    with pytest.raises(NodeCorrupt, match=f"^{words}"):
        _meet(_answers(data))


def test_the_callers_limits_hold() -> None:
    with pytest.raises(NodeCorrupt, match="DOTO of 6 bytes; the limit is 5"):
        _meet(_answers(GOOD), limits=Limits(object=5))


# --- deadlines and cancellation ----------------------------------------------------------------------------


def test_no_answer_in_time_is_late() -> None:
    with pytest.raises(NodeLate, match=r"^no answer within 0\.1 s$"):
        _meet(_then_silent(b""), deadlines=SHORT)


def test_an_answer_that_stalls_is_late() -> None:
    with pytest.raises(NodeLate, match=r"^sent 2 of 6 bytes of DOTO within 0\.1 s$"):
        _meet(_then_silent(GOOD[:-4]), deadlines=SHORT_RECEIVE)


def test_a_node_that_takes_nothing_is_late() -> None:
    with pytest.raises(NodeLate, match=r"^took \d+ of 50000\d\d\d bytes of the request within 0\.1 s$"):
        _meet(_deaf, job=Job(("gcc",), source=bytes(50_000_000)), deadlines=SHORT)


async def _deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes what its buffers hold and no more, until the client leaves."""
    transport = writer.transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()
    sock: socket.socket = writer.get_extra_info("socket")
    while sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1:  # TCP_ESTABLISHED
        await asyncio.sleep(0.01)


def test_a_connection_that_is_not_made_in_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(address: object) -> socket.socket:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(client, "_connect_to", never)
    with pytest.raises(NodeRefused, match=r"^no connection within 0\.05 s$"):
        asyncio.run(compile(Node("127.0.0.1"), JOB, deadlines=Deadlines(connect=0.05)))


def test_a_whole_object_counts_though_protocol_3_never_ends() -> None:
    data = b"DONE00000003STAT00000000SERR00000000SOUT00000000DOTO0000000a\x17object\x11\0\0"
    job = Job(JOB.argv, cwd="/w", files=(SentFile("/w/a.c", b"int x;\n"),))

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"int x;\n\x11\0\0")
        writer.write(data)
        await reader.read()

    assert _meet(stall, job=job, deadlines=SHORT_RECEIVE).object == b"object"


def test_cancelling_resets_the_connection_at_once() -> None:
    async def scene() -> None:
        gone = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _request(reader)
            compiling.set()
            with pytest.raises(ConnectionResetError):
                await reader.read()
            gone.set()
            writer.close()

        compiling = asyncio.Event()
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, asyncio.timeout(PATIENCE):
            node = Node("127.0.0.1", server.sockets[0].getsockname()[1])
            task = asyncio.create_task(compile(node, JOB))
            await compiling.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await gone.wait()

    asyncio.run(scene())


def test_the_next_address_is_tried_when_the_first_refuses() -> None:
    class Book(client.AddressBook):
        async def find(self, host: str, port: int) -> list[client.Address]:
            return [(socket.AF_INET, ("127.0.0.1", dead)), (socket.AF_INET, ("127.0.0.1", port))]

    async def scene() -> Answer:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _answers(GOOD)(reader, writer)
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, asyncio.timeout(PATIENCE):
            node = Node("pi3", server.sockets[0].getsockname()[1])
            return await compile(node, JOB, addresses=Book())

    dead = dead_port()
    assert asyncio.run(scene()).object == b"object"


def test_an_address_is_never_looked_up_and_a_name_once() -> None:
    async def scene() -> None:
        book = client.AddressBook()
        loop = asyncio.get_running_loop()
        asked: list[str] = []
        real = loop.getaddrinfo

        async def counted(host: str, *arguments: object, **options: object) -> object:
            asked.append(host)
            return await real(host, *arguments, **options)  # type: ignore[arg-type]

        loop.getaddrinfo = counted  # type: ignore[method-assign, assignment]
        assert await book.find("127.0.0.1", 1) == [(socket.AF_INET, ("127.0.0.1", 1))]
        assert await book.find("::1", 1) == [(socket.AF_INET6, ("::1", 1, 0, 0))]
        assert await book.find("localhost", 1) == await book.find("localhost", 1)
        assert asked == ["localhost"]
        book.forget("localhost", 1)
        await book.find("localhost", 1)
        assert asked == ["localhost", "localhost"]

    asyncio.run(scene())


# --- real distccd ------------------------------------------------------------------------------------------

SOURCE = b'# 1 "turn.c"\nextern int puts(const char *);\nint turn(int x) { return puts("turn") + x * 3; }\n'


def _local(tmp_path: Path) -> bytes:
    (tmp_path / "turn.i").write_bytes(SOURCE)
    subprocess.run(["gcc", "-O2", "-c", "turn.i", "-o", "turn.o"], cwd=tmp_path, check=True)
    return (tmp_path / "turn.o").read_bytes()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_distccd_makes_our_bytes_by_every_protocol(farm: Farm, tmp_path: Path, number: int) -> None:
    node = Node("127.0.0.1", farm.nodes[0].port, lzo=number > 1)
    argv = ("gcc", "-O2", "-c", "turn.i" if number == 3 else "turn.c", "-o", "turn.o")
    job = Job(argv, source=SOURCE)
    if number == 3:
        job = Job(argv, cwd="/src/deep", files=(SentFile("/src/deep/turn.i", SOURCE), SentFile("/src/inc/x")))
    answer = asyncio.run(compile(node, job))
    assert (answer.status, answer.stderr, answer.object) == (0, b"", _local(tmp_path))
    farm.wait_compiles(1)
    assert [c.outcome for c in farm.compiles()] == ["COMPILE_OK"]


@pytest.mark.parametrize("lzo", [False, True])
def test_distccd_sends_back_the_compilers_words(farm: Farm, lzo: bool) -> None:
    job = Job(("gcc", "-c", "bad.c", "-o", "bad.o"), source=b'# 1 "bad.c"\nint f( { return; }\n')
    answer = asyncio.run(compile(Node("127.0.0.1", farm.nodes[0].port, lzo=lzo), job))
    assert answer.status == 0x100
    assert b"bad.c:1:" in answer.stderr
    assert answer.object == b""


def test_a_large_body_travels_both_ways(farm: Farm) -> None:
    """4 MB each way do not fit a socket's buffers."""
    letters = os.urandom(1 << 21).hex().encode()
    source = b'const char table[] = "' + letters + b'";\n'
    for lzo in (False, True):
        job = Job(("gcc", "-c", "table.c", "-o", "table.o"), source=source)
        answer = asyncio.run(compile(Node("127.0.0.1", farm.nodes[0].port, lzo=lzo), job))
        assert answer.status == 0
        assert letters in answer.object


@pytest.mark.parametrize(
    "argv",
    [
        ("no-such-compiler", "-c", "a.c", "-o", "a.o"),
        ("/opt/bin/gcc", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-fplugin=x", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-c", "a.c", "b.c", "-o", "a.o"),
        ("gcc", "a.c"),
    ],
)
def test_what_distccd_refuses_is_refused(farm: Farm, argv: tuple[str, ...]) -> None:
    with pytest.raises(NodeRefused):
        asyncio.run(compile(Node("127.0.0.1", farm.nodes[0].port), Job(argv, source=b"int x;\n")))


def test_killing_a_node_ends_its_unit_with_a_fault_and_cancelling_ends_the_nodes_compiler() -> None:
    async def scene(farm: Farm) -> None:
        first, second = (Node("127.0.0.1", node.port) for node in farm.nodes)
        farm.close_gate()
        doomed = asyncio.create_task(compile(first, JOB))
        unwanted = asyncio.create_task(compile(second, JOB))
        await asyncio.to_thread(farm.wait_started, 2)
        farm.nodes[0].kill()
        with pytest.raises(NodeFault):
            await doomed
        unwanted.cancel()
        with pytest.raises(asyncio.CancelledError):
            await unwanted
        node = farm.nodes[1]
        await asyncio.to_thread(
            wait_until,
            lambda: any(j.outcome == "CLI_DISCONN" for j in node.jobs_done()),
            "the node to notice",
        )

    with Farm(count=2, jobs=1, gated=True) as farm:
        asyncio.run(scene(farm))


def test_a_hanging_daemon_is_late(farm: Farm) -> None:
    farm.nodes[0].stop()
    with pytest.raises(NodeLate, match="no answer within"):
        asyncio.run(compile(Node("127.0.0.1", farm.nodes[0].port), JOB, deadlines=SHORT))


def test_many_jobs_over_the_limit_wait_and_all_come_back() -> None:
    async def scene(node: Node) -> list[Answer]:
        job = Job(JOB.argv, source=SOURCE)
        return await asyncio.gather(*(compile(node, job) for _ in range(12)))

    with Farm(count=1, jobs=2) as farm:
        answers = asyncio.run(scene(Node("127.0.0.1", farm.nodes[0].port, lzo=True)))
        assert {answer.object for answer in answers} == {answers[0].object}
        assert all(answer.status == 0 for answer in answers)
