"""Where gcc looks for headers, and how a node is told to look in the same places of its temporary tree.

It reads no header.  It asks the compiler once for the directories that it searches by itself.

*Theory of operation.*  Locally `#include` searches the user's directories, then the compiler's own.  A node is given
the user's as they are typed.  Its compiler's own are searched there too if the node has proved that it has what is
here (`alike`); else they are sent and named by `-isystem`, behind `-nostdinc`, so that no header of the node's is ever
found.  Absolute names are led into the temporary tree through a link `bf__R` to its root, in the working
directory; `-ffile-prefix-map=bf__R/=/` gives `__FILE__` the user's names back.  Directories that are not there and
those that are another one's double are dropped as gcc drops them (`gcc/incpath.cc: remove_duplicates`).
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from buildfarm.dispatch import local, stamps
from buildfarm.dispatch.closure import SearchPath, Unclear
from buildfarm.dispatch.tree import OURS
from buildfarm.model import Language
from buildfarm.value import dataclass

OPTIONS_KEPT = 256  # different sets of a build's units
ROOT = f"{OURS}R"
PREFIX_MAP = f"-ffile-prefix-map={ROOT}/=/"
PREINCLUDED = "stdc-predef.h"  # read first of all in a hosted compile, if the search finds it (c-opts.cc)

# The environment's own directories, and what makes the compiler look for itself or its files elsewhere.
_ENVIRONMENT = ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "GCC_EXEC_PREFIX", "COMPILER_PATH")
_ELSEWHERE = ("DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES")
_SEARCHED = ("-isystem", "-iquote", "-idirafter", "-I")  # -I last: the others begin with it in lower case only
_INCLUDED = ("-include", "-imacros")
_NOT_THERE = re.compile(r"__(?:DATE|TIME|TIMESTAMP|BASE_FILE)__|__\s*##")  # the same as this machine's
_PLAIN = ("-D", "-U", "-W", "-O", "-g", "-m", "-std=", "--std=", "-f")
_EXACT = frozenset({"-ansi", "-w", "-pthread", "-pedantic", "-pedantic-errors", "-pg", "-p", "-trigraphs", "-undef"})
_UNCLEAR = (
    *("-fsanitize", "-fmodules", "-fpreprocessed", "-fdirectives-only", "-fworking-directory", "-fpch"),
    *("-ffile-prefix-map=", "-fmacro-prefix-map=", "-fdebug-prefix-map=", "-frandom-seed", "-fmodule-"),
    *("-frecord-gcc-switches", "-Wp,", "-fprofile", "-fauto-profile", "-Wmissing-include-dirs"),
    *("-fcanonical-system-headers", "-fno-canonical-system-headers", "-fdump", "-fcallgraph", "-fopt-info"),
)
_NO_SYSTEM = "-nostdinc"
_MISSING = re.compile(r'^ignoring nonexistent directory "(.*)"$', re.MULTILINE)
_END = "End of search list."


@dataclass(frozen=True, slots=True)
class Options:
    """A unit's preprocessing options, sorted by what they are to the search."""

    quote: tuple[str, ...]
    angle: tuple[str, ...]
    system: tuple[str, ...]
    after: tuple[str, ...]
    included: tuple[str, ...]
    others: tuple[str, ...]  # that say nothing of directories
    sent: tuple[str, ...]  # all but -nostdinc, as the node gets them
    own_headers: bool  # the compiler's own directories are searched
    macros: frozenset[str]  # that are defined


