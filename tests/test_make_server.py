"""The server against real stubs: calls in, answers out, and what happens when either side goes away."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from buildfarm.errors import MachineError
from buildfarm.make import wire
from buildfarm.make.listener import DEAF, LONGEST_PATH, Listener
from buildfarm.make.masquerade import Masquerade, environment
from buildfarm.make.server import DeliveryFailed, StubCall, StubLost, StubServer
from buildfarm.model import Invocation
from tests.farm import PATIENCE
from tests.stubs import masquerade as masquerade
from tests.stubs import tools as tools

Start = Callable[..., Awaitable[asyncio.subprocess.Process]]
REAL = (0, b"the real tool\n", b"")


@pytest.fixture
def start(masquerade: Masquerade, tools: Path, tmp_path: Path) -> Start:
    """Starts `tool` with these words through the masquerade, its stub calling `server`."""

    async def run(server: StubServer, *words: str) -> asyncio.subprocess.Process:
        assert server.path is not None
        base = {"PATH": f"{tools}:/usr/bin:/bin"}
        return await asyncio.create_subprocess_exec(
            "tool",
            *words,
            executable=masquerade.directory / "tool",
            env=environment(base, masquerade, server.path, "token"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    return run


async def end(process: asyncio.subprocess.Process) -> tuple[int | None, bytes, bytes]:
    stdout, stderr = await process.communicate()
    return process.returncode, stdout, stderr


@asynccontextmanager
async def serving(
    handler: Callable[[StubCall], Awaitable[None]], path: Path | None = None
) -> AsyncIterator[StubServer]:
    """A server in a task group of its own."""
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        server = StubServer(path, handler, tasks)
        await server.start()
        try:
            yield server
        finally:
            await server.close()


async def _lost(call: StubCall) -> None:
    gone = asyncio.Event()
    call.when_lost(gone.set)
    await gone.wait()


def test_a_call_is_executed(start: Start) -> None:
    async def handler(call: StubCall) -> None:
        assert (call.name, call.invocation.argv) == ("tool", ("tool", "0"))
        assert not call.answered
        await call.exec_real()
        assert call.answered

    async def main() -> None:
        async with serving(handler) as server:
            assert await end(await start(server, "0")) == REAL

    asyncio.run(main())


def test_a_call_is_run_and_released(start: Start) -> None:
    statuses = []

    async def handler(call: StubCall) -> None:
        statuses.append(await call.run_real())
        await call.release()

    async def main() -> None:
        async with serving(handler) as server:
            assert await end(await start(server, "3")) == (3, b"the real tool\n", b"")

    asyncio.run(main())
    assert statuses == [3 << 8]


def test_an_answer_larger_than_the_socket_is_delivered(start: Start, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("object")
    output, errors = b"o" * 3_000_000, b"e" * 1_000_000

    async def handler(call: StubCall) -> None:
        await call.done(1 << 8, output, errors, [("t", "a.o")])
        assert (tmp_path / "a.o").read_text() == "object"

    async def main() -> None:
        async with serving(handler) as server:
            assert await end(await start(server)) == (1, output, errors)

    asyncio.run(main())


def test_a_delivery_that_fails_takes_another_answer(start: Start) -> None:
    failures = []

    async def handler(call: StubCall) -> None:
        try:
            await call.done(0, b"", b"", [("missing", "a.o")])
        except DeliveryFailed as failure:
            failures.append(failure.errno)
        assert not call.answered
        await call.run_real()
        await call.release()

    async def main() -> None:
        async with serving(handler) as server:
            assert await end(await start(server)) == REAL

    asyncio.run(main())
    assert failures == [errno.ENOENT]


def test_a_killed_stub_is_noticed(start: Start) -> None:
    async def main() -> None:
        called, gone, told = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def handler(call: StubCall) -> None:
            called.set()
            await _lost(call)
            gone.set()
            try:
                await call.run_real()
            except StubLost:
                told.set()
                raise  # the server takes it: a killed make is no reason to end

        async with serving(handler) as server:
            process = await start(server)
            await called.wait()
            process.send_signal(signal.SIGKILL)
            await gone.wait()
            await told.wait()
            assert (await end(process))[0] == -signal.SIGKILL

    asyncio.run(main())


def test_a_stub_killed_while_its_child_runs_is_lost(start: Start) -> None:
    async def main() -> None:
        lost = asyncio.Event()

        async def handler(call: StubCall) -> None:
            try:
                await call.run_real()
            except StubLost:
                lost.set()

        async with serving(handler) as server:
            process = await start(server, "signals")
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            process.send_signal(signal.SIGKILL)
            await lost.wait()
            for child in children:
                os.kill(int(child), signal.SIGTERM)
            await end(process)

    asyncio.run(main())


def test_a_handler_without_an_answer_leaves_the_real_tool(start: Start) -> None:
    async def handler(call: StubCall) -> None:
        pass

    async def main() -> None:
        async with serving(handler) as server:
            assert await end(await start(server)) == REAL

    asyncio.run(main())


def test_closing_leaves_waiting_stubs_the_real_tool_and_no_socket(start: Start) -> None:
    async def main() -> None:
        called = asyncio.Event()

        async def handler(call: StubCall) -> None:
            called.set()
            await _lost(call)

        async with serving(handler) as server:
            process = await start(server)
            await called.wait()
            await server.close()
            assert server.path is not None
            assert not server.path.exists()
            assert await end(process) == REAL

    asyncio.run(main())


def test_many_stubs_at_once_are_all_answered(start: Start) -> None:
    async def main() -> None:
        waiting: list[StubCall] = []
        all_there = asyncio.Event()

        async def handler(call: StubCall) -> None:
            waiting.append(call)
            if len(waiting) == 30:
                all_there.set()
            await all_there.wait()
            await call.done(0, call.invocation.argv[1].encode(), b"")

        async with serving(handler) as server:
            processes = [await start(server, str(number)) for number in range(30)]
            answers = await asyncio.gather(*(end(process) for process in processes))
            assert answers == [(0, str(number).encode(), b"") for number in range(30)]

    asyncio.run(main())


# --- peers that are no stubs of ours ---


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        wire.encode_call(wire.Call("a", "a", 1, Invocation(("a",), "/", {}))) + b"S\0\0\0\0",
    ],
)
def test_junk_is_hung_up_on_and_others_are_served(start: Start, junk: bytes) -> None:
    async def main() -> None:
        async def handler(call: StubCall) -> None:
            if call.name == "tool":
                await call.done(0, b"fine", b"")
            else:
                await _lost(call)

        async with serving(handler) as server:
            reader, writer = await asyncio.open_unix_connection(os.fspath(server.path or ""))
            writer.write(junk)
            assert await reader.read() == b""
            writer.close()
            assert await end(await start(server)) == (0, b"fine", b"")

    asyncio.run(main())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be someone else")
def test_other_users_are_refused() -> None:
    async def handler(call: StubCall) -> None:
        raise AssertionError

    script = "import socket, sys; s = socket.socket(1); s.connect(sys.argv[1]); print(s.recv(9))"

    async def main(path: Path) -> None:
        async with serving(handler, path):
            path.chmod(0o777)
            stranger = await asyncio.create_subprocess_exec(
                *("/usr/bin/env", "python3", "-c", script, str(path)),
                user=65534,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={"PATH": "/usr/bin:/bin"},
            )
            assert await end(stranger) == (0, b"b''\n", b"")

    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        asyncio.run(main(Path(directory) / "s"))


# --- the socket's place ---


async def _nothing(call: StubCall) -> None:
    raise AssertionError("nobody calls here")


def _place(path: Path | None = None) -> tuple[Path, int]:
    """Where a server listens, and the mode of the directory; after it has closed."""
    found: list[tuple[Path, int]] = []

    async def main() -> None:
        async with serving(_nothing, path) as server:
            assert server.path is not None
            found.append((server.path, stat.S_IMODE(server.path.parent.stat().st_mode)))

    asyncio.run(main())
    return found[0]


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
        yield Path(directory)


def test_the_socket_lives_in_the_runtime_directory_and_leaves_nothing(runtime: Path) -> None:
    path, mode = _place()
    assert path.parent == runtime / "buildfarm"
    assert mode == 0o700
    assert list(runtime.iterdir()) == []


@pytest.mark.parametrize("directory", [None, "/nonexistent", "long"])
def test_without_a_usable_runtime_directory_a_temporary_one_serves(
    directory: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    if directory is not None:
        long = tmp_path / ("x" * 120)
        long.mkdir()
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(long) if directory == "long" else directory)
    path, mode = _place()
    assert len(os.fsencode(path)) <= LONGEST_PATH
    assert path.parent.name == f"buildfarm-{os.geteuid()}"
    assert mode == 0o700
    assert not path.exists()


def test_a_directory_that_others_can_enter_is_not_used(runtime: Path) -> None:
    (runtime / "buildfarm").mkdir(mode=0o755)
    path, mode = _place()
    assert path.parent != runtime / "buildfarm"
    assert mode == 0o700


def test_a_path_that_is_too_long_is_replaced(runtime: Path, tmp_path: Path) -> None:
    assert _place(tmp_path / ("x" * 120))[0].parent == runtime / "buildfarm"
    assert _place(runtime / "s")[0] == runtime / "s"


def test_sockets_of_dead_conductors_are_removed_and_those_of_living_ones_kept(runtime: Path) -> None:
    home = runtime / "buildfarm"
    home.mkdir(mode=0o700)
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(home / f"{os.getpid()}-1-0.sock"))  # a reused pid: the start time differs
    dead.close()
    living = socket.socket(socket.AF_UNIX)
    living.bind(str(home / "999999999-1-0.sock"))  # of another pid namespace: someone answers
    living.listen()
    stranger = home / "notes.txt"
    stranger.touch()
    _place()
    assert {path.name for path in home.iterdir()} == {"999999999-1-0.sock", "notes.txt"}
    living.close()


def test_a_socket_that_is_removed_before_it_listens_is_made_anew(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another pid namespace's conductor knows no better: its owner is dead by the looks of it, and nobody answers."""
    removed: list[Path] = []
    chmod = Path.chmod

    def hostile(path: Path, mode: int) -> None:
        if path.suffix == DEAF and not removed:
            removed.append(path)
            path.unlink()
        chmod(path, mode)

    monkeypatch.setattr(Path, "chmod", hostile)
    path, _ = _place()
    assert removed == [path.with_suffix(DEAF)]


