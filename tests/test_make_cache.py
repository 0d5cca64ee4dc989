"""A build needs no cache that it can write: it finds a private place."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from buildfarm.home import NOWHERE, own_directory
from buildfarm.make.cache import cache_directory
from tests.namespaces import within
from tests.tool import buildfarm, command, environment


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


def test_a_home_that_is_not_known_is_not_looked_for_in_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """As platformdirs 4.0 tells where there is neither HOME nor an entry in passwd(5)."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: f"~/.cache/{name}")
    assert own_directory("cache") == NOWHERE


def test_a_build_without_a_cache_ends_well(tmp_path: Path) -> None:
    tree = tmp_path / "p"
    tree.mkdir()
    (tree / "Makefile").write_text("a.o: a.c\n\tcc -c a.c\n")
    (tree / "a.c").write_text("int a;\n")
    homeless = environment(HOME=str(tmp_path / "file"), TMPDIR=str(tmp_path))
    result = buildfarm("run", "-C", str(tree), "--hosts", "", env=homeless)
    assert result.code == 0 and (tree / "a.o").exists(), result.stderr
    assert "1 unit" in result.stderr


def test_a_cache_that_fails_at_the_first_write_is_left(tmp_path: Path) -> None:
    """As one over its quota does, which statvfs(3) does not tell of."""
    cache, temporary = tmp_path / "cache", tmp_path / "tmp"
    (cache / "buildfarm").mkdir(parents=True)
    (cache / "buildfarm" / "stub").touch()
    temporary.mkdir()
    (tmp_path / "Makefile").write_text("a.o: a.c\n\tcc -c a.c\n")
    (tmp_path / "a.c").write_text("int a;\n")
    surroundings = environment(XDG_CACHE_HOME=str(cache), TMPDIR=str(temporary))
    result = buildfarm("run", "-C", str(tmp_path), "--hosts", "localhost/2", env=surroundings)
    assert result.code == 0 and "1 unit" in result.stderr, result.stderr
    assert list(temporary.glob("buildfarm-cache-*/masquerade/*"))


@pytest.mark.parametrize(
    "kind", ["noexec", "size=4k", "size=48k", "nr_inodes=5"], ids=["noexec", "full", "soon full", "no inodes"]
)
def test_a_build_goes_on_where_the_cache_can_not_be_used(tmp_path: Path, kind: str) -> None:
    tree, cache, temporary = tmp_path / "p", tmp_path / "cache", tmp_path / "tmp"
    for directory in (tree, cache, temporary):
        directory.mkdir()
    (tree / "Makefile").write_text("a.o: a.c\n\tcc -c a.c\n")
    (tree / "a.c").write_text("int a;\n")
    mounted = within(
        f"mount -t tmpfs -o {kind} none '{cache}'", *command("run", "-C", str(tree), "--hosts", "localhost/2")
    )
    surroundings = environment(XDG_CACHE_HOME=str(cache), TMPDIR=str(temporary))
    result = subprocess.run(mounted, env=surroundings, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert result.returncode == 0 and (tree / "a.o").exists(), result.stderr.decode()
    assert b"1 unit" in result.stderr
    (private,) = temporary.glob("buildfarm-cache-*")
    assert list(private.glob("masquerade/*"))


def test_the_working_directory_is_no_place_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tempfile` takes it where all others are full; but it is somebody's tree."""
    monkeypatch.chdir(tmp_path)
    assert cache_directory() == tmp_path / "file" / "cache" / "buildfarm"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # who builds in it has a place there
    assert cache_directory() == tmp_path / f"buildfarm-cache-{os.geteuid()}"


def test_a_user_without_home_and_passwd_entry_builds(tmp_path: Path) -> None:
    """As in a container that is run under any number."""
    (tmp_path / "Makefile").write_text("a.o: a.c\n\tcc -c a.c\n")
    (tmp_path / "a.c").write_text("int a;\n")
    surroundings = environment(TMPDIR=str(tmp_path))
    surroundings.pop("HOME", None)
    within("true")  # or skip
    called = [
        "unshare",
        "--user",
        "--map-user=54321",
        "--map-group=54321",
        *command("run", "-C", str(tmp_path), "--hosts", ""),
    ]
    result = subprocess.run(called, env=surroundings, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert result.returncode == 0 and b"1 unit" in result.stderr, result.stderr.decode()
