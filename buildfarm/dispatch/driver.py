"""Learns which `cc1` command a gcc driver would start, so that units skip the driver.

It runs preprocessors only, and never decides what a preprocessor's failure means.

*Theory of operation.*  `gcc -E` is two programs: a driver that reads its specs, and `cc1`, which does the work.  The
driver costs 2 ms of some 15.  What it would start is told by `-###` (gcc manual, "Options Controlling the Kind of
Output"), and it is the same for all units with the same options but for the words that name the unit.  A lesson is
believed only after the direct command gave the same bytes as the driver for another unit; whatever does not fit
stays with the driver.  Not asked at all: drivers that are scripts or launchers (they may set the environment), and
options by which the driver looks for its programs elsewhere.

Rejected: to ask for every unit (costs as much as the driver), and to make cc1's options by our own rules.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import Enum, auto
from pathlib import Path

from buildfarm.dispatch import local
from buildfarm.value import dataclass

WORTH_LEARNING = 3  # units with the same options that go by the driver before it is asked
_GCC = re.compile(r"(?:.*-)?(?:gcc|g\+\+|c\+\+|cc)(?:-[0-9.]+)?")
# How -### quotes (gcc.cc: execute): whole arguments, with a backslash before " \\ and $.
_WORD = re.compile(r'"((?:\\.|[^"\\])*)"|(\S+)')
_ESCAPE = re.compile(r"\\(.)")
_ELSEWHERE = ("-B", "-wrapper", "-specs", "--specs", "-no-integrated-cpp", "-x", "@")
_ENVIRONMENT = ("PATH", "GCC_EXEC_PREFIX", "COMPILER_PATH", "GCC_ROOT")  # what the driver itself reads
_SOURCE, _BASE, _STEM, _DEPFILE, _TARGET = "\0source", "\0base", "\0stem", "\0depfile", "\0target"


class _State(Enum):
    COUNTING = auto()
    ASKING = auto()  # a unit is at it; others go by the driver
    KNOWN = auto()
    USELESS = auto()


@dataclass(slots=True)
class _Lesson:
    state: _State = _State.COUNTING
    seen: int = 0
    template: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Words:
    """The words that differ between units of the same options."""

    source: str
    depfile: str | None  # a temporary path of this unit's alone
    target: str  # what the depfile says is made

    def taken_out(self, argument: str, previous: str) -> str:
        """`argument` with the unit's own words replaced by marks."""
        if argument == self.source:
            return _SOURCE
        base = os.path.basename(self.source)
        if previous == "-dumpbase" and argument == base:
            return _BASE
        if previous in ("-MD", "-MMD") and argument == f"{os.path.splitext(base)[0]}.d":
            return _STEM
        if argument == self.target and previous in ("-MQ", "-MT"):
            return _TARGET
        if argument in (f"-MQ{self.target}", f"-MT{self.target}"):
            return argument[:3] + _TARGET
        return argument.replace(self.depfile, _DEPFILE) if self.depfile else argument

    def put_in(self, argument: str) -> str:
        """The reverse of `taken_out`."""
        if argument == _SOURCE:
            return self.source
        base = os.path.basename(self.source)
        if argument == _BASE:
            return base
        if argument == _STEM:
            return f"{os.path.splitext(base)[0]}.d"
        return argument.replace(_DEPFILE, self.depfile or "").replace(_TARGET, self.target)

    def template(self, arguments: Sequence[str]) -> tuple[str, ...]:
        previous = ("", *arguments[:-1])
        return tuple(self.taken_out(a, p) for a, p in zip(arguments, previous, strict=True))


