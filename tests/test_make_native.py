"""What is compiled on first use is done without where it can't be had, and not tried again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from buildfarm.make import blocks, buffering, confining, masquerade, native

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
def test_a_compiler_that_came_later_is_tried(
    prepare: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setenv("PATH", str(tmp_path))
        assert prepare(tmp_path / "cache") is None
    assert prepare(tmp_path / "cache") is not None


def test_the_hook_is_had_once_there_is_a_compiler(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert masquerade.prepare(tmp_path / "cache", path=str(tmp_path / "empty")).hook is None
    assert masquerade.prepare(tmp_path / "cache").hook is not None


def test_what_failed_is_tried_again_another_day(tmp_path: Path) -> None:
    """A machine that was too busy, say, to end a trial in time."""
    tries: list[Path] = []

    def works(made: Path) -> bool:
        tries.append(made)
        return False

    def attempt() -> Path | None:
        return native.kept(b"int x;", tmp_path, "made.so", (("-shared",),), works)

    assert attempt() is None and attempt() is None
    once = len(tries)
    (mark,) = tmp_path.rglob("does-not-work")
    os.utime(mark, (0, 0))
    assert attempt() is None
    assert len(tries) == 2 * once > 0


@OWNERS
def test_a_cache_that_can_t_be_used_is_no_error(prepare: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert prepare(tmp_path / "file") is None
