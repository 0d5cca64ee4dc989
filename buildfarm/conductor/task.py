"""A unit on its way, and what has come of it: the values that travel between `lookahead`, `making` and `units`.

They know no farm, no node and no stub.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from buildfarm.conductor.delivery import temporary_name
from buildfarm.conductor.lending import NO_SEAT, Seat
from buildfarm.conductor.workbench import Urgency
from buildfarm.dispatch.fortran_text import FortranText
from buildfarm.dispatch.prepared import Made
from buildfarm.dispatch.stamps import Stamp
from buildfarm.model import CheckOut, Invocation, Kind, Unit
from buildfarm.value import dataclass


@dataclass(frozen=True, slots=True)
class Task:
    """One unit on its way, with what must be known of it at every station."""

    step: int
    unit: Unit
    invocation: Invocation  # its environment is free of the masquerade
    typed: tuple[str, ...]  # argv as make's recipe had it
    outputs: tuple[str, ...]  # absolute, the object first
    tool_path: str
    fingerprint: str
    workdir: Path  # for what is made here before the object comes back
    urgency: Urgency = field(default_factory=Urgency)
    ahead: bool = False  # begun before make asked for it
    seat: Seat = NO_SEAT  # of the call that waits for it
    draft: str = ""  # a script that prints its source, which is not there yet
    kept: bool = False  # its result was made by an earlier build

    def check_out(
        self, made: tuple[Made, ...], node: str | None, attempt: int, *, token: str, held: bool = False
    ) -> CheckOut:
        """The journal's record that it leaves, to write `made` beside its outputs; `token` is the build's.

        With `held`, nothing in the tree is at stake: its result goes to the store.
        """
        outputs = tuple(dict.fromkeys((*self.outputs, *(item.final for item in made))))
        return CheckOut(
            step=self.step,
            kind=Kind.COMPILE,
            cwd=self.invocation.cwd,
            argv=self.typed,
            outputs=() if held else outputs,
            fingerprint=self.fingerprint,
            node=node,
            attempt=attempt,
            time=time.time(),
            lookahead=self.ahead,
            temporaries=() if held else tuple(temporary_name(path, token, self.step) for path in outputs),
        )


@dataclass(frozen=True, slots=True)
class Compiled:
    """A unit that a node has compiled, verified, not yet in place."""

    object: bytes
    stdout: bytes
    stderr: bytes
    made: tuple[Made, ...]
    inputs: tuple[str, ...]
    node: str | None
    seconds: float
    attempt: int = 1
    bytes_sent: int = 0
    bytes_received: int = 0
    since_ns: int = 0  # when its preparation began
    modules_since_ns: int = 0  # when the first of the modules that it uses may have been read
    stable: bool = True  # no input changed while it was away
    seen: Mapping[str, Stamp | None] = field(default_factory=dict)  # what its inputs looked like at the last look


@dataclass(frozen=True, slots=True)
class Modules:
    """A Fortran unit's first phase: its text is read and its module files are made, privately.

    `text` None: it was cheap to read and is read again when its turn has come, so that units that wait for a slot
    hold no text.
    """

    text: FortranText | None
    made: tuple[Made, ...] = ()
    borrowed: Mapping[str, str] = field(default_factory=dict)  # final path -> private file: modules it uses, its source
    since_ns: int = 0
    modules_since_ns: int = 0  # when the first of the modules that it uses may have been read
