"""What a result was made from, and whether that is still so: digests of what was read, names that must not appear.

It compiles nothing and preprocesses nothing: checking a result costs a `stat` for each file and directory.

Theory of operation.  A compile depends on the bytes of the files that it read, and on the *absence* of files that
it would have found first: a generated `version.h` in an earlier `-I` directory shadows the one that was read.  For
each file read and each directory searched, the name under which it could have been found there is on the list of
absences, if nothing is there at the time; it is a superset of what the compiler really looked for, so it can only
throw a good result away.  A directory whose mtime has not changed has no new names in it, so most checks end after
one `stat`.  One that objects are just being put into changes all the time: it is followed (`listings`), and where that
can't be, each name is looked for, if a check asks for few, because to list thousands of names for each of thousands of
units is quadratic.  A file that was changed
about when it was read (`RACY_NS`, as git does for its index) proves nothing.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from buildfarm.dispatch.listings import Listings
from buildfarm.dispatch.modules import MODULE_SUFFIXES
from buildfarm.dispatch.stamps import SYSTEM, Stamp, stamp
from buildfarm.model import Unit
from buildfarm.state.digest import digest_bytes, digest_file

RACY_NS = 20_000_000
FEW_NAMES = 16  # that one check looks for in a directory, before it has all names listed
ABSENT = ""  # in `StoredResult.inputs`: the digest of a file that must not be there

_COMPILERS_OWN = re.compile(r"c\+\+|[\d.]+|[^-]+-.+-.+")


@dataclass(frozen=True, slots=True)
class Evidence:
    """Digests by absolute path; `ABSENT` for names that must not appear."""

    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Look:
    """What one check has seen of directories."""

    listings: dict[str, Set[str]] = field(default_factory=dict)
    singly: dict[str, int] = field(default_factory=dict)  # how many names were looked for one by one


class Witness:
    """Remembers digests by stamp and directory listings by mtime, for one build."""

    def __init__(self) -> None:
        self._digests: dict[str, tuple[Stamp, str]] = {}
        self._names: dict[str, tuple[int, Set[str]]] = {}
        self._listings = Listings()

    async def settled(self, paths: Iterable[str]) -> None:
        """Wait, `RACY_NS` at most, until none was changed so lately that nobody can vouch for it."""
        found = [status[0] for status in map(stamp, paths) if status is not None]
        young = max(found, default=0) + RACY_NS - time.time_ns()
        if young > 0:
            await asyncio.sleep(min(young, RACY_NS) / 1e9)

    def take(
        self,
        unit: Unit,
        cwd: str,
        inputs: Sequence[str],
        private: Mapping[str, str],
        since_ns: int,
        compiler: str | None = None,
        *,
        modules_since_ns: int = 0,
    ) -> Evidence | None:
        """What a compile that began at `since_ns` (the file systems' clock) has read.

        `private` maps inputs that are not in place yet (by normal names) to the files that stood in for them.
        Fortran's modules were not read before `modules_since_ns`, if that is told.  `compiler` is the driver's path:
        results outlive builds, and a compiler may be upgraded between two.  None: a file changed while it was read, so
        nothing can be said.
        """
        seen: dict[str, str] = {}
        if compiler is not None:
            digest = self._digest(compiler, stamp(compiler))
            if digest is None:
                return None
            seen[compiler] = digest
        for path in inputs:
            actual = private.get(os.path.normpath(path), path)
            now = stamp(actual)
            if now is None:
                return None
            if actual == path:
                of_module = modules_since_ns and path.endswith(MODULE_SUFFIXES)
                # Written elsewhere and renamed, it tells by its ctime alone when it came.
                changed, since = (max(now[0], now[3]), modules_since_ns) if of_module else (now[0], since_ns)
                if changed >= since - RACY_NS:
                    return None
            digest = self._digest(actual, now)
            if digest is None:
                return None
            seen[path] = digest
        seen.update(dict.fromkeys(self._absences(unit, cwd, inputs), ABSENT))
        return Evidence(seen)

    def holds(self, inputs: Mapping[str, str]) -> bool:
        """Whether all is as it was."""
        look = _Look()
        for path, digest in inputs.items():
            if digest == ABSENT:
                if self._has(*os.path.split(path), look):
                    return False
            elif self._digest(path, stamp(path)) != digest:
                return False
        return True

    def _digest(self, path: str, now: Stamp | None) -> str | None:
        if now is None:
            return None
        known = self._digests.get(path)
        if known is not None and known[0] == now:
            return known[1]
        try:
            digest = digest_file(path)
        except OSError:
            return None
        if stamp(path) != now:
            return None
        self._digests[path] = (now, digest)
        return digest

    def _absences(self, unit: Unit, cwd: str, inputs: Sequence[str]) -> Iterable[str]:
        look = _Look()
        for _, directory, name in _rivals(unit, cwd, inputs):
            absent = self._first_absent(directory, name, look)
            if absent is not None:
                yield absent

    def _first_absent(self, directory: str, name: str, look: _Look) -> str | None:
        """`directory/name`, or the first directory on the way to it that is not there; None: it is there."""
        for part in name.split("/"):
            path = os.path.join(directory, part)
            if not self._has(directory, part, look):
                return path
            directory = path
        return None

    def _has(self, directory: str, name: str, look: _Look) -> bool:
        """Whether there is a `name` in a directory."""
        names = look.listings.get(directory)
        if names is None:
            singly = look.singly.get(directory, 0)
            names = self._known_listing(directory) if not singly else None
            if names is None:
                if singly < FEW_NAMES:
                    look.singly[directory] = singly + 1
                    return os.path.lexists(os.path.join(directory, name))
                names = self._listing(directory)
            look.listings[directory] = names
        return name in names

    def _known_listing(self, directory: str) -> Set[str] | None:
        """The names, if the directory is followed, or was listed since they last changed."""
        known = self._names.get(directory)
        try:
            if known is not None and known[0] == os.stat(directory).st_mtime_ns:
                return known[1]
            return self._listings.followed(directory)
        except OSError:
            return None

    def _listing(self, directory: str) -> Set[str]:
        try:
            mtime = os.stat(directory).st_mtime_ns
            names = self._listings.names(directory)
        except OSError:
            return frozenset()
        if isinstance(names, frozenset) and time.time_ns() - mtime > RACY_NS:
            self._names[directory] = (mtime, names)
        return names


def appearance(unit: Unit, cwd: str, inputs: Sequence[str], seen: Mapping[str, Stamp | None]) -> str | None:
    """A digest of what a unit's inputs, and the directories where they were searched, look like.

    `seen` holds the inputs' stamps.  Two that are equal: no input was changed, moved or replaced in between, nor its
    directory by another one.  None: something is not there.
    """
    stamps = [seen.get(path) for path in inputs]
    if None in stamps:
        return None
    directories = [
        (path, found and found[2]) for path in sorted(_searched(unit, cwd, inputs)) for found in [stamp(path)]
    ]
    return digest_bytes(repr((list(zip(inputs, stamps, strict=True)), directories)).encode(errors="surrogateescape"))


def newcomers(unit: Unit, cwd: str, inputs: Sequence[str], since_ns: int) -> dict[str, str]:
    """Names that might be found in the place of an input and have come, or were changed, at or after `since_ns`.

    To each the input.  Only as good as the clock: a rename sets ctime, so a file moved here counts as new.
    """
    found: dict[str, str] = {}
    for path, directory, name in _rivals(unit, cwd, inputs):
        rival = directory
        for part in name.split("/"):
            rival = os.path.join(rival, part)
            now = stamp(rival)
            if now is None:
                break
            if now[3] >= since_ns:
                found[rival] = path
                break
    return found


def _searched(unit: Unit, cwd: str, inputs: Sequence[str]) -> set[str]:
    """The directories where the unit's inputs were searched, system ones left out."""
    searched = {os.path.normpath(os.path.join(cwd, name)) for name in include_directories(unit)}
    searched.update(os.path.dirname(os.path.normpath(path)) for path in inputs if not path.startswith(SYSTEM))
    return searched


def _rivals(unit: Unit, cwd: str, inputs: Sequence[str]) -> Iterable[tuple[str, str, str]]:
    """Inputs, and directories and names under which each could have been found, and was not."""
    searched = _searched(unit, cwd, inputs)
    present = {os.path.normpath(path) for path in inputs}
    for path in inputs:
        for name in _spellings(os.path.normpath(path), searched):
            for directory in searched:
                if os.path.join(directory, name) not in present:
                    yield path, directory, name


def include_directories(unit: Unit) -> list[str]:
    """The directories that the unit's options name for searching, as typed; system ones are left out."""
    if unit.fortran is not None:
        module = unit.fortran.module_directory
        return [*unit.fortran.include_directories, *([module] if module else []), "."]
    found = []
    arguments = iter(unit.preprocess_arguments)
    for argument in arguments:
        for option in ("-isystem", "-iquote", "-idirafter", "-I"):
            if argument.startswith(option):
                name = argument[len(option) :] or next(arguments, "")
                if name and not (name + "/").startswith(SYSTEM):
                    found.append(name)
                break
    return found


def _spellings(path: str, directories: Iterable[str]) -> list[str]:
    """The names by which `path` could have been asked for: its tails below the searched and system directories.

    gcc searches `include/TARGET`, `include/c++/VERSION` and `include/c++/VERSION/TARGET` too (cpp -v).
    """
    names = [path[len(directory) + 1 :] for directory in directories if path.startswith(directory + "/")]
    if path.startswith(SYSTEM):
        parts = path.rpartition("/include/")[2].split("/")
        names.append("/".join(parts))
        while len(parts) > 1 and _COMPILERS_OWN.fullmatch(parts[0]):
            parts = parts[1:]
            names.append("/".join(parts))
    return list(dict.fromkeys(names)) or [os.path.basename(path)]
