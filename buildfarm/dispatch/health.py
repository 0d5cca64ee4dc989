"""A node's standing, a pure value machine: its record decides whether it gets work and when it is asked again.

It knows no clock (times come in), no socket and no unit; the scheduler asks it, the conductor performs the probes.

Theory of operation.  A node is `UNPROBED` until a probe has named its compiler; only then does it get units, so a
wrong compiler costs no unit.  A fault that may pass (refused, lost, late) makes it `DOWN`; it is probed again after a
pause that doubles from `FIRST_PAUSE` to the back-off period (`DISTCC_BACKOFF_PERIOD`, 60 s, distcc's own name and
value).  A fault that is a lie (an object that is not what was asked for) or a mismatch makes it `QUARANTINED`: no
more work in this build.  A compiler that was killed there lowers its slots by one, for the usual cause is memory;
so do times that have grown far beyond the node's own best while its slots were full, for then it swaps.  A lowered
slot comes back after `RESTORE_AFTER` good units.  A node that was slow where another was quick, or that
brings nothing back while make waits, is `SILENT`: it is asked at once, and as with one that is asked for the first
time units wait for its answer, but only for `FIRST_ANSWER_SECONDS`, or longer where this machine is crowded.
"""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum

from buildfarm.model import Node, NodeStatus
from buildfarm.value import dataclass

NOT_PROBED = "being asked who it is"
ASKED_AGAIN = "being asked whether it is there"
FIRST_ANSWER_SECONDS = 5.0  # so long units wait for a node that is asked who it is: the shelf may be switched off
FIRST_PAUSE = 1.0
FAULTS_UNTIL_DOWN = 2  # one lost unit may be bad luck; the second in a row is the node
SHORTEST_PAUSE = 0.5  # whatever the back-off period
SLOWEST = 0.05  # speed: what a unit that hung for a while may say of its node
SPEED_MEMORY = 0.8  # weight of the past in the moving mean of a node's speed
GUESS_NOISE = 0.67  # a quickest node's time by another's above which they count as alike
SWAPPING = 0.3  # of its best speed: a full node that has become so slow has too little memory for its slots
SPEED_KNOWN = 8  # units until a node's best speed is believed
RESTORE_AFTER = 50


class Standing(StrEnum):
    """Where a node stands; the values are those of the status document; what is not in it shows as `down`."""

    UNPROBED = "unprobed"  # never answered a probe
    UP = "up"
    SILENT = "silent"  # was up, and must say that it still is
    DOWN = "down"  # gone or refusing; a probe is due at `retry_at`
    QUARANTINED = "quarantined"  # lied or differs; out for this build
    DRAINING = "draining"  # taken off the list; units in flight finish


class Fault(StrEnum):
    """What a node did wrong, as far as the scheduler must tell faults apart."""

    REFUSED = "refused"  # no connection, or closed before an answer
    LOST = "lost"  # the connection broke after the unit was sent
    LATE = "late"  # no answer within the deadline
    KILLED = "killed"  # the compiler was killed or crashed there
    CORRUPT = "corrupt"  # said success, sent rubbish


