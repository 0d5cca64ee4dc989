"""A build needs no cache that it can write: it finds a private place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildfarm.make.cache import cache_directory
from tests.tool import buildfarm, environment


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_the_users_own_cache_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_directory() == tmp_path / "cache" / "buildfarm"


def test_without_one_a_private_directory_is_taken(tmp_path: Path) -> None:
    found = cache_directory()
    assert found == tmp_path / f"buildfarm-cache-{os.geteuid()}"
    assert found.stat().st_mode & 0o077 == 0


def test_a_directory_that_others_can_write_is_not_taken(tmp_path: Path) -> None:
    squatted = tmp_path / f"buildfarm-cache-{os.geteuid()}"
    squatted.mkdir()
    squatted.chmod(0o777)
    assert cache_directory() == tmp_path / "file" / "cache" / "buildfarm"


@pytest.mark.timeout(60)
def test_a_build_without_a_cache_ends_well(tmp_path: Path) -> None:
    tree = tmp_path / "p"
    tree.mkdir()
    (tree / "Makefile").write_text("a.o: a.c\n\tcc -c a.c\n")
    (tree / "a.c").write_text("int a;\n")
    homeless = environment(HOME=str(tmp_path / "file"), TMPDIR=str(tmp_path))
    result = buildfarm("run", "-C", str(tree), "--hosts", "", env=homeless)
    assert result.code == 0 and (tree / "a.o").exists(), result.stderr
    assert "1 unit" in result.stderr
