"""Tells which command substitutions only ask something (`` `nf-config --fflags` ``), and keeps what a plan has asked.

It runs nothing; `conductor/planner.py` has the questions answered, confined, and makes the plan once more.  What is
not known to be a mere question is never run, and what stands around it stays unknown to the plan.  So it is with a
project's own script (Perl's `sh cflags ...`): what confines it stops neither network nor signals, make may not have
made yet what it reads, and unlike what stands in `$(shell ...)` `make -n` would not run it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from buildfarm.graph import shell

_TELLERS = "arch basename dirname echo expr ls nproc pkg-config pkgconf printf pwd readlink realpath uname which"
_FILTERS = "cat cut egrep fgrep grep head sort tail tr uniq wc"
_TESTS = "test [ true false :"
_READERS = frozenset((*_TELLERS.split(), *_FILTERS.split(), *_TESTS.split()))
_TELLS_FLAGS = re.compile(r".+-config(?:-[\d.]+)?")  # nf-config, nc-config, python3-config, llvm-config-15, ...
_GIT_READS = frozenset({"describe", "rev-parse"})
_SED_WRITES = re.compile(r"-\w*i|--in-place|.*(?:\bw\s|/[gpIm\d]*w)")
_HOSTNAME_TELLS = re.compile(r"-[AIdfisy]|--(?:all-fqdns|all-ip-addresses|domain|fqdn|ip-address|long|short)")
_MOST_AT_ONCE = 100  # the kernel takes 128 kB in one argument


class Question(NamedTuple):
    """A command that prints something, in the directory where a recipe runs it, with the variables that it sees."""

    command: str
    cwd: str
    environment: frozenset[tuple[str, str]]


class Questions:
    """What one plan asks: a `shell.Ask` that knows what was answered, and notes the rest."""

    def __init__(self) -> None:
        self.answers: dict[Question, str | None] = {}  # None: not to be had
        self.open: list[Question] = []

    def __call__(self, command: str, cwd: str, environment: Mapping[str, str]) -> str | None:
        question = Question(command, cwd, frozenset(environment.items()))
        if question not in self.answers:
            self.answers[question] = None
            if only_asks(command, cwd, environment):
                self.open.append(question)
        return self.answers[question]

    def taken(self) -> Iterator[list[Question]]:
        """The open ones, which are so no more: together those that can be asked together."""
        together: dict[tuple[str, frozenset[tuple[str, str]]], list[Question]] = {}
        for question in self.open:
            together.setdefault((question.cwd, question.environment), []).append(question)
        self.open = []
        for questions in together.values():
            for at in range(0, len(questions), _MOST_AT_ONCE):
                yield questions[at : at + _MOST_AT_ONCE]


def only_asks(command: str, cwd: str, environment: Mapping[str, str]) -> bool:
    """Whether nothing but its output can come of `command`."""
    parsed = shell.parse(command, cwd, environment)
    return bool(parsed.commands) and not parsed.opaque and all(map(_reads, parsed.commands))


def _reads(command: shell.Command) -> bool:
    if command.writes:
        return False
    name, words = command.argv[0].rpartition("/")[2], command.argv[1:]
    if name == "git":
        return words[:1] != () and words[0] in _GIT_READS
    if name == "hostname":  # any other operand would be this machine's new name
        return all(map(_HOSTNAME_TELLS.fullmatch, words))
    if name == "sed":
        return not any(map(_SED_WRITES.match, words))
    return name in _READERS or _TELLS_FLAGS.fullmatch(name) is not None