@dataclass(slots=True)
class Drivers:
    """What was learned, for the life of a process."""

    _lessons: dict[tuple[str, ...], _Lesson] = field(default_factory=dict)

    async def run(self, argv: Sequence[str], words: Words, *, cwd: str, env: Mapping[str, str]) -> local.Finished:
        """Run the preprocessing `argv`, as short as is known to give the same.  Raises OSError."""
        lesson = self._lesson(argv, words, env)
        if lesson is None or lesson.state in (_State.ASKING, _State.USELESS):
            return await local.run(argv, cwd=cwd, env=env)
        if lesson.state is _State.KNOWN:
            return await local.run([words.put_in(a) for a in lesson.template], cwd=cwd, env=env)
        lesson.seen += 1
        if lesson.seen <= WORTH_LEARNING:
            return await local.run(argv, cwd=cwd, env=env)
        lesson.state = _State.ASKING
        try:
            template = await _ask(argv, words, cwd=cwd, env=env) if lesson.seen == WORTH_LEARNING + 1 else ()
            if template:
                lesson.template = template
                lesson.state = _State.COUNTING
                return await local.run(argv, cwd=cwd, env=env)
            return await self._compare(lesson, argv, words, cwd=cwd, env=env)
        finally:
            if lesson.state is _State.ASKING:
                lesson.state = _State.USELESS

    async def _compare(
        self, lesson: _Lesson, argv: Sequence[str], words: Words, *, cwd: str, env: Mapping[str, str]
    ) -> local.Finished:
        """Run both ways; the driver's result.  Equal bytes make the lesson known."""
        direct = None
        if lesson.template:
            direct = await local.run([words.put_in(a) for a in lesson.template], cwd=cwd, env=env)
        dependencies = _content(words.depfile)
        driven = await local.run(argv, cwd=cwd, env=env)
        if direct == driven and driven.succeeded and dependencies == _content(words.depfile):
            lesson.state = _State.KNOWN
        return driven

    def _lesson(self, argv: Sequence[str], words: Words, env: Mapping[str, str]) -> _Lesson | None:
        if any(a.startswith(_ELSEWHERE) for a in argv[1:]) or not is_gcc(argv[0]):
            return None
        suffix = os.path.splitext(words.source)[1]
        key = (suffix, *(env.get(name, "") for name in _ENVIRONMENT), *words.template(argv))
        return self._lessons.setdefault(key, _Lesson())


_GCCS: dict[str, bool] = {}


def is_gcc(path: str) -> bool:
    """Whether `path` is gcc's driver itself, not a script or launcher that calls it."""
    known = _GCCS.get(path)
    if known is None:
        real = os.path.realpath(path)
        try:
            with open(real, "rb") as file:
                binary = file.read(4) == b"\x7fELF"
        except OSError:
            binary = False
        known = _GCCS[path] = binary and _GCC.fullmatch(os.path.basename(real)) is not None
    return known


def is_clang(path: str) -> bool:
    """Whether `path` is clang, also where it is called `cc`, or a launcher is called `clang`."""
    return any("clang" in os.path.basename(name) for name in (path, os.path.realpath(path)))


async def started(argv: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> list[list[str]]:
    """The commands that the driver would start for `argv`, in order; none if it fails.  Raises OSError."""
    told = await local.run([*argv, "-###"], cwd=cwd, env=env)
    lines = os.fsdecode(told.stderr).splitlines() if told.succeeded else []
    return [
        [_ESCAPE.sub(r"\1", quoted) if quoted else bare for quoted, bare in _WORD.findall(line)]
        for line in lines
        if line.startswith(" ")
    ]


async def _ask(argv: Sequence[str], words: Words, *, cwd: str, env: Mapping[str, str]) -> tuple[str, ...]:
    """The one command that the driver would start, as a template; empty: it is not one cc1."""
    commands = await started(argv, cwd=cwd, env=env)
    if len(commands) != 1:
        return ()
    command = commands[0]
    if os.path.basename(command[0]) not in ("cc1", "cc1plus") or not os.access(command[0], os.X_OK):
        return ()
    return words.template(command)


def _content(path: str | None) -> bytes | None:
    try:
        return Path(path).read_bytes() if path else None
    except OSError:
        return None
