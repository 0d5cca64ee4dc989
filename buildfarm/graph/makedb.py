"""Parses what GNU make prints under `-n -p --trace` into values.

It runs nothing, reads no file and resolves no path: names stay as make writes them, relative to make's directory.

Theory of operation.  The text is `trace, data base` once, and once more for every re-exec after a remade
makefile; the last pair counts, because it is made with the newest makefiles.  `graph/trace.py` reads traces.  In the
data base (`file.c`, `print_file`) each name is a block that ends in an empty line; the rule line is the one before the
first line that begins with `#` and two spaces, which skips target-specific variables, even those whose value has
several lines.  Blocks are cut into rows, here with `str.find`, one at a time, or by a faster `Cut` that must do the
same (`make/blocks.c`); rules are made of rows.  All is read while make still prints, and no text is kept: that of a
large project has a hundred megabytes.

The data base joins names by single spaces.  A name with spaces is told from several names by the names that have
blocks of their own: every name that make knows has one.  So all must have come; in the end, if there are names with
spaces, the words of every rule are joined.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from buildfarm.graph.trace import RecipeLine, Step, StepReader
from buildfarm.value import dataclass

_START = b"# Make data base, printed on "
_FILES = b"# Files\n"
_STATISTICS = b"# files hash-table stats:"  # behind the files
_END = b"# Finished Make data base on "
_VARIABLE = re.compile(
    r"^(\.DEFAULT_GOAL|MAKECMDGOALS|MAKEFILE_LIST|CURDIR|SHELL|MAKE_VERSION|MAKE_COMMAND) :?= (.*)$", re.MULTILINE
)
_LONGEST_NAME = 16  # words of one file name
_ALSO = "\n#  Also makes: "
_RECIPE = "\n#  recipe to execute (from '"
_NO_RULE = re.compile(
    r"^\S+: \*\*\* No rule to make target '(?P<target>.*?)'(?:, needed by '(?P<parent>.*)')?\.(?:  Stop\.)?$",
    re.MULTILINE,
)
_NOT_REMADE = re.compile(r"^\S+: Target '(.*)' not remade because of errors\.$", re.MULTILINE)
_FATAL = re.compile(r"^(?:\S+: \*\*\* |.+:\d+: \*\*\* |.+:\d+: .+: No such file or directory$).*$", re.MULTILINE)


Row = tuple[str, str, str, str, int]
"""A block that is a rule: name, prerequisites, what it also makes, the recipe's place, facts.  Words, no names yet."""
IS_TARGET, IS_PHONY, IS_ABSENT, HAS_FAILED, HAS_PLACE = 1, 2, 4, 8, 16
_BITS = (IS_TARGET, IS_PHONY, IS_ABSENT, HAS_FAILED, HAS_PLACE)
_FACTS = tuple([tuple([bool(facts & bit) for bit in _BITS]) for facts in range(32)])
Cut = Callable[[bytes], Iterable[Row]]
"""Cuts whole blocks, which begin with the newline before the first one, into rows."""


class Rule(NamedTuple):
    """What make knows of one name.  The rules of a double-colon target are joined, in their order."""

    name: str
    is_target: bool  # False: make found the name as a prerequisite or a makefile only
    prerequisites: tuple[str, ...] = ()
    order_only: tuple[str, ...] = ()
    phony: bool = False
    double_colon: bool = False
    also_makes: tuple[str, ...] = ()
    place: str | None = None  # of the recipe
    absent: bool = False  # "File does not exist" at the end of the dry run, which counts what it would make
    failed: bool = False  # "Failed to be updated": it, or what it needs, can't be made yet


@dataclass(frozen=True, slots=True)
class MissingRule:
    """`No rule to make target`: what a plan lacks, and for whom."""

    target: str
    needed_by: str | None


@dataclass(frozen=True, slots=True)
class MakeDatabase:
    """One make instance as make itself describes it."""

    rules: Mapping[str, Rule]  # without names that nothing is known of but that they are there
    steps: tuple[Step, ...]
    goals: tuple[str, ...]  # as given on the command line, else the default goal, else nothing
    makefiles: tuple[str, ...]  # that were read, as they were called
    directory: str | None  # CURDIR
    shell: str
    one_shell: bool
    not_parallel: bool
    complete: bool  # a whole data base was found


@dataclass(frozen=True, slots=True)
class Complaints:
    """What make wrote to stderr, sorted."""

    missing: tuple[MissingRule, ...]
    not_remade: tuple[str, ...]
    fatal: tuple[str, ...]  # every other `***` line, and makefiles that could not be read


