"""Makes jobs of C and C++ units that are preprocessed on the node: P3, distcc's pump mode, from exact knowledge.

It runs no preprocessor.  When it can't say for sure what a unit reads it says so (`Unclear`), and the unit travels
preprocessed; so it does after an answer that shows anything of the node's own (`Pumped.settle`).

*Theory of operation.*  `headers` finds a superset of the files that the unit reads, which are sent as they are, packed
once for the whole build; `search_path` makes the node look them up as this machine would.  The unit's object, its
messages and its depfile then hold the user's names, because names in the node's tree are relative ones, or begin with
`bf__R/`, which is mapped back.  What the unit has really read is told by the depfile that comes with the answer.

Headers in the compiler's own directories stay here where the node has proved that it has the same (`alike`).  A file
that the unit would find there and not here is on the answer's list.  Only what `__has_include` asks for in vain leaves
no trace: that it is not there must be proved too.

Debug information names the node's directory, which is set right in the object (`debug_paths`).  Sanitizers write down
names that no option maps: such units are not for this recipe.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from buildfarm.dispatch import depfile
from buildfarm.dispatch.closure import Closure, Header, SearchPath, Unclear
from buildfarm.dispatch.debug_paths import MARK, restored, restored_text, working_directory
from buildfarm.dispatch.driver import is_gcc
from buildfarm.dispatch.headers import Headers
from buildfarm.dispatch.palette import plain
from buildfarm.dispatch.prepared import Made, Prepared, Settled
from buildfarm.dispatch.search_path import (
    PREFIX_MAP,
    PREINCLUDED,
    ROOT,
    Compilers,
    Options,
    led,
    repeated,
    search_path,
    sort,
)
from buildfarm.dispatch.stamps import stamp
from buildfarm.dispatch.tree import Tree
from buildfarm.model import Answer, Invocation, Job, Language, SentFile, Unit
from buildfarm.value import dataclass

__all__ = ["Pump", "Unclear"]

_MARKS = (ROOT.encode(), MARK)  # of the node's tree: in an object they tell of a name that was not mapped back
_ODD_DEBUG = ("-gz", "-gsplit", "-gstabs", "-gxcoff", "-gvms", "-gcoff", "-gbtf", "-gctf")
_TARGET = "unit.o"
_PLACE = re.compile(rb"^(?:In file included from | +from )?([^:\n]+):\d+[:,]", re.MULTILINE)  # of which words tell
NAMES_KEPT = 8192  # that depfiles list, in their normal form


@dataclass(frozen=True, slots=True)
class _Settler:
    """Takes the unit's depfile and inputs out of an answer."""

    cwd: str
    source: str  # as the compiler lists it
    files: Mapping[str, str]  # the path that was looked up, by its normal form
    own: tuple[str, ...]  # the compiler's own directories
    wanted: depfile.Wanted | None
    made: Made | None
    text: bool  # assembler text comes back
    directory: str | None  # the working directory that debug information is to name; None: there is none

    def __call__(self, answer: Answer) -> Settled | None:
        """None: the answer tells of the node's own directories, or lists what is not here."""
        listed = depfile.read(answer.depfile)
        content: bytes | None = answer.object
        if self.directory is not None:
            restore = restored_text if self.text else restored
            content = restore(answer.object, self.cwd, self.directory)
        if listed is None or content is None or any(mark in content for mark in _MARKS):
            return None
        names = [_restored(name) for name in listed]
        if names[:1] != [self.source]:
            return None
        inputs: dict[str, None] = {}
        for name in names:
            path = self.files.get(_normal(self.cwd, name))
            if path is None:
                return None
            inputs[path] = None
        if self.made is None or self.wanted is None:
            return Settled(content, tuple(inputs))
        if not self.wanted.system:
            users = [_restored(name) for name in listed if not name.startswith(self.own)]
            if len(users) == len(names):  # the list was without system headers
                inputs.update((path, None) for path in self.files.values() if path.startswith(self.own))
            names = users
        return Settled(content, tuple(inputs), (replace(self.made, content=depfile.write(self.wanted, names)),))


