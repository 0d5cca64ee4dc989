"""What a build tells to those who show it: the events, and the interface of the reporters that take them.

It neither draws nor writes: `console` has the reporters for people, `events` the one for programs, `progress`
turns the same events into numbers.  Events are facts that have already been journaled; a reporter can lose or
delay them without harm to the build.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Protocol

from buildfarm.model import Kind, NodeStatus
from buildfarm.value import dataclass


@dataclass(frozen=True, slots=True)
class BuildStarted:
    """Make is about to start.  `nodes` is empty when everything runs on this machine."""

    build: int
    directory: str  # absolute; outputs are shown relative to it
    time: float
    goals: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    nodes: tuple[NodeStatus, ...] = ()
    local_slots: int = 1
    resumed_from: int | None = None
    reused: int = 0  # units that resume verified and kept


@dataclass(frozen=True, slots=True)
class Totals:
    """What the DAG says now of the whole build; sent whenever it has grown."""

    units: int  # all units of this build, done ones included
    is_final: bool = False  # make's graph is known whole


@dataclass(frozen=True, slots=True)
class UnitStarted:
    """A check-out: a unit (or, by `kind`, a link or archive step) has left for a node or a local tool."""

    step: int
    output: str  # absolute
    node: str | None  # Node.key; None: this machine
    attempt: int
    time: float
    kind: Kind = Kind.COMPILE
    lookahead: bool = False
    reason: str | None = None  # why it runs here


@dataclass(frozen=True, slots=True)
class UnitDone:
    """A check-in: the step's result is in place, or it failed for good (`exit_status` not 0)."""

    step: int
    output: str  # absolute
    node: str | None
    attempt: int
    time: float
    seconds: float
    exit_status: int = 0
    kind: Kind = Kind.COMPILE
    lookahead: bool = False
    bytes_sent: int = 0
    bytes_received: int = 0
    outputs: tuple[str, ...] = ()  # all that it has written, absolute
    tries_out: bool = False  # somebody asks whether it works, so it may fail
    kept: bool = False  # an earlier build had made the result


@dataclass(frozen=True, slots=True)
class Retry:
    """An attempt did not count; the unit is no longer at `node`.  Its next attempt is a new `UnitStarted`."""

    step: int
    output: str  # absolute
    node: str | None  # where the attempt was
    attempt: int
    time: float
    outcome: str  # refused, lost, late, corrupt, killed, cancelled, stale, ...
    reason: str  # `node pi3 closed after 12 of 4096 bytes`
    next_node: str | None = None  # where it goes now, when that is known


@dataclass(frozen=True, slots=True)
class Summary:
    """How the build ended."""

    exit_status: int  # what buildfarm exits with
    time: float
    seconds: float
    done: int = 0
    failed: int = 0
    remote: int = 0
    local: int = 0
    lookahead: int = 0
    retries: Mapping[str, int] = field(default_factory=dict)  # by outcome
    reused: int = 0  # made by an earlier build: verified by resume, or asked for by make now
    links: int = 0
    links_failed: int = 0
    unseen: int = 0  # objects that recipes compiled by calls that were not caught, as far as that is known
    interrupted: bool = False  # `buildfarm resume` continues it

    @property
    def retried(self) -> int:
        return sum(self.retries.values())


class Reporter(Protocol):
    """Shows one build as it happens.  Every method returns at once and never raises for a lost terminal."""

    def started(self, event: BuildStarted) -> None: ...

    def totals(self, event: Totals) -> None: ...

    def unit_started(self, event: UnitStarted) -> None: ...

    def unit_done(self, event: UnitDone) -> None: ...

    def retry(self, event: Retry) -> None: ...

    def set_aside(self, step: int, time: float) -> None:
        """A unit that was started ahead of make has left its slot; it is done when make asks for it, if ever."""

    def node_changed(self, node: NodeStatus, time: float) -> None: ...

    def note(self, text: str) -> None:
        """Say `text` once: a reporter drops a note that it has already said in this build."""

    def finished(self, event: Summary) -> None: ...
