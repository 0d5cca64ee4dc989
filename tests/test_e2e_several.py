"""`cc -c a.c b.c`: a unit for each source, and what make would have left, said and ended with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import project
from tests.farm import Farm
from tests.tool import buildfarm, environment, status

SOURCES = {
    "a.c": "int a(int x) { return x; }\nvoid warned(void) { int unused; }\n",
    "b.c": "int b(int x) { if (x = 1) return 2; return x; }\n",
    "c.c": "int c(void) { return 3; }\n",
}
BROKEN = {**SOURCES, "b.c": "int b(int x) { return missing; }\n"}


def write(root: Path, sources: dict[str, str], flags: str) -> Path:
    root.mkdir()
    for name, text in sources.items():
        (root / name).write_text(text)
    (root / "Makefile").write_text(f"all:\n\t$(CC) {flags} -Wall -c a.c b.c c.c\n")
    return root


@pytest.mark.parametrize("flags", ["-O1", "-O0 -MMD -fPIC"])
def test_each_source_is_a_unit_and_all_is_as_under_make(tmp_path: Path, flags: str) -> None:
    tree = write(tmp_path / "p", SOURCES, flags)
    made = subprocess.run(["make"], cwd=tree, env=environment(), capture_output=True, text=True, check=True)
    expected = project.digests(tree)
    for name in expected:
        if name.endswith((".o", ".d")):
            (tree / name).unlink()
    with Farm(count=2, jobs=2) as farm:
        result = buildfarm("run", "--hosts", farm.hosts, cwd=tree)
    assert result.code == 0 and "3 units in" in result.stderr and "(3 on nodes)" in result.stderr, result.stderr
    assert project.digests(tree) == expected
    assert result.stderr.startswith(made.stderr) or made.stderr in result.stderr, "the words, in their order"
    assert status(tree)["units"]["remote"] == 3


def test_one_that_fails_has_the_whole_call_run_here(tmp_path: Path) -> None:
    tree = write(tmp_path / "p", BROKEN, "-O1")
    made = subprocess.run(["make"], cwd=tree, env=environment(), capture_output=True, text=True, check=False)
    assert sorted(tree.glob("*.o")) == [tree / "a.o", tree / "c.o"]
    expected = project.digests(tree)
    for path in tree.glob("*.o"):
        path.unlink()
    with Farm(count=1, jobs=4) as farm:
        result = buildfarm("run", "--hosts", farm.hosts, cwd=tree)
    assert result.code == made.returncode == 2
    assert project.digests(tree) == expected
    compiler, _, _ = made.stderr.partition("make: ***")
    assert compiler in result.stderr
    document = status(tree)
    assert document["checked_out"] == [] and len(document["failures"]) == 1


def test_what_is_a_link_is_written_through(tmp_path: Path) -> None:
    """As make leaves it: a file beside an object that is no ordinary file keeps its unit here."""
    tree = write(tmp_path / "p", SOURCES, "-fstack-usage")
    (tree / "kept").touch()
    (tree / "b.su").symlink_to("kept")
    with Farm(count=1, jobs=4) as farm:
        result = buildfarm("run", "--hosts", farm.hosts, cwd=tree)
    assert result.code == 0, result.stderr
    assert (tree / "b.su").is_symlink() and "b.c" in (tree / "kept").read_text()


def test_without_nodes_it_runs_here_as_it_is(tmp_path: Path) -> None:
    tree = write(tmp_path / "p", SOURCES, "-O1")
    result = buildfarm("run", "--hosts", "", cwd=tree)
    assert result.code == 0 and sorted(path.name for path in tree.glob("*.o")) == ["a.o", "b.o", "c.o"]
