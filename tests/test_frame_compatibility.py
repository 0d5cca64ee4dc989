"""The page of real projects goes on to the next project where one can't be measured."""

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