class Reader:
    """Reads one run's stdout, piece by piece.  Never raises on strange text: what is not understood is left out."""

    def __init__(self, cut: Cut | None = None, words: dict[str, str] | None = None) -> None:
        """`words` has one copy of each name, and gets more."""
        self._words = {} if words is None else words
        self.trace = StepReader(self._words)  # of the last pass
        self._cut = cut or rows
        self._variables: list[bytes] = []  # and all else that stands before the data base's files
        self._files = _Files(self._cut, self._words)
        self._complete = False
        self._rest = b""  # what no part of the text has taken yet
        self._passes = self._read_passes()
        next(self._passes)

    @property
    def rules(self) -> Sequence[Rule]:
        """Those of the last pass as far as they were read: names with spaces are still apart."""
        return self._files.found

    def read(self, lines: bytes) -> None:
        """More of it, in whole lines."""
        self._rest = lines
        next(self._passes)

    def _read_passes(self) -> Iterator[None]:
        trace = self.trace
        while True:
            yield from self._up_to(_START, trace.read)
            self.trace, self._variables, self._files, self._complete = trace, [], _Files(self._cut, self._words), False
            yield from self._up_to(_FILES, self._variables.append)
            yield from self._up_to(_STATISTICS, self._files.read)
            self._files.end()
            yield from self._up_to(_END, lambda _: None)
            self._complete = True
            trace = StepReader(self._words)

    def _up_to(self, marker: bytes, take: Callable[[bytes], None]) -> Iterator[None]:
        """Have all taken that comes before the line that begins with the marker."""
        while True:
            end = 0 if self._rest.startswith(marker) else self._rest.find(b"\n" + marker) + 1 or len(self._rest)
            if end:
                take(self._rest[:end])
            self._rest = self._rest[end:]
            if self._rest:
                return
            yield

    def database(self) -> MakeDatabase:
        """What it all says; asked once, when all has been read."""
        variables = dict(_VARIABLE.findall(os.fsdecode(b"".join(self._variables))))
        rules = self._files.rules()
        one_shell = ".ONESHELL" in rules
        goals = variables.get("MAKECMDGOALS", "").split() or variables.get(".DEFAULT_GOAL", "").split()
        self.trace.end()
        return MakeDatabase(
            rules=rules,
            steps=tuple(_joined_lines(self.trace.steps, one_shell)),
            goals=tuple(self._files.names(goals)),
            makefiles=tuple(variables.get("MAKEFILE_LIST", "").split()),
            directory=variables.get("CURDIR"),
            shell=variables.get("SHELL", "/bin/sh"),
            one_shell=one_shell,
            not_parallel=".NOTPARALLEL" in rules,
            complete=self._complete,
        )


def _joined_lines(steps: Iterable[Step], one_shell: bool) -> Iterator[Step]:
    """With `.ONESHELL` a recipe's lines are one."""
    for step in steps:
        if one_shell and len(step.lines) > 1:
            record = next((line.record for line in step.lines if line.record is not None), None)
            step = step._replace(lines=(RecipeLine("\n".join(line.text for line in step.lines), record),))
        yield step


def complaints(stderr: str) -> Complaints:
    """Sort make's own stderr (untranslated messages): missing rules, targets not remade, fatal errors."""
    missing = dict.fromkeys(MissingRule(found["target"], found["parent"]) for found in _NO_RULE.finditer(stderr))
    fatal = (line for line in _FATAL.findall(stderr) if not _NO_RULE.match(line))
    return Complaints(
        missing=tuple(missing),
        not_remade=tuple(dict.fromkeys(_NOT_REMADE.findall(stderr))),
        fatal=tuple(fatal),
    )


