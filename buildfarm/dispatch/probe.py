"""Makes first contact with a node: is it there, which compiler does it run, and does that make our bytes.

It does not decide what becomes of the node (`health`) and makes no canary itself (`canary`).

Two questions by protocol 1, the oldest and barest: `gcc -dumpmachine` and `gcc -dumpfullversion`, in the form of
a compile (distccd wants `-c`, a source and an output); the answer is in SOUT.  Then the canaries, each by another
protocol, so that a success proves the protocol as well.  Fortran is asked of `gfortran` first and of `gcc` if the
node refuses that name: a stock `/usr/lib/distcc` lists only gcc, which compiles Fortran where gfortran is
installed.  The daemon's statistics page is not asked; it is off by default.

A node whose `gcc` is of another target or version is asked for the compiler by its other names: `gcc-12`, the cross
name `x86_64-linux-gnu-gcc`, both together.  So a machine of another architecture works through its cross compiler, if
that is the same version and makes the same bytes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace

from buildfarm.dispatch.canary import MARK, Canaries, Canary
from buildfarm.dispatch.client import Deadlines, compile
from buildfarm.dispatch.faults import NodeFault, NodeForbidden, NodeRefused
from buildfarm.dispatch.verdict import LocalVerdict, NodeAtFault, judge
from buildfarm.model import Job, Language, Node
from buildfarm.value import dataclass

DEADLINES = Deadlines(connect=5.0, send=15.0, compile=30.0, receive=15.0)
_NOT_HERE = "closed without an answer"


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Who a node is.  `languages` are those whose canary came back with this machine's bytes."""

    target: str  # gcc -dumpmachine
    version: str  # gcc -dumpfullversion
    languages: frozenset[Language]
    argv0: Mapping[Language, str]  # the name under which the node runs each language's compiler
    round_trip_seconds: float  # of the first question: connect, start gcc, answer
    differences: Mapping[Language, str]  # for each language that is not in `languages`, why

    @property
    def compiler(self) -> str:
        """As `status` shows it: `gcc 12.2.0 x86_64-linux-gnu`."""
        return f"gcc {self.version} {self.target}"

    @property
    def mismatch(self) -> str | None:
        """Why the node is of no use at all; None: it compiles some language."""
        return None if self.languages else "; ".join(dict.fromkeys(self.differences.values()))

    @property
    def lacks(self) -> str | None:
        """Which languages the node is of no use for, and why; None: it compiles all that this machine does."""
        return lacking(self.differences) if self.languages else None


def lacking(differences: Mapping[Language, str]) -> str | None:
    """`no fortran: runs no gfortran`; None where nothing is lacking."""
    return "; ".join(f"no {language}: {why}" for language, why in differences.items()) or None


@dataclass(frozen=True, slots=True)
class _Repeated:
    canary: Canary
    argv0: str = ""
    difference: str | None = None


async def probe(node: Node, canaries: Canaries, *, deadlines: Deadlines = DEADLINES) -> NodeIdentity:
    """Ask the node who it is.  Raises NodeFault when it can't be reached, refuses, or can't compile at all."""
    begin = time.perf_counter()
    naming, target, version = await _name(node, canaries, deadlines)
    seconds = time.perf_counter() - begin
    identity = NodeIdentity(target, version, frozenset(), {}, seconds, {})
    if naming is None:
        what, here, there = (
            ("target", canaries.target, target) if target != canaries.target else ("version", canaries.version, version)
        )
        others = " nor ".join(naming.of("gcc") for naming in _namings(canaries)[1:])
        difference = f"its gcc has {what} {there}, here it is {here}, and there is no fitting {others}"
        return replace(identity, differences={c.language: difference for c in canaries.canaries})
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(_repeat(node, naming.canary(canary), deadlines)) for canary in canaries.canaries]
    results = [task.result() for task in running]
    for result in results:
        if isinstance(result, NodeFault):
            raise result
    repeated = [result for result in results if isinstance(result, _Repeated)]
    differences = {r.canary.language: r.difference for r in repeated if r.difference is not None}
    good = [r for r in repeated if r.canary.language not in differences]
    return replace(
        identity,
        languages=frozenset(r.canary.language for r in good),
        argv0={r.canary.language: r.argv0 for r in good},
        differences=differences,
    )


