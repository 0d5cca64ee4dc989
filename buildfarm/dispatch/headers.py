"""Knows which files a C or C++ source may read, without preprocessing it: headers are read once for the whole build.

It does not know where a compiler searches (`search_path`), and what it can't say for sure it refuses to say.  What it
remembers stands in `closure`.

*Theory of operation.*  A node that gets the sources preprocesses like this machine if each name that it looks up leads
to the same bytes or to nothing, as here.  Whether a directive is reached depends on macros, which only a preprocessor
knows; so every directive counts, also those of branches that are not taken, and what is sent is a superset.  A file
too many does no harm, because a name is looked up in the same directories in the same order there.  A directive that
was overlooked would, so files with forms that this scan does not see through (a name made by a macro, a digraph, a
comment inside a directive) make their unit `Unclear`, as does what tells one file from another by time or place
(`#pragma once` in files of the same bytes, `__TIMESTAMP__`).

What was found for a header holds while the files that were read have the stamps that they had, and the directories
that were searched still have those, and only those, of the names that were looked up; both are looked at for each unit,
each once; what is the system's is looked at for all units until something in it changes (`stamps`).  A directory whose
time has not changed is not read again, unless that changed in the last moment: it may change again within one tick of
its clock.  One that has changed is read once more, and followed from then on (`listings`).

distcc's include server works like this too; it expects system headers to be the same on all nodes, which is nothing
to rely on, so nodes must prove it (`alike`), or they are sent those too.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping, Sequence, Set

from buildfarm.dispatch import directives, protocol, stamps
from buildfarm.dispatch.closure import NOTHING, Closure, Header, Led, Looked, Notes, Reach, SearchPath, Step, Unclear
from buildfarm.dispatch.directives import Asked, How
from buildfarm.dispatch.listings import Listings
from buildfarm.dispatch.stamps import RACY_NS, Stamp, file_stamp
from buildfarm.model import SentFile

NEVER: tuple[int, Set[str]] = (-1, frozenset())

_ONCE = re.compile(rb"\b(?:pragma[ \t]+once|import)\b")
SOURCES_KEPT = 256  # different lists of directives of sources, of which the files that they lead to are remembered

Asking = tuple[str, str, tuple[str, ...], tuple[Asked, ...]]
"""A source's directory, the working directory, the operands of -include, and the source's own directives."""


class Headers:
    """The files of one build that were looked at.  Not thread-safe; nothing in here waits."""

    def __init__(self) -> None:
        self._files: dict[str, Header] = {}
        self._names: dict[str, tuple[int, Set[str]]] = {}
        self._listings = Listings()
        self._reaches: dict[tuple[SearchPath, str], Reach] = {}
        self._sources: dict[tuple[SearchPath, Asking], Reach] = {}
        self._steps: dict[SearchPath, dict[str, Step]] = {}  # by header
        # What was looked at for the unit in hand:
        self._stamps: dict[str, Stamp | None] = {}
        self._mtimes: dict[str, int | None] = {}
        self._listed: dict[str, frozenset[str]] = {}

    def closure(
        self, source: str, included: Sequence[str], cwd: str, search: SearchPath, macros: frozenset[str] = frozenset()
    ) -> Closure:
        """All files that the compile of `source` may read, the source first.

        `source` is absolute; `included` are the operands of `-include` and `-imacros` in order, `macros` the names that
        `-D` defines.  Raises Unclear.
        """
        self._stamps.clear()
        self._mtimes.clear()
        self._listed.clear()
        first = self._file(source)
        if first is None:
            raise Unclear(f"{source} is not there")
        reach = self._included((os.path.dirname(source), cwd, tuple(included), first.asks), search)
        unclear = first.unclear if first.unclear is not None else reach.unclear
        if unclear is not None:
            raise Unclear(unclear)
        led = reach.led
        computed = first.computed | led.computed
        if computed and (macros & computed or first.computed or led.defined or first.defined(computed)):
            raise Unclear(f"the name of a header is a macro: {', '.join(sorted(computed))}")
        return Closure(first, reach)

    def _included(self, asking: Asking, search: SearchPath) -> Reach:
        """What a source leads to: sources that ask the same from the same place share it."""
        known = self._sources.get((search, asking))
        if known is not None and self._holds(known):
            return known
        directory, cwd, included, asked_there = asking
        found: dict[str, Header] = {}
        looked: dict[str, set[str]] = {}
        notes = NOTHING
        asks = [(Asked(How.QUOTE, name), cwd) for name in included]
        asks += [(asked, directory) for asked in asked_there]
        for asked, place in asks:
            absolute = asked.name.startswith("/")  # only an operand may be: a directive's would not be led there
            paths = [asked.name] if absolute else self._find(asked, place, search, looked)
            if asked.probe and not paths:
                notes = notes.and_also(Notes(_own_places(asked, place, search)))
            for path in paths:
                reach = self._reach(path, search)
                found.update((header.path, header) for header in reach.led.headers)
                for seen in reach.directories:
                    looked.setdefault(seen.path, set()).update(seen.names)
                notes = notes.and_also(reach.notes)
        reach = self._reached(found, looked, notes, search)
        if len(self._sources) >= SOURCES_KEPT:
            del self._sources[next(iter(self._sources))]
        self._sources[search, asking] = reach
        return reach

    def _reach(self, path: str, search: SearchPath) -> Reach:
        """The file and all that it leads to."""
        known = self._reaches.get((search, path))
        if known is not None and self._holds(known):
            return known
        files: dict[str, Header] = {}
        looked: dict[str, set[str]] = {}
        notes = NOTHING
        steps = self._steps.setdefault(search, {})
        waiting = [path]
        while waiting:
            here = waiting.pop()
            if here in files:
                continue
            header = self._file(here)
            if header is None:
                continue
            files[here] = header
            step = steps.get(here)
            if step is None or step.header is not header or not self._leads_there(step):
                step = steps[here] = self._step(header, search)
            for seen in step.directories:
                looked.setdefault(seen.path, set()).update(seen.names)
            notes = notes.and_also(step.notes)
            waiting += step.paths
        reach = self._reached(files, looked, notes, search)
        self._reaches[search, path] = reach
        return reach

    def _step(self, header: Header, search: SearchPath) -> Step:
        """Where the header's own directives lead.

        They are looked up beside its normal name: by the name that it was found by, two headers that include one
        another as `../a.h` and `sub/b.h` would lead to longer and longer ones.
        """
        directory = os.path.dirname(header.sent.name)
        own = header.path.startswith(search.own) if search.own else False
        looked: dict[str, set[str]] = {}
        notes = NOTHING
        found: dict[str, None] = {}
        for asked in header.asks:
            paths = self._find(asked, directory, search, looked)
            if asked.probe and not paths:
                notes = notes.and_also(Notes(_own_places(asked, directory, search)))
            if own and not all(path.startswith(search.own) for path in paths):
                notes = notes.and_also(Notes(strays=True))
            found.update(dict.fromkeys(paths))
        return Step(header, tuple(found), self._seen(looked), notes)

    def _leads_there(self, step: Step) -> bool:
        """Whether a search would find the same files as before."""
        return all(self._file(path) is not None for path in step.paths) and self._are((), step.directories)

    def _reached(
        self, files: Mapping[str, Header], looked: Mapping[str, set[str]], notes: Notes, search: SearchPath
    ) -> Reach:
        unclear = next((f"{header.path}: {header.unclear}" for header in files.values() if header.unclear), None)
        once = {header.sent.name: header.once for header in files.values() if header.once is not None}
        if len(set(once.values())) != len(once):
            unclear = unclear or "two of its headers have the same bytes and `#pragma once`"
        return Reach(Led(tuple(files.values()), search.own), self._seen(looked), unclear, notes)

    def _seen(self, looked: Mapping[str, set[str]]) -> tuple[Looked, ...]:
        """The directories where names were looked up, as they are now."""
        return tuple(
            Looked(path, self._mtimes[path], frozenset(names), there)
            for path, names in looked.items()
            for there in (self._list(path) & names,)  # which learns the time
        )

    def _holds(self, reach: Reach) -> bool:
        if reach.glanced <= stamps.since():
            _, directories = reach.far
            begun = min((stamps.begin(seen.path) for seen in directories), default=float("inf"))
            if not (stamps.same(reach.far_stamps) and self._are((), directories)):
                return False
            reach.glanced = min(begun, stamps.earliest(reach.far_stamps))
        return self._are(*reach.near)

    def _are(self, headers: Sequence[Header], directories: Sequence[Looked]) -> bool:
        """Whether all of them are as they were."""
        stamps = self._stamps
        for header in headers:
            path = header.path
            now = stamps[path] if path in stamps else self._stamp(path)
            if now != header.stamp:
                return False
        mtimes = self._mtimes
        for seen in directories:
            path = seen.path
            mtime = mtimes[path] if path in mtimes else self._mtime(path)
            if mtime == seen.mtime and (mtime is None or self._names.get(path, NEVER)[0] == mtime):
                continue
            if self._list(path) & seen.names != seen.there:
                return False
        return True

    def _find(self, asked: Asked, directory: str, search: SearchPath, looked: dict[str, set[str]]) -> list[str]:
        """The files that the name may lead to: the first, or all for `#include_next`; `looked`: where was looked."""
        places: tuple[str, ...] = search.bracket
        if asked.how is not How.ANGLE:
            places = (directory, *search.quote, *places)
        found = []
        for place in places:
            path = f"{place}/{asked.name}"
            parent, _, base = path.rpartition("/")
            compiled = f"{base}.gch"
            looked.setdefault(parent, set()).update((base, compiled))
            names = self._list(parent)
            if compiled in names:  # which is looked for first (files.cc: find_file_in_dir)
                raise Unclear(f"{path}.gch is a precompiled header")
            if base not in names:
                continue
            if self._stamp(path) is None:
                continue  # a directory of that name: the search goes on
            found.append(path)
            if asked.how is not How.NEXT:
                break
        return found

    # -- what is on the disk ------------------------------------------------------------------------------------

    def _file(self, path: str) -> Header | None:
        now = self._stamps[path] if path in self._stamps else self._stamp(path)
        if now is None:
            return None
        known = self._files.get(path)
        if known is not None and known.stamp == now:
            return known
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError as error:
            raise Unclear(f"{path}: {error.strerror}") from error
        if len(content) != now[1]:
            raise Unclear(f"{path} is being written")
        header = self._files[path] = _scanned(path, now, content)
        return header

    def _stamp(self, path: str) -> Stamp | None:
        """None: no regular file."""
        now = file_stamp(path)
        self._stamps[path] = now
        return now

    def _mtime(self, directory: str) -> int | None:
        """None: no such directory."""
        mtime: int | None = None
        if not self._is_missing(directory):
            try:
                mtime = os.stat(directory).st_mtime_ns
            except (OSError, ValueError):
                pass
        self._mtimes[directory] = mtime
        return mtime

    def _is_missing(self, directory: str) -> bool:
        """Whether what is known of the directory above it tells that it is not there."""
        above, _, name = directory.rpartition("/")
        names: Set[str] | None = self._listed.get(above)
        if names is None:
            known = self._names.get(above, NEVER)
            names = known[1] if known[0] == self._mtimes.get(above) else None
        return names is not None and name not in names and name not in ("", ".", "..")

    def _list(self, directory: str) -> frozenset[str]:
        """Its names, the same for all that one unit asks: what comes meanwhile was not there when it was looked for."""
        names = self._listed.get(directory)
        if names is None:
            names = self._listed[directory] = frozenset(self._read_names(directory))
        return names

    def _read_names(self, directory: str) -> Set[str]:
        mtime = self._mtimes[directory] if directory in self._mtimes else self._mtime(directory)
        if mtime is None:
            return frozenset()
        known = self._names.get(directory)
        if known is not None and known[0] == mtime:
            return known[1]
        try:
            names = self._listings.names(directory)
        except NotADirectoryError:
            names = frozenset()
        except OSError as error:
            raise Unclear(f"{directory}: {error.strerror}") from error
        if isinstance(names, frozenset) and time.time_ns() - mtime > RACY_NS:
            self._names[directory] = (mtime, names)
        return names


def _scanned(path: str, stamp: Stamp, content: bytes) -> Header:
    found = directives.read(content)
    unclear = found.unclear
    name = os.path.normpath(path)
    if name != path and not _same(os.path.dirname(name), os.path.dirname(path)):
        unclear = "`..` behind a link"
    once = hashlib.blake2b(content, digest_size=16).digest() if _ONCE.search(content) else None
    system = b"system_header" in content
    return Header(
        path, stamp, protocol.packed(SentFile(name, content)), found.asks, found.computed, once, system, unclear
    )


def _own_places(asked: Asked, directory: str, search: SearchPath) -> frozenset[str]:
    """Where in the compiler's own directories the name would have been found."""
    places = search.bracket if asked.how is How.ANGLE else (directory, *search.bracket)
    own = [place for place in places if f"{place}/".startswith(search.own)]
    return frozenset(f"{place}/{asked.name}" for place in (*own, *search.missing))


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
