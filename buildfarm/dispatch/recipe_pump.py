"""Makes jobs of C and C++ units that are preprocessed on the node: P3, distcc's pump mode, from exact knowledge.

It runs no preprocessor.  When it can't say for sure what a unit reads it says so (`Unclear`), and the unit travels
preprocessed; so it does after an answer that shows anything of the node's own (`Pumped.settle`).

*Theory of operation.*  `headers` finds a superset of the files that the unit reads, which are sent as they are, packed
once for the whole build; `search_path` makes the node look them up as this machine would.  The unit's object, its
messages and its depfile then hold the user's names, because names in the node's tree are relative ones, or begin with
`bf__R/`, which is mapped back.  With debug information the node's directory would get into the object, and sanitizers
write down names that no option maps: such units are not for this recipe.  What the unit has really read is told by the
depfile that comes with the answer.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from buildfarm.dispatch import depfile
from buildfarm.dispatch.driver import is_gcc
from buildfarm.dispatch.headers import Header, Headers, SearchPath, Unclear
from buildfarm.dispatch.prepared import Made, Prepared, Settled
from buildfarm.dispatch.search_path import PREFIX_MAP, PREINCLUDED, ROOT, Compilers, Options, led, search_path, sort
from buildfarm.dispatch.tree import Tree
from buildfarm.model import Answer, Invocation, Job, Language, SentFile, Unit

__all__ = ["Pump", "Unclear"]

_MARKS = (ROOT.encode(), b"distccd_")  # of the node's tree: in an object they tell of a name that was not mapped back
_TARGET = "unit.o"


@dataclass(frozen=True, slots=True)
class _Settler:
    """Takes the unit's depfile and inputs out of an answer."""

    cwd: str
    source: str  # as the compiler lists it
    files: Mapping[str, str]  # the path that was looked up, by its normal form
    system: tuple[str, ...]  # files that a list without system headers leaves out
    wanted: depfile.Wanted | None
    made: Made | None

    def __call__(self, answer: Answer) -> Settled | None:
        """None: the answer tells of the node's own directories, or lists what was not sent."""
        listed = depfile.read(answer.depfile)
        if listed is None or any(mark in answer.object for mark in _MARKS):
            return None
        names = [_restored(name) for name in listed]
        if names[:1] != [self.source]:
            return None
        inputs: dict[str, None] = {}
        for name in names:
            path = self.files.get(os.path.normpath(os.path.join(self.cwd, name)))
            if path is None:
                return None
            inputs[path] = None
        inputs.update(dict.fromkeys(self.system))
        if self.made is None or self.wanted is None:
            return Settled(tuple(inputs))
        return Settled(tuple(inputs), (replace(self.made, content=depfile.write(self.wanted, names)),))


class Pump:
    """What was learned of headers and compilers, for the life of a build."""

    def __init__(self) -> None:
        self._headers = Headers()
        self._compilers = Compilers()

    async def prepare(
        self, unit: Unit, invocation: Invocation, tool_path: str, *, node_tool: str, workdir: Path
    ) -> Prepared:
        """The unit's job.  Raises Unclear, OSError."""
        if unit.debug or unit.full_preprocessing or unit.assembler_only or not is_gcc(tool_path):
            raise Unclear("not for this recipe")
        wanted = depfile.wanted(unit.depfile.arguments, unit.source) if unit.depfile is not None else None
        if unit.depfile is not None and wanted is None:
            raise Unclear("its depfile is of an unusual form")
        cwd = invocation.cwd
        options = sort(unit.preprocess_arguments, invocation.env)
        own = await self._compilers.directories(tool_path, unit.language, options, cwd=cwd, env=invocation.env)
        search = search_path(options, own, cwd)
        included = self._included(options, search, cwd)
        files = self._headers.closure(os.path.join(cwd, unit.source), included, cwd, search)
        made = None
        if unit.depfile is not None:
            final = os.path.join(cwd, unit.depfile.path)
            made = Made(str(workdir / (os.path.basename(final) or "depfile")), final)
        source = led(unit.source)
        preincluded = len(included) - len(options.included)
        before = set(unit.preprocess_arguments)
        argv = (
            node_tool,
            *(f"-include{name}" for name in included[:preincluded]),
            *options.sent,
            *(argument for argument in unit.compile_arguments if argument not in before),
            "-nostdinc",
            *(("-nostdinc++",) if unit.language is Language.CXX else ()),
            *(f"-isystem{led(name)}" for name in own),
            PREFIX_MAP,
            *(() if wanted is not None and not wanted.system else ("-MD",)),
            "-c",
            source,
            "-o",
            _TARGET,
        )
        job = Job(argv, cwd=cwd, files=_tree(files, options, search, cwd), recipe="P3")
        unlisted = tuple(f"{place}/" for place in own) if wanted is not None and not wanted.system else ()
        settle = _Settler(
            cwd,
            _spelled(_restored(source)),
            {header.sent.name: header.path for header in files},
            tuple(header.path for header in files if header.path.startswith(unlisted)) if unlisted else (),
            wanted,
            made,
        )
        return Prepared(
            job,
            inputs=tuple(header.path for header in files),
            outputs_made=() if made is None else (made,),
            stderr=b"",
            words=_restored_words,
            seen={header.path: header.stamp for header in files},
            settle=settle,
        )

    def _included(self, options: Options, search: SearchPath, cwd: str) -> tuple[str, ...]:
        """The files that are read before the source: those that the user names, and before them the compiler's."""
        hosted = options.own_headers and not {"-ffreestanding", "-fno-hosted"} & set(options.others)
        if not hosted:
            return options.included
        # The compiler searches the bracket directories for its own, `-include` the user's and these.
        if any(os.path.exists(os.path.join(place, PREINCLUDED)) for place in (cwd, *search.quote)):
            raise Unclear(f"there is another {PREINCLUDED}")
        if not any(os.path.exists(os.path.join(place, PREINCLUDED)) for place in search.bracket):
            return options.included
        return (PREINCLUDED, *options.included)


def _tree(files: tuple[Header, ...], options: Options, search: SearchPath, cwd: str) -> tuple[SentFile, ...]:
    """What is sent: the files, the link to the tree's root, and the user's directories, which must be there."""
    tree = Tree()
    for directory in (cwd, *(os.path.join(cwd, name) for name in (*options.quote, *options.angle))):
        if directory == cwd or directory in search.quote or directory in search.bracket:
            tree.add_directory(directory)
    for header in files:
        tree.place(header.path, header.sent)
    return (*tree.files(), SentFile(os.path.join(cwd, ROOT), link="/"))


def _spelled(name: str) -> str:
    """A source's name as the compiler lists it (libcpp/mkdeps.cc: apply_vpath)."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


def _restored(name: str) -> str:
    return name.removeprefix(ROOT) if name.startswith(f"{ROOT}/") else name


def _restored_words(serr: bytes) -> bytes:
    return serr.replace(f"{ROOT}/".encode(), b"/")
