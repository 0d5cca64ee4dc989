"""Classifies commands that differ in the names of source and object only, as most of a project's do, by the first one.

It decides nothing that `classify` would not: it keeps what that said of one command, and puts other names in.

Theory of operation.  What an argument means to a compiler driver depends on the arguments before it, never on the text
of an input or of an operand.  So if one command, all of whose words but two begin with a dash, is a unit that may
travel, reads the first of the two and writes the second to `-o`, then so does every command with the same other words
in the same places; only the source's suffix, and names that mean something by themselves, make a difference.
Commands with depfiles are left to `classify`, because these are named by the object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from buildfarm.graph.names import is_conftest, is_device
from buildfarm.model import Kind, ToolCall, Unit

Shape = tuple[object, ...]


class Alike:
    """`classify`, with a memory for the commands of one environment."""

    def __init__(self, classify: Callable[[Sequence[str]], ToolCall]) -> None:
        self._classify = classify
        self._units: dict[tuple[int, int], dict[Shape, Unit | None]] = {}  # by places of source and object, by shape
        # the first of each shape; None: it is not as needed

    def __call__(self, argv: Sequence[str]) -> ToolCall:
        """What the call `argv` does."""
        argv = tuple(argv)
        for places, units in self._units.items():  # there are few
            at, to = places
            if at < len(argv) and to < len(argv):
                unit = units.get(_shape(argv, at, to))
                if unit is not None and _names_only(source := argv[at]) and _names_only(output := argv[to]):
                    return ToolCall(Kind.COMPILE, unit.tool, (output,), _renamed(unit, argv, source, output))
        call = self._classify(argv)
        found = _places(argv)
        if found is not None:
            at, to = found
            unit = call.unit if _is_as_needed(call.unit, argv[at], argv[to]) else None
            self._units.setdefault(found, {}).setdefault(_shape(argv, at, to), unit)
        return call


def _shape(argv: tuple[str, ...], at: int, to: int) -> Shape:
    """All but the two names, and the source's suffix, which tells its language."""
    suffix = argv[at].rpartition(".")[1:]
    if at < to:
        return (suffix, argv[:at], argv[at + 1 : to], argv[to + 1 :])
    return (suffix, argv[:to], argv[to + 1 : at], argv[at + 1 :])


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
        and unit.stack_usage is None
        and unit.listing is None
        and (unit.source, unit.output) == (source, output)
        and source != output
        and sum(word.startswith("-o") for word in unit.argv) == 1
    )


def _names_only(name: str) -> bool:
    """Whether it names a file, no option and no device, and nothing that autoconf tries out."""
    return bool(name) and name[0] not in "-@." and "/." not in name and not is_device(name) and not is_conftest(name)


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
