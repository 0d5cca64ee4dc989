"""Makefiles that lack prerequisites: the line to add is told when a build fails for it, and before."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.farm import Farm
from tests.tool import buildfarm

MAKEFILE = """\
FC := gfortran
program: main.o user.o maker.o
\t$(FC) -o $@ $^
maker.o: maker.f90
\tuntil test -e tried; do sleep 0.05; done
\t$(FC) -c $<
user.o: user.f90
\t$(FC) -c $< || { touch tried; exit 1; }
main.o: main.f90 user.o
\t$(FC) -c $<
"""
SOURCES = {
    "maker.f90": "module maker\n  integer :: value = 4\nend module\n",
    "user.f90": "module user\n  use maker\n  use, intrinsic :: iso_fortran_env\nend module\n",
    "main.f90": "program main\n  use user\n  print *, value\nend program\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "Makefile").write_text(MAKEFILE)
    for name, text in SOURCES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_module_that_was_not_there_yet_is_told_with_the_line_to_add(tree: Path) -> None:
    result = buildfarm("run", "-C", str(tree), "--hosts", "", "-j4")
    assert result.code == 2
    told = [line for line in result.stderr.splitlines() if "does not say so" in line]
    assert len(told) == 1, result.stderr
    assert "user.o needs maker.mod, which is made with maker.o" in told[0]
    assert told[0].endswith(":  user.o: maker.o")
    assert "--serial-order" in result.stderr
    with (tree / "Makefile").open("a") as makefile:
        makefile.write(told[0].rpartition(":  ")[2] + "\n")
    assert buildfarm("run", "-C", str(tree), "--hosts", "", "-j4").code == 0


def test_what_only_happened_to_work_is_told_by_export_missing(tree: Path) -> None:
    (tree / "tried").touch()
    assert buildfarm("run", "-C", str(tree), "--hosts", "", "-j1", "maker.o", "program").code == 0
    lines = buildfarm("export", "missing", "-C", str(tree)).stdout.splitlines()
    assert [line.partition("\t")[0] for line in lines if not line.startswith("#")] == ["user.o: maker.o"]


def test_a_generated_header_that_was_not_there_yet_is_told(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(
        "all: a.o gen.h\ngen.h:\n\tuntil test -e failed; do sleep 0.05; done; echo 'int gen;' > $@\n"
        "a.o: a.c\n\t$(CC) -c $< -o $@ || { touch failed; exit 1; }\n"
    )
    (tmp_path / "a.c").write_text('#include "gen.h"\n')
    result = buildfarm("run", "-C", str(tmp_path), "--hosts", "", "-j4", "-k")
    assert result.code == 2
    assert "a.o needs gen.h, which is made with gen.h" in result.stderr
    assert "a.o: gen.h" in result.stderr


@pytest.mark.parametrize(("words", "advised"), [((), True), (("-j4",), False)])
def test_what_make_itself_misses_in_its_jobs_brings_the_word_that_helps(
    tmp_path: Path, words: tuple[str, ...], advised: bool
) -> None:
    (tmp_path / "Makefile").write_text(
        "all: a.o a.copy\na.o: a.c\n\t$(CC) -c $<\n\tsleep 1; touch a.mod\na.copy: a.mod\n\tcp $< $@\n"
    )
    (tmp_path / "a.c").write_text("int a;\n")
    result = buildfarm("run", "-C", str(tmp_path), "--hosts", "", *words)
    assert result.code == 2
    assert "No rule to make target" in result.stderr
    assert ("make has no rule for a.mod, which is made now" in result.stderr) is advised
    assert ("--serial-order" in result.stderr) is advised
    assert buildfarm("run", "-C", str(tmp_path), "--hosts", "", "--serial-order").code == 0


def test_a_header_that_a_recipe_makes_beside_its_target_is_named_when_it_came_too_late(tmp_path: Path) -> None:
    """Plain make, one recipe after the other, builds this."""
    (tmp_path / "Makefile").write_text(
        "all: maker a.o\nmaker:\n\t$(WAIT)mkdir -p inc; echo 'int gen;' > inc/gen.h; touch $@\n"
        "a.o: a.c\n\t$(CC) -Iinc -c $< -o $@ || { touch failed; exit 1; }\n"
    )
    (tmp_path / "a.c").write_text('#include "gen.h"\n')
    result = buildfarm("run", "-C", str(tmp_path), "--hosts", "", "WAIT=until test -e failed; do sleep 0.05; done; ")
    assert result.code == 2
    assert "a.o did not find inc/gen.h, which this build has made too late" in result.stderr
    assert "build with --serial-order" in result.stderr
    (tmp_path / "maker").unlink()
    (tmp_path / "inc" / "gen.h").unlink()
    assert buildfarm("run", "-C", str(tmp_path), "--hosts", "", "--serial-order").code == 0


def test_an_ordinary_mistake_brings_no_advice(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("a.o: a.c\n\t$(CC) -c $< -o $@\n")
    (tmp_path / "beside.h").touch()
    for header in ('"nowhere.h"', "<beside.h>"):
        (tmp_path / "a.c").write_text(f"#include {header}\n")
        result = buildfarm("run", "-C", str(tmp_path), "--hosts", "")
        assert result.code == 2
        assert "does not say so" not in result.stderr and "--serial-order" not in result.stderr


def test_a_complete_makefile_lacks_nothing(tree: Path) -> None:
    with (tree / "Makefile").open("a") as makefile:
        makefile.write("user.o: maker.o\n")
    text = buildfarm("export", "missing", "-C", str(tree)).stdout
    assert text.startswith("# no prerequisite is missing")


def test_a_library_that_was_not_there_yet_is_told_with_the_line_to_add(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(
        "all: program lib.a\nlib.a: b.o\n\tuntil test -e failed; do sleep 0.05; done; ar r $@ b.o\n"
        "program: a.o\n\t$(CC) -o $@ a.o lib.a || { touch failed; exit 1; }\n"
    )
    (tmp_path / "a.c").write_text("int b(void);\nint main(void) { return b(); }\n")
    (tmp_path / "b.c").write_text("int b(void) { return 0; }\n")
    result = buildfarm("run", "-C", str(tmp_path), "--hosts", "", "-k")
    assert result.code == 2
    assert "program needs lib.a, which is made with lib.a" in result.stderr
    assert ":  program: lib.a" in result.stderr and "--serial-order" in result.stderr


@pytest.mark.parametrize("failing", ["false", "$(CC) -o prog a.o -lnowhere", "test -e nothing"])
def test_what_fails_for_another_reason_is_not_laid_to_makes_order(tmp_path: Path, failing: str) -> None:
    (tmp_path / "Makefile").write_text(f"all: a.o\n\t{failing}\n")
    (tmp_path / "a.c").write_text("int main(void) { return 0; }\n")
    result = buildfarm("run", "-C", str(tmp_path), "--hosts", "")
    assert result.code == 2 and "serial-order" not in result.stderr, result.stderr


def test_a_link_that_fails_says_how_to_tell_whose_object_it_is(tmp_path: Path) -> None:
    """One that a node damaged may have its structure whole, and then only the linker finds it."""
    (tmp_path / "Makefile").write_text("program: a.o\n\t$(CC) -o $@ $^\n")
    (tmp_path / "a.c").write_text("int missing(void);\nint main(void) { return missing(); }\n")
    with Farm(count=1, jobs=2) as farm:
        result = buildfarm("run", "-C", str(tmp_path), "--hosts", farm.hosts)
    assert result.code == 2
    assert "if the linker calls an object damaged, `buildfarm explain OBJECT` names the node" in result.stderr
    (tmp_path / "a.o").unlink()
    assert "damaged" not in buildfarm("run", "-C", str(tmp_path), "--hosts", "").stderr
