"""Reads the trace of `make -n --trace`: each recipe that make would run, in make's serial order.

It knows nothing of the data base that follows (`graph/makedb.py`) and reads no command.

Each recipe is announced by a line with its place and target (`job.c`, `new_job`; wording of 4.0 to 4.3 and of 4.4);
then the expanded recipe lines follow.  A line that begins with `\\x1e` and a number says that the recipe line before
it was stopped by the plan shell (`make/dryrun.py`), which kept a record of that number.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

STOPPED = "\x1e"  # begins the mark that the plan shell's record leaves behind a recipe line

_TRACE = re.compile(
    r"(?P<place>.+?:\d+|<builtin>): "
    r"(?:target '(?P<absent>.+)' does not exist|update target '(?P<name>.+?)' due to: (?P<due>.*))"
)
_OWN_WORDS = re.compile(
    r"\S*make(?:\[\d+\])?: (?:Entering directory|Leaving directory|Nothing to be done for|'.*' is up to date)"
)


class RecipeLine(NamedTuple):
    """One line of a recipe as its shell gets it: expanded, continuations joined by backslash and newline."""

    text: str
    record: int | None = None  # the plan shell's record, if make would have run this line even under -n


class Step(NamedTuple):
    """A recipe that make would run now, in make's serial order."""

    target: str
    place: str | None  # `Makefile:12`; None: built into make
    due_to: str  # the newer prerequisites as make names them; empty: the target does not exist
    lines: tuple[RecipeLine, ...]
    also: tuple[str, ...] = ()  # other targets of the same grouped rule, as far as the trace names them


class StepReader:
    """Reads a trace, whole lines at a time."""

    def __init__(self, words: dict[str, str] | None = None) -> None:
        """`words` has one copy of each name, and gets more: dicts find the very same string in half of the time."""
        self._words = {} if words is None else words
        self.steps: list[Step] = []  # that have ended
        self.open_line = False  # the last line goes on after its backslash
        self._announced: re.Match[str] | None = None
        self._lines: list[RecipeLine] = []
        self.over = False  # the data base has begun

    def read(self, lines: bytes) -> None:
        """More of the trace."""
        if self.over:
            return
        for line in os.fsdecode(lines.removesuffix(b"\n")).split("\n"):
            if not self.open_line and " target '" in line and (found := _TRACE.fullmatch(line)):
                self.end()
                self._announced = found
            elif self._announced is None:
                continue
            elif line.startswith(STOPPED):
                if self._lines and line[1:].isdigit():
                    self._lines[-1] = self._lines[-1]._replace(record=int(line[1:]))
            elif self.open_line:
                self._lines[-1] = RecipeLine(f"{self._lines[-1].text}\n{line}")
                self.open_line = _continues(line)
            elif line.startswith("# GNU Make "):
                self.over = True
                return
            elif line and not ("make" in line and _OWN_WORDS.match(line)):
                self._lines.append(RecipeLine(line))
                self.open_line = line.endswith("\\") and _continues(line)

    def end(self) -> None:
        """No more lines of this recipe come."""
        if self._announced is not None:
            step = _step(self._announced, self._lines)
            self.steps.append(step._replace(target=self._words.setdefault(step.target, step.target)))
            self._announced, self._lines = None, []


def _step(announced: re.Match[str], lines: list[RecipeLine]) -> Step:
    place, absent, names, due = announced.groups()
    if place == "<builtin>":
        place = None
    if absent is not None:
        return Step(absent, place, "", tuple(lines))
    name, *also = names.split("', '")
    return Step(name, place, "" if due == "target does not exist" else due, tuple(lines), tuple(also))


def _continues(line: str) -> bool:
    return line.endswith("\\") and (len(line) - len(line.rstrip("\\"))) % 2 == 1
