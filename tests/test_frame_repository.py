"""Keeps the repository clean: no path of anybody's machine, executables that are, files that end as they should."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = {
    ".py",
    ".md",
    ".toml",
    ".c",
    ".h",
    ".f",
    ".F",
    ".f90",
    ".F90",
    ".inc",
    ".mk",
    ".sh",
    ".lock",
    ".awk",
    ".html",
    ".sql",
    "",
}


def committed() -> list[Path]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this is no git checkout")
    return [ROOT / name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def texts() -> list[tuple[Path, str]]:
    return [(path, path.read_text(encoding="utf-8")) for path in committed() if path.suffix in TEXT]


def test_no_file_names_a_place_of_somebodys_machine() -> None:
    home = re.compile(r"/work/[a-z.]+/|/root/|/home/(?!pi/)[a-z]+/|/Users/")
    found = [f"{path.relative_to(ROOT)}: {match[0]}" for path, text in texts() for match in home.finditer(text)]
    assert not [line for line in found if not line.startswith("tests/test_frame_repository.py")]


def test_text_files_end_with_one_newline_and_hold_no_carriage_return() -> None:
    for path, text in texts():
        if not text:
            continue
        name = path.relative_to(ROOT)
        assert "\r\n" not in text, f"{name} has DOS line ends"
        assert text.endswith("\n") and not text.endswith("\n\n"), f"{name} does not end with one newline"


def test_nothing_built_is_committed() -> None:
    built = {".o", ".a", ".so", ".mod", ".smod", ".pyc", ".db", ".nc", ".ppm"}
    assert not [path for path in committed() if path.suffix in built]


def test_no_unfinished_work_is_marked_in_the_sources() -> None:
    marks = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b")
    assert not [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path, text in texts()
        if path.suffix in (".py", ".c", ".h")
        for match in marks.finditer(text)
    ]


def test_every_ignored_error_names_its_rule() -> None:
    bare = re.compile(r"# (?:type: ignore|noqa)(?![\[:])")
    assert not [path for path, text in texts() if path.suffix == ".py" and bare.search(text)]


@pytest.mark.parametrize("name", [".ci/run", "tools/find-python", "tools/make-venv", "tools/system-tools"])
def test_a_script_is_executable_and_names_its_interpreter(name: str) -> None:
    path = ROOT / name
    assert path.stat().st_mode & 0o111
    assert path.read_bytes().startswith(b"#!")
