"""Classifies commands that differ in the names of source and object only, as most of a project's do, by the first one.

It decides nothing that `classify` would not: it keeps what that said of one command, and puts other names in.

Theory of operation.  What an argument means to a compiler driver depends on the arguments before it, never on the text
of an input or of an operand.  So if one command, all of whose words but two begin with a dash, is a unit that may
travel, reads the first of the two and writes the second to `-o`, then so does every command with the same other words
in the same places; only the source's suffix, and names that mean something by themselves, make a difference.
Commands with depfiles are left to `classify`, because these are named by the object.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from buildfarm.graph.names import is_conftest, is_device
from buildfarm.model import Kind, ToolCall, Unit

Shape = tuple[object, ...]


class Alike:
    """`classify`, with a memory for the commands of one environment."""

    def __init__(self, classify: Callable[[Sequence[str]], ToolCall]) -> None:
        self._classify = classify
        self._units: dict[Shape, Unit | None] = {}  # the first of each shape; None: it is not as needed

    def __call__(self, argv: Sequence[str]) -> ToolCall:
        """What the call `argv` does."""
        places = _places(argv)
        if places is None:
            return self._classify(argv)
        at, to = places
        source, output = argv[at], argv[to]
        first, last = (at, to) if at < to else (to, at)
        shape = (
            os.path.splitext(source)[1],
            *places,
            *argv[:first],
            *argv[first + 1 : last],
            *argv[last + 1 :],
        )
        unit = self._units.get(shape)
        if unit is not None and not _means_something(source) and not _means_something(output):
            return ToolCall(Kind.COMPILE, unit.tool, (output,), _renamed(unit, tuple(argv), source, output))
        call = self._classify(argv)
        if shape not in self._units:
            self._units[shape] = call.unit if _is_as_needed(call.unit, source, output) else None
        return call


def _places(argv: Sequence[str]) -> tuple[int, int] | None:
    """Where source and object stand if they are all that does not begin with a dash."""
    names = [place for place, word in enumerate(argv) if word[:1] != "-"]
    if len(names) != 3 or names[0] != 0:
        return None
    _, first, second = names
    if argv[second - 1] == "-o":
        return first, second
    return (second, first) if argv[first - 1] == "-o" else None


def _is_as_needed(unit: Unit | None, source: str, output: str) -> bool:
    """Whether the two names were read as source and object, and nothing else was."""
    return (
        unit is not None
        and unit.may_travel  # then it has no other input
        and unit.depfile is None
        and (unit.source, unit.output) == (source, output)
        and source != output
        and sum(word.startswith("-o") for word in unit.argv) == 1
    )


def _means_something(name: str) -> bool:
    return not name or is_device(name) or is_conftest(name)


def _renamed(unit: Unit, argv: tuple[str, ...], source: str, output: str) -> Unit:
    return Unit(
        unit.tool,
        unit.language,
        argv,
        source,
        output,
        unit.preprocess_arguments,
        unit.compile_arguments,
        unit.depfile,
        unit.assembler_only,
        unit.debug,
        unit.full_preprocessing,
        unit.fortran,
        unit.local_reason,
    )
