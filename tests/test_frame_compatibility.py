"""The page of real projects: what is compared, and how it goes on where a project cannot be measured."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.tool import buildfarm
from tools import compatibility


def test_a_checkout_that_is_not_there_is_told_in_the_words_of_the_command_that_failed(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        compatibility.measure("lua", {"source": ""}, tmp_path / "none", tmp_path / "b", "")
    told = compatibility.trouble("lua", caught.value)
    assert told.startswith("lua: ")
    assert "cannot change to" in told


def test_the_status_is_asked_of_the_directory_that_make_works_in(tmp_path: Path) -> None:
    """LBLRTM's is built by `-f make_lblrtm -C build`."""
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "m").write_text("all: ; cc -c a.c\n")
    (tmp_path / "build" / "a.c").write_text("int a;\n")
    words = ["-f", "m", "--directory=build"]
    buildfarm("run", *words, "--hosts", "", cwd=tmp_path)
    assert compatibility.status_of(tmp_path, words)["planning"]["asked"] == 1


def test_thin_archives_of_the_same_members_are_the_same_whatever_debug_information_these_hold(tmp_path: Path) -> None:
    """Kbuild's `built-in.a`, which tells the sizes of its members and can't be stripped."""
    (tmp_path / "a.c").write_text("int a;\n")
    bare = []
    for flag in ("-g0", "-g"):
        subprocess.run(["gcc", flag, "-c", "a.c"], cwd=tmp_path, check=True)
        subprocess.run(["ar", "rcSTPD", f"thin{flag}.a", "a.o"], cwd=tmp_path, check=True)
        bare.append(compatibility._bare(tmp_path / f"thin{flag}.a"))
    assert bare[0] == bare[1]
    (tmp_path / "a.o").rename(tmp_path / "b.o")
    subprocess.run(["ar", "rcSTPD", "other.a", "b.o"], cwd=tmp_path, check=True)
    assert compatibility._bare(tmp_path / "other.a") != bare[0]
