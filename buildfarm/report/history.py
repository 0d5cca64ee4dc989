"""One build that has run, as values: what the page, the trace and the metrics are made of.

It reads no journal and draws nothing; `conductor.history` fills it.  Times are seconds since the build's start
unless a name says otherwise; steps are numbered by their place in `History.steps`.
"""

from __future__ import annotations

from collections.abc import Mapping

from buildfarm.model import NOT_RETRIES
from buildfarm.value import dataclass


@dataclass(frozen=True, slots=True)
class Attempt:
    """One stay in a slot.  `outcome`: done, failed, held, dropped, lost, refused, ...; empty: it was under way."""

    node: str  # as in `Place.name`
    slot: int  # from 0
    start: float
    end: float
    number: int
    outcome: str
    reason: str | None = None

    @property
    def is_fault(self) -> bool:
        """Whether it did not count, so that the unit had to be tried again."""
        return self.outcome not in NOT_RETRIES and self.outcome != ""


@dataclass(frozen=True, slots=True)
class Step:
    """A unit, a link or an archive."""

    name: str  # its main output relative to the build's directory
    kind: str  # compile, link, archive, other
    state: str
    node: str
    seconds: float  # of the attempt that counted
    attempts: tuple[Attempt, ...]  # the one that counted last
    command: str
    cwd: str
    lookahead: bool = False
    asked: float | None = None  # ahead of make: when its result was put in its place
    critical: bool = False
    bytes_sent: int = 0
    bytes_received: int = 0
    exit_status: int = 0
    reason: str | None = None  # why it was compiled here
    stderr: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A node, or this machine."""

    name: str
    slots: int  # as configured, or as many as were seen at work
    state: str = "up"
    compiler: str | None = None
    reason: str | None = None
    here: bool = False


@dataclass(frozen=True, slots=True)
class Ahead:
    """What lookahead did: units, and seconds of compiling that make did not wait for."""

    delivered: int = 0
    seconds: float = 0.0
    spared: float = 0.0  # of these the seconds that were over before make asked
    wasted: int = 0  # results that nobody took
    wasted_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Chance:
    """What would have been faster, as a simulation of what ran says."""

    what: str
    seconds: float
    remark: str = ""


@dataclass(frozen=True, slots=True)
class History:
    """A build from its first check-out to its end."""

    build: int
    directory: str
    state: str
    goals: tuple[str, ...]
    variables: Mapping[str, str]
    started: float  # seconds since the epoch
    seconds: float
    exit_status: int | None
    resumed_from: int | None
    reused: int
    places: tuple[Place, ...]
    steps: tuple[Step, ...]
    edges: tuple[tuple[int, int], ...]  # (before, after)
    critical_path: tuple[int, ...] = ()
    critical_seconds: float = 0.0
    ahead: Ahead = Ahead()
    chances: tuple[Chance, ...] = ()

    @property
    def slots(self) -> int:
        """Slots on nodes."""
        return sum(place.slots for place in self.places if not place.here)

    @property
    def units(self) -> tuple[Step, ...]:
        """Compiles that are in place."""
        return tuple(step for step in self.steps if step.kind == "compile" and step.state == "done")
