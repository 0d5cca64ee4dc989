"""Judges a node's answer: does it count, is the node at fault, or must this machine's compiler speak.

It does not look into the object (`elf` does) and does not compile anything.  The table is the one of distccd 3.4's
behaviour (`src/serve.c: dcc_run_job`, `src/exitcode.h`) and of what gcc's driver says when its compiler dies:

    STAT                         SERR                                 means
    0, object not empty                                               Ok, if the object is valid
    0, object empty                                                   corrupt
    exit 110                     "failed to exec"                     refused: whitelisted, not installed
    exit 118                                                          late: --job-lifetime is over
    exit 100 and more                                                 lost: distccd's own failures
    a signal                                                          killed: the driver
    another exit status          "Killed signal terminated program"   killed: cc1, for memory
    another exit status          "internal compiler error"            killed: cc1, by itself
    another exit status          empty                                refused: usually the node's disk is full
    another exit status          anything else                        the user's, once a local compile says so
"""

from __future__ import annotations

from buildfarm.model import Answer
from buildfarm.value import dataclass

_COMPILER_MISSING = 110  # EXIT_COMPILER_MISSING, distcc's src/exitcode.h
_TIMEOUT = 118  # EXIT_TIMEOUT
_DISTCC_FAILED = 100  # the first of distcc's own statuses
_KILLED = b"Killed signal terminated program"
_CRASHED = b"internal compiler error"


@dataclass(frozen=True, slots=True)
class Ok:
    """The compiler succeeded; the object is still to be verified."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class NodeAtFault:
    """The node is at fault: another attempt.  `outcome` is a word of `faults`, or `killed`."""

    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class LocalVerdict:
    """The compiler failed there; whether the source is wrong, and in which words, this machine's must say."""

    reason: str


def judge(answer: Answer) -> Ok | NodeAtFault | LocalVerdict:
    """What an answer means."""
    signal, status = answer.status & 0x7F, answer.status >> 8 & 0xFF
    if answer.status == 0:
        return Ok(answer) if answer.object else NodeAtFault("corrupt", "said success and sent an empty object")
    if signal:
        return NodeAtFault("killed", f"the compiler driver died of signal {signal}")
    if status == _COMPILER_MISSING:
        return NodeAtFault("refused", f"the compiler is not installed: {_line(answer.stderr)}")
    if status == _TIMEOUT:
        return NodeAtFault("late", "the node's --job-lifetime was over")
    if status >= _DISTCC_FAILED:
        return NodeAtFault("lost", f"distccd failed with status {status}: {_line(answer.stderr)}")
    if _KILLED in answer.stderr:
        return NodeAtFault("killed", "the compiler was killed")
    if _CRASHED in answer.stderr:
        return NodeAtFault("killed", "the compiler crashed: internal compiler error")
    if not answer.stderr.strip():
        return NodeAtFault("refused", f"status {status} without a word; is its disk full?")
    return LocalVerdict(f"the compiler failed with status {status}: {_line(answer.stderr)}")


def _line(text: bytes) -> str:
    """The first line that says something, printable and short."""
    lines = text.decode(errors="replace").splitlines()
    first = next((line for line in lines if line.strip()), "it says nothing")
    return "".join(c for c in first.strip() if c.isprintable())[:200]