def sort(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """Sort `Unit.preprocess_arguments`.  Raises Unclear for what can't be repeated on a node."""
    for name in (*_ENVIRONMENT, *_ELSEWHERE):
        if environment.get(name):
            raise Unclear(f"${name} is set")
    return _sorted(tuple(arguments))


@lru_cache(maxsize=OPTIONS_KEPT)
def _sorted(arguments: tuple[str, ...]) -> Options:
    directories: dict[str, list[str]] = {option: [] for option in _SEARCHED}
    included: list[str] = []
    others: list[str] = []
    sent: list[str] = []
    own_headers = True
    for argument in arguments:
        option = next((o for o in (*_SEARCHED, *_INCLUDED) if argument.startswith(o)), None)
        if argument in (_NO_SYSTEM, "-nostdinc++"):
            own_headers = own_headers and argument != _NO_SYSTEM
            others.append(argument)
        elif option is not None:
            name = argument[len(option) :]
            if not name or name.startswith(("=", "$SYSROOT", "-")):
                raise Unclear(argument)
            (included if option in _INCLUDED else directories[option]).append(name)
            sent.append(f"{option}{led(name)}")
        elif (
            argument.startswith(_UNCLEAR)
            or not (argument.startswith(_PLAIN) or argument in _EXACT)
            or (argument.startswith("-D") and _NOT_THERE.search(argument))
        ):
            raise Unclear(argument)
        else:
            if not argument.startswith(("-D", "-U")):
                others.append(argument)
            sent.append(argument)
    return Options(
        tuple(directories["-iquote"]),
        tuple(directories["-I"]),
        tuple(directories["-isystem"]),
        tuple(directories["-idirafter"]),
        tuple(included),
        tuple(others),
        tuple(sent),
        own_headers,
        frozenset(re.split(r"[=(]", argument[2:])[0] for argument in arguments if argument.startswith("-D")),
    )


def led(name: str) -> str:
    """A name led through the link, if it is absolute."""
    return ROOT + name if name.startswith("/") else name


@dataclass(frozen=True, slots=True)
class Own:
    """The absolute directories that a compiler searches by itself, in order; those that it would, were they there."""

    directories: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class Compilers:
    """The directories that compilers search by themselves, asked once for each set of options."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], Own] = {}
        self._asking = asyncio.Lock()  # a build begins with many units that want to know the same

    async def directories(
        self, tool_path: str, language: Language, options: Options, *, cwd: str, env: Mapping[str, str]
    ) -> Own:
        """Raises Unclear, OSError."""
        key = (tool_path, str(language), *options.others)
        known = self._known.get(key)
        if known is None:
            async with self._asking:
                known = self._known.get(key) or await self._ask(tool_path, language, options, cwd=cwd, env=env)
            self._known[key] = known
        if not known.directories and options.own_headers:
            raise Unclear("the compiler does not tell where it looks for headers")
        return known

    async def _ask(
        self, tool_path: str, language: Language, options: Options, *, cwd: str, env: Mapping[str, str]
    ) -> Own:
        argv = [tool_path, *options.others, "-E", "-v", "-x", str(language), os.devnull, "-o", os.devnull]
        told = await local.run(argv, cwd=cwd, env={**env, "LC_ALL": "C"})
        return _parsed(os.fsdecode(told.stderr)) if told.succeeded else Own()


def _parsed(text: str) -> Own:
    """The list behind `#include <...> search starts here:`."""
    _, found, rest = text.partition("#include <...> search starts here:\n")
    listed, end, _ = rest.partition(_END)
    if not found or not end or "(framework directory)" in listed:
        return Own()
    return Own(tuple(line.strip() for line in listed.splitlines()), tuple(_MISSING.findall(text)))


def search_path(options: Options, own: Own, cwd: str) -> SearchPath:
    """The directories that are searched now."""
    seen: set[tuple[int, int]] = set()
    system = _existing((*options.system, *own.directories, *options.after), cwd, seen)
    own_or_system = set(seen)
    angle = _existing(options.angle, cwd, seen)
    return SearchPath(
        _existing(options.quote, cwd, set(own_or_system)),
        (*angle, *system),
        tuple(f"{place}/" for place in own.directories),
        own.missing,
    )


def repeated(options: Options, own: Sequence[str], cwd: str) -> frozenset[str] | None:
    """The operands of -I that gcc ignores because they name one of its own directories (`remove_duplicates`).

    None: another option names one, which changes the order of the compiler's own.
    """
    if not (options.angle or options.system or options.after or options.quote):
        return frozenset()
    limit = stamps.since()
    identities = {identity for name in own if (identity := stamps.directory(name, limit)) is not None}
    if any(
        stamps.directory(os.path.join(cwd, name), limit) in identities
        for name in (*options.system, *options.after, *options.quote)
    ):
        return None
    return frozenset(name for name in options.angle if stamps.directory(os.path.join(cwd, name), limit) in identities)


def _existing(names: Sequence[str], cwd: str, seen: set[tuple[int, int]]) -> tuple[str, ...]:
    """Absolute names of those that are directories and not in `seen`, to which they are added."""
    found = []
    limit = stamps.since() if names else 0.0
    for name in names:
        path = name if name.startswith("/") else os.path.join(cwd, name)
        identity = stamps.directory(path, limit)
        if identity is not None and identity not in seen:
            seen.add(identity)
            found.append(path)
    return tuple(found)
