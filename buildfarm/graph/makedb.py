"""Parses what GNU make prints under `-n -p --trace` into values.

It runs nothing, reads no file and resolves no path: names stay as make writes them, relative to make's directory.

Theory of operation.  The text is `trace, data base` once, and once more for every re-exec after a remade
makefile; the last pair counts, because it is made with the newest makefiles.  In the trace each recipe that make
would run is announced by a line with its place and target (`job.c`, `new_job`; wording of 4.0 to 4.3 and of 4.4),
then the expanded recipe lines follow.  In the data base (`file.c`, `print_file`) each name is a block that ends in
an empty line; the rule line is the one right before the first line that begins with `#` and two spaces, which
skips target-specific variables, even those whose value has several lines.  Blocks are cut into rows, here with
`str.find`, one at a time, or by a faster `Cut` that must do the same (`make/blocks.c`); rules are made of rows.

The data base joins names by single spaces.  A name with spaces is told from several names by the names that have
blocks of their own: every name that make knows has one.

A line that begins with `\\x1e` and a number says that the recipe line before it was stopped by the plan shell
(`make/dryrun.py`), which kept a record of that number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from buildfarm.value import dataclass

STOPPED = "\x1e"  # begins the mark that the plan shell's record leaves behind a recipe line

_TRACE = re.compile(
    r"(?P<place>.+?:\d+|<builtin>): "
    r"(?:target '(?P<absent>.+)' does not exist|update target '(?P<name>.+?)' due to: (?P<due>.*))"
)
_ANNOUNCED = re.compile(rf"^(?:{_TRACE.pattern})$", re.MULTILINE)
_OWN_WORDS = re.compile(
    r"\S*make(?:\[\d+\])?: (?:Entering directory|Leaving directory|Nothing to be done for|'.*' is up to date)"
)
_START = "\n# Make data base, printed on "
_END = "\n# Finished Make data base on "
_VARIABLE = re.compile(
    r"^(\.DEFAULT_GOAL|MAKECMDGOALS|MAKEFILE_LIST|CURDIR|SHELL|MAKE_VERSION|MAKE_COMMAND) :?= (.*)$", re.MULTILINE
)
_LONGEST_NAME = 16  # words of one file name
_TELLING = 4096  # characters by which a part of the trace is found
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
Cut = Callable[[str, int, int], Iterable[Row]]
"""Cuts a text's files, from the first block's begin on up to the data base's end, into rows."""


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

    rules: Mapping[str, Rule]
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


def parse(text: str, cut: Cut | None = None, heard: Heard | None = None) -> MakeDatabase:
    """Parse one run's stdout.  Never raises on strange text: what is not understood is left out.

    What was `heard` is not read again if it stands in the trace, whole and once; else it does not count.
    """
    cut = cut or rows
    trace, base = _last_pass(text)
    files = text.find("\n# Files\n", base.start, base.stop)
    variables = dict(_VARIABLE.findall(text, base.start, files if files >= 0 else base.stop))
    rules = _rules(cut(text, files + len("\n# Files\n"), base.stop)) if files >= 0 else {}
    one_shell = ".ONESHELL" in rules
    goals = variables.get("MAKECMDGOALS", "").split() or variables.get(".DEFAULT_GOAL", "").split()
    return MakeDatabase(
        rules=rules,
        steps=tuple(_steps(text, trace, one_shell, heard)),
        goals=tuple(_names(goals, rules)),
        makefiles=tuple(variables.get("MAKEFILE_LIST", "").split()),
        directory=variables.get("CURDIR"),
        shell=variables.get("SHELL", "/bin/sh"),
        one_shell=one_shell,
        not_parallel=".NOTPARALLEL" in rules,
        complete=bool(base) and text.startswith(_END, base.stop),
    )


def complaints(stderr: str) -> Complaints:
    """Sort make's own stderr (untranslated messages): missing rules, targets not remade, fatal errors."""
    missing = dict.fromkeys(MissingRule(found["target"], found["parent"]) for found in _NO_RULE.finditer(stderr))
    fatal = (line for line in _FATAL.findall(stderr) if not _NO_RULE.match(line))
    return Complaints(
        missing=tuple(missing),
        not_remade=tuple(dict.fromkeys(_NOT_REMADE.findall(stderr))),
        fatal=tuple(fatal),
    )


def _last_pass(text: str) -> tuple[range, range]:
    """Where the last trace and the last data base stand; the latter is empty where there is none."""
    start = text.rfind(_START)
    if start < 0:
        if not text.startswith(_START[1:]):
            return range(len(text)), range(0)
        start = 0
    before = text.rfind(_END, 0, start)
    after = text.find(_END, start)
    trace = text.find("\n", before + 1) if before >= 0 else 0
    return range(trace, start), range(start, after if after >= 0 else len(text))