@dataclass(frozen=True, slots=True)
class _Trip:
    """A unit and all that was found out of it."""

    unit: Unit
    node_tool: str
    cwd: str
    options: Options
    own: tuple[str, ...]  # the directories that the compiler searches by itself
    search: SearchPath
    included: tuple[str, ...]
    closure: Closure
    wanted: depfile.Wanted | None

    def job(self) -> Job:
        """For any node: all headers travel, and no other is found."""
        preincluded = len(self.included) - len(self.options.included)
        argv = (
            *(f"-include{name}" for name in self.included[:preincluded]),
            *self.options.sent,
            *self._compiling(),
            "-nostdinc",
            *(("-nostdinc++",) if self.unit.language is Language.CXX else ()),
            *(f"-isystem{led(name)}" for name in self.own),
            PREFIX_MAP,
            *(() if self.wanted is not None and not self.wanted.system else ("-MD",)),
        )
        return self._job(argv, self.closure.files)

    def short_job(self) -> Job | None:
        """For a node with the same system headers, which stay at home; None: it could tell the difference."""
        ignored = repeated(self.options, self.own, self.cwd)
        if ignored is None or not self.options.own_headers:
            return None
        if self.wanted is not None and not self.wanted.system and self._lists_by_more_than_place():
            return None
        places = tuple(
            f"{place}/"
            for place in (self.cwd, *self.search.quote, *self.search.bracket)
            if f"{place}/" not in self.search.own
        )
        reached = self.closure.led
        sent = [self.closure.source, *reached.users]
        if any(place.startswith(self.search.own) for place in places):  # a user's directory in one of the compiler's
            sent += [header for header in reached.system if header.path.startswith(places)]
        repeats = {f"-I{led(name)}" for name in ignored}
        argv = (
            *(argument for argument in self.options.sent if argument not in repeats),
            *(argument for argument in self.options.others if argument == "-nostdinc++"),
            *self._compiling(),
            PREFIX_MAP,
            "-MD",
        )
        return self._job(argv, sent)

    def _lists_by_more_than_place(self) -> bool:
        """Whether -MMD leaves out more than the files of the compiler's own directories."""
        return bool(
            self.options.system
            or self.options.after
            or self.closure.notes.strays
            or any(header.system for header in (self.closure.source, *self.closure.led.users))
        )

    def _compiling(self) -> tuple[str, ...]:
        before = set(self.unit.preprocess_arguments)
        return tuple(argument for argument in self.unit.compile_arguments if argument not in before)

    def _job(self, argv: tuple[str, ...], files: Iterable[Header]) -> Job:
        return Job(
            (self.node_tool, *argv, "-S" if self.unit.returns_text else "-c", led(self.unit.source), "-o", _TARGET),
            cwd=self.cwd,
            files=_tree(files, self.options, self.search, self.cwd),
            recipe="P3",
        )

    def settler(self, made: Made | None, directory: str | None) -> _Settler:
        return _Settler(
            self.cwd,
            _spelled(_restored(led(self.unit.source))),
            self.closure.names,
            self.search.own,
            self.wanted,
            made,
            self.unit.returns_text,
            directory,
        )


@dataclass(frozen=True, slots=True)
class _Words:
    """Takes the unit's words out of an answer."""

    cwd: str
    files: Mapping[str, str]  # those that the node had, by their normal form
    own: tuple[str, ...]  # the compiler's own directories

    def __call__(self, serr: bytes) -> bytes | None:
        """None: they tell of lines in a file that the node had not under that name, which `#line` may give."""
        for place in dict.fromkeys(_PLACE.findall(plain(serr))):
            name = os.fsdecode(place)
            path = os.path.join(self.cwd, name)
            there = (
                name.startswith(self.own) if os.path.isabs(name) else _normal(self.cwd, _restored(name)) in self.files
            )
            if not there and os.path.exists(path):
                return None
        return serr.replace(f"{ROOT}/".encode(), b"/")


