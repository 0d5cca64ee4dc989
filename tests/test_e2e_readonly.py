"""A directory that takes no state is built all the same: sources that can't be written, objects elsewhere."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.farm import wait_until
from tests.namespaces import within
from tests.tool import TIMEOUT, Running, buildfarm, command, environment, status

CLOSED = Path("/sys")  # nobody, root included, can make a directory there


@pytest.fixture
def makefile(tmp_path: Path) -> Path:
    if os.access(CLOSED / ".buildfarm", os.F_OK):
        pytest.skip("someone has made /sys/.buildfarm")
    (tmp_path / "a.c").write_text("int a;\n")
    path = tmp_path / "Makefile"
    path.write_text(f"{tmp_path}/a.o: {tmp_path}/a.c\n\tcc -c $< -o $@\nfails:\n\texit 3\n")
    return path


def test_make_runs_alone_where_no_state_can_be_kept_and_one_line_says_so(makefile: Path) -> None:
    result = buildfarm("run", "-C", str(CLOSED), "-f", str(makefile), "--hosts", "localhost/2")
    assert result.code == 0, result.stderr
    assert makefile.with_name("a.o").exists()
    (line,) = result.stderr.splitlines()
    assert "can't keep buildfarm's state here" in line and "make runs alone, without nodes" in line
    assert buildfarm("run", "-C", str(CLOSED), "-f", str(makefile), "fails").code == 2


def test_who_wants_no_local_compile_gets_the_reason(makefile: Path) -> None:
    result = buildfarm("run", "-C", str(CLOSED), "-f", str(makefile), "--fallback", "never")
    assert result.code == 71
    assert "make the directory writable" in result.stderr and not makefile.with_name("a.o").exists()


def _readonly(tree: Path, *words: str, part: str = "") -> subprocess.CompletedProcess[str]:
    """`buildfarm WORDS` in the tree whose state, or a part of that, can't be written."""
    state = tree / ".buildfarm" / part
    closed = f"mount --bind '{state}' '{state}' && mount -o remount,bind,ro '{state}'"
    return subprocess.run(
        within(closed, *command(*words, "-C", str(tree))),
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    found = tmp_path / "p"
    found.mkdir()
    (found / "a.c").write_text("int a;\n")
    (found / "Makefile").write_text("a.o: a.c\n\tcc -c a.c\nslow:\n\tsleep 60\n")
    return found


def test_make_runs_alone_where_the_state_that_is_there_can_not_be_written(tree: Path) -> None:
    assert buildfarm("run", "-C", str(tree), "--hosts", "").code == 0
    (tree / "a.o").unlink()
    result = _readonly(tree, "run", "--hosts", "")
    assert result.returncode == 0 and (tree / "a.o").exists(), result.stderr
    (line,) = result.stderr.splitlines()
    assert "Read-only file system: make runs alone, without nodes" in line
    assert _readonly(tree, "run", "--hosts", "", "--fallback", "never").returncode == 71


def test_a_private_directory_that_another_users_dead_build_has_left_is_in_nobodys_way(tree: Path) -> None:
    """`sudo buildfarm run`, killed; then `buildfarm run`."""
    (tree / ".buildfarm" / "work" / "words").mkdir(parents=True)
    result = _readonly(tree, "run", "--hosts", "localhost/2", part="work")
    assert result.returncode == 0 and "1 unit" in result.stderr, result.stderr
    assert [path.name for path in (tree / ".buildfarm").glob("work*")] == ["work"]


def test_the_line_names_the_interrupted_build_that_is_not_swept(tree: Path) -> None:
    with Running(("run", "-C", str(tree), "--hosts", "", "slow")) as build:
        wait_until(lambda: status(tree)["state"] == "running", "the build to begin")
        turned_away = _readonly(tree, "run", "--hosts", "")
        assert turned_away.returncode == 75 and f"pid {build.process.pid}" in turned_away.stderr
        build.kill_all()
    result = _readonly(tree, "run", "--hosts", "")
    assert result.returncode == 0 and (tree / "a.o").exists(), result.stderr
    (line,) = result.stderr.splitlines()
    assert "build 1 was interrupted and what it left half-written is not swept: make runs alone" in line
    resumed = _readonly(tree, "resume")
    assert resumed.returncode == 71, "it promises to sweep"
    assert "Read-only file system" in resumed.stderr