def test_a_socket_that_was_found_deaf_and_listens_by_now_is_not_removed(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another pid namespace's conductor asks, and removes it a moment later."""
    home = runtime / "buildfarm"
    asked: list[Path] = []
    found: list[Path] = []
    listen, chmod = socket.socket.listen, Path.chmod

    def asked_before(listener: socket.socket, backlog: int) -> None:
        if not asked:
            asked.extend(home.iterdir())
            found.extend(asked)
        listen(listener, backlog)

    def removed_after(path: Path, mode: int) -> None:
        chmod(path, mode)
        while found:
            found.pop().unlink()

    monkeypatch.setattr(socket.socket, "listen", asked_before)
    monkeypatch.setattr(Path, "chmod", removed_after)
    listener = Listener()
    assert asked and listener.path.parent == home and listener.path.exists()
    listener.close()


def test_the_mark_of_a_living_conductor_in_another_pid_namespace_is_kept(runtime: Path) -> None:
    home = runtime / "buildfarm"
    home.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(home / "999999999-1-0.sock"))
        living.listen()
        mark = home / "999999999-1-0.sock.blind"
        mark.touch()
        _place()
        assert mark.exists()


def test_a_path_that_can_not_be_bound_is_a_machine_error(runtime: Path) -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            with pytest.raises(MachineError, match="can't listen"):
                await StubServer(runtime / "missing" / "s", _nothing, tasks).start()

    asyncio.run(main())
