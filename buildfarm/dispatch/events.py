"""The scheduler's words: the events that it is told, and the actions that it asks for.

They are values alone; who decides is `scheduler`, who performs is the conductor's farm.
"""

from __future__ import annotations

from buildfarm.dispatch.health import Fault
from buildfarm.model import Node
from buildfarm.value import dataclass

# --- events ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Submit:
    """A prepared unit asks for a slot."""

    unit: int
    language: str
    estimate: float | None = None  # seconds on a node of speed 1; None: unknown
    priority: float = 0.0  # remaining path, seconds; infinite where nobody can tell, for all of the build may wait
    demanded: bool = True  # make waits for it; False: lookahead
    pressing: bool = False  # lookahead that would be the last to end: it goes with what make waits for


@dataclass(frozen=True, slots=True)
class Demand:
    """Make now asks for a unit that was submitted as lookahead."""

    unit: int


@dataclass(frozen=True, slots=True)
class Press:
    """A unit submitted as lookahead has become pressing."""

    unit: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Nobody wants the unit any more (make was killed, its input changed)."""

    unit: int


@dataclass(frozen=True, slots=True)
class Succeeded:
    """An attempt's result was valid."""

    unit: int
    attempt: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt ended through its node's fault."""

    unit: int
    attempt: int
    fault: Fault
    reason: str


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A node says that the unit does not compile: the local compiler must give the verdict.  No fault of the node."""

    unit: int
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Declined:
    """The attempt's node has not the compiler that this very unit needs.  No fault of the node."""

    unit: int
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Join:
    """Nodes as the host list has them now; nodes not named any more drain.  `local_slots` None: as before."""

    nodes: tuple[Node, ...]
    local_slots: int | None = None


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe's result.  `error` None: passed."""

    node: str
    languages: frozenset[str] = frozenset()
    compiler: str = ""
    error: str | None = None
    quarantine: bool = False  # it answered, but differs from this machine
    remark: str | None = None  # which languages it does not compile, and why
    seconds: float | None = (
        None  # of a small question, connection included: its speed is guessed by that until units tell
    )


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A node was caught out by something the scheduler does not see, such as a verification elsewhere."""

    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class LocalSlotFreed:
    """A unit that was sent away with `RunHere(slot=True)` has ended."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""

    crowding: float = 1.0  # how many want each of the master's processors: so much longer is silence borne


Event = (
    Submit
    | Demand
    | Press
    | Withdraw
    | Succeeded
    | Failed
    | Unsettled
    | Declined
    | Join
    | Probed
    | Quarantine
    | LocalSlotFreed
    | Tick
)


# --- actions -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Send the unit to the node."""

    unit: int
    attempt: int
    node: str
    deadline: float  # seconds from now


@dataclass(frozen=True, slots=True)
class Cancel:
    """Drop this attempt: another one won, or nobody wants the unit.

    With a `reason` it is the node's fault, to be told as such; `outcome` is the journal's word.
    """

    unit: int
    attempt: int
    node: str
    reason: str | None = None
    outcome: str = "late"


@dataclass(frozen=True, slots=True)
class RunHere:
    """Compile it on the master: no node can take it, or one of the host list's `localhost/N` slots is free.

    The unit is gone from the scheduler; with `slot`, `LocalSlotFreed` must tell of its end.  `hung`: a node's compiler
    did not end on it.
    """

    unit: int
    reason: str
    slot: bool = False
    hung: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No node can take it and the master may not.  The unit is gone from the scheduler."""

    unit: int
    reason: str


@dataclass(frozen=True, slots=True)
class Settled:
    """The first valid result has won.  The unit is gone from the scheduler."""

    unit: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask the node who it is; `again`: it was up until now and may only be slow, so what else it has proved holds."""

    node: str
    again: bool = False


Action = Start | Cancel | RunHere | GiveUp | Settled | Probe
