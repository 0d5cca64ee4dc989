"""Splits make's command line into what buildfarm must know and what goes to make unchanged.

It reads words only: neither MAKEFLAGS nor a Makefile, and it expands no variable.  Every option of GNU make 4.2
to 4.4 is known with its operand rules (make's `main.c`: `switches`, `decode_switches`; `variable.c`:
`parse_variable_definition`; getopt_long(3) for clusters, `--` and unambiguous abbreviations).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import Enum, auto

from buildfarm.errors import UsageError
from buildfarm.value import dataclass

UNLIMITED_JOBS = 0
"""`MakeArguments.jobs` for `-j` without a number."""


class _Operand(Enum):
    NONE = auto()
    REQUIRED = auto()
    ATTACHED = auto()  # only as part of the word: -Oline, --debug=b
    INTEGER = auto()  # attached, or the next word if it is all digits: -j4, -j 4
    NUMBER = auto()  # attached, or the next word if it begins like a number: -l2.5, -l 2.5


_SHORT: Mapping[str, _Operand] = {
    **dict.fromkeys("bBdehikLmnpqrRsStvw", _Operand.NONE),
    **dict.fromkeys("CfIoWE", _Operand.REQUIRED),
    "O": _Operand.ATTACHED,
    "j": _Operand.INTEGER,
    "l": _Operand.NUMBER,
}

#: Long option to short one, or to itself where there is no short one.
_LONG: Mapping[str, str] = {
    "always-make": "B",
    "assume-new": "W",
    "assume-old": "o",
    "check-symlink-times": "L",
    "debug": "debug",
    "directory": "C",
    "dry-run": "n",
    "environment-overrides": "e",
    "eval": "E",
    "file": "f",
    "help": "h",
    "ignore-errors": "i",
    "include-dir": "I",
    "jobs": "j",
    "jobserver-auth": "jobserver-auth",
    "jobserver-fds": "jobserver-fds",
    "jobserver-style": "jobserver-style",
    "just-print": "n",
    "keep-going": "k",
    "load-average": "l",
    "makefile": "f",
    "max-load": "l",
    "new-file": "W",
    "no-builtin-rules": "r",
    "no-builtin-variables": "R",
    "no-keep-going": "S",
    "no-print-directory": "no-print-directory",
    "no-silent": "no-silent",
    "old-file": "o",
    "output-sync": "O",
    "print-data-base": "p",
    "print-directory": "w",
    "question": "q",
    "quiet": "s",
    "recon": "n",
    "shuffle": "shuffle",
    "silent": "s",
    "stop": "S",
    "sync-mutex": "sync-mutex",
    "touch": "t",
    "trace": "trace",
    "version": "v",
    "warn-undefined-variables": "warn-undefined-variables",
    "what-if": "W",
}
_LONG_OPERANDS: Mapping[str, _Operand] = {
    "debug": _Operand.ATTACHED,
    "jobserver-auth": _Operand.REQUIRED,
    "jobserver-fds": _Operand.REQUIRED,
    "jobserver-style": _Operand.REQUIRED,
    "shuffle": _Operand.ATTACHED,
    "sync-mutex": _Operand.REQUIRED,
}
_NO_RECIPES = frozenset("nqtvh")
_NEVER_EMPTY = frozenset("CfIoW")
_OPERATOR = re.compile(r":::=|::=|:=|\+=|\?=|!=|=")


def is_option(name: str) -> bool:
    """Whether make has an option of this whole name: `-k`, `--keep-going`."""
    return name[2:] in _LONG if name.startswith("--") else name[1:] in _SHORT


@dataclass(frozen=True, slots=True)
class Definition:
    """A variable given on the command line; `name` and `value` are not expanded."""

    name: str
    operator: str  # = := ::= :::= += ?= !=
    value: str


@dataclass(frozen=True, slots=True)
class MakeArguments:
    """make's command line, taken apart."""

    directory: str = "."  # of all -C, one after the other
    enters: bool = False  # -C was given: make says which directory it enters and leaves
    makefiles: tuple[str, ...] = ()  # -f, in order; `-` is stdin
    jobs: int | None = None  # the last -j; None: not given; UNLIMITED_JOBS: no number
    goals: tuple[str, ...] = ()
    definitions: tuple[Definition, ...] = ()
    flags: tuple[str, ...] = ()  # every option but -C, -j and -f, words as given
    make_words: tuple[str, ...] = ()  # for make: everything but -C and -j, options first
    load: float | None = None  # the last -l; None: no limit
    dry_run: bool = False  # make runs no recipe, or none as written: -n, -q, -t, -v, -h
    question: bool = False  # -q
    touch: bool = False  # -t
    keep_going: bool = False  # -k and no later -S
    always: bool = False  # -B
    variables: Mapping[str, str] = field(default_factory=dict)  # of `definitions`: the last value, as typed

    @property
    def reads_stdin(self) -> bool:
        """Whether a makefile comes from stdin, so that the same command can't be repeated."""
        return any(name in ("-", "/dev/stdin", "/dev/fd/0") for name in self.makefiles)


