"""How a node proves itself to a build: it is asked who it is, and repeats what this machine's compilers make.

It decides nothing about the node (the scheduler does) and has no list of them (`membership` has).
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from buildfarm.conductor.toolbox import Toolbox
from buildfarm.dispatch import local
from buildfarm.dispatch.canary import Canaries
from buildfarm.dispatch.events import Probed
from buildfarm.dispatch.faults import NodeFault, NodeForbidden, NodeRefused
from buildfarm.dispatch.nest import hatch, kept
from buildfarm.dispatch.probe import NodeIdentity
from buildfarm.dispatch.probe import ask as ask_tool
from buildfarm.dispatch.probe import probe as ask
from buildfarm.errors import MachineError
from buildfarm.graph.names import tool_of
from buildfarm.model import Language, Node
from buildfarm.request import RunRequest


class Prober:
    """Asks the nodes of one build."""

    def __init__(self, request: RunRequest, toolbox: Toolbox, cache: Path) -> None:
        """`cache`: the directory where what this machine's compilers make of the canaries is kept."""
        self._request = request
        self._toolbox = toolbox
        self._cache = cache
        self._canaries: Canaries | None = None
        self._hatching: asyncio.Task[Canaries] | None = None
        self._early: dict[str, Future[Probed]] = {}  # by node
        self._identities: dict[str, NodeIdentity] = {}
        self._tools: dict[tuple[str, str], asyncio.Task[str | None]] = {}  # (node, tool) -> why it can't be used there
        self._plain: dict[str, bool] = {}  # by absolute path

    def ask_early(self, nodes: Sequence[Node]) -> None:
        """Ask these nodes now, before there is a conductor, in a thread; `probe` takes what they have said.

        Nothing is compiled here for that: where the canaries are not known, nobody is asked early.
        """
        environment = self._toolbox.clean(self._request.environment)
        compilers = self._toolbox.compilers(environment)
        canaries = kept(compilers, environment, self._cache) if Language.C in compilers else None
        if canaries is None:
            return
        self._canaries = canaries
        early: dict[str, Future[Probed]] = {node.key: Future() for node in nodes}
        self._early = dict(early)

        async def one(node: Node) -> None:
            try:
                _settle(early[node.key], await self._ask(node, canaries))
            except OSError as error:
                _settle(early[node.key], error)

        async def all_of_them() -> None:
            async with asyncio.TaskGroup() as tasks:
                for node in {node.key: node for node in nodes}.values():
                    tasks.create_task(one(node))

        def ask() -> None:
            try:
                asyncio.run(all_of_them())
            except BaseException as error:
                for future in early.values():
                    _settle(future, error)

        threading.Thread(target=ask, name="early questions", daemon=True).start()

    async def probe(self, node: Node) -> Probed:
        """Ask the node who it is, and have it repeat what this machine's compilers make."""
        early = self._early.pop(node.key, None)
        if early is not None:
            return await asyncio.wrap_future(early)
        if self._hatching is None:
            self._hatching = asyncio.create_task(self._hatch())
        try:
            return await self._ask(node, await asyncio.shield(self._hatching))
        except MachineError as error:
            return Probed(node.key, error=error.message, quarantine=True)

    async def _hatch(self) -> Canaries:
        """Raises MachineError."""
        if self._canaries is None:
            environment = self._toolbox.clean(self._request.environment)
            compilers = self._toolbox.compilers(environment)
            if Language.C not in compilers:
                raise MachineError("no gcc on this machine's PATH to compare nodes with")
            self._canaries = await hatch(compilers, environment, self._cache)
        return self._canaries

    async def _ask(self, node: Node, canaries: Canaries) -> Probed:
        try:
            identity = await ask(node, canaries)
        except NodeFault as fault:
            return Probed(node.key, error=fault.reason, quarantine=isinstance(fault, NodeForbidden))
        self._identities[node.key] = identity
        if identity.mismatch is not None:
            return Probed(node.key, compiler=identity.compiler, error=identity.mismatch, quarantine=True)
        return Probed(
            node.key,
            languages=frozenset(str(language) for language in identity.languages),
            compiler=identity.compiler,
            remark=identity.lacks,
            seconds=identity.round_trip_seconds,
        )

    async def tool_name(self, node: Node, language: Language, tool_path: str) -> tuple[str, str | None]:
        """The name by which the node knows the compiler `tool_path`, and why it can't have the unit, if it can't.

        The compilers that the canaries stand for go by the names that the probe has proved, cross names included.  Any
        other (`clang`, `gcc-11`, a cross compiler of the user's) is asked there once who it is.  Raises NodeFault.
        """
        name = os.path.basename(tool_path)
        identity = self._identities.get(node.key)
        if identity is None:
            return name, None
        if self._is_plain(tool_path) and (proved := identity.argv0.get(language)):
            return proved, None
        key = (node.key, tool_path)
        if key not in self._tools:
            self._tools[key] = asyncio.create_task(self._compare(node, name, tool_path))
        try:
            return name, await asyncio.shield(self._tools[key])
        except NodeRefused as refused:
            return name, f"{node.key} runs no {name}: {refused.reason}"
        except NodeFault:
            self._tools.pop(key, None)
            raise

    def _is_plain(self, tool_path: str) -> bool:
        """Whether this is one of the compilers whose canaries the nodes repeat: `cc` and `gcc-12` usually are gcc.

        A launcher's links (ccache's `gcc` and `clang`) are all one file, and not one compiler.
        """
        if not self._plain:
            compilers = self._toolbox.compilers(self._toolbox.clean(self._request.environment))
            files = filter(_goes_by_its_name, map(os.path.realpath, compilers.values()))
            self._plain = dict.fromkeys((*compilers.values(), *files), True)
        if tool_path not in self._plain:
            self._plain[tool_path] = os.path.realpath(tool_path) in self._plain
        return self._plain[tool_path]

    async def _compare(self, node: Node, name: str, tool_path: str) -> str | None:
        """Why the node's `name` is not this machine's `tool_path`; None: it is.  Raises NodeFault."""
        environment = {**self._toolbox.clean(self._request.environment), "LC_ALL": "C"}
        for question in ("-dumpmachine", "--version"):
            told = await local.run([tool_path, question], cwd="/", env=environment)
            here = (told.stdout.decode(errors="replace").splitlines() or [""])[0].strip()
            there = await ask_tool(node, name, question)
            if there != here:
                return f"the {name} of {node.key} says {there} to {question}, here it is {here}"
        return None


def _goes_by_its_name(path: str) -> bool:
    return tool_of(os.path.basename(path)).family == "compiler"


def _settle(future: Future[Probed], outcome: Probed | BaseException) -> None:
    """Who waited may have been cancelled, or been answered before."""
    if future.done() or not future.set_running_or_notify_cancel():
        return
    if isinstance(outcome, Probed):
        future.set_result(outcome)
    else:
        future.set_exception(outcome)
