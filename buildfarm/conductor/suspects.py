"""What make's own graph says about the files of an interrupted build: which are targets, and which recipes go on.

It judges no file (`state.recovery` does) and removes none.  It asks make once, with `-B`, so that the recipes of
targets that look up to date are told too; a half-written file looks up to date.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildfarm.dispatch import elf
from buildfarm.graph import shell
from buildfarm.graph.plan import Target

WRITE_NOTHING = frozenset({"echo", "printf", "true", ":", "test", "[", "exit"})
_ARCHIVE = b"!<arch>\n"
_MEMBER = 60  # bytes of a member's header (ar(5))


@dataclass(frozen=True, slots=True)
class Suspects:
    """Absolute, normalised paths."""

    files: tuple[str, ...]  # file targets for which make has a recipe
    continued: frozenset[str]  # outputs of a step whose recipe has commands after it
    troubles: tuple[str, ...]  # what could not be planned


def find(directory: str, words: Sequence[str], environment: Mapping[str, str]) -> Suspects:
    """Ask make about the build `make WORDS` in the absolute `directory`."""
    from buildfarm.conductor.planner import plan_build

    planned = plan_build(directory, ("-B", *words), environment)
    files: dict[str, None] = {}
    continued: set[str] = set()
    for target in planned.graph.targets():
        if not target.phony and target.recipe:
            files[_real(target.key)] = None
        continued.update(_continued(target, environment))
        if target.grouped_with is not None and not target.phony:
            files[_real(target.key)] = None
    return Suspects(tuple(files), frozenset(continued), planned.troubles)


def _continued(target: Target, environment: Mapping[str, str]) -> Iterator[str]:
    """The outputs of this target's calls that later commands of its recipe may change."""
    if not target.calls:
        return
    commands: list[tuple[str, ...] | None] = []  # in the recipe's order; None: not understood
    for line in target.recipe:
        script = shell.parse(line, target.directory, environment)
        commands += [c.argv for c in script.commands if os.path.basename(c.argv[0]) not in WRITE_NOTHING]
        commands += [None for _ in script.opaque]
    for call in target.calls:
        if commands[-1:] != [call.argv]:
            yield from map(_real, call.outputs)


def _real(path: str) -> str:
    """A path as a tool that works there would name it: getcwd(3) resolves the links of directories."""
    directory, name = os.path.split(path)
    return os.path.join(os.path.realpath(directory), name)


def is_whole(path: str) -> bool:
    """Whether the file is of a kind whose own structure says that it is complete, and is: ELF, or an archive.

    Linker and assembler write an ELF file's header when all else is written (bfd, `elf.c`,
    `_bfd_elf_write_object_contents`), so one that was cut by a kill has no valid header, or ends before its section
    table.  This says nothing about bytes that a cut of power took.
    """
    try:
        data = Path(path).read_bytes()
    except OSError:
        return False
    if data.startswith(_ARCHIVE):
        return _is_whole_archive(data)
    return elf.is_whole(data)


def _is_whole_archive(data: bytes) -> bool:
    position = len(_ARCHIVE)
    while position < len(data):
        header = data[position : position + _MEMBER]
        if len(header) < _MEMBER or header[58:] != b"`\n" or not header[48:58].strip().isdigit():
            return False
        position += _MEMBER + int(header[48:58])
        if position > len(data):
            return False
        position += position % 2
    return True
