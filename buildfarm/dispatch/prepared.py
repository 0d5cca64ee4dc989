"""What preparation hands to the conductor: a job, what it was made from, what is already made.

Values only; `prepare.py` makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from buildfarm.dispatch.closure import Header
from buildfarm.model import Answer, Job
from buildfarm.value import dataclass


class CannotTravel(Exception):
    """This unit must be compiled here; `reason` is for the journal and `explain`.

    It is no error: the user's source may be wrong (then the local compile says so in its own words), or the
    unit is of a kind that no recipe carries.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotAsText(CannotTravel):
    """Preprocessed here it would make another object; a node that preprocesses it may make the right one."""


@dataclass(frozen=True, slots=True)
class Made:
    """An output of the unit that is already made, under a private name, or will be by what the answer tells."""

    temporary: str  # absolute
    final: str  # absolute
    content: bytes | None = None  # None: it stands in `temporary`, else only here

    def read(self) -> bytes:
        """Its bytes.  Raises OSError."""
        if self.content is not None:
            return self.content
        with open(self.temporary, "rb") as file:
            return file.read()


def _no_repeat(stderr: bytes) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Repeat:
    """The same compile once more, for its words alone: the object of the first answer stands.

    `words(SERR)` is the text that a local compile prints.
    """

    job: Job
    words: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Settled:
    """What the answer to a job tells."""

    object: bytes  # with this machine's names
    inputs: tuple[str, ...]  # absolute paths of the files that were really read, the source first
    made: tuple[Made, ...] = ()  # with their content
    stdout: bytes = b""  # what is the user's of it


@dataclass(frozen=True, slots=True)
class Prepared:
    """A unit that is ready to travel.

    `words(SERR)` is the whole text that a local compile would print, if the node's SERR tells it; else None, and
    `repeat(SERR)` is a job whose answer does.  If that is None too, only a local compile knows the text.
    `relies_on` and `in_full` belong together.
    With `settle`, `inputs` is a superset, and the answer says what was read; None: the answer is not to be used, and
    the unit goes another way.
    """

    job: Job
    inputs: tuple[str, ...]  # absolute paths of all files read, the source first
    outputs_made: tuple[Made, ...]
    stderr: bytes  # what preprocessing printed here
    words: Callable[[bytes], bytes | None]
    repeat: Callable[[bytes], Repeat | None] = _no_repeat
    seen: Mapping[str, tuple[int, int, int, int]] | None = None  # mtime ns, size, inode, ctime ns
    settle: Callable[[Answer], Settled | None] | None = None
    relies_on: frozenset[Header | str] = frozenset()  # files that the node must have, and paths that it must not have
    in_full: Callable[[], Job] | None = None  # the job for a node that may have others: these are sent too

    @property
    def preprocessed_there(self) -> bool:
        return self.job.recipe == "P3"
