"""For tests of the masquerade stub: all kinds of it, a tool to stand behind it, and a scripted conductor.

The conductor here is a plain listening socket: a test says byte for byte what it answers, and when it dies.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from buildfarm.make import wire
from buildfarm.make.masquerade import Masquerade, prepare
from tests.farm import PATIENCE

#: Generous: it ends a test that hangs and is never waited for otherwise.

TOOL = """
import os, signal, sys
if sys.argv[1:2] == ["show"]:
    with open("/proc/self/cmdline", "rb") as file:
        words = file.read().split(b"\\0")  # python, -ISE, the file that was executed
    for text in (words[2], b"%d" % os.getpid(), os.environb[b"PATH"], *sorted(os.environb)):
        os.write(1, text + b"\\n")
elif sys.argv[1:2] == ["copy"]:
    os.write(1, sys.stdin.buffer.read())
elif sys.argv[1:2] == ["signals"]:
    seen = []
    def take(number, frame):
        seen.append(signal.Signals(number).name)
        os.write(1, f"{seen[-1]}\\n".encode())
        if number != signal.SIGINT:
            os._exit(seen.count("SIGINT") + 7)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT):
        signal.signal(number, take)
    os.write(1, b"ready\\n")
    while True:
        signal.pause()
elif sys.argv[1:2] == ["die"]:
    signal.signal(int(sys.argv[2]), signal.SIG_DFL) if int(sys.argv[2]) != 9 else None
    os.kill(os.getpid(), int(sys.argv[2]))
elif sys.argv[1:2] == ["write"]:
    os.write(int(sys.argv[2]), b"token")
else:
    os.write(1, b"the real tool\\n")
    sys.exit(int(sys.argv[1]) if len(sys.argv) == 2 else 0)
"""


@pytest.fixture(scope="session", params=["c", "c, begun by its library", "python"])
def masquerade(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Masquerade:
    """A masquerade directory with the C stub, as it comes and without early.h, then with the Python one, for `gcc`,
    `make` and `tool`.
    """
    kind = request.param.partition(",")[0]
    if kind == "c" and not shutil.which("cc"):
        pytest.skip("cc is missing: install a C compiler")
    cache = tmp_path_factory.mktemp("cache")
    path = os.environ["PATH"] if kind == "c" else str(tmp_path_factory.mktemp("empty"))
    with pytest.MonkeyPatch.context() as patch:
        if request.param != kind:
            patch.setattr("buildfarm.make.masquerade._STUB_OPTIONS", (("-static",), ()))
        made = prepare(cache, extra_names=("gcc", "make", "tool"), path=path)
    assert made.kind == kind
    if kind == "c" and platform.machine() == "x86_64":
        assert (b"early_entry" in made.stub.read_bytes()) == (request.param == kind)
    return made


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with real tools: `tool` and `make`, both of them TOOL."""
    directory = tmp_path_factory.mktemp("tools")
    interpreter = str(getattr(sys, "_base_executable", sys.executable))
    for name in ("tool", "make"):
        file = directory / name
        file.write_text(f"#!{interpreter} -ISE\n{TOOL}")
        file.chmod(0o755)
    return directory


@dataclass
class Conversation:
    """The conductor's end of one stub's connection, after its call."""

    connection: socket.socket
    call: wire.Call

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def receive(self) -> wire.Message:
        """The stub's next report."""
        reader = wire.MessageReader()
        reader.feed(wire.encode_call(self.call))
        return reader.feed(read(self.connection, 5))[0]


class Conductor:
    """Listens for stubs; a test scripts its answers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.settimeout(PATIENCE)
        self.listener.bind(os.fspath(path))
        self.listener.listen()
        self.connections: list[socket.socket] = []

    def accept(self) -> Conversation:
        """Wait for a stub's call."""
        connection, _ = self.listener.accept()
        self.connections.append(connection)
        connection.settimeout(PATIENCE)
        head = read(connection, 8)
        (call,) = wire.MessageReader().feed(head + read(connection, int.from_bytes(head[4:], "little")))
        assert isinstance(call, wire.Call)
        return Conversation(connection, call)

    def close(self) -> None:
        self.listener.close()
        for connection in self.connections:
            connection.close()

    def die_after(self, act: Callable[[Conductor], object]) -> int:
        """Let a process do `act` in our place and kill itself with SIGKILL; its pid.  We listen no more."""
        pid = os.fork()
        if pid == 0:
            try:
                act(self)
            finally:
                os.kill(os.getpid(), signal.SIGKILL)
        self.close()
        return pid


def read(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        piece = connection.recv(length - len(data))
        assert piece, f"stub closed after {len(data)} of {length} bytes"
        data += piece
    return data


@dataclass
class Bench:
    """A masquerade directory first on PATH, real tools behind, and a conductor that the test plays."""

    masquerade: Masquerade
    tools: Path
    conductor: Conductor
    directory: Path

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a recipe."""
        return {
            "PATH": f"{self.masquerade.directory}:{self.tools}:/usr/bin:/bin",
            "BUILDFARM_SOCKET": str(self.conductor.path),
            **more,
        }

    def start(
        self,
        *words: str | bytes,
        environment: Mapping[str, str] | Mapping[bytes, bytes] | None = None,
        stdin: bytes = b"",
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Start a stub: found on PATH if the first word has no slash, by that path otherwise."""
        name = os.fsencode(words[0])
        file = name if b"/" in name else os.fsencode(self.masquerade.directory / os.fsdecode(name))
        with (self.directory / "stdin").open("w+b") as source:
            source.write(stdin)
            source.seek(0)
            return subprocess.Popen(
                words,
                executable=file,
                env=self.environment() if environment is None else environment,
                cwd=self.directory,
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=pass_fds,
            )


def end(process: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    """Return code, stdout and stderr of a stub."""
    stdout, stderr = process.communicate(timeout=PATIENCE)
    return process.returncode, stdout, stderr


@pytest.fixture
def bench(masquerade: Masquerade, tools: Path, tmp_path: Path) -> Iterator[Bench]:
    directory = tmp_path / "work"
    directory.mkdir()
    with tempfile.TemporaryDirectory(prefix="bf-", dir="/tmp") as short:  # as a socket's path must be: unix(7)
        conductor = Conductor(Path(short) / "s")
        yield Bench(masquerade, tools, conductor, directory)
        conductor.close()
