"""What make's own graph says about the files of an interrupted build: which are targets, and which recipes go on.

It judges no file (`state.recovery` does) and removes none.  It asks make once, with `-B`, so that the recipes of
targets that look up to date are told too; a half-written file looks up to date.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from buildfarm.dispatch import elf
from buildfarm.graph import shell
from buildfarm.graph.plan import Target, may_write

_ARCHIVE = b"!<arch>\n"
_MEMBER = 60  # bytes of a member's header (ar(5))


class Suspects:
    """What make says; paths are absolute and normalised."""

    def __init__(
        self,
        targets: Iterable[Target],
        environment: Mapping[str, str],
        troubles: tuple[str, ...] = (),
        makefiles: Iterable[str] = (),
    ) -> None:
        self._targets = tuple(targets)
        self._environment = environment
        self._directories: dict[str, str] = {}  # by the name that make uses
        self._continues: dict[str, bool] | None = None  # by output
        self.troubles = troubles  # what could not be planned
        files = (target.key for target in self._targets if not target.phony and (target.recipe or target.grouped_with))
        self.files = tuple(dict.fromkeys(map(self._real, files)))
        """File targets for which make has a recipe."""
        self.makefiles = tuple(dict.fromkeys(map(self._real, makefiles)))
        """Those that the instances read."""

    def continues(self, path: str) -> bool | None:
        """Whether the recipe of the call that writes `path` has commands after it; None: no plan has that call.

        Most sweeps need not know.
        """
        if self._continues is None:
            self._continues = {}
            for target in self._targets:
                for output, goes_on in _continued(target, self._environment):
                    real = self._real(output)
                    self._continues[real] = goes_on or self._continues.get(real, False)
        return self._continues.get(os.path.normpath(path))

    def repeated(self, gone: Iterable[str]) -> frozenset[str]:
        """Outputs of calls in recipes that make runs again, ended or not, once `gone` are away.

        They are those of targets that are no files, or not there, and of what needs something of `gone`.
        """
        users: dict[str, list[Target]] = {}
        stack = list(gone)
        due = set(stack)
        for target in self._targets if stack else ():
            for needed in target.prerequisites:
                users.setdefault(self._real(needed), []).append(target)
        while stack:
            for user in users.get(stack.pop(), ()):
                if (path := self._real(user.key)) not in due:
                    due.add(path)
                    stack.append(path)
        again = (target for target in self._targets if not _stands(target) or self._real(target.key) in due)
        return frozenset(self._real(path) for target in again for call in target.calls for path in call.outputs)

    def _real(self, path: str) -> str:
        """A path as a tool that works there would name it: getcwd(3) resolves the links of directories."""
        directory, name = os.path.split(path)
        real = self._directories.get(directory)
        if real is None:
            real = self._directories[directory] = os.path.realpath(directory)
        return os.path.join(real, name)


def find(directory: str, words: Sequence[str], environment: Mapping[str, str]) -> Suspects:
    """Ask make about the build `make WORDS` in the absolute `directory`."""
    from buildfarm.conductor.planner import plan_instances

    plans, troubles = plan_instances(directory, ("-B", *words), environment)
    targets = (target for plan in plans for target in plan.targets.values())
    makefiles = (path for plan in plans for path in plan.makefiles)
    return Suspects(targets, environment, troubles, makefiles)


def _stands(target: Target) -> bool:
    """Whether it is a file that is there."""
    return not target.phony and os.path.exists(target.key)


def _continued(target: Target, environment: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    """The outputs of this target's calls, and whether later commands of its recipe may change them."""
    if not target.calls:
        return
    last = next((line for line in reversed(target.recipe) if _may_write(line, target.directory, environment)), "")
    for call in target.calls:
        goes_on = not call.ends_line or call.line != last
        yield from ((output, goes_on) for output in call.outputs)


def _may_write(line: str, directory: str, environment: Mapping[str, str]) -> bool:
    script = shell.parse(line, directory, environment)
    return bool(script.opaque) or any(map(may_write, script.commands))


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