@dataclass(slots=True)
class Health:
    """One node's standing and record in this build."""

    slots: int  # as configured; `usable` is what is left of them
    standing: Standing = Standing.UNPROBED
    reason: str | None = None
    retry_at: float | None = None  # when the next probe is due
    probing: bool = False
    languages: frozenset[str] = frozenset()
    compiler: str | None = None
    done: int = 0
    failed: int = 0
    speed: float = 1.0  # estimated seconds / seconds taken; 1.0 until measured, never below SLOWEST
    busy_seconds: float = 0.0
    lowered: int = 0  # slots given up for memory
    best_speed: float = 0.0
    probe_seconds: float | None = None  # what a small question took
    _asked_at: float = 0.0  # when its last probe began
    _late: bool = False  # with the answer to it
    _samples: int = 0  # units that told of its speed
    _measured: int = 0  # units that told of its speed since the slots last changed
    _good: int = 0  # units since the slots were last lowered
    _pause: float = field(default=FIRST_PAUSE)
    _faults: int = 0

    @property
    def usable(self) -> int:
        """Slots that may be filled now."""
        return self.learned_slots if self.standing is Standing.UP else 0

    @property
    def learned_slots(self) -> int:
        """Slots that are left of the configured ones, whatever its standing."""
        return max(1, self.slots - self.lowered)

    @property
    def mean_seconds(self) -> float | None:
        return self.busy_seconds / self.done if self.done else None

    @property
    def may_turn_out_well(self) -> bool:
        """Whether it is being asked who it is, and not late: its answer is worth waiting for."""
        return self.standing in (Standing.UNPROBED, Standing.SILENT) and not self._late

    def probe_started(self, now: float) -> None:
        self.probing, self._asked_at, self._late = True, now, False
        if self.standing is Standing.UNPROBED:
            self.reason = None

    def notice_silence(self, now: float, crowding: float) -> None:
        """Time has passed; the probe goes on, and the node may still come.  `crowding`: see `events.Tick`."""
        patience = crowding * FIRST_ANSWER_SECONDS
        if self.may_turn_out_well and now - self._asked_at >= patience:
            self._late = True
            self.reason = self.reason or f"no answer within {patience:.0f} s"

    def probe_passed(self, languages: frozenset[str], compiler: str, remark: str | None = None) -> None:
        """The node is well; `remark` says what it is of no use for, if anything."""
        self.probing = False
        if self.standing in (Standing.UNPROBED, Standing.SILENT, Standing.DOWN):
            self.standing = Standing.UP
        self.languages, self.compiler = languages, compiler
        self.reason, self.retry_at, self._faults = remark, None, 0

    def probe_failed(self, reason: str, now: float, backoff: float) -> None:
        self.probing = False
        if self.standing in (Standing.UNPROBED, Standing.SILENT, Standing.DOWN, Standing.UP):
            self._go_down(reason, now, backoff)

    def succeeded(self, estimate: float, seconds: float, together: int = 1) -> None:
        """A unit came back whole after `seconds`, one of `together` in flight there.

        `estimate` is what it was expected to take on a node of speed 1; 0: nobody knows.
        """
        self.done += 1
        self.busy_seconds += seconds
        self._faults, self._pause = 0, FIRST_PAUSE
        self._good += 1
        if self.lowered and self._good >= RESTORE_AFTER:
            self.lowered, self._good = self.lowered - 1, 0
        if estimate > 0 and seconds > 0:
            sample = min(max(estimate / seconds, SLOWEST), 20.0)
            self._samples += 1
            weight = max(1 - SPEED_MEMORY, 1 / (self._samples + 1))  # the first ones outweigh the guess
            self.speed += weight * (sample - self.speed)
            self._learn_slots(together)

    def guess_speed(self, ratio: float) -> None:
        """`ratio`: the quickest node's time for a small question by this one's; the network is part of it."""
        if not self._samples:
            self.speed = 1.0 if ratio > GUESS_NOISE else max(ratio, 0.1)

    def _learn_slots(self, together: int) -> None:
        self._measured += 1
        if self._measured < SPEED_KNOWN:
            return
        self.best_speed = max(self.best_speed, self.speed)
        if self.speed < SWAPPING * self.best_speed and together >= self.usable > 1:
            self._lower()

    def _lower(self) -> None:
        self.lowered = min(self.lowered + 1, max(self.slots - 1, 0))
        self._good = self._measured = 0

    def faulted(self, fault: Fault, reason: str, now: float, backoff: float) -> None:
        """An attempt ended through this node's fault."""
        self.failed += 1
        self.reason = reason
        if fault is Fault.CORRUPT:
            self.quarantine(reason)
        elif fault is Fault.KILLED:
            self._lower()
            self._faults += 1
            if self._faults > self.slots + FAULTS_UNTIL_DOWN:
                self._go_down(reason, now, backoff)
        else:
            self._faults += 1
            if self._faults >= FAULTS_UNTIL_DOWN or fault is Fault.REFUSED:
                self._go_down(reason, now, backoff)

    def quarantine(self, reason: str) -> None:
        self.standing, self.reason, self.retry_at = Standing.QUARANTINED, reason, None

    def suspect(self, reason: str) -> None:
        """A unit was given up there, late: no other until a probe has come back."""
        self.failed += 1
        self.ask_again(reason)

    def ask_again(self, reason: str | None = None) -> None:
        """It may hang: no unit until it has said that it is there."""
        if self.standing is Standing.UP:
            self.standing, self._late, self.reason = Standing.SILENT, False, None
        self.reason = reason or self.reason

    def drain(self) -> None:
        self.standing, self.retry_at = Standing.DRAINING, None

    def due(self, now: float) -> bool:
        """Whether a probe should start now."""
        if self.probing or self.standing in (Standing.QUARANTINED, Standing.DRAINING, Standing.UP):
            return False
        return self.retry_at is None or now >= self.retry_at

    def _go_down(self, reason: str, now: float, backoff: float) -> None:
        if self.standing is Standing.QUARANTINED:
            return
        if self.standing is not Standing.DRAINING:
            self.standing = Standing.DOWN
            self.retry_at = now + max(min(self._pause, backoff), SHORTEST_PAUSE)
            self._pause = min(self._pause * 2, backoff)
        self.reason = reason


def unasked(node: Node) -> NodeStatus:
    """A node's standing before anything is known of it."""
    return NodeStatus(node.key, node.host, node.port, "down", max(1, node.slots), reason=NOT_PROBED)
