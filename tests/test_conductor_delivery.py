"""A result takes the place of a file as a compiler's own writing would: mode, owner, and who may write."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path

import pytest

from buildfarm.conductor.delivery import last_by_its_time, ordinary, place
from buildfarm.dispatch.prepared import Made
from tests.farm import Farm
from tests.tool import buildfarm

CLOCK_REALTIME_COARSE = 5  # linux/time.h; files get their times from it


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o444])
def test_a_file_that_was_there_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    output = tmp_path / "a.o"
    output.write_text("old")
    output.chmod(mode)
    os.replace(place(str(output), b"new", (), "token", 1).renames[0][0], output)
    assert (output.read_text(), output.stat().st_mode & 0o7777) == ("new", mode)


class _MadeATickLater(Made):
    """A file that can't be read before the clock that gives files their times has moved on."""

    def read(self) -> bytes:
        before = time.clock_gettime_ns(CLOCK_REALTIME_COARSE)
        while time.clock_gettime_ns(CLOCK_REALTIME_COARSE) == before:
            pass
        return b"made"


def test_an_object_comes_last_and_is_no_older_than_its_depfile(tmp_path: Path) -> None:
    """As after a compile; `a.o: a.d` would have make compile it again."""
    made = [_MadeATickLater("", str(tmp_path / "a.d")), Made("", str(tmp_path / "m.mod"), content=b"module")]
    placement = place(str(tmp_path / "a.o"), b"new", made, "token", 1)
    for temporary, final in placement.renames:
        os.replace(temporary, final)
    depfile, built, module = (tmp_path / name for name in ("a.d", "a.o", "m.mod"))
    assert depfile.stat().st_mtime_ns <= module.stat().st_mtime_ns <= built.stat().st_mtime_ns
    assert [final for _, final in placement.renames] == [str(depfile), str(module), str(built)]
    assert [record.path for record in placement.records] == [str(built), str(depfile), str(module)]


def test_an_object_is_younger_than_its_modules(tmp_path: Path) -> None:
    """As after a compile, so that `m.mod: a.o` is out of date, and `a.o: m.mod` is not."""
    built, module = tmp_path / "a.o", tmp_path / "m.mod"
    placed = place(str(built), b"new", [Made("", str(module), content=b"module")], "token", 1)
    placement = asyncio.run(last_by_its_time(placed))
    for temporary, final in placement.renames:
        os.replace(temporary, final)
    assert module.stat().st_mtime_ns < built.stat().st_mtime_ns == placement.records[0].mtime_ns <= time.time_ns()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_file_that_was_there_keeps_its_owner(tmp_path: Path) -> None:
    output = tmp_path / "a.o"
    output.write_text("old")
    os.chown(output, 1, 2)
    assert ordinary(str(output))
    os.replace(place(str(output), b"new", (), "token", 1).renames[0][0], output)
    assert (output.stat().st_uid, output.stat().st_gid) == (1, 2)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_where_the_compiler_could_not_write_it_is_asked_and_fails_itself(tmp_path: Path) -> None:
    output = tmp_path / "a.o"
    output.write_text("old")
    output.chmod(0o444)
    assert not ordinary(str(output))
    (tmp_path / "a.mod").write_text("old")
    (tmp_path / "a.mod").chmod(0o444)
    assert ordinary(str(tmp_path / "a.mod")), "gfortran renames"


def test_modes_of_objects_and_depfiles_after_a_build_are_makes_own(tmp_path: Path) -> None:
    def modes(command: list[str], name: str, hosts: str | None = None) -> list[int]:
        tree = tmp_path / name
        tree.mkdir()
        (tree / "Makefile").write_text("all: a.o b.o c.o d.o\n%.o: %.c FORCE\n\t$(CC) -MMD -c $< -o $@\nFORCE:\n")
        for file in ("a.c", "b.c", "c.c", "d.c"):
            (tree / file).write_text("int x;\n")
        for file, mode in (("a.o", 0o600), ("a.d", 0o640), ("b.o", 0o666)):
            (tree / file).touch()
            (tree / file).chmod(mode)
        for file, mode in (("c.o", 0o444), ("d.o", 0o600)):  # the assembler removes what is not empty
            (tree / file).write_text("old")
            (tree / file).chmod(mode if os.geteuid() == 0 else 0o600)
        if hosts is None:
            subprocess.run([*command, "-C", str(tree)], check=True, capture_output=True)
        else:
            result = buildfarm(*command, "-C", str(tree), "--hosts", hosts)
            assert result.code == 0 and "4 on nodes" in result.stderr, result.stderr
        return [(tree / file).stat().st_mode & 0o7777 for file in ("a.o", "a.d", "b.o", "b.d", "c.o", "d.o")]

    with Farm(count=1, jobs=2) as farm:
        assert modes(["run"], "ours", farm.hosts) == modes(["make"], "plain")
