"""The frozen values that travel between the packages of buildfarm.

They hold no behaviour beyond small derived properties and import nothing of ours but `value`.  Paths and arguments are
`str` as `os.fsdecode` gives them (surrogateescape), so that bytes that are not UTF-8 survive a round trip.
Times are seconds since the epoch unless a name says otherwise; durations are seconds; sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import NamedTuple

from buildfarm.value import dataclass

NO_HOSTS = 116  # distcc's exit status when no host may take a unit (src/exitcode.h, EXIT_NO_HOSTS)
MODULE_SUFFIXES = (".mod", ".smod")  # of gfortran's module and submodule files


class Language(StrEnum):
    """What a unit's source is written in; decides which recipe it travels by."""

    C = "c"
    CXX = "c++"
    FORTRAN = "fortran"
    OTHER = "other"  # assembler, Objective-C, Ada, ...: compiled here


class Kind(StrEnum):
    """What a call of a tool does."""

    COMPILE = "compile"  # one source to one object: a unit
    LINK = "link"  # objects to a program or a shared library
    ARCHIVE = "archive"  # ar, ranlib
    QUERY = "query"  # writes no file: --version, -E to stdout, -dumpmachine, -print-...
    OTHER = "other"  # anything not understood, trials, several sources: run here


TRIAL = "a test of what the compiler can do"
"""The reason of steps that may fail, for somebody tries out whether they work."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """A tool call as make's recipe made it."""

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FortranOptions:
    """What only Fortran units have."""

    cpp: bool  # the source goes through cpp (.F, .F90, -cpp)
    free_form: bool
    module_directory: str | None  # -J / -M as typed; None: the cwd
    include_directories: tuple[str, ...]  # -I in order, as typed


@dataclass(frozen=True, slots=True)
class Depfile:
    """A depfile that the unit must leave behind, written on the master."""

    path: str  # as typed or derived, relative to the unit's cwd
    arguments: tuple[str, ...]  # complete -M* options for a separate `-E` run that writes the same bytes


class Unit(NamedTuple):
    """One compile command: one source to one object (or assembler text, with -S).

    `preprocess_arguments` and `compile_arguments` hold neither the source, `-o`, `-c`/`-S`, nor any `-M*` option;
    separate operands are joined to their options where the compiler permits it (`-I dir` becomes `-Idir`),
    because distccd takes a separate argument that ends like a source for a second source.
    """

    tool: str  # the compiler's bare name, e.g. `gcc`, `mpif90`
    language: Language
    argv: tuple[str, ...]  # the whole command as typed, @files expanded
    source: str  # as typed
    output: str  # as typed or as the compiler would derive it
    preprocess_arguments: tuple[str, ...]
    compile_arguments: tuple[str, ...]
    depfile: Depfile | None = None
    assembler_only: bool = False  # -S instead of -c
    debug: bool = False  # -g in any form: objects are compared after --strip-debug
    full_preprocessing: bool = False  # recipe P2 instead of P2d
    fortran: FortranOptions | None = None
    local_reason: str | None = None  # why it may not travel; None: it may
    stack_usage: str | None = None  # the file that -fstack-usage writes, as the compiler names it
    listing: str | None = None  # the file that -Wa,-a... writes, as typed

    @property
    def may_travel(self) -> bool:
        return self.local_reason is None

    @property
    def assembled_here(self) -> bool:
        """Whether a node makes its assembler text only, though it is compiled to an object."""
        return self.listing is not None

    @property
    def returns_text(self) -> bool:
        """Whether a node sends assembler text."""
        return self.assembler_only or self.assembled_here

    @property
    def link_time(self) -> bool:
        """Whether the object is for optimization at link time: it holds random names, and places in the source."""
        return any(arg.startswith("-flto") for arg in self.compile_arguments)


class ToolCall(NamedTuple):
    """A classified invocation.  `outputs` are the files that it is known to write, as typed."""

    kind: Kind
    tool: str
    outputs: tuple[str, ...]
    unit: Unit | None = None
    reason: str | None = None  # for OTHER: why it was not taken for a unit
    units: tuple[Unit, ...] = ()  # of several sources in one command, where each of them could be a unit that travels


# --- nodes ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Node:
    """A distccd machine as the user configured it.  `key` is its identity in journal and messages."""

    host: str
    port: int = 3632
    slots: int = 4
    lzo: bool = False
    cpp: bool = False  # pump mode permitted (`,cpp`)
    ssh: bool = False
    user: str | None = None  # ssh only
    command: str | None = None  # ssh only: the remote distccd, where it is not on PATH
    via: tuple[str, ...] = ()  # ssh only: the words of DISTCC_SSH; empty: ssh
    public: bool = False  # an address that the whole Internet can reach is allowed

    @property
    def key(self) -> str:
        """`pi3:3632`, `[fd00::1]:3632`, `@pi3`, `user@pi3`."""
        if self.ssh:
            return f"{self.user or ''}@{self.host}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class SentFile:
    """One file (or link, or empty placeholder) of a protocol-3 request.  `name` starts with `/`."""

    name: str
    content: bytes = b""
    link: str | None = None  # not None: a symbolic link to this target, `content` unused
    wire: bytes | None = None  # its packets, when they are sent more than once (`dispatch.protocol.packed`)


