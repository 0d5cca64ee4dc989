"""Builds every sample project that has a `check` goal by plain make, in a copy, and sees that it says what it should.

Those without one are only there for what they make of make; the tests of fidelity build them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.farm import PATIENCE
from tests.tool import environment

SAMPLES = Path(__file__).resolve().parent.parent / "sample_projects"
NAMES = sorted(path.name for path in SAMPLES.iterdir() if path.is_dir())
CHECKED = [
    path.parent.name for path in sorted(SAMPLES.glob("*/Makefile")) if "\ncheck:" in path.read_text(encoding="utf-8")
]
UNITS = {"hello": 2, "recursive": 7, "generated_header": 4, "broken": 3, "minimodel": 57}


def copy(name: str, place: Path) -> Path:
    """A copy of the sample's committed files."""
    if name == "minimodel" and shutil.which("gfortran") is None:
        pytest.skip("gfortran is missing: install the package gfortran")
    tree = place / name
    for path in listed(SAMPLES / name):
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SAMPLES / name / path, target)
    return tree


def listed(directory: Path) -> list[str]:
    """The files that git knows or would take, so that what a build left behind does not count."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return [str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()]
    return [name for name in done.stdout.splitlines() if (directory / name).exists()]


def make(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", f"-j{os.cpu_count() or 2}", *words],
        cwd=tree,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_the_samples_are_those_that_the_readme_names() -> None:
    text = (SAMPLES / "README.md").read_text(encoding="utf-8")
    assert sorted(UNITS) == CHECKED
    for name in NAMES:
        assert f"| `{name}` |" in text


@pytest.mark.parametrize("name", [name for name in CHECKED if name != "broken"])
def test_a_sample_builds_and_its_program_says_what_it_should(name: str, tmp_path: Path) -> None:
    tree = copy(name, tmp_path)
    done = make(tree, "check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{name}: PASS" in done.stdout
    assert "warning" not in done.stderr
    assert len(re.findall(r"^(?:gcc|gfortran) .*-c ", done.stdout, re.MULTILINE)) == UNITS[name]


def test_broken_fails_in_one_unit_and_builds_when_that_is_mended(tmp_path: Path) -> None:
    tree = copy("broken", tmp_path)
    failed = make(tree, "--keep-going")
    assert failed.returncode == 2
    assert "faulty.c" in failed.stderr and "error" in failed.stderr
    assert (tree / "sound.o").exists() and not (tree / "broken").exists()
    mended = make(tree, "FIX=-DFIXED", "check")
    assert mended.returncode == 0 and "broken: PASS" in mended.stdout
    assert "sound.c" not in mended.stdout


@pytest.mark.parametrize("name", CHECKED)
def test_clean_leaves_what_was_there(name: str, tmp_path: Path) -> None:
    tree = copy(name, tmp_path)
    before = sorted(path.relative_to(tree) for path in tree.rglob("*"))
    small = {"minimodel": ["config", "clib"]}  # its check is built above
    built = make(tree, "--keep-going", *small.get(name, []))
    assert built.returncode == (2 if name == "broken" else 0), built.stderr  # a tool that is killed leaves files
    cleaned = make(tree, "clean")
    assert cleaned.returncode == 0, cleaned.stderr
    assert sorted(path.relative_to(tree) for path in tree.rglob("*")) == before


def test_minimodels_comparison_sees_what_is_wrong(tmp_path: Path) -> None:
    expected = SAMPLES / "minimodel" / "expected.txt"
    text = expected.read_text(encoding="ascii")
    found = tmp_path / "found.txt"
    for wrong, reason in (
        (text, None),
        (text.replace("13.47", "13.48"), None),  # within 0.2 %
        (text.replace("13.47", "13.90"), "a number"),
        (text.replace("water: PASS", "water: FAIL"), "a word"),
        (text.replace("@" * 20, "%" * 20, 1), "the map"),
        (text.rsplit("\n", 2)[0] + "\n", "a missing line"),
    ):
        found.write_text(wrong, encoding="ascii")
        compare = ["awk", "-f", str(SAMPLES / "minimodel" / "compare.awk"), str(expected), str(found)]
        done = subprocess.run(compare, capture_output=True, check=False)
        assert (done.returncode != 0) == (reason is not None), f"{reason}: {done.stdout.decode()}"
