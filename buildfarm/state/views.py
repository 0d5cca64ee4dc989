"""What a reader of the journal gets: the frozen rows that `status`, `report`, `explain` and the exports are made of.

They judge nothing and know no database.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from buildfarm.value import dataclass

if TYPE_CHECKING:
    from buildfarm.model import OutputRecord


@dataclass(frozen=True, slots=True)
class BuildView:
    """The last build.  Times are seconds since the epoch."""

    id: int
    goals: tuple[str, ...]
    variables: Mapping[str, str]
    directory: str
    pid: int
    exit_status: int | None
    started: float
    ended: float | None
    resumed_from: int | None


@dataclass(frozen=True, slots=True)
class Counters:
    """Units, and links and archives, of the last build."""

    total: int | None = None  # None: not known yet
    total_is_final: bool = False
    done: int = 0
    checked_out: int = 0
    failed: int = 0
    remote: int = 0
    local: int = 0
    lookahead: int = 0
    retried: int = 0
    reused: int = 0
    links_done: int = 0
    links_running: int = 0
    asked: int = 0
    foreseen: int = 0
    predicted: int = 0
    wasted: int = 0
    instances: int = 0
    plan_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as the build last saw it; fields as in `model.NodeStatus`."""

    key: str
    host: str
    port: int
    state: str
    slots: int
    checked_out: int
    done: int
    failed: int
    compiler: str | None
    reason: str | None
    retry_at: float | None
    mean_seconds: float | None
    languages: str  # separated by blanks


@dataclass(frozen=True, slots=True)
class CheckedOutView:
    """A step under way, or under way when its build died."""

    output: str
    kind: str
    node: str | None
    attempt: int
    started: float
    arrived: bool = False  # in place already, waiting for a barrier
    waits: bool = False  # its attempt has come to nothing, and there is no other yet
    lookahead: bool = False


@dataclass(frozen=True, slots=True)
class FailureView:
    output: str
    argv: tuple[str, ...]
    cwd: str
    exit_status: int
    stderr: bytes


@dataclass(frozen=True, slots=True)
class StatusRows:
    """One consistent view of the last build.

    `state` is that of the status document; a build that calls itself running and whose process is gone is
    `interrupted`.  `problem` says why there is nothing to show of a journal that is there.
    """

    state: str
    build: BuildView | None = None
    counters: Counters = Counters()
    nodes: tuple[NodeView, ...] = ()
    checked_out: tuple[CheckedOutView, ...] = ()
    failures: tuple[FailureView, ...] = ()
    eta_seconds: float | None = None  # as estimated at `eta_at`
    eta_at: float | None = None
    retries: tuple[tuple[str, int], ...] = ()  # attempts that did not count, by outcome
    last_heard_at: float | None = None  # of an interrupted build: its last sign of life
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class AttemptView:
    attempt: int
    node: str | None
    started: float
    ended: float | None
    outcome: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class StepView:
    """One step with its whole story; for `explain`, `report` and the trace."""

    build: int
    step: int
    kind: str
    state: str
    output: str | None
    argv: tuple[str, ...]
    cwd: str
    fingerprint: str
    node: str | None
    attempt: int
    lookahead: bool
    started: float
    ended: float | None
    seconds: float | None
    exit_status: int | None
    bytes_sent: int | None
    bytes_received: int | None
    reason: str | None
    stderr: bytes
    inputs: tuple[str, ...]
    attempts: tuple[AttemptView, ...]


@dataclass(frozen=True, slots=True)
class Delivered:
    """A unit as it was checked in."""

    inputs: tuple[str, ...]  # absolute, the source first
    seen: str  # what they looked like then, as a digest
    outputs: tuple[OutputRecord, ...]


def named_output(argv: Sequence[str], cwd: str) -> str:
    """How a step is called that claims no output in the tree: by what `-o` names, else by its source.

    A lookahead claims none, nor does a compile to `/dev/null`.
    """
    words = list(pairwise(argv))
    named = next((after for word, after in words if word == "-o" and after != "/dev/null"), None)
    if named is None:
        plain = [word for before, word in words if not word.startswith("-") and before != "-o"]
        likely = (word for word in reversed(plain) if "." in os.path.basename(word))
        named = next(likely, (plain or [*argv] or [""])[-1])  # options may come after the source
    return os.path.join(cwd, named)