@dataclass(slots=True, eq=False)
class Text:
    """A preprocessed text on its way: hundreds of them are held at once, so what was packed is kept packed alone.

    One of the two is set; `dispatch.protocol` packs and unpacks.
    """

    plain: bytes | None
    packed: bytes | None = None  # as an LZO stream


@dataclass(frozen=True, slots=True)
class Job:
    """What travels to a node, whatever the node's protocol options.

    `source` is set for protocols 1 and 2 (one preprocessed text), `files` and `cwd` for protocol 3.
    """

    argv: tuple[str, ...]
    source: bytes | Text | None = None
    cwd: str | None = None
    files: tuple[SentFile, ...] = ()
    recipe: str = "P2d"  # P2, P2d, P3d, P3r, P3, S2, S2r: see docs/recipes

    @property
    def pump(self) -> bool:
        return self.cwd is not None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node sent back.  `status` is a wait status (`os.waitstatus_to_exitcode` applies)."""

    status: int
    stderr: bytes
    stdout: bytes
    object: bytes
    bytes_sent: int = 0
    bytes_received: int = 0
    depfile: bytes = b""  # DOTD of protocol 3, as the node wrote it


# --- the journal's records -------------------------------------------------------------------------------


class StepState(StrEnum):
    """A step's life in the journal; `CHECKED_OUT` without a successor is what a crash leaves behind."""

    CHECKED_OUT = "checked_out"
    DONE = "done"
    FAILED = "failed"
    HELD = "held"  # made ahead of make; the result waits in the store
    DROPPED = "dropped"  # made ahead of make, and came to nothing
    SWEPT = "swept"  # checked out when a build died; its outputs were removed by the sweep


class BuildState(StrEnum):
    """A build's life: the `state` of the status document, without `none`."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """What a build was asked to do; `resume` repeats it to the letter."""

    directory: str  # absolute: where make runs (`-C` applied)
    goals: tuple[str, ...]
    variables: Mapping[str, str]
    make_arguments: tuple[str, ...]  # everything handed to make, goals and variables included, -C/-j excluded
    options: Mapping[str, str]  # buildfarm's own options, as text
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CheckOut:
    """A step leaves: a unit to a node or to a local compiler, a link or an archive to a local tool."""

    step: int  # unique within a build, given by the conductor
    kind: Kind
    cwd: str  # absolute
    argv: tuple[str, ...]
    outputs: tuple[str, ...]  # absolute paths, depfile and .mod files included; first: the main output
    fingerprint: str  # of cwd, argv and the environment that matters: same fingerprint, same compile
    node: str | None  # Node.key; None: this machine
    attempt: int
    time: float
    reason: str | None = None  # why it runs here
    lookahead: bool = False
    temporaries: tuple[str, ...] = ()  # absolute paths of private files that a crash may leave behind


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """An output as it was checked in."""

    path: str  # absolute
    size: int
    mtime_ns: int
    digest: str  # BLAKE2b-128 of the bytes, hex


@dataclass(frozen=True, slots=True)
class CheckIn:
    """A step has ended: its outputs are in place and verified, or it failed for good."""

    step: int
    state: StepState  # DONE or FAILED
    time: float
    seconds: float  # of the attempt that counted: compile time as the master saw it
    exit_status: int = 0
    outputs: tuple[OutputRecord, ...] = ()
    stderr: bytes = b""
    bytes_sent: int = 0
    bytes_received: int = 0
    inputs: tuple[str, ...] = ()  # absolute paths read by the unit, where known (source first)
    attempt: int = 0  # the attempt that counted; 0: the latest that has not ended
    seen: str | None = None  # what its inputs looked like when it came into its place, as a digest; None: not known
    half_written: bool = False  # it failed and left an output that can't be whole: the next sweep removes it
    kept: bool = False  # an earlier build had made the result


INTERRUPTED = "interrupted"
"""The outcome of an attempt that was under way when its build was interrupted."""

NOT_RETRIES = frozenset({"done", "held", "dropped", "cancelled", "failed", "stale", "superseded", INTERRUPTED})
"""Outcomes of attempts that counted or ended by no node's fault: another one was faster, a source changed, ..."""


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """An attempt that did not count: a node's fault, a lost race, a cancelled unit, a compiler that failed there."""

    step: int
    attempt: int
    node: str | None
    time: float
    outcome: str  # refused, lost, late, corrupt, killed, cancelled, stale, failed, ...
    reason: str


@dataclass(frozen=True, slots=True)
class Planning:
    """What the plans of a build were worth."""

    asked: int = 0  # compiles that make asked for
    foreseen: int = 0  # of those, the ones that a plan had named before
    predicted: int = 0  # of those, the ones that a plan has named, before or after make asked
    wasted: int = 0  # results made ahead that did not fit any more
    instances: int = 0  # make instances planned
    seconds: float = 0.0  # in dry runs


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node's standing at one moment, as the journal keeps it for `status` and `nodes`."""

    key: str
    host: str
    port: int
    state: str  # up, busy, down, quarantined, draining
    slots: int
    checked_out: int = 0
    done: int = 0
    failed: int = 0
    compiler: str | None = None
    reason: str | None = None
    retry_at: float | None = None  # seconds since the epoch; until `farm` tells of it, by the scheduler's clock
    mean_seconds: float | None = None
    languages: tuple[str, ...] = field(default=())
