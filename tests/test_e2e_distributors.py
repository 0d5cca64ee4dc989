"""`make CC="distcc gcc"`, as people have it: buildfarm stands in distcc's place, and nothing is distributed twice."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.farm import Farm
from tests.tool import buildfarm, environment, status

pytestmark = pytest.mark.skipif(not shutil.which("distcc"), reason="distcc is missing: install it")

MAKEFILE = "all: a.o sub/b.o\n%.o: %.c\n\t$(CC) -O1 -c $< -o $@\n"


def write(root: Path) -> Path:
    (root / "sub").mkdir(parents=True)
    (root / "Makefile").write_text(MAKEFILE)
    for name in ("a", "sub/b"):
        (root / f"{name}.c").write_text(f"int {name[-1]}(void) {{ return 1; }}\n")
    return root


COMPILERS = ["distcc gcc", "/usr/bin/distcc /usr/bin/gcc", "distcc", "/usr/lib/distcc/gcc", "gcc"]


@pytest.mark.parametrize("compiler", COMPILERS)
def test_units_that_distcc_would_send_are_sent_foreseen_and_journaled(tmp_path: Path, compiler: str) -> None:
    tree = write(tmp_path / "p")
    masqueraded = {"PATH": f"/usr/lib/distcc:{os.environ['PATH']}"} if compiler == "gcc" else {}
    with Farm(count=1, jobs=2) as farm:
        surroundings = environment(DISTCC_HOSTS=farm.hosts, DISTCC_DIR=str(tmp_path), **masqueraded)
        result = buildfarm("run", "-C", str(tree), "-j1", f"CC={compiler}", env=surroundings)
        assert len(farm.sources()) == 2
    assert result.code == 0 and "2 units in" in result.stderr and "(2 on nodes)" in result.stderr, result.stderr
    assert "unseen" not in result.stderr
    assert (tree / "a.o").read_bytes() and status(tree)["units"]["remote"] == 2


def test_a_plan_names_the_units_behind_distcc(tmp_path: Path) -> None:
    tree = write(tmp_path / "p")
    for compiler in ("distcc gcc", "distcc"):
        told = buildfarm("plan", "-C", str(tree), f"CC={compiler}")
        assert told.code == 0 and "2 units to compile" in told.stdout, told.stdout


def test_a_distcc_that_is_not_there_fails_as_under_make(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("a.o: a.c\n\t: && ./distcc gcc -c a.c\n")
    (tmp_path / "a.c").write_text("int a;\n")
    assert buildfarm("run", "-C", str(tmp_path), "--hosts", "").code == 2
    assert not (tmp_path / "a.o").exists()


def test_what_distcc_is_asked_itself_it_answers(tmp_path: Path) -> None:
    tree = tmp_path / "p"
    tree.mkdir()
    (tree / "Makefile").write_text("all:\n\t@distcc --show-hosts\n\t@distcc -j\n\t@distcc gcc --version\n")
    surroundings = environment(DISTCC_HOSTS="nobody/3", DISTCC_DIR=str(tmp_path))
    result = buildfarm("run", "-C", str(tree), "--hosts", "", env=surroundings)
    version = subprocess.run(
        ["distcc", "gcc", "--version"], env=surroundings, capture_output=True, text=True, check=True
    )
    assert result.code == 0 and f"\nnobody/3\n3\n{version.stdout}" in result.stdout, result.stdout + result.stderr


def test_a_script_by_the_name_of_a_distributor_runs_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("a.o: a.c\n\t./icecc gcc -c a.c\n")
    (tmp_path / "a.c").write_text("int a;\n")
    (tmp_path / "icecc").write_text('#!/bin/sh\ntouch called\nexec "$@"\n')
    (tmp_path / "icecc").chmod(0o755)
    assert buildfarm("run", "-C", str(tmp_path), "--hosts", "").code == 0
    assert (tmp_path / "called").exists() and status(tmp_path)["units"]["done"] == 1
