"""What a result was made from, and whether that is still so: digests of what was read, names that must not appear.

It compiles nothing and preprocesses nothing: checking a result costs a `stat` for each file and directory.

Theory of operation.  A compile depends on the bytes of the files that it read, and on the *absence* of files that
it would have found first: a generated `version.h` in an earlier `-I` directory shadows the one that was read.  For
each file read and each directory searched (`searched`), the name under which it could have been found there is on the
list of absences, if nothing is there at the time; it is a superset of what the compiler really looked for, so it can
only throw a good result away.  So are names that `__has_include` may have asked for (`probes`), and those that it may
have found are there with their bytes.  What came to such a place while the unit was compiled proves nothing either.

A directory whose mtime has not changed has no new names in it, so most checks end after one `stat`.  One that objects
are just being put into changes all the time: it is followed (`listings`), and where that can't be, each name is looked
for, if a check asks for few, because to list thousands of names for each of thousands of units is quadratic.  A file
that was changed about when it was read (`RACY_NS`, as git does for its index) proves nothing.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import field
from types import MappingProxyType

from buildfarm.conductor import searched
from buildfarm.conductor.probes import Probes
from buildfarm.dispatch.listings import Listings
from buildfarm.dispatch.stamps import RACY_NS, SYSTEM, Stamp, stamp
from buildfarm.model import MODULE_SUFFIXES, Unit
from buildfarm.state.digest import digest_bytes, digest_file
from buildfarm.value import dataclass

FEW_NAMES = 16  # that one check looks for in a directory, before it has all names listed
PACKAGES = "/usr/include"
ABSENT = ""  # in `StoredResult.inputs`: the digest of a file that must not be there


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
        self.probes = Probes()

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
        environment: Mapping[str, str],
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
            tool = self._digest(compiler, stamp(compiler))
            if tool is None:
                return None
            seen[compiler] = tool
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
        probed = self.probes.names(unit, [path for path in inputs if not path.endswith(MODULE_SUFFIXES)])
        if probed is None:
            return None
        look = _Look()
        among = searched.directories(unit, cwd, environment, inputs)
        for wanted, directory, name in (*_rivals(among, inputs), *_asked_for(among, probed), *_precompiled(inputs)):
            absent = self._first_absent(directory, name, look)
            if absent is not None:
                seen[absent] = ABSENT
            elif not self._stood(os.path.join(directory, name), seen, wanted, since_ns):
                return None
        return Evidence(seen)

    def _stood(self, found: str, seen: dict[str, str], path: str | None, since_ns: int) -> bool:
        """Whether what may be found in the place of `path`, or was probed for (None), was there before the compile.

        A copy of a module has come with the module.
        """
        now = stamp(found)
        young = now is not None and max(now[0], now[3]) >= since_ns - RACY_NS
        if path is not None and not young:
            return True  # the compiler preferred the other one
        digest = self._digest(found, now)
        if digest is None:
            return not young  # a directory, say
        seen[found] = digest
        return not young or (path is not None and path.endswith(MODULE_SUFFIXES) and digest == seen.get(path))

    def holds(
        self, inputs: Mapping[str, str], *, named: bool = True, private: Mapping[str, str] = MappingProxyType({})
    ) -> bool:
        """Whether all is as it was.  Without `named` no output names the modules that were read: copies will do.

        `private` as in `take`.
        """
        look = _Look()
        for path, digest in inputs.items():
            if digest == ABSENT:
                if self._has(*os.path.split(path), look) and (named or not self._is_copy(path, inputs)):
                    return False
            elif self._digest(actual := private.get(os.path.normpath(path), path), stamp(actual)) != digest:
                return False
        return True

    def _is_copy(self, found: str, inputs: Mapping[str, str]) -> bool:
        """Whether `found` is a module of the same name and bytes as one of the inputs."""
        if not found.endswith(MODULE_SUFFIXES):
            return False
        digest, name = self._digest(found, stamp(found)), os.path.basename(found)
        return digest is not None and any(
            kept == digest and os.path.basename(path) == name for path, kept in inputs.items()
        )

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


def appearance(
    unit: Unit,
    cwd: str,
    environment: Mapping[str, str],
    inputs: Sequence[str],
    seen: Mapping[str, Stamp | None],
) -> str | None:
    """A digest of what a unit's inputs, and the directories where they were searched, look like.

    `seen` holds the inputs' stamps.  Two that are equal: no input was changed, moved or replaced in between, nor its
    directory by another one.  None: something is not there.
    """
    stamps = [seen.get(path) for path in inputs]
    if None in stamps:
        return None
    directories = [
        (path, found and found[2])
        for path in sorted(searched.directories(unit, cwd, environment, inputs))
        for found in [stamp(path)]
    ]
    return digest_bytes(repr((list(zip(inputs, stamps, strict=True)), directories)).encode(errors="surrogateescape"))


def newcomers(
    unit: Unit,
    cwd: str,
    environment: Mapping[str, str],
    inputs: Sequence[str],
    since_ns: int,
    probed: Iterable[str] = (),
) -> dict[str, str]:
    """Names that might be found in the place of an input and have come, or were changed, at or after `since_ns`.

    To each the input, or nothing if it is among the names that `__has_include` asked for.  Only as good as the clock: a
    rename sets ctime, so a file moved here counts as new.
    """
    found: dict[str, str] = {}
    among = searched.directories(unit, cwd, environment, inputs)
    for path, directory, name in (*_rivals(among, inputs), *_asked_for(among, probed)):
        rival = directory
        for part in name.split("/"):
            rival = os.path.join(rival, part)
            now = stamp(rival)
            if now is None:
                break
            if now[3] >= since_ns:
                found[rival] = path or ""
                break
    return found


def _rivals(among: set[str], inputs: Sequence[str]) -> Iterable[tuple[str, str, str]]:
    """Inputs, and directories and names under which each could have been found, and was not."""
    present = {os.path.normpath(path) for path in inputs}
    for path in inputs:
        for name in searched.spellings(os.path.normpath(path), among):
            for directory in among:
                if os.path.join(directory, name) not in present:
                    yield path, directory, name


def _precompiled(inputs: Sequence[str]) -> Iterable[tuple[None, str, str]]:
    """Directories and names of what gcc would read in a header's place (GCC manual, "Precompiled Headers")."""
    for path in inputs[1:]:
        if not path.startswith(SYSTEM) and not path.endswith(MODULE_SUFFIXES):
            directory, name = os.path.split(path)
            yield None, directory, f"{name}.gch"


def _asked_for(among: set[str], probed: Iterable[str]) -> Iterable[tuple[None, str, str]]:
    """Directories and names that `__has_include` may have looked up there."""
    for name in probed:
        if name.startswith("/"):
            yield None, "/", name[1:]
        else:
            yield from ((None, directory, name) for directory in (*among, PACKAGES))
