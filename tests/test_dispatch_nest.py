"""What compilers make of the canaries is kept for as long as they are the same compilers."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from buildfarm.dispatch import nest
from buildfarm.dispatch.canary import Canaries
from buildfarm.model import Language

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is missing: install it")


@pytest.fixture
def gcc(tmp_path: Path) -> Path:
    """A compiler of our own: a copy of gcc's driver, which is told where its parts are."""
    driver = tmp_path / "bin" / "gcc"
    driver.parent.mkdir()
    shutil.copy2(os.path.realpath(shutil.which("gcc") or ""), driver)
    return driver


def surroundings(**variables: str) -> dict[str, str]:
    told = subprocess.run(["gcc", "-print-prog-name=cc1"], capture_output=True, text=True, check=True)
    return {**os.environ, "COMPILER_PATH": os.path.dirname(told.stdout.strip()), **variables}


def hatch(gcc: Path, cache: Path, **variables: str) -> Canaries:
    return asyncio.run(nest.hatch({Language.C: str(gcc)}, surroundings(**variables), cache))


def kept(gcc: Path, cache: Path, **variables: str) -> Canaries | None:
    return nest.kept({Language.C: str(gcc)}, surroundings(**variables), cache)


def test_a_second_build_finds_what_the_first_has_laid(gcc: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "canaries"
    assert kept(gcc, cache) is None
    first = hatch(gcc, cache)
    assert first.canaries
    assert kept(gcc, cache) == first
    assert [file.suffix for file in cache.iterdir()] == [".json"]


def updated(driver: Path, _: Path) -> None:
    status = driver.stat()
    fresh = driver.with_name("fresh")
    shutil.copy2(driver, fresh)
    fresh.replace(driver)
    os.utime(driver, ns=(status.st_atime_ns, status.st_mtime_ns))


def touched(driver: Path, _: Path) -> None:
    os.utime(driver)


def gone(driver: Path, _: Path) -> None:
    driver.unlink()


def too_old(_: Path, file: Path) -> None:
    os.utime(file, (0, 0))


def cut(_: Path, file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def empty(_: Path, file: Path) -> None:
    file.write_bytes(b"")


def of_another_shape(_: Path, file: Path) -> None:
    file.write_text('{"parts": []}')


@pytest.mark.parametrize("change", [updated, touched, gone, too_old, cut, empty, of_another_shape])
def test_what_may_be_another_compilers_is_not_used(
    gcc: Path, tmp_path: Path, change: Callable[[Path, Path], None]
) -> None:
    hatch(gcc, tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    change(gcc, file)
    assert kept(gcc, tmp_path / "cache") is None


def test_another_assembler_on_path_makes_another_compiler(gcc: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    path = f"{tools}:{os.environ['PATH']}"
    hatch(gcc, tmp_path / "cache", PATH=path)
    assert kept(gcc, tmp_path / "cache", PATH=path)
    assert kept(gcc, tmp_path / "cache", PATH=f"{path}:/elsewhere") is None
    shutil.copy2(os.path.realpath(shutil.which("as") or ""), tools / "as")
    assert kept(gcc, tmp_path / "cache", PATH=path) is None


def test_nothing_is_kept_of_a_compiler_that_is_a_script(tmp_path: Path) -> None:
    wrapper = tmp_path / "gcc"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("gcc")} "$@"\n')
    wrapper.chmod(0o755)
    assert hatch(wrapper, tmp_path / "cache").canaries
    assert kept(wrapper, tmp_path / "cache") is None


def test_a_cache_that_can_not_be_written_costs_no_build(gcc: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert hatch(gcc, tmp_path / "file").canaries
