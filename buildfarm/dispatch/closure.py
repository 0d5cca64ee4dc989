"""What a compile may read, as values: headers, the directories where names were looked up, and what leads where.

They say what was seen; whether that still holds is asked by `headers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from functools import cached_property

from buildfarm.dispatch import directives
from buildfarm.dispatch.directives import Asked
from buildfarm.dispatch.stamps import SYSTEM, Stamp
from buildfarm.model import SentFile
from buildfarm.value import dataclass


class Unclear(Exception):
    """It can't be said for sure what this source reads; the text is the reason."""


@dataclass(frozen=True, slots=True)
class SearchPath:
    """Absolute directories in the order of the compiler's search; they exist, and none is there twice."""

    quote: tuple[str, ...]
    bracket: tuple[str, ...]
    own: tuple[str, ...] = ()  # the compiler's own among them, each with a slash at its end
    missing: tuple[str, ...] = ()  # where the compiler would search too, if they were there


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """One file that was read."""

    path: str  # absolute, as it was looked up: it may hold `..`
    stamp: Stamp
    sent: SentFile
    asks: tuple[Asked, ...]
    computed: frozenset[str]  # macros that stand for further names, where they are defined
    once: bytes | None  # digest, if the compiler may compare its bytes with another file's
    system: bool  # it says that it is a system header, wherever it stands
    unclear: str | None
    _defines: dict[str, bool] = field(default_factory=dict, init=False)  # by macro that was asked for

    def defined(self, macros: frozenset[str]) -> frozenset[str]:
        """Those of the macros that it may define.  Raises Unclear."""
        unknown = macros - self._defines.keys()
        if unknown:
            found = directives.defined(_content(self), unknown)
            self._defines.update((macro, macro in found) for macro in unknown)
        return frozenset(macro for macro in macros if self._defines[macro])


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """A directory where names were looked up."""

    path: str
    mtime: int | None  # in ns; None: not there
    names: frozenset[str]
    there: frozenset[str]  # of these


@dataclass(frozen=True, eq=False)
class Led:
    """What directives lead to, in the forms that every source which asks the same needs."""

    headers: tuple[Header, ...]
    own: tuple[str, ...]  # the compiler's own directories

    @cached_property
    def names(self) -> Mapping[str, str]:
        """The path that was looked up, by its normal form."""
        return {header.sent.name: header.path for header in self.headers}

    @cached_property
    def stamps(self) -> Mapping[str, Stamp]:
        return {header.path: header.stamp for header in self.headers}

    @cached_property
    def computed(self) -> frozenset[str]:
        """Macros that stand for names which are looked up where they are defined."""
        return frozenset().union(*[header.computed for header in self.headers])

    @cached_property
    def defined(self) -> frozenset[str]:
        """Those of them that one of the files may define.  Raises Unclear."""
        if not self.computed:
            return frozenset()
        return frozenset().union(*[header.defined(self.computed) for header in self.headers])

    @cached_property
    def system(self) -> frozenset[Header]:
        return frozenset(header for header in self.headers if header.path.startswith(self.own))

    @cached_property
    def users(self) -> tuple[Header, ...]:
        return tuple(header for header in self.headers if header not in self.system)


@dataclass(eq=False)
class Reach:
    """What a header leads to, and what it was seen by."""

    led: Led
    directories: tuple[Looked, ...]
    unclear: str | None
    notes: Notes
    glanced: float = -1e9  # the system's part was found as it was by looks that count from then on (`stamps.since`)

    @cached_property
    def near(self) -> tuple[tuple[Header, ...], tuple[Looked, ...]]:
        """The user's headers and directories."""
        return (
            tuple(header for header in self.led.headers if not header.path.startswith(SYSTEM)),
            tuple(
                sorted(
                    (seen for seen in self.directories if not f"{seen.path}/".startswith(SYSTEM)),
                    key=lambda seen: seen.path,  # of a directory's names those below it are told
                )
            ),
        )

    @cached_property
    def far(self) -> tuple[tuple[Header, ...], tuple[Looked, ...]]:
        """The system's."""
        headers, directories = map(frozenset, self.near)
        return (
            tuple(header for header in self.led.headers if header not in headers),
            tuple(seen for seen in self.directories if seen not in directories),
        )

    @cached_property
    def far_stamps(self) -> Mapping[str, Stamp]:
        return {header.path: header.stamp for header in self.far[0]}

    @cached_property
    def relies_on(self) -> frozenset[Header | str]:
        """What a node must have, and must not have, to be sent the user's files alone."""
        return self.led.system | self.notes.absent


@dataclass(frozen=True, slots=True)
class Notes:
    """What else was seen on the way through a unit's headers."""

    absent: frozenset[str] = frozenset()  # paths in the compiler's own directories that are probed for in vain
    strays: bool = False  # a file outside of these may be read by one of the compiler's own headers

    def and_also(self, other: Notes) -> Notes:
        return self if other is NOTHING else Notes(self.absent | other.absent, self.strays or other.strays)


NOTHING = Notes()


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """Where one header's own directives lead."""

    header: Header
    paths: tuple[str, ...]
    directories: tuple[Looked, ...]
    notes: Notes


@dataclass(frozen=True, slots=True)
class Closure:
    """What a compile may read."""

    source: Header
    reach: Reach  # may hold the source too

    @property
    def led(self) -> Led:
        return self.reach.led

    @property
    def notes(self) -> Notes:
        return self.reach.notes

    @property
    def relies_on(self) -> frozenset[Header | str]:
        """The compiler's own files among them, and paths that must not be there."""
        return self.reach.relies_on

    @property
    def files(self) -> tuple[Header, ...]:
        """All of them, the source first."""
        return (self.source, *(header for header in self.led.headers if header is not self.source))

    @property
    def names(self) -> dict[str, str]:
        """The path that was looked up, by its normal form."""
        return {self.source.sent.name: self.source.path, **self.led.names}

    @property
    def stamps(self) -> dict[str, Stamp]:
        """By path, the source first."""
        return {self.source.path: self.source.stamp, **self.led.stamps}


def _content(header: Header) -> bytes:
    """Raises Unclear."""
    try:
        with open(header.path, "rb") as file:
            return file.read()
    except OSError as error:
        raise Unclear(f"{header.path}: {error.strerror}") from error
