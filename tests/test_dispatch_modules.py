"""Modules are found where gfortran finds them, and land as gfortran lands them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from buildfarm.dispatch.modules import SearchPath, changed
from buildfarm.dispatch.prepared import Made
from buildfarm.graph.classify import classify

MODULE = "module m\n  integer, parameter :: where = {}\nend module\n"
USER = "program p\n  use m\n  integer, parameter :: here(merge(where, -1, .true.)) = 0\n  print *, here\nend program\n"


@pytest.fixture
def gfortran() -> str:
    tool = shutil.which("gfortran")
    if tool is None:
        pytest.skip("gfortran is missing: install the package gfortran")
    return tool


def compile_module(gfortran: str, directory: Path, number: int) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "made.f90").write_text(MODULE.format(number))
    subprocess.run([gfortran, "-fsyntax-only", "made.f90"], cwd=directory, check=True)
    return directory / "m.mod"


def search(command: str, cwd: Path) -> SearchPath:
    unit = classify(command.split()).unit
    assert unit is not None
    return SearchPath.of(unit, str(cwd))


@pytest.mark.parametrize(
    "command",
    [
        "gfortran -Jj -I a -Ib -c src/user.f90",
        "gfortran -I{root}/b -Ia -J {root}/j -c {root}/src/user.f90",
        "gfortran -c src/user.f90 -I./a -I../tree/b -Jj",
    ],
)
def test_the_search_order_is_the_compilers(gfortran: str, tmp_path: Path, command: str) -> None:
    """Take away the module that we find, one after the other: gfortran must have read that very file."""
    root = tmp_path / "tree"
    command = command.format(root=root)
    for number, place in enumerate(("", "src", "a", "b", "j"), start=1):
        compile_module(gfortran, root / place, number)
    (root / "src/user.f90").write_text(USER)
    found = []
    while (file := search(command, root).module("m.mod", {})) is not None:
        trace = subprocess.run(
            ["strace", "-f", "-e", "trace=openat", "-o", "/dev/stdout", *command.split()],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
        opened = [line for line in trace.stdout.splitlines() if "m.mod" in line and "ENOENT" not in line]
        assert f'"{file.typed}"' in opened[0]
        found.append(file.path)
        Path(file.path).unlink()
    assert len(found) == 5


def test_modules_not_in_place_yet_are_found_where_they_will_be(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b/m.mod").touch()
    path = search("gfortran -Ia -Ib -c user.f90", tmp_path)
    found = path.module("m.mod", {str(tmp_path / "a/m.mod"): "/private/m.mod"})
    assert found is not None
    assert (found.path, found.content_path) == (str(tmp_path / "a/m.mod"), "/private/m.mod")


def test_an_unchanged_module_is_left_untouched_as_gfortran_leaves_it(gfortran: str, tmp_path: Path) -> None:
    final = compile_module(gfortran, tmp_path / "tree", 1)
    same = compile_module(gfortran, tmp_path / "same", 1)
    other = compile_module(gfortran, tmp_path / "other", 2)
    new = str(tmp_path / "tree/new.mod")
    assert changed([Made(str(same), str(final))]) == ()
    assert changed([Made(str(other), str(final)), Made(str(same), new)]) == (
        Made(str(other), str(final)),
        Made(str(same), new),
    )
    os.utime(final, (1, 1))
    compile_module(gfortran, tmp_path / "tree", 1)
    assert final.stat().st_mtime == 1
    compile_module(gfortran, tmp_path / "tree", 2)
    assert final.stat().st_mtime != 1


def test_a_torn_module_is_replaced(gfortran: str, tmp_path: Path) -> None:
    whole = compile_module(gfortran, tmp_path, 1)
    for size in (0, 4, 20):
        torn = tmp_path / f"torn{size}.mod"
        torn.write_bytes(whole.read_bytes()[:size])
        assert changed([Made(str(whole), str(torn))])
