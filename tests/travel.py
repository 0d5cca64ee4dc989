"""Sends single compiles to a real node and holds what comes back against the local compiler.

    with Trip(tmp_path / "tree") as trip:
        trip.write("a.c", "int x;\n")
        result = trip.go("gcc -O2 -c a.c")
        assert result.raw and result.words == "same"

The tree is moved away while the node compiles, so that nothing of it can be read there.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from buildfarm.dispatch import client
from buildfarm.dispatch.listing import assembled
from buildfarm.dispatch.missing_directories import MissingDirectories
from buildfarm.dispatch.prepare import Made, Prepared, prepare
from buildfarm.dispatch.recipe_pump import Pump
from buildfarm.graph.classify import classify
from buildfarm.graph.fortran import FortranScan, line_rules, scan
from buildfarm.model import Answer, Invocation, Job, Language, Node, Unit
from tests.farm import PATIENCE, Farm

ENVIRONMENT = {**os.environ, "LC_ALL": "C"}  # the nodes' language, which their messages are in


def scan_unit(text: str, unit: Unit) -> FortranScan:
    assert unit.fortran is not None
    return scan(text, free_form=unit.fortran.free_form, rules=line_rules(unit.compile_arguments))


@dataclass(frozen=True, slots=True)
class Result:
    """How a remote compile compares with the local one of the same command."""

    recipe: str
    status: int  # wait status of the node's compile
    local_status: int  # exit status of the local one
    raw: bool  # the objects are the same
    stripped: bool  # they are the same after --strip-debug
    words: str  # same, differ, or local: only a local compile can tell
    words_by: str  # the recipe whose answer told them
    made: Mapping[str, bool]  # base name of each file made here: same as the local compile's
    inputs: tuple[str, ...]
    object: bytes  # the node's, as it is delivered
    remote_stderr: bytes
    local_stderr: bytes


class Trip:
    """A tree of sources and one node that can't see it."""

    def __init__(self, root: Path, *, alike: bool = False) -> None:
        """`alike`: system headers are known to be the same there, and stay here."""
        self.root = root
        self.alike = alike
        root.mkdir()
        self._work = Path(tempfile.mkdtemp(prefix="bf-trip-"))
        self._farm = Farm(count=1, jobs=2)
        self.node = Node("127.0.0.1")
        self.pump = Pump()

    def __enter__(self) -> Trip:
        self._farm.__enter__()
        self.node = Node("127.0.0.1", self._farm.nodes[0].port, lzo=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._farm.close()
        shutil.rmtree(self._work)

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def left_on_the_node(self) -> list[str]:
        """What stays in the node's temporary directory, its own locks aside; it cleans up after it has answered."""
        end = time.monotonic() + PATIENCE
        while True:
            left = [name for name in os.listdir(self._farm.nodes[0].tmp) if name not in ("lock", "state")]
            if not left or time.monotonic() > end:
                return left
            time.sleep(0.01)

    def workdir(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._work))

    def unit(self, command: str) -> Unit:
        unit = classify(shlex.split(command)).unit
        assert unit is not None, f"not a unit: {command}"
        return unit

    def prepare(self, command: str, cwd: str = ".") -> Prepared:
        unit = self.unit(command)
        invocation = Invocation(unit.argv, str(self.root / cwd).removesuffix("/."), ENVIRONMENT)
        tool = shutil.which(unit.tool)
        assert tool is not None
        return asyncio.run(
            prepare(
                unit,
                invocation,
                tool,
                node_tool="gcc" if unit.language is Language.FORTRAN else unit.tool,
                workdir=self.workdir(),
                scan=scan_unit,
            )
        )

    def prepare_pumped(self, command: str, cwd: str = ".") -> Prepared:
        """The unit with its headers, to be preprocessed there.  Raises Unclear."""
        unit = self.unit(command)
        invocation = Invocation(unit.argv, str(self.root / cwd).removesuffix("/."), ENVIRONMENT)
        tool = shutil.which(unit.tool)
        assert tool is not None
        return asyncio.run(self.pump.prepare(unit, invocation, tool, node_tool=unit.tool, workdir=self.workdir()))

    def _at_delivery(self, unit: Unit, directory: Path) -> bytes:
        """What is put before the unit's words when it is handed to make."""
        tool = shutil.which(unit.tool)
        if unit.fortran is None or tool is None:
            return b""
        invocation = Invocation(unit.argv, os.path.normpath(directory), ENVIRONMENT)
        return asyncio.run(MissingDirectories().words(unit, invocation, tool, room=self.workdir))

    def _assembled(self, unit: Unit, directory: Path, text: bytes) -> tuple[bytes, Made]:
        tool = shutil.which(unit.tool)
        assert tool is not None
        invocation = Invocation(unit.argv, os.path.normpath(directory), ENVIRONMENT)
        return asyncio.run(assembled(unit, invocation, tool, text, workdir=self.workdir()))

    def send(self, job: Job, *, instead: Path | None = None) -> Answer:
        """The node's answer, given while the tree is elsewhere, and the tree `instead` in its place."""
        elsewhere = self.root.with_name(self.root.name + ".elsewhere")
        self.root.rename(elsewhere)
        if instead is not None:
            instead.rename(self.root)
        try:
            return asyncio.run(client.compile(self.node, job))
        finally:
            if instead is not None:
                self.root.rename(instead)
            elsewhere.rename(self.root)

    def go(self, command: str, cwd: str = ".", *, pumped: bool = False) -> Result:
        """Compile on the node, then here (the local outputs stay in the tree).  Raises CannotTravel, Unclear."""
        prepared = self.prepare_pumped(command, cwd) if pumped else self.prepare(command, cwd)
        unit = self.unit(command)
        directory = self.root / cwd
        full = prepared.in_full
        answer = self.send(prepared.job if full is None or self.alike else full())
        local = subprocess.run(shlex.split(command), cwd=directory, env=ENVIRONMENT, capture_output=True, check=False)
        wanted = (directory / unit.output).read_bytes() if local.returncode == 0 else b""
        told, by = prepared.words(answer.stderr), prepared.job.recipe
        if told is None and answer.status == 0 and (repeat := prepared.repeat(answer.stderr)) is not None:
            told, by = repeat.words(self.send(repeat.job).stderr), repeat.job.recipe
        content, inputs, outputs_made = answer.object, prepared.inputs, prepared.outputs_made
        if prepared.settle is not None and answer.status == 0:
            settled = prepared.settle(answer)
            assert settled is not None, f"it tells of the node: {answer.depfile!r}"
            content, inputs, outputs_made = settled.object, settled.inputs, settled.made
        if unit.assembled_here and answer.status == 0:
            content, listing = self._assembled(unit, directory, content)
            outputs_made = (*outputs_made, listing)
        if told is not None:
            told = self._at_delivery(unit, directory) + told
        return Result(
            recipe=prepared.job.recipe,
            status=answer.status,
            local_status=local.returncode,
            raw=content == wanted,
            stripped=not unit.assembler_only and self._stripped(content) == self._stripped(wanted),
            words="local" if told is None else "same" if told == local.stderr else "differ",
            words_by=by,
            made={
                os.path.basename(made.final): _listed(_content(made)) == _listed(Path(made.final).read_bytes())
                for made in outputs_made
                if local.returncode == 0
            },
            inputs=inputs,
            object=content,
            remote_stderr=answer.stderr,
            local_stderr=local.stderr,
        )

    def _stripped(self, content: bytes) -> bytes:
        if not content:
            return content
        path = self._work / "strip.o"
        path.write_bytes(content)
        subprocess.run(["objcopy", "--strip-debug", path], check=True)
        return path.read_bytes()


def _listed(content: bytes) -> bytes:
    """Without the name of the assembler text's temporary file, which is another in each listing."""
    return re.sub(rb"/cc\w{6}\.s\b", b"/cc.s", content)


def _content(made: Made) -> bytes:
    return Path(made.temporary).read_bytes() if made.content is None else made.content
