"""Looks through what stands for something else on a command line: MPI's wrapper compilers, `-march=native`.

It classifies nothing: the caller classifies the real command anew.  Each question is asked once per `Wrappers`.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Awaitable, Mapping, Sequence
from typing import Protocol

from buildfarm.dispatch import local
from buildfarm.dispatch.prepared import CannotTravel

# Variables that choose the compiler or its options (mpicc(1) of Open MPI, MPICH and Intel MPI).
_VARIABLES = ("OMPI_", "MPICH_", "I_MPI_", "OPAL_")
_PLACEHOLDERS = {"cc": "bf__unit.c", "cxx": "bf__unit.cc", "c++": "bf__unit.cc", "CC": "bf__unit.cc"}
_NATIVE = ("-march=native", "-mtune=native", "-mcpu=native")
_MACHINE = ("-march=", "-mtune=", "-mcpu=", "-mabi=", "-m32", "-mx32", "-m64")

Key = tuple[str, ...]


def is_wrapper(tool: str) -> bool:
    """Whether the bare name `tool` is one of MPI's wrapper compilers."""
    return tool.startswith("mpi")


class Run(Protocol):
    """Runs a tool as `local.run` does."""

    def __call__(self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> Awaitable[local.Finished]: ...


class Wrappers:
    """The answers of the wrappers and drivers of one build, which are asked by `run`."""

    def __init__(self, run: Run = local.run) -> None:
        self._run = run
        self._shown: dict[Key, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        self._native: dict[Key, tuple[str, ...]] = {}

    async def real_command(
        self, argv: Sequence[str], tool_path: str, *, cwd: str, env: Mapping[str, str]
    ) -> tuple[str, ...]:
        """The compiler's command that the wrapper's compile command `argv` stands for.

        `tool_path` is the wrapper's absolute path.  The user's arguments are put where the wrapper would put them;
        they don't pass through it, because what it shows has lost all quotes.  Raises CannotTravel when
        the wrapper does not show what it does.
        """
        chosen = sorted(f"{k}={v}" for k, v in env.items() if k.startswith(_VARIABLES))
        key = (tool_path, *chosen)
        if key not in self._shown:
            self._shown[key] = await self._show(tool_path, cwd, env)
        before, after = self._shown[key]
        return (*before, *argv[1:], *after)

    async def _show(self, tool_path: str, cwd: str, env: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        name = os.path.basename(tool_path).removeprefix("mpi").partition(".")[0]
        placeholder = _PLACEHOLDERS.get(name, "bf__unit.f90")
        shown = await self._run([tool_path, "-show", "-c", placeholder], cwd=cwd, env=env)
        words = shlex.split(os.fsdecode(shown.stdout)) if shown.succeeded else []
        if placeholder not in words or "-c" not in words:
            raise CannotTravel(f"{tool_path} -show does not say what it runs")
        at = words.index(placeholder)
        before = tuple(word for word in words[:at] if word != "-c")
        return before, tuple(word for word in words[at + 1 :] if word != "-c")

    async def native_options(
        self, tool_path: str, arguments: Sequence[str], *, cwd: str, env: Mapping[str, str]
    ) -> tuple[str, ...]:
        """What `-march=native`, `-mtune=native` and `-mcpu=native` among `arguments` stand for on this machine.

        All operands are joined.  Raises CannotTravel when the driver does not tell, or has something to say of them.
        """
        asked = tuple(arg for arg in arguments if arg.startswith(_MACHINE))
        key = (tool_path, *asked)
        if key not in self._native:
            self._native[key] = await self._ask(tool_path, asked, cwd, env)
        return self._native[key]

    async def _ask(self, tool_path: str, asked: Sequence[str], cwd: str, env: Mapping[str, str]) -> tuple[str, ...]:
        argv = [tool_path, *asked, "-###", "-E", "-x", "c", os.devnull]
        told = await self._run(argv, cwd=cwd, env=env)
        said = os.fsdecode(told.stderr).splitlines()
        if any(line.startswith(f"{os.path.basename(tool_path)}: ") for line in said):
            raise CannotTravel(f"{tool_path} warns of {' '.join(asked)}, and no node would")
        for line in said:
            words = shlex.split(line) if line.startswith(" ") else []
            if words and os.path.basename(words[0]) == "cc1":
                return _machine_options(words, arch="-march=native" in asked or "-mcpu=native" in asked)
        raise CannotTravel(f"{tool_path} -### does not say what {' '.join(_NATIVE)} mean here")


def _machine_options(words: Sequence[str], *, arch: bool) -> tuple[str, ...]:
    """The machine options of a command of the driver's; without `arch` only those that -mtune=native gives."""
    options: list[str] = []
    for position, word in enumerate(words[:-1]):
        if word == "--param":
            options.append(f"--param={words[position + 1]}")
        elif word.startswith("-mtune=") or (arch and word.startswith("-m")):
            options.append(word)
    return tuple(options)
