"""make's first moments: its own calls go on at once, every other call waits for whoever serves it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from buildfarm.make import wire
from buildfarm.make.listener import Listener
from buildfarm.make.masquerade import Masquerade, environment
from buildfarm.make.prelude import Prelude, StopSignals
from buildfarm.make.server import StubCall, StubServer
from buildfarm.model import Invocation
from tests.farm import PATIENCE
from tests.stubs import masquerade as masquerade


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    with closing(Listener(tmp_path / "s")) as found:
        yield found


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Real tools: one word each."""
    directory = tmp_path / "tools"
    directory.mkdir()
    for name in ("gcc", "make"):
        (directory / name).write_text("#!/bin/sh\necho the real thing\n")
        (directory / name).chmod(0o755)
    return directory


@pytest.fixture
def make() -> Iterator[subprocess.Popen[bytes]]:
    """Stands for make: it ends when its input does."""
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def signals() -> Iterator[StopSignals]:
    with closing(StopSignals([signal.SIGTERM])) as found:
        yield found


def stub(name: str, masquerade: Masquerade, tools: Path, listener: Listener) -> subprocess.Popen[bytes]:
    base = {"PATH": f"{tools}:/usr/bin:/bin"}
    return subprocess.Popen(
        [name, "all"],
        executable=masquerade.directory / name,
        env=environment(base, masquerade, listener.path, "token"),
        stdout=subprocess.PIPE,
    )


def end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()


def test_a_make_that_needs_nobody_has_ended(
    listener: Listener, make: subprocess.Popen[bytes], signals: StopSignals
) -> None:
    prelude = Prelude(listener)
    end(make)
    assert prelude.wait(make.pid, signals, PATIENCE)
    assert (prelude.started, prelude.calls) == ([], [])


def test_patience_ends(listener: Listener, make: subprocess.Popen[bytes], signals: StopSignals) -> None:
    assert not Prelude(listener).wait(make.pid, signals, 0.01)


def test_recursive_makes_go_on_at_once_and_are_told(
    listener: Listener, make: subprocess.Popen[bytes], signals: StopSignals, masquerade: Masquerade, tools: Path
) -> None:
    prelude = Prelude(listener)
    said = []

    def recipe() -> None:
        with stub("make", masquerade, tools, listener) as process:
            assert process.stdout is not None
            said.append(process.stdout.read())
        end(make)

    thread = threading.Thread(target=recipe)
    thread.start()
    assert prelude.wait(make.pid, signals, PATIENCE), "nobody was needed"
    thread.join(PATIENCE)
    assert said == [b"the real thing\n"]
    assert [call.argv for call in prelude.started] == [("make", "all")] and not prelude.calls


def test_a_compiler_waits_for_the_server_which_answers_it(
    listener: Listener, make: subprocess.Popen[bytes], signals: StopSignals, masquerade: Masquerade, tools: Path
) -> None:
    prelude = Prelude(listener)
    served = []

    async def handler(call: StubCall) -> None:
        served.append((call.name, call.invocation.argv))
        await call.exec_real()

    async def serve() -> bytes:
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            server = StubServer(None, handler, tasks)
            await server.start(listener)
            for early in prelude.calls:
                server.adopt(early)
            assert process.stdout is not None
            said = await asyncio.to_thread(process.stdout.read)
            await server.close()
        return said

    with stub("gcc", masquerade, tools, listener) as process:
        assert not prelude.wait(make.pid, signals, PATIENCE)
        assert asyncio.run(serve()) == b"the real thing\n"
    assert served == [("gcc", ("gcc", "all"))]
    assert not listener.path.exists()


def test_a_stub_that_has_not_said_all_is_heard_to_its_end_by_the_server(
    listener: Listener, make: subprocess.Popen[bytes], signals: StopSignals
) -> None:
    call = wire.encode_call(wire.Call("gcc", "gcc", 7, Invocation(("gcc", "-c", "a.c"), "/", {})))
    prelude = Prelude(listener)
    heard = []

    async def handler(call: StubCall) -> None:
        heard.append(call.invocation.argv)
        await call.exec_real()

    async def serve(peer: socket.socket) -> bytes:
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            server = StubServer(None, handler, tasks)
            await server.start(listener)
            for early in prelude.calls:
                server.adopt(early)
            peer.sendall(call[20:])
            answer = await asyncio.to_thread(peer.recv, 1)
            await server.close()
        return answer

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.connect(os.fspath(listener.path))
        peer.sendall(call[:20])
        assert not prelude.wait(make.pid, signals, 0.2)
        assert [early.call for early in prelude.calls] == [None]
        assert asyncio.run(serve(peer)) == wire.EXEC
    assert heard == [("gcc", "-c", "a.c")]


def test_a_signal_that_asks_to_stop_ends_the_wait_and_is_remembered(
    listener: Listener, make: subprocess.Popen[bytes]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with closing(StopSignals([signal.SIGTERM])) as signals:
        signals.hear()
        os.kill(os.getpid(), signal.SIGTERM)
        assert not Prelude(listener).wait(make.pid, signals, PATIENCE)
        assert signals.heard == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with closing(StopSignals([signal.SIGHUP])) as signals:
            signals.hear()
            assert signals.numbers == () and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