@dataclass(slots=True)
class _Option:
    key: str
    operand: str | None
    words: tuple[str, ...]


def parse(words: Sequence[str]) -> MakeArguments:
    """Take apart make's command line (without argv[0]).  Raises UsageError where make would print its usage."""
    options, positional = _split(words)
    directory = os.path.join("", *(option.operand or "" for option in options if option.key == "C"))
    kept = [option for option in options if option.key not in ("C", "j")]
    keys = [option.key for option in options]
    goals: list[str] = []
    definitions: list[Definition] = []
    for word in positional:
        definition = parse_definition(word)
        if definition is not None:
            definitions.append(definition)
        elif word != "-":  # "ignore plain - for compatibility"
            goals.append(word)
    return MakeArguments(
        directory=directory or ".",
        enters="C" in keys,
        makefiles=tuple(option.operand or "" for option in options if option.key == "f"),
        jobs=_jobs(options),
        goals=tuple(goals),
        definitions=tuple(definitions),
        flags=tuple(word for option in kept if option.key != "f" for word in option.words),
        make_words=_join(kept, positional),
        load=_load(options),
        dry_run=not _NO_RECIPES.isdisjoint(keys),
        question="q" in keys,
        touch="t" in keys,
        keep_going=next((key for key in reversed(keys) if key in ("k", "S")), None) == "k",
        always="B" in keys,
        variables={definition.name: definition.value for definition in definitions},
    )


def parse_definition(word: str) -> Definition | None:
    """The definition that make takes `word` for, or None if it is a goal."""
    start = len(word) - len(word.lstrip(" \t"))
    at = start
    while at < len(word):
        if word[at] == "#":
            return None
        if word[at] == "$":
            at = _after_reference(word, at)
            continue
        blanks = len(word[at:]) - len(word[at:].lstrip(" \t"))
        operator = _OPERATOR.match(word, at + blanks)
        if operator:
            return Definition(word[start:at], operator[0], word[operator.end() :].lstrip(" \t"))
        if blanks or word[at] == ":":
            return None
        at += 1
    return None


def _after_reference(word: str, at: int) -> int:
    """Behind the variable reference that begins with the `$` at `at`."""
    opening = word[at + 1 : at + 2]
    if opening not in ("(", "{"):
        return at + 2
    closing = ")" if opening == "(" else "}"
    depth = 0
    for position in range(at + 1, len(word)):
        if word[position] == opening:
            depth += 1
        elif word[position] == closing:
            depth -= 1
            if depth == 0:
                return position + 1
    return len(word)


def _split(words: Sequence[str]) -> tuple[list[_Option], list[str]]:
    """Options in order, and the words that are none."""
    options: list[_Option] = []
    positional: list[str] = []
    rest = list(reversed(words))
    while rest:
        word = rest.pop()
        if word == "--":
            positional.extend(reversed(rest))
            break
        if word.startswith("--"):
            options.append(_long(word, rest))
        elif word.startswith("-") and word != "-":
            options.extend(_cluster(word, rest))
        else:
            positional.append(word)
    return options, positional


