"""Asks every node of a host list, at once, who it is and whether it makes this machine's bytes.

`nodes` and `doctor` use it; a running build probes by itself (`membership`).  It changes nothing and remembers
nothing.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from buildfarm.dispatch.canary import MARK, Canaries, hatch
from buildfarm.dispatch.client import compile
from buildfarm.dispatch.faults import NodeFault
from buildfarm.dispatch.probe import DEADLINES, probe
from buildfarm.errors import MachineError
from buildfarm.model import Job, Language, Node, SentFile
from buildfarm.value import dataclass

TEXT_BYTES = 1 << 20  # of the text by which throughput is measured
DENIAL_SECONDS = 4.0  # how soon distccd closes on a client that it does not allow
ZONES = 900  # seconds: time zones differ by multiples of it, so does a node's idea of the hour

COMPILERS = {Language.C: "gcc", Language.CXX: "g++", Language.FORTRAN: "gfortran"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one node answered.  `fault` says why it is of no use; None: it compiles something."""

    node: Node
    compiler: str | None = None  # `gcc 12.2.0 x86_64-linux-gnu`
    languages: tuple[str, ...] = ()
    lacks: str | None = None  # the languages that it does not compile, and why
    round_trip_seconds: float | None = None
    fault: str | None = None
    reached: bool = True  # False: the fault is that there was no sensible answer
    denied: bool = False  # it closes before it is asked anything
    own_address: str | None = None  # this machine's, as the node sees it
    node_address: str | None = None
    bytes_per_second: float | None = None  # as texts travel: its disk and compiler are part of it
    clock_seconds: float | None = None  # its clock minus ours, whole quarters of an hour left out

    @property
    def is_this_machine(self) -> bool:
        """Whether it is reached at an address of this machine's: itself, or the near end of a tunnel."""
        return self.own_address is not None and self.own_address == self.node_address

    @property
    def state(self) -> str:
        """In the status document's words."""
        if self.fault is None:
            return "up"
        return "quarantined" if self.reached else "down"


def local_compilers(environment: Mapping[str, str]) -> dict[Language, str]:
    """The absolute paths of this machine's compilers."""
    found = {language: shutil.which(name, path=environment.get("PATH")) for language, name in COMPILERS.items()}
    return {language: path for language, path in found.items() if path is not None}


def survey(nodes: Sequence[Node], environment: Mapping[str, str], *, thorough: bool = False) -> tuple[Finding, ...]:
    """Probe all `nodes`, in their order; `thorough`: measure throughput and clock as well, and look into refusals.

    Raises MachineError when this machine has no working C compiler.
    """
    compilers = local_compilers(environment)
    if Language.C not in compilers:
        raise MachineError("no gcc on PATH: there is nothing to compare the nodes with", hint="apt install gcc")
    return asyncio.run(_survey(nodes, compilers, environment, thorough))


async def _survey(
    nodes: Sequence[Node], compilers: Mapping[Language, str], environment: Mapping[str, str], thorough: bool
) -> tuple[Finding, ...]:
    canaries = await hatch(compilers, environment)
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(_ask(node, canaries)) for node in nodes]
    found = [task.result() for task in asked]
    if thorough:  # one after the other: they must not share the wire
        found = [await _look_closer(finding) for finding in found]
    return tuple(found)


async def _look_closer(finding: Finding) -> Finding:
    node = finding.node
    if node.ssh:
        ours, theirs = None, None
    else:
        ours, theirs = await asyncio.to_thread(addresses_towards, node)
    finding = replace(finding, own_address=ours, node_address=theirs)
    if not finding.reached:
        return replace(finding, denied=not node.ssh and theirs is not None and await _denies(node))
    try:
        return replace(finding, bytes_per_second=await _throughput(node), clock_seconds=await _clock(node))
    except NodeFault:
        return finding


def addresses_towards(node: Node) -> tuple[str | None, str | None]:
    """This machine's address towards the node, and the node's; connect(2) of a datagram socket sends nothing."""
    try:
        family, _, _, _, address = socket.getaddrinfo(node.host, node.port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe_socket:
            probe_socket.connect(address)
            return probe_socket.getsockname()[0], probe_socket.getpeername()[0]
    except OSError:
        return None, None


async def _denies(node: Node) -> bool:
    """Whether it closes before it is asked anything: then this machine is not in its --allow list (`src/access.c`)."""
    try:
        async with asyncio.timeout(DENIAL_SECONDS):
            reader, writer = await asyncio.open_connection(node.host, node.port)
            try:
                return not await reader.read(1)
            except ConnectionResetError:
                return True
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


async def _throughput(node: Node) -> float:
    """Bytes a second of a text that a compiler skips, sent as it is, less what an empty one takes."""
    seconds = []
    for text in (b"", b"/*%s*/" % (b"farm" * (TEXT_BYTES // 4))):
        argv = ("gcc", "-fpreprocessed", MARK, "-c", "bf_probe.c", "-o", "bf_probe.o")
        begin = time.perf_counter()
        await compile(replace(node, lzo=False), Job(argv, source=text), deadlines=DEADLINES)
        seconds.append(time.perf_counter() - begin)
    return TEXT_BYTES / max(seconds[1] - seconds[0], 1e-3)


async def _clock(node: Node) -> float | None:
    """Its clock minus ours, by the `__TIME__` of a text that it preprocesses itself (protocol 3)."""
    file = SentFile("/bf/clock/bf_probe.c", b"const char now[] = __TIME__;\n")
    argv = ("gcc", MARK, "-S", "bf_probe.c", "-o", "bf_probe.s")
    begin = time.time()
    answer = await compile(node, Job(argv, cwd="/bf/clock", files=(file,), recipe="P3"), deadlines=DEADLINES)
    told = re.search(rb'"(\d\d):(\d\d):(\d\d)', answer.object)
    if told is None:
        return None
    hours, minutes, seconds = (int(part) for part in told.groups())
    difference = (3600 * hours + 60 * minutes + seconds + 0.5 - (begin + time.time()) / 2) % ZONES
    return difference - ZONES if difference > ZONES / 2 else difference


async def _ask(node: Node, canaries: Canaries) -> Finding:
    try:
        identity = await probe(node, canaries)
    except NodeFault as fault:
        return Finding(node, fault=fault.reason, reached=False)
    return Finding(
        node,
        compiler=identity.compiler,
        languages=tuple(sorted(str(language) for language in identity.languages)),
        lacks=identity.lacks,
        round_trip_seconds=identity.round_trip_seconds,
        fault=identity.mismatch,
    )