@dataclass(frozen=True, slots=True)
class _Naming:
    """How a node's compilers are called: `x86_64-linux-gnu-` + gcc + `-12`."""

    prefix: str = ""
    suffix: str = ""

    def of(self, tool: str) -> str:
        return f"{self.prefix}{tool}{self.suffix}"

    def canary(self, canary: Canary) -> Canary:
        jobs = (replace(job, argv=(self.of(job.argv[0]), *job.argv[1:])) for job in canary.jobs)
        return replace(canary, jobs=tuple(jobs))


def _namings(canaries: Canaries) -> tuple[_Naming, ...]:
    cross, major = f"{canaries.target}-", f"-{canaries.version.partition('.')[0]}"
    return (_Naming(), _Naming("", major), _Naming(cross), _Naming(cross, major))


async def _name(node: Node, canaries: Canaries, deadlines: Deadlines) -> tuple[_Naming | None, str, str]:
    """The naming under which the node has this machine's compiler, and that compiler's target and version.

    None: there is none; target and version are then those of its plain gcc.  Raises NodeFault when the node can't be
    reached or runs nothing at all.
    """
    first: tuple[str, str] | None = None
    refusal: NodeRefused | None = None
    for naming in _namings(canaries):
        try:
            target = await ask(node, naming.of("gcc"), "-dumpmachine", deadlines)
            version = await ask(node, naming.of("gcc"), "-dumpfullversion", deadlines)
        except NodeRefused as refused:
            if refused.reason.startswith("no connection") or isinstance(refused, NodeForbidden):
                raise
            refusal = refusal or refused
            continue
        if (target, version) == (canaries.target, canaries.version):
            return naming, target, version
        first = first or (target, version)
    if first is None:
        assert refusal is not None, "BUG: no naming was tried"
        raise refusal
    return None, *first


async def ask(node: Node, tool: str, question: str, deadlines: Deadlines = DEADLINES) -> str:
    """The first line of what the node's `tool` prints when it is asked `-dumpmachine`, `--version` or the like.

    Raises NodeFault.
    """
    argv = (tool, question, MARK, "-c", "bf_probe.c", "-o", "bf_probe.o")
    try:
        answer = await compile(_by(node, 1), Job(argv, source=b""), deadlines=deadlines)
    except NodeRefused as refused:
        if refused.reason == _NOT_HERE:
            hint = (
                "is this machine in its --allow list, and gcc in its /usr/lib/distcc? may distccd write to its TMPDIR?"
            )
            raise NodeRefused(f"{refused.reason}; {hint}") from refused
        raise
    if answer.status:
        judged = judge(answer)
        assert isinstance(judged, (NodeAtFault, LocalVerdict)), "BUG: a failure that was judged a success"
        raise NodeRefused(judged.reason)
    first = answer.stdout.decode(errors="replace").partition("\n")[0]
    said = "".join(c for c in first if c.isprintable()).strip()[:100]
    if not said:  # another compiler would name itself
        raise NodeRefused(f"its {tool} says nothing to {question}; is its disk full?")
    return said


async def _repeat(node: Node, canary: Canary, deadlines: Deadlines) -> _Repeated | NodeFault:
    """The canary's compile on the node.  A NodeFault is returned: it must not cancel its siblings."""
    refusal = NodeRefused(f"compiles no {canary.language}")
    for job in canary.jobs:
        try:
            answer = await compile(_by(node, canary.protocol), job, deadlines=deadlines)
        except NodeRefused as refused:
            refusal = refused
            continue
        except NodeFault as fault:
            return fault
        match judge(answer):
            case NodeAtFault(outcome="refused", reason=reason):
                refusal = NodeRefused(reason)
            case NodeAtFault(reason=reason) | LocalVerdict(reason=reason):
                return _Repeated(canary, difference=f"its {job.argv[0]} fails on the probe: {reason}")
            case _:
                if answer.object == canary.object:
                    return _Repeated(canary, job.argv[0])
                return _Repeated(canary, difference=f"its {job.argv[0]} makes other bytes than this machine's")
    if canary.language is Language.C:
        return refusal
    tools = " nor ".join(job.argv[0] for job in canary.jobs)
    return _Repeated(canary, difference=f"runs no {tools} for {canary.language}: {refusal.reason}")


def _by(node: Node, protocol: int) -> Node:
    """The node, addressed so that protocol 1 or 2 is spoken; the job itself decides for 3."""
    return replace(node, lzo=protocol > 1)