def _long(word: str, rest: list[str]) -> _Option:
    name, separator, value = word[2:].partition("=")
    candidates = [name] if name in _LONG else [known for known in _LONG if known.startswith(name)]
    keys = {_LONG[candidate] for candidate in candidates}
    if len(keys) != 1:
        what = f"is ambiguous: {', '.join('--' + known for known in candidates)}" if keys else "is unknown"
        raise UsageError(f"option --{name} {what}", hint="make --help lists make's options")
    key = keys.pop()
    kind = _LONG_OPERANDS.get(key) or _SHORT.get(key, _Operand.NONE)
    if separator and kind is _Operand.NONE:
        raise UsageError(f"option --{name} takes no operand, got {value!r}")
    operand, further = _operand(f"--{name}", key, kind, value if separator else None, rest)
    return _Option(key, operand, (word, *further))


def _cluster(word: str, rest: list[str]) -> list[_Option]:
    """The options of `-kj4`; all but the last are flags."""
    options: list[_Option] = []
    for position, letter in enumerate(word[1:], start=1):
        if letter not in _SHORT:
            within = f" (in {word})" if len(word) > 2 else ""
            raise UsageError(f"option -{letter}{within} is unknown", hint="make --help lists make's options")
        kind = _SHORT[letter]
        if kind is _Operand.NONE:
            options.append(_Option(letter, None, (f"-{letter}",)))
            continue
        attached = word[position + 1 :]
        operand, further = _operand(f"-{letter}", letter, kind, attached or None, rest)
        options.append(_Option(letter, operand, (f"-{letter}{attached}", *further)))
        break
    return options


def _operand(
    option: str, key: str, kind: _Operand, attached: str | None, rest: list[str]
) -> tuple[str | None, tuple[str, ...]]:
    """The operand, and the word taken from `rest` for it, if any.  Raises UsageError."""
    operand: str | None = attached
    further: tuple[str, ...] = ()
    if attached is None and rest and _takes_next(kind, rest[-1]):
        operand = rest.pop()
        further = (operand,)
    if kind is _Operand.REQUIRED and operand is None:
        raise UsageError(f"option {option} needs an operand")
    if key in _NEVER_EMPTY and not operand:
        raise UsageError(f"option {option} needs an operand that is not empty")
    if key == "j" and operand is not None and (not re.fullmatch("[0-9]+", operand) or int(operand) < 1):
        raise UsageError(f"option {option} needs a positive integer, got {operand!r}")
    return operand, further


def _takes_next(kind: _Operand, word: str) -> bool:
    if kind is _Operand.REQUIRED:
        return True
    if kind is _Operand.INTEGER:
        return re.fullmatch("[0-9]*", word) is not None
    return kind is _Operand.NUMBER and re.match(r"[0-9.]", word) is not None


def _join(options: Sequence[_Option], positional: Sequence[str]) -> tuple[str, ...]:
    """Words that make splits again into just these options and words."""
    words = [word for option in options for word in option.words]
    last = options[-1] if options else None
    swallows = bool(last and last.key == "l" and last.operand is None and positional) and _takes_next(
        _Operand.NUMBER, positional[0]
    )
    if swallows or any(word.startswith("-") and word != "-" for word in positional):
        words.append("--")
    return (*words, *positional)


def _jobs(options: Sequence[_Option]) -> int | None:
    for option in reversed(options):
        if option.key == "j":
            return UNLIMITED_JOBS if option.operand is None else int(option.operand)
    return None


def _load(options: Sequence[_Option]) -> float | None:
    for option in reversed(options):
        if option.key == "l":
            # atof(3): the longest number that it begins with
            number = re.match(r"\s*[0-9]*\.?[0-9]*", option.operand or "")
            return float(number[0]) if number and re.search("[0-9]", number[0]) else None
    return None
