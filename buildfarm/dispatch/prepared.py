"""What preparation hands to the conductor: a job, what it was made from, what is already made.

Values only; `prepare.py` makes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from buildfarm.model import Job


class CannotTravel(Exception):
    """This unit must be compiled here; `reason` is for the journal and `explain`.

    It is no error: the user's source may be wrong (then the local compile says so in its own words), or the
    unit is of a kind that no recipe carries.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Made:
    """An output of the unit that is already made, under a private name."""

    temporary: str  # absolute
    final: str  # absolute


@dataclass(frozen=True, slots=True)
class Repeat:
    """The same compile once more, so that warnings come back as a local compile would print them."""

    job: Job
    prefix: bytes = b""  # what P3r put before absolute names

    def restore(self, stderr: bytes) -> bytes:
        """The node's messages with the names as the user knows them."""
        return stderr.replace(self.prefix, b"") if self.prefix else stderr


@dataclass(frozen=True, slots=True)
class Prepared:
    """A unit that is ready to travel.

    `stderr` is what preprocessing printed here; a local compile prints it too.  When the node's answer has an
    empty SERR, `stderr` is the unit's whole text.  When it has not, `repeat(SERR)` gives the job whose SERR is
    the right text - carets and all - or None when only a local compile can tell.
    """

    job: Job
    inputs: tuple[str, ...]  # absolute paths of all files read, the source first
    outputs_made: tuple[Made, ...] = ()
    stderr: bytes = b""
    repeat: Callable[[bytes], Repeat | None] = lambda stderr: None
