"""The page of real projects goes on to the next project where one can't be measured."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools import compatibility


def test_a_checkout_that_is_not_there_is_told_in_the_words_of_the_command_that_failed(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        compatibility.measure("lua", {"source": ""}, tmp_path / "none", tmp_path / "b", "")
    told = compatibility.trouble("lua", caught.value)
    assert told.startswith("lua: ")
    assert "cannot change to" in told