# --- the data base's files -------------------------------------------------------------------------------


def _blocks(text: str, start: int, stop: int) -> Iterator[str]:
    """What stands between empty lines, up to the files' statistics."""
    end = text.find("\n# files hash-table stats:", start - 1, stop)
    end = end if end >= 0 else stop
    while start <= end:
        empty = text.find("\n\n", start, end)
        yield text[start : empty if empty >= 0 else end]
        start = empty + 2 if empty >= 0 else end + 1


def _rules(read: Iterable[Row]) -> dict[str, Rule]:
    read = list(read)
    known = {row[0]: row[0] for row in read}
    rules: dict[str, Rule] = {}
    make: Callable[[type[Rule], tuple[object, ...]], Rule] = tuple.__new__  # a rule in a third of the time
    for name, words, also, place, facts in read:
        is_target, phony, absent, failed, placed = _FACTS[facts]
        double = name[-1:] == ":" and name != ":"
        if double:
            name = name[:-1]
        normal, order = _split_prerequisites(words, known) if words else ((), ())
        makes = tuple(other for other in _names(also.split(" "), known) if other != name) if also else ()
        source = place if placed else None
        rule = make(Rule, (name, is_target, normal, order, phony, double, makes, source, absent, failed))
        rules[name] = _joined(rules[name], rule) if name in rules else rule
    return rules


def rows(text: str, start: int, stop: int) -> Iterator[Row]:
    """The `Cut` that needs nothing but Python."""
    return (found for block in _blocks(text, start, stop) if (found := _row(block)) is not None)


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


def _split_prerequisites(text: str, known: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The normal ones, and those behind the bar; names that are known are not copied."""
    if " " not in text and text != "|" and (name := known.get(text)) is not None:
        return (name,), ()
    words = text.split(" ")
    if "|" not in words:
        return _unique(_names(words, known)), ()
    bar = words.index("|")
    return _unique(_names(words[:bar], known)), _unique(_names(words[bar + 1 :], known))


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names)) if len(names) > 1 else tuple(names)


def _names(words: list[str], known: Collection[str]) -> Sequence[str]:
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


# --- the trace -------------------------------------------------------------------------------------------


class StepReader:
    """Reads a trace, whole lines at a time."""

    def __init__(self) -> None:
        self.steps: list[Step] = []  # that have ended
        self.open_line = False  # the last line goes on after its backslash
        self._announced: re.Match[str] | None = None
        self._lines: list[RecipeLine] = []
        self.over = False  # the data base has begun

    def read(self, text: str) -> None:
        """More of the trace, without the newline of its last line."""
        if self.over:
            return
        for line in text.split("\n"):
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
            self.steps.append(_step(self._announced, self._lines))
            self._announced, self._lines = None, []


@dataclass(frozen=True, slots=True)
class Heard:
    """A part of the trace that was read while make still printed; it begins with an announced recipe."""

    text: str  # whole lines
    reader: StepReader  # has read them


def announced(text: str) -> int | None:
    """Where the first line that announces a recipe begins."""
    found = _ANNOUNCED.search(text)
    return found.start() if found else None


def _steps(text: str, trace: range, one_shell: bool, heard: Heard | None) -> Iterator[Step]:
    reader = StepReader()
    rest = trace.start
    begin = text.find(heard.text[:_TELLING], trace.start, trace.stop) if heard is not None and heard.text else -1
    if heard is not None and begin >= 0 and text.startswith(heard.text, begin, trace.stop):
        if begin > trace.start and text[begin - 1] == "\n":
            reader.read(text[trace.start : begin - 1])
            rest = begin
        if rest == begin and not reader.open_line and not reader.over:
            reader.end()
            yield from _joined_lines(reader.steps, one_shell)
            reader = heard.reader
            rest += len(heard.text)
    if rest < trace.stop:
        reader.read(text[rest : trace.stop])
    reader.end()
    yield from _joined_lines(reader.steps, one_shell)


def _joined_lines(steps: Iterable[Step], one_shell: bool) -> Iterator[Step]:
    """With `.ONESHELL` a recipe's lines are one."""
    for step in steps:
        if one_shell and len(step.lines) > 1:
            record = next((line.record for line in step.lines if line.record is not None), None)
            step = step._replace(lines=(RecipeLine("\n".join(line.text for line in step.lines), record),))
        yield step


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