class Pump:
    """What was learned of headers and compilers, for the life of a build."""

    def __init__(self) -> None:
        self._headers = Headers()
        self._compilers = Compilers()

    async def prepare(
        self, unit: Unit, invocation: Invocation, tool_path: str, *, node_tool: str, workdir: Path
    ) -> Prepared:
        """The unit's job.  Raises Unclear, OSError."""
        if unit.assembler_only or unit.stack_usage is not None or not is_gcc(tool_path):
            raise Unclear("not for this recipe")
        if unit.link_time:
            raise Unclear("its object would name the node's directory, in a compressed section")
        if unit.debug and any(argument.startswith(_ODD_DEBUG) for argument in unit.compile_arguments):
            raise Unclear("its debug information is of an unusual form")
        wanted = depfile.wanted(unit.depfile.arguments, unit.source) if unit.depfile is not None else None
        if unit.depfile is not None and wanted is None:
            raise Unclear("its depfile is of an unusual form")
        cwd = invocation.cwd
        options = sort(unit.preprocess_arguments, invocation.env)
        own = await self._compilers.directories(tool_path, unit.language, options, cwd=cwd, env=invocation.env)
        search = search_path(options, own, cwd)
        included = self._included(options, search, cwd)
        closure = self._headers.closure(os.path.join(cwd, unit.source), included, cwd, search, options.macros)
        final = None if unit.depfile is None else os.path.join(cwd, unit.depfile.path)
        made = None if final is None else Made(str(workdir / (os.path.basename(final) or "depfile")), final)
        trip = _Trip(unit, node_tool, cwd, options, own.directories, search, included, closure, wanted)
        full = trip.job
        short = trip.short_job()
        seen = closure.stamps
        return Prepared(
            full() if short is None else short,
            inputs=tuple(seen),
            outputs_made=() if made is None else (made,),
            stderr=b"",
            words=_Words(cwd, closure.names, search.own),
            seen=seen,
            settle=trip.settler(made, working_directory(cwd, invocation.env) if unit.debug else None),
            relies_on=frozenset() if short is None else closure.relies_on,
            in_full=None if short is None else full,
        )

    def _included(self, options: Options, search: SearchPath, cwd: str) -> tuple[str, ...]:
        """The files that are read before the source: those that the user names, and before them the compiler's."""
        hosted = options.own_headers and not {"-ffreestanding", "-fno-hosted"} & set(options.others)
        if not hosted:
            return options.included
        # The compiler searches the bracket directories for its own, `-include` the user's and these.
        if any(os.path.exists(os.path.join(place, PREINCLUDED)) for place in (cwd, *search.quote)):
            raise Unclear(f"there is another {PREINCLUDED}")
        if not any(stamp(os.path.join(place, PREINCLUDED)) for place in search.bracket):
            return options.included
        return (PREINCLUDED, *options.included)


def _tree(files: Iterable[Header], options: Options, search: SearchPath, cwd: str) -> tuple[SentFile, ...]:
    """What is sent: the files, the link to the tree's root, and the user's directories, which must be there."""
    tree = Tree()
    for directory in (cwd, *(os.path.join(cwd, name) for name in (*options.quote, *options.angle))):
        if directory == cwd or directory in search.quote or directory in search.bracket:
            tree.add_directory(directory)
    for header in files:
        tree.place(header.path, header.sent)
    return (*tree.files(), SentFile(os.path.join(cwd, ROOT), link="/"))


@lru_cache(maxsize=NAMES_KEPT)
def _normal(cwd: str, name: str) -> str:
    """The absolute, normal form of a name: units list mostly the same."""
    return os.path.normpath(os.path.join(cwd, name))


def _spelled(name: str) -> str:
    """A source's name as the compiler lists it (libcpp/mkdeps.cc: apply_vpath)."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


def _restored(name: str) -> str:
    return name.removeprefix(ROOT) if name.startswith(f"{ROOT}/") else name
