"""What is compiled on first use is done without where it can't be had, and not tried again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from buildfarm.make import blocks, buffering, confining, native

OWNERS = pytest.mark.parametrize("prepare", [blocks.prepare, buffering.prepare, confining.prepare])


@OWNERS
def test_without_a_compiler_there_is_none(
    prepare: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert prepare(tmp_path / "cache") is None
    monkeypatch.setattr(native, "build", lambda *_: pytest.fail("tried again"))
    assert prepare(tmp_path / "cache") is None


@OWNERS
def test_a_cache_that_can_t_be_used_is_no_error(prepare: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert prepare(tmp_path / "file") is None
