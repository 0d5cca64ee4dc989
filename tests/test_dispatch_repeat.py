"""What is compared of objects with debug information is their code, whatever machine they are for."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from buildfarm.dispatch.repeat import without_debug


def _bare(tool: str, content: bytes, room: Path) -> bytes | None:
    return asyncio.run(without_debug(content, tool, {"PATH": os.environ["PATH"]}, room))


def _script(path: Path, line: str) -> str:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return str(path)


def test_debug_information_is_taken_off_and_code_stays(tmp_path: Path) -> None:
    bare = []
    for name in ("a.c", "longer/b.c"):
        source = tmp_path / name
        source.parent.mkdir(exist_ok=True)
        source.write_text("int f(int x) { return x + 1; }\n")
        subprocess.run(["gcc", "-g", "-c", str(source), "-o", "a.o"], cwd=tmp_path, check=True)
        subprocess.run(["objcopy", "--strip-symbol", source.name, "a.o"], cwd=tmp_path, check=True)
        bare.append(_bare(shutil.which("gcc") or "", (tmp_path / "a.o").read_bytes(), tmp_path / "room"))
    assert bare[0] is not None
    assert bare[0] == bare[1]
    assert not (tmp_path / "room").exists()


def test_a_cross_compilers_objects_are_read_by_its_own_objcopy(tmp_path: Path) -> None:
    own = _script(tmp_path / "own-objcopy", 'test "$1" = --strip-debug && sed "s/debug//" "$2" >"$3"')
    tool = _script(tmp_path / "cross-gcc", f'test "$*" = -print-prog-name=objcopy && echo {own}')
    assert _bare(tool, b"code debug", tmp_path / "room") == b"code "


@pytest.mark.parametrize("line", ["exit 1", "echo there-is-no-such-program"])
def test_without_an_objcopy_that_knows_it_nothing_can_be_said(tmp_path: Path, line: str) -> None:
    assert _bare(_script(tmp_path / "cross-gcc", line), b"no object", tmp_path / "room") is None
