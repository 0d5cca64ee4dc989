"""What is preprocessed without gcc's driver is what the driver makes of it, and only plain gcc is learned."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from buildfarm.dispatch import driver, local
from buildfarm.dispatch.driver import Drivers, Words

GCC = shutil.which("gcc") or "gcc"
UNITS = 9


async def _all(
    tree: Path, options: list[str], started: list[str], *, tool: str = GCC, broken: int = -1
) -> list[tuple[local.Finished, local.Finished, bytes, bytes]]:
    """Preprocess every unit by the lessons and by the driver: both results, both depfiles."""
    drivers = Drivers()
    found = []
    for number in range(UNITS):
        name, depfile = f"sub/u{number}.c", str(tree / f"made{number}")
        text = "#error no\n" if number == broken else f'#include <stdio.h>\n#include "own.h"\nint u{number} = OWN;\n'
        (tree / name).write_text(text)
        argv = [
            tool,
            *options,
            "-E",
            "-fdirectives-only",
            "-MD",
            "-MQ",
            f"u{number}.o",
            f"-MF{depfile}",
            name,
        ]
        started.append("unit")
        mine = await drivers.run(argv, Words(name, depfile, f"u{number}.o"), cwd=str(tree), env=dict(os.environ))
        dependencies = Path(depfile).read_bytes() if Path(depfile).exists() else b""
        theirs = await local.run(argv, cwd=str(tree), env=dict(os.environ))
        found.append((mine, theirs, dependencies, Path(depfile).read_bytes() if Path(depfile).exists() else b""))
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "own.h").write_text("#define OWN 1\n#warning heard\n")
    return tmp_path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The base names of all programs that the lessons start, with a mark before each unit."""
    names: list[str] = []

    class Watched:
        @staticmethod
        async def run(argv: list[str], **rest: object) -> local.Finished:
            names.append(os.path.basename(argv[0]))
            return await local.run(argv, cwd=str(rest["cwd"]), env=dict(os.environ))

    monkeypatch.setattr(driver, "local", Watched)
    return names


@pytest.mark.parametrize("options", [[], ["-O2", "-Wall", '-DX="a b$\'\\\\"', "-march=native", "-I", "sub"]])
def test_text_warnings_and_depfile_are_the_drivers(tree: Path, started: list[str], options: list[str]) -> None:
    for mine, theirs, my_dependencies, their_dependencies in asyncio.run(_all(tree, options, started)):
        assert mine == theirs
        assert b"heard" in mine.stderr
        assert my_dependencies == their_dependencies != b""
    assert started[-2:] == ["unit", "cc1"]


def test_an_error_is_the_drivers_error(tree: Path, started: list[str]) -> None:
    results = asyncio.run(_all(tree, [], started, broken=UNITS - 1))
    assert results[-1][0].stderr == results[-1][1].stderr
    assert not results[-1][0].succeeded


def test_a_script_in_gccs_place_is_always_called(tree: Path, started: list[str]) -> None:
    script = tree / "gcc"
    script.write_text(f'#!/bin/sh\nexport CPATH=/nowhere\nexec {GCC} "$@"\n')
    script.chmod(0o755)
    asyncio.run(_all(tree, [], started, tool=str(script)))
    assert started == ["unit", "gcc"] * UNITS


def test_options_that_lead_the_driver_elsewhere_are_left_to_it(tree: Path, started: list[str]) -> None:
    asyncio.run(_all(tree, ["-B."], started))
    assert started == ["unit", "gcc"] * UNITS
