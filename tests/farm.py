"""Starts real `distccd` daemons on loopback for tests, and tells what they compiled.

It knows nothing of buildfarm: what a test learns here comes from the daemons' own logs.

    with Farm(count=2, jobs=4) as farm:
        farm.hosts              # "127.0.0.1:40001/4,lzo 127.0.0.1:40002/4,lzo"
        farm.compiles()         # [Compile(node=0, outcome="COMPILE_OK", compiler="gcc", source="a.c"), ...]
        farm.nodes[0].kill()    # SIGKILL of daemon, its children and their compilers; .restart() revives it
        farm.close_gate()       # with gated=True: compiles that begin from now on wait until open_gate()
        farm.close_gate(after=3)  # the same, when three more have passed

How a node is given compilers of ours: distccd runs only names that stand in `/usr/lib/distcc` (its whitelist,
`serve.c: dcc_check_compiler_whitelist`), but it looks the *program* up on its own PATH, which `$DISTCCD_PATH`
sets (`daemon.c: dcc_setup_daemon_path`).  So every node gets a directory `bin` first on that path; a script
`gcc` there stands in for the node's gcc.  No daemon option is needed.  `gated` puts scripts there for every
whitelisted compiler: probes pass, units take a ticket, if there is one, or else a shared lock on the gate file, let go
of it, and become the real compiler, so a test that holds the gate's exclusive lock makes compiles wait without any
clock, and a test that dies lets them go.

The stock `distcc` client rewrites `gcc` to `x86_64-linux-gnu-gcc`; buildfarm does not.  Run as root, distccd
changes to an unprivileged user; hence the open modes of the directories.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pytest

_MARK = "BUILDFARM_TEST_NODE"
_SETTLE_SECONDS = 60.0  # for a line of the log that comes after its answer
PATIENCE = 240.0  # seconds for what must happen, on any machine at any load: only a failing test waits so long
_LINE = re.compile(r"^distccd\[(?P<pid>\d+)\] (?P<text>.*)$")
_SUMMARY = re.compile(
    r"client: \S+ (?P<outcome>[A-Z_]+) exit:(?P<exit>\d+) sig:(?P<sig>\d+) core:\d+ ret:\d+ time:(?P<ms>\d+)ms"
)
_NOTED = re.compile(r"^compile from (?P<source>.*) to ")
_EXECUTE = re.compile(r"forking to execute: (?P<command>.*)$")
_SENT_TEXT = re.compile(r"(?:^|[ /])bf__(?P<name>\S+?)(?:\.ii?)?(?= |$)")  # buildfarm's own names in protocol 3
_PROBE_MARK = "-frandom-seed=bf-probe"
_WHITELIST = Path("/usr/lib/distcc")
_GATE_SCRIPT = """#!/bin/sh
case "$*" in *-frandom-seed=bf-probe*) exec {real} "$@";; esac
for ticket in "{gate}".tickets/*; do rm "$ticket" 2>/dev/null && exec {real} "$@"; done
exec 9<"{gate}" && flock -s 9 && exec 9<&-
exec {real} "$@"
"""


@dataclass(frozen=True, slots=True)
class Compile:
    """One job as a daemon's log tells it.

    `outcome` is distccd's word: COMPILE_OK, COMPILE_ERROR, COMPILE_TIMEOUT, CLI_DISCONN, BAD_REQ, ... For a compile
    by protocol 3 that makes no depfile (preprocessed text, Fortran) distccd says OTHER although all is well
    (`serve.c: dcc_run_job` leaves early); that is COMPILE_OK here.  `command` is empty if no compiler was started;
    `source` is the name that distccd noted, or the one in the command where that is a text of ours (`bf__x.c.i`
    counts as `x.c`).
    """

    node: int
    outcome: str
    exit: int
    signal: int
    milliseconds: int
    command: str
    source: str

    @property
    def compiler(self) -> str:
        return self.command.partition(" ")[0]


def require_distccd() -> None:
    """Skip the calling test when distccd is missing."""
    if shutil.which("distccd") is None:
        pytest.skip("distccd is missing: install the package distcc")


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Return once `condition()` holds; fail the test when it does not within `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited {seconds:g} s in vain for: {what}")
        time.sleep(0.005)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


_DEAD: list[socket.socket] = []


def dead_port() -> int:
    """A TCP port of 127.0.0.1 that refuses: it is taken until the tests end, and nobody listens there."""
    keeper = socket.socket()
    keeper.bind(("127.0.0.1", 0))
    _DEAD.append(keeper)
    port: int = keeper.getsockname()[1]
    return port


def _marked(mark: str) -> list[int]:
    """The pids of all living processes that carry this mark in their environment."""
    needle = f"{_MARK}={mark}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if needle in Path("/proc", entry, "environ").read_bytes().split(b"\0"):
                    found.append(int(entry))
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _is_idle(pid: str) -> bool:
    """Whether a process runs, and has no children."""
    try:
        stopped = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] in "TZX"
        return not stopped and not Path("/proc", pid, "task", pid, "children").read_text()
    except OSError:
        return False


class Node:
    """One distccd: daemon, log, temporary directory and compiler directory."""

    def __init__(self, index: int, directory: Path, tmp: Path, jobs: int, options: tuple[str, ...], path: str) -> None:
        self.index = index
        self.jobs = jobs
        self.port = 0
        self.directory = directory
        self.log = directory / "distccd.log"
        self.bin = directory / "bin"  # first on the daemon's PATH
        self.tmp = tmp  # the daemon's TMPDIR
        self._options = options
        self._path = path
        self._mark = uuid.uuid4().hex
        self._daemon: subprocess.Popen[bytes] | None = None
        for place, mode in ((directory, 0o755), (self.bin, 0o755), (self.tmp, 0o1777)):
            place.mkdir(exist_ok=True)
            place.chmod(mode)
        self.log.touch()
        self.log.chmod(0o666)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._daemon is not None, f"node {self.index} was not started"
        return self._daemon.pid

    def pids(self) -> list[int]:
        """The daemon, its children and the compilers that they started."""
        return _marked(self._mark)

    def start(self) -> None:
        """Start the daemon (on the same port as before, if it had one) and wait until it listens."""
        for _ in range(5):
            port = self.port or free_port()
            if self._try_start(port):
                self.port = port
                return
        pytest.fail(f"distccd does not start; its log:\n{self.text()[-2000:]}")

    def _try_start(self, port: int) -> bool:
        begin = self.log.stat().st_size
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("DISTCC", "BUILDFARM"))}
        environment |= {
            "LC_ALL": "C",  # its compilers' quotes are those of tests.tool.environment
            "TMPDIR": str(self.tmp),
            "DISTCC_TMPDIR": str(self.tmp),
            "DISTCC_DIR": str(self.tmp),
            "DISTCCD_PATH": f"{self.bin}:{self._path}",
            _MARK: self._mark,
        }
        words = ["distccd", "--no-detach", "--daemon", "--allow", "127.0.0.1", "--listen", "127.0.0.1"]
        words += ["--port", str(port), "--jobs", str(self.jobs), "--log-file", str(self.log), "--verbose"]
        with open(self.directory / "output", "ab") as output:
            self._daemon = subprocess.Popen(
                [*words, *self._options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=self.tmp,
            )
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self._daemon.poll() is None:
            if "preforking daemon started" in self.text(begin):
                return True
            time.sleep(0.005)
        self.kill()
        return False

    def kill(self) -> None:
        """SIGKILL everything of this node, as a power cut would; nothing is left behind."""
        while pids := self.pids():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self._daemon is not None:
                self._daemon.wait()
            time.sleep(0.002)
        if self._daemon is not None:
            self._daemon.wait()

    def restart(self) -> None:
        """Kill what there is and start again on the same port; the log goes on."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """SIGSTOP everything of this node: it hangs, and its sockets stay open."""
        self._signal(signal.SIGSTOP)

    def cont(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def install(self, name: str, script: str) -> None:
        """Let `name` be this script on the node; clients reach it if `name` stands in /usr/lib/distcc."""
        target = self.bin / name
        target.write_text(script)
        target.chmod(0o755)

    def text(self, begin: int = 0) -> str:
        """The log from byte `begin` on."""
        with open(self.log, "rb") as log:
            log.seek(begin)
            return log.read().decode(errors="replace")

    def jobs_done(self) -> list[Compile]:
        """Every job that the daemon has finished, in the log's order (the line comes after the answer)."""
        jobs: list[Compile] = []
        noted: dict[str, str] = {}
        executed: dict[str, str] = {}
        for line in self.text().splitlines():
            if not (parts := _LINE.match(line)):
                continue
            pid, text = parts["pid"], parts["text"]
            if match := _NOTED.match(text):
                noted[pid] = match["source"]
            elif match := _EXECUTE.search(text):
                executed[pid] = match["command"]
            elif match := _SUMMARY.search(text):
                command, source = executed.pop(pid, ""), noted.pop(pid, "")
                if sent := _SENT_TEXT.search(command):
                    source = sent["name"]
                ended, killed = int(match["exit"]), int(match["sig"])
                outcome = match["outcome"]
                if outcome == "OTHER" and command and not ended and not killed:
                    outcome = "COMPILE_OK"
                jobs.append(Compile(self.index, outcome, ended, killed, int(match["ms"]), command, source))
        return jobs

    def _answering(self) -> bool:
        """Whether a job's compiler has ended and the log does not tell it yet: the line comes after the answer."""
        working = set[str]()
        for line in self.text().splitlines():
            if parts := _LINE.match(line):
                if _EXECUTE.search(parts["text"]):
                    working.add(parts["pid"])
                elif _SUMMARY.search(parts["text"]):
                    working.discard(parts["pid"])
        return any(_is_idle(pid) for pid in working)

    def compiles(self) -> list[Compile]:
        """The compiles that were answered, well or not; without buildfarm's probes and lost clients."""
        end = time.monotonic() + _SETTLE_SECONDS
        while self._answering() and time.monotonic() < end:
            time.sleep(0.005)
        return [
            job
            for job in self.jobs_done()
            if job.command and _PROBE_MARK not in job.command and job.outcome != "CLI_DISCONN"
        ]

    def started(self) -> list[str]:
        """The command line of every compiler that was started, finished or not, save probes."""
        commands = [match["command"] for line in self.text().splitlines() if (match := _EXECUTE.search(line))]
        return [command for command in commands if _PROBE_MARK not in command]


class Farm:
    """Some nodes on loopback, alive between `__enter__` and `__exit__`.

    `options` are appended to the host list's entries (",lzo", ",lzo,cpp", ""); `arguments` to distccd's own;
    `compilers` maps names to scripts for every node's `bin`; `gated` lets compiles wait at the gate;
    `path` is what follows `bin` on the daemon's PATH (an unlikely directory: nothing is installed); `scratch` is where
    the daemons' temporary directories are made, if not beside their logs.
    """

    def __init__(
        self,
        count: int = 2,
        jobs: int = 4,
        *,
        options: str = ",lzo",
        arguments: tuple[str, ...] = (),
        compilers: Mapping[str, str] | None = None,
        gated: bool = False,
        path: str = "/usr/local/bin:/usr/bin:/bin",
        scratch: Path | None = None,
    ) -> None:
        self._scratch = scratch
        self._count, self._jobs, self._options, self._path = count, jobs, options, path
        self._arguments, self._compilers, self._gated = arguments, dict(compilers or {}), gated
        self.nodes: list[Node] = []
        self.directory = self._tickets = Path()
        self._gate: int | None = None

    def __enter__(self) -> Farm:
        require_distccd()
        self.directory = Path(tempfile.mkdtemp(prefix="bf-farm-"))
        self.directory.chmod(0o755)
        try:
            gate = self.directory / "gate"
            gate.touch(mode=0o644)
            self._tickets = gate.with_name("gate.tickets")
            self._tickets.mkdir()
            self._tickets.chmod(0o777)
            self._gate = os.open(gate, os.O_RDWR | os.O_CLOEXEC)
            scripts = dict(self._compilers)
            if self._gated:
                for name in sorted(os.listdir(_WHITELIST)):
                    if real := shutil.which(name, path="/usr/bin"):
                        scripts.setdefault(name, _GATE_SCRIPT.format(gate=gate, real=real))
            for index in range(self._count):
                tmp = Path(tempfile.mkdtemp(prefix="bf-farm-", dir=self._scratch or self.directory))
                node = Node(index, self.directory / f"node{index}", tmp, self._jobs, self._arguments, self._path)
                self.nodes.append(node)
                for name, script in scripts.items():
                    node.install(name, script)
                node.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for node in self.nodes:
            node.kill()
        if self._gate is not None:
            os.close(self._gate)
            self._gate = None
        for place in (*(node.tmp for node in self.nodes), self.directory):
            shutil.rmtree(place, ignore_errors=True)

    @property
    def hosts(self) -> str:
        """The host list in distcc's syntax."""
        return " ".join(f"{node.address}/{self._jobs}{self._options}" for node in self.nodes)

    def close_gate(self, *, after: int = 0) -> None:
        """From now on compiles that begin wait (needs `gated=True`) when so many have passed; those that run go on."""
        assert self._gated, "this farm was not made with gated=True"
        assert self._gate is not None, "this farm is closed"
        for number in range(after):
            (self._tickets / str(number)).touch()
        fcntl.flock(self._gate, fcntl.LOCK_EX)

    def open_gate(self) -> None:
        assert self._gate is not None, "this farm is closed"
        fcntl.flock(self._gate, fcntl.LOCK_UN)

    def compiles(self) -> list[Compile]:
        """The jobs that all nodes compiled, well or not; without probes, refused ones and lost clients."""
        return [c for node in self.nodes for c in node.compiles()]

    def sources(self) -> list[str]:
        """The sources' base names of all compiles that succeeded, sorted."""
        return sorted(Path(c.source).name for c in self.compiles() if c.outcome == "COMPILE_OK")

    def waiting(self) -> int:
        """How many compilers wait at the gate now."""
        return sum(_command(pid) == "flock" for node in self.nodes for pid in node.pids())

    def started(self) -> list[str]:
        """The command line of every compiler started on any node."""
        return [command for node in self.nodes for command in node.started()]

    def wait_started(self, count: int, seconds: float = PATIENCE) -> None:
        """Return once `count` compilers were started in all; fail the test when that does not come."""
        wait_until(lambda: len(self.started()) >= count, f"{count} compilers started", seconds)

    def wait_compiles(self, count: int, seconds: float = PATIENCE) -> None:
        """Return once `count` jobs stand in the logs (a log line may come after its answer)."""
        wait_until(lambda: len(self.compiles()) >= count, f"{count} compiles in the logs", seconds)


@pytest.fixture
def farm() -> Iterator[Farm]:
    """Two nodes of four jobs, with lzo."""
    with Farm(count=2, jobs=4) as running:
        yield running