class _Files:
    """Reads the blocks of the data base's files, and makes rules of them."""

    def __init__(self, cut: Cut, words: dict[str, str]) -> None:
        self._cut = cut
        self._kept = b"\n"  # the newline before a block, and what has come of it
        self._words = words  # one copy of each name
        self.found: list[Rule] = []
        self._sources: list[str] = []  # names of which nothing more is known
        self._has_spaces = False  # some name
        self._odd: list[int] = []  # rules whose names are not yet what they must be

    def read(self, lines: bytes) -> None:
        """More of them."""
        text = self._kept + lines
        end = text.rfind(b"\n\n")
        while end > 0 and text[end - 1] == ord("\n"):
            end -= 1  # the first of several: a block begins behind two of them
        if end > 0:
            self._take(self._cut(text[:end]))
            text = text[end + 1 :]
        self._kept = text

    def end(self) -> None:
        """There are no more."""
        self._take(self._cut(self._kept))
        self._kept = b"\n"

    def _take(self, rows: Iterable[Row]) -> None:
        share = self._words.setdefault
        make: Callable[[type[Rule], tuple[object, ...]], Rule] = tuple.__new__  # a rule in a third of the time
        for name, words, also, place, facts in rows:
            double = name[-1:] == ":" and name != ":"
            name = share(name, name) if not double else share(name[:-1], name[:-1])
            if " " in name:
                self._has_spaces = True
            if not (facts or words or also or double):
                self._sources.append(name)
                continue
            normal: tuple[str, ...] = ()
            order: tuple[str, ...] = ()
            if words and " " not in words and words != "|":
                normal = (share(words, words),)
            elif words:
                split = [share(word, word) for word in words.split(" ")]
                normal, order = _around_bar(split)
                if len({*normal}) < len(normal) or len({*order}) < len(order) or "" in split:
                    self._odd.append(len(self.found))
            makes = tuple(also.split(" ")) if also else ()
            if makes:
                self._odd.append(len(self.found))
            is_target, phony, absent, failed, placed = _FACTS[facts]
            source = share(place, place) if placed else None
            rule = (name, is_target, normal, order, phony, double, makes, source, absent, failed)
            self.found.append(make(Rule, rule))

    def rules(self) -> dict[str, Rule]:
        """All of them by name; asked once."""
        read = self.found
        for at in range(len(read)) if self._has_spaces else self._odd:
            rule = read[at]
            read[at] = rule._replace(
                prerequisites=tuple(dict.fromkeys(self.names(rule.prerequisites))),
                order_only=tuple(dict.fromkeys(self.names(rule.order_only))),
                also_makes=tuple([name for name in self.names(rule.also_makes) if name != rule.name]),
            )
        rules = {rule.name: rule for rule in read}
        if len(rules) < len(read):
            rules.clear()
            for rule in read:
                rules[rule.name] = _joined(rules[rule.name], rule) if rule.name in rules else rule
        return rules

    def names(self, words: Sequence[str]) -> Sequence[str]:
        """Words joined to names with spaces where only the joined name is known to make."""
        return _names(words, self._known) if self._has_spaces else [word for word in words if word]

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset((*self._sources, *(rule.name for rule in self.found)))


def rows(blocks: bytes) -> Iterator[Row]:
    """The `Cut` that needs nothing but Python."""
    return (found for block in os.fsdecode(blocks[1:]).split("\n\n") if (found := _row(block)) is not None)


def _row(block: str) -> Row | None:
    facts = block.find("\n#  ")
    if facts < 0 or block.startswith("#  Builtin rule", facts + 1):
        return None
    line = block.rfind("\n", 0, facts) + 1
    name, separator, prerequisites = _split_rule(block[line:facts])
    if not separator:
        return None
    recipe = block.find(_RECIPE, facts)
    end = block.find("\n# automatic", facts)
    if end < 0:
        end = recipe if recipe >= 0 else len(block)
    also = block.find(_ALSO, facts, end)
    place = _place(block, recipe + len(_RECIPE)) if recipe >= 0 else None
    kept = (
        (block.find("# Not a target:", 0, line) < 0) * IS_TARGET
        | (block.find("\n#  Phony target", facts, end) >= 0) * IS_PHONY
        | (block.find("\n#  File does not exist", facts, end) >= 0) * IS_ABSENT
        | (block.find("\n#  Failed to be updated", facts, end) >= 0) * HAS_FAILED
        | (place is not None) * HAS_PLACE
    )
    made = block[also + len(_ALSO) : _end_of_line(block, also + 1)] if also >= 0 else ""
    return name, prerequisites, made, place or "", kept


def _end_of_line(block: str, start: int) -> int:
    end = block.find("\n", start)
    return end if end >= 0 else len(block)


def _place(block: str, start: int) -> str | None:
    """`Makefile', line 12):` as `Makefile:12`."""
    file, separator, number = block[start : _end_of_line(block, start)].rpartition("', line ")
    return f"{file}:{number[:-2]}" if separator else None


def _split_rule(line: str) -> tuple[str, str, str]:
    """`name: a b | c` into name and the rest; a name's own colons are not followed by a space."""
    if line.endswith(":"):
        return line[:-1], ":", ""
    return line.partition(": ")


def _around_bar(words: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The normal prerequisites, and those behind the bar."""
    if "|" not in words:
        return tuple(words), ()
    bar = words.index("|")
    return tuple(words[:bar]), tuple(words[bar + 1 :])


def _names(words: Sequence[str], known: Collection[str]) -> Sequence[str]:
    """Join words back to names with spaces where only the joined name is known to make."""
    if all(word in known for word in words):
        return words
    names = []
    at = 0
    while at < len(words):
        word = words[at]
        end = at + 1
        if word not in known:
            for stop in range(min(len(words), at + _LONGEST_NAME), at + 1, -1):
                joined = " ".join(words[at:stop])
                if joined in known:
                    word, end = joined, stop
                    break
        if word:
            names.append(word)
        at = end
    return names


def _joined(first: Rule, second: Rule) -> Rule:
    return first._replace(
        is_target=first.is_target or second.is_target,
        prerequisites=tuple(dict.fromkeys(first.prerequisites + second.prerequisites)),
        order_only=tuple(dict.fromkeys(first.order_only + second.order_only)),
        phony=first.phony or second.phony,
        failed=first.failed or second.failed,
        also_makes=tuple(dict.fromkeys(first.also_makes + second.also_makes)),
        place=first.place or second.place,
    )
