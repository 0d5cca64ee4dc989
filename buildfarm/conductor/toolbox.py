"""Finds the real tools behind the masquerade, and what an object of theirs looks like.

Everything is asked once and remembered; it compiles nothing of the user's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from buildfarm.graph.fingerprint import fingerprint_in, relevant_environment
from buildfarm.graph.names import is_distributor
from buildfarm.graph.options import NATIVE
from buildfarm.make.masquerade import HOOK
from buildfarm.model import Invocation, Language, Unit
from buildfarm.value import dataclass

if TYPE_CHECKING:
    import asyncio

    from buildfarm.dispatch.elf import ObjectIdentity

SURROUNDINGS_KEPT = 64  # environments
_PROCESSOR = ("vendor_id", "cpu family", "model", "stepping", "cache size", "flags", "Features", "CPU ")  # proc(5)
_PLAIN = {Language.C: "gcc", Language.CXX: "g++", Language.FORTRAN: "gfortran"}


def _executables(name: str, search: str, cwd: str) -> Iterator[str]:
    """Where the directories of `search` (a PATH) have it, the first first; not as a link to distcc."""
    for directory in search.split(os.pathsep):
        candidate = os.path.join(directory or cwd, name)
        if os.access(candidate, os.X_OK) and os.path.isfile(candidate) and not _links_to_distributor(candidate):
            yield candidate


def _links_to_distributor(path: str) -> bool:
    try:
        return is_distributor(os.readlink(path))
    except OSError:
        return False


@cache
def is_script(path: str) -> bool:
    """Whether a program runs as it is, and what it calls comes by itself, with words of its own."""
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


@cache
def _processor() -> str:
    """This machine's processor as `-march=native` sees it: model, features and cache, not how fast it runs now."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(sorted({line for line in lines if line.startswith(_PROCESSOR)}))


@dataclass(frozen=True, slots=True)
class _Surroundings:
    original: Mapping[str, str]  # kept so that its address stays its own
    clean: Mapping[str, str]
    relevant: tuple[tuple[str, str], ...]


