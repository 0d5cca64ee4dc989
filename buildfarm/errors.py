"""Errors that end a command: each owns its exit code and says what to do next.

It does not print and does not exit; only the CLI does.  A failed unit, a lost node and a peer that sent
rubbish are *outcomes*, not errors of this module; our own bugs are `assert` with a message that starts `BUG:`.
"""

from __future__ import annotations


class BuildfarmError(Exception):
    """A command can't go on.  `exit_code` is what the process exits with; `hint` is what to do next."""

    exit_code: int = 70

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(BuildfarmError):
    """The command line is wrong (EX_USAGE)."""

    exit_code = 64


class NothingToResume(BuildfarmError):
    """`resume` in a tree that was never built (EX_NOINPUT)."""

    exit_code = 66


class MachineError(BuildfarmError):
    """This machine lacks what a build needs: no make, unwritable directory, full disk (EX_OSERR)."""

    exit_code = 71


class NoStateHere(MachineError):
    """The tree's directory takes no state of ours: it, or what is there of that already, can't be written."""


class TreeLocked(BuildfarmError):
    """Another build holds this tree's lock (EX_TEMPFAIL); the message names its pid."""

    exit_code = 75


class ConfigError(BuildfarmError):
    """A configuration or host list is wrong (EX_CONFIG).

    The message names the file, the line, the field, and what was expected.
    """

    exit_code = 78


class StateError(BuildfarmError):
    """The state database can't be used, for instance because a newer buildfarm wrote it (EX_CONFIG)."""

    exit_code = 78
