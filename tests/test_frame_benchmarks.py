"""Every benchmark can run: the cheap ones do, with --quick; and what runs them unattended gives up and cleans up."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import unattended

CHEAP = ("scale",)


@pytest.mark.parametrize("name", sorted(benchmarks.LIMITS))
def test_every_benchmark_can_be_imported_and_has_a_run(name: str) -> None:
    assert callable(import_module(f"benchmarks.{name}").run)


@pytest.mark.parametrize("name", CHEAP)
def test_a_cheap_benchmark_gives_its_table(name: str) -> None:
    lines = import_module(f"benchmarks.{name}").run(quick=True).splitlines()
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert len(lines) > 2
    assert len(widths) == 1, f"a ragged table: {lines}"


def test_what_hangs_is_given_up_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    script = f"setsid sh -c 'echo $$ >{told}; while :; do sleep 1000; done' & wait"
    trouble = unattended.run(["sh", "-c", script], 3)
    assert trouble == "given up after 3 seconds"
    pid = int(told.read_text())
    assert not Path(f"/proc/{pid}").exists()


def test_what_fails_is_told_and_what_succeeds_is_not() -> None:
    assert unattended.run(["sh", "-c", "exit 3"], 30) == "exit status 3"
    assert unattended.run(["true"], 30) is None