class Toolbox:
    """The compilers of this machine."""

    def __init__(self, masquerade: Path) -> None:
        self._masquerade = os.path.realpath(masquerade)
        self._paths: dict[tuple[str, str], str | None] = {}
        self._clean: dict[str, str] = {}
        self._surroundings: dict[int, _Surroundings] = {}  # by the address of what they were made of
        self._references: dict[tuple[str, ...], ObjectIdentity | None] = {}

    @cached_property
    def _asking(self) -> asyncio.Lock:
        """One question at a time; made when there is one, for a build with nothing to do needs no asyncio."""
        from asyncio import Lock

        return Lock()

    def clean(self, environment: Mapping[str, str]) -> Mapping[str, str]:
        """The environment with the masquerade off its PATH and the exec hook asleep, as the stub leaves it."""
        return self._known(environment).clean

    def _known(self, environment: Mapping[str, str]) -> _Surroundings:
        """Calls of one make share their environment."""
        known = self._surroundings.get(id(environment))
        if known is None:
            if len(self._surroundings) >= SURROUNDINGS_KEPT:
                self._surroundings.clear()
            clean = self._cleaned(environment)
            known = _Surroundings(environment, clean, relevant_environment(clean))
            self._surroundings[id(environment)] = known
        return known

    def _cleaned(self, environment: Mapping[str, str]) -> dict[str, str]:
        path = environment.get("PATH", os.defpath)
        cleaned = self._clean.get(path)
        if cleaned is None:
            kept = [d for d in path.split(os.pathsep) if os.path.realpath(d or ".") != self._masquerade]
            cleaned = self._clean[path] = os.pathsep.join(kept)
        found = {**environment, "PATH": cleaned}
        found.pop("BUILDFARM_SOCKET", None)  # without it neither stub nor hook does anything
        preloaded = [entry for entry in found.pop("LD_PRELOAD", "").split(":") if not entry.endswith(HOOK)]
        if any(preloaded):
            found["LD_PRELOAD"] = ":".join(preloaded)
        return found

    def mark(self, invocation: Invocation) -> str:
        """The call's fingerprint: the same whether the call was foreseen or comes from a stub."""
        relevant = self._known(invocation.env).relevant
        if not NATIVE.isdisjoint(invocation.argv):
            relevant = (*relevant, ("processor", _processor()))
        return fingerprint_in(invocation.cwd, invocation.argv, relevant)

    def real(self, called_as: str, invocation: Invocation) -> str | None:
        """The absolute path of the tool that `called_as` means there; None: it is not to be found."""
        if os.sep in called_as:
            path = os.path.join(invocation.cwd, called_as)
            masqueraded = os.path.dirname(os.path.realpath(os.path.dirname(path))) == self._masquerade
            if not masqueraded and not _links_to_distributor(path):
                return path if os.access(path, os.X_OK) else None
            called_as = os.path.basename(path)
        search = self.clean(invocation.env)["PATH"]
        key = (called_as, search)
        if key not in self._paths:
            self._paths[key] = next(_executables(called_as, search, invocation.cwd), None)
        return self._paths[key]

    async def assembles(self, tool_path: str, environment: Mapping[str, str]) -> bool:
        """Whether the compiler finds an assembler there: on PATH, or one of its own (a cross compiler's)."""
        search = environment.get("PATH", os.defpath)
        key = ("as", search)
        if key not in self._paths:
            self._paths[key] = next(_executables("as", search, "/"), None)
        if self._paths[key] is not None:
            return True
        own = (tool_path, search)
        if own not in self._paths:
            from buildfarm.dispatch import local

            told = await local.run([tool_path, "-print-prog-name=as"], cwd="/", env=environment)
            name = os.fsdecode(told.stdout.strip())
            self._paths[own] = name if os.path.isabs(name) else None
        return self._paths[own] is not None

    def is_script(self, called_as: str, invocation: Invocation) -> bool:
        """Whether the tool is a script."""
        path = self.real(called_as, invocation)
        return path is not None and is_script(path)

    def compilers(self, environment: Mapping[str, str]) -> dict[Language, str]:
        """The plain compilers of this machine, where there are any; their nodes' namesakes are probed.

        A script that goes by a compiler's name stands before one, and it is that one whose calls come.
        """
        search = self.clean(environment)["PATH"]
        found = {}
        for language, name in _PLAIN.items():
            path = next((path for path in _executables(name, search, os.getcwd()) if not is_script(path)), None)
            if path is not None:
                found[language] = path
        return found

    async def reference(self, unit: Unit, tool_path: str, environment: Mapping[str, str]) -> ObjectIdentity | None:
        """What this compiler's objects look like with the unit's `-m` options; None: it could not be told."""
        machine = tuple(a for a in unit.compile_arguments if a.startswith("-m") or a.startswith("-flto"))
        key = (tool_path, *machine)
        if key in self._references:
            return self._references[key]
        async with self._asking:  # a build's first answers come together
            if key not in self._references:
                self._references[key] = await self._compile_reference(tool_path, machine, environment)
        return self._references[key]

    async def _compile_reference(
        self, tool_path: str, machine: tuple[str, ...], environment: Mapping[str, str]
    ) -> ObjectIdentity | None:
        import tempfile

        from buildfarm.dispatch import local
        from buildfarm.dispatch.elf import identify

        with tempfile.TemporaryDirectory(prefix="buildfarm-") as directory:
            target = os.path.join(directory, "reference.o")
            argv = [tool_path, *machine, "-x", "assembler", "-c", os.devnull, "-o", target]
            finished = await local.run(argv, cwd=directory, env=environment)
            if not finished.succeeded:
                return None
            return identify(Path(target).read_bytes())
