"""What a node has compiled is not compiled again because the recipe around it was cut off, unless it has gone stale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import project
from tests.farm import Farm, wait_until
from tests.faults.room import checked_in
from tests.test_e2e_lookahead import held
from tests.tool import Running, buildfarm, status

MAKEFILE = """\
all: a.o plain.o
a.o: a.c
\tgcc -O1 -I first -I second -c a.c -o a.o
\t@: > begun; while test -e wait; do sleep 0.05; done
\tobjcopy --add-symbol mark=.text:0 a.o
plain.o: plain.c
\tgcc -O1 -c plain.c -o plain.o
"""


def write(tree: Path) -> Path:
    for directory in ("first", "second"):
        (tree / directory).mkdir(parents=True)
    (tree / "Makefile").write_text(MAKEFILE)
    (tree / "a.c").write_text('#include "value.h"\nint a(void) { return VALUE; }\n')
    (tree / "second" / "value.h").write_text("#define VALUE 1\n")
    (tree / "plain.c").write_text("int plain(void) { return 2; }\n")
    return tree


def cut_off(tree: Path, farm: Farm, units: int, ahead: int = 0) -> None:
    """Kill all of a build, with so many units checked in, between a recipe's compile and the rest of it.

    `ahead`: so many results are held by then.
    """
    (tree / "wait").touch()
    with Running(("run", "-C", str(tree), "--hosts", farm.hosts, "-j2")) as build:
        wait_until((tree / "begun").exists, "the recipe to go on after the compile")
        wait_until(lambda: sum(path.endswith(".o") for path in checked_in(tree)) == units, "the check-ins")
        if ahead:
            wait_until(held(tree, ahead), "results made ahead")
        build.kill_all()
    (tree / "wait").unlink()
    (tree / "begun").unlink()


def edit(tree: Path) -> None:
    (tree / "second" / "value.h").write_text("#define VALUE 3\n")


def shadow(tree: Path) -> None:
    (tree / "first" / "value.h").write_text("#define VALUE 4\n")


def replace_directory(tree: Path) -> None:
    """Other headers, older than the build, under the old name."""
    (tree / "second").rename(tree / "second.old")
    (tree / "another").rename(tree / "second")


def damage(tree: Path) -> None:
    """Another object under the old size."""
    content = bytearray((tree / "a.o").read_bytes())
    content[-1] ^= 1
    (tree / "a.o").write_bytes(content)


def touch(tree: Path) -> None:
    """As ModelE's recipes do with modules; its bytes are the same."""
    (tree / "a.o").touch()


def nothing(_: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("change", "compiles"),
    [(nothing, 2), (touch, 2), (edit, 3), (shadow, 3), (replace_directory, 3), (damage, 3)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_compile_whose_recipe_was_cut_off_is_done_again_only_if_it_went_stale(
    tmp_path: Path, change: Callable[[Path], None], compiles: int
) -> None:
    tree = write(tmp_path / "p")
    (tree / "another").mkdir()
    (tree / "another" / "value.h").write_text("#define VALUE 5\n")
    with Farm(count=1, jobs=2) as farm:
        cut_off(tree, farm, units=2)
        change(tree)
        result = buildfarm("resume", "-C", str(tree), "--hosts", farm.hosts)
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) == compiles, result.stderr
    (tree / "begun").unlink()
    found = project.digests(tree)
    for name in ("a.o", "plain.o"):
        (tree / name).unlink()
    assert project.made_by_make(tree).returncode == 0
    (tree / "begun").unlink()
    assert found == project.digests(tree)
    rescued = change in (nothing, touch)
    assert ("1 result kept" in result.stderr) == rescued
    assert ("] a.o kept from before\n" in result.stderr) == rescued
    assert ("buildfarm: 1 unit in" in result.stderr) != rescued, "what was kept is not told as compiled"


def test_a_line_that_took_a_while_before_the_one_that_was_cut_off_does_not_end_a_recipe(tmp_path: Path) -> None:
    tree = write(tmp_path / "p")
    begin = "\t@: > begun;"
    (tree / "Makefile").write_text(MAKEFILE.replace(begin, f"\t@sleep 0.3\n{begin}"))
    with Farm(count=1, jobs=2) as farm:
        cut_off(tree, farm, units=2)
        result = buildfarm("resume", "-C", str(tree), "--hosts", farm.hosts)
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) == 2, result.stderr
    assert "1 result kept" in result.stderr
    assert b"mark" in (tree / "a.o").read_bytes(), "the recipe's last line has run"


def test_a_recipe_that_no_plan_has_is_not_taken_for_ended(tmp_path: Path) -> None:
    """As automake's, whose directories a shell loop visits."""
    tree = tmp_path / "p"
    sub = write(tree / "sub")
    (sub / "Makefile").write_text(MAKEFILE.replace("begun", "../begun").replace("-e wait", "-e ../wait"))
    (tree / "Makefile").write_text("all:\n\tfor d in `cat list`; do (cd $$d && $(MAKE)) || exit; done\n")
    (tree / "list").write_text("sub\n")
    with Farm(count=1, jobs=2) as farm:
        cut_off(tree, farm, units=2)
        result = buildfarm("resume", "-C", str(tree), "--hosts", farm.hosts)
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) == 2, result.stderr
    assert b"mark" in (sub / "a.o").read_bytes(), "the recipe's last line has run"


def test_fortran_that_no_plan_had_named_is_not_compiled_again_though_its_recipe_copied_the_module(
    tmp_path: Path,
) -> None:
    """As ModelE's recipes do: a copy under another name, and that one back."""
    (tree := tmp_path / "p").mkdir()
    (tree / "Makefile").write_text(
        "all: a.o\n"
        "a.o: a.f90\n"
        "\tgfortran `cat words` -c a.f90 -o a.o\n"
        "\tcp a.mod a@all.smod; cp a@all.smod a.mod\n"
        "\t@: > begun; while test -e wait; do sleep 0.05; done\n"
    )
    (tree / "words").write_text("-O1\n")
    (tree / "a.f90").write_text("module a\n  integer :: n = 1\nend module\n")
    with Farm(count=1, jobs=2) as farm:
        cut_off(tree, farm, units=1)
        result = buildfarm("resume", "-C", str(tree), "--hosts", farm.hosts)
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) == 1, result.stderr
    assert "1 result kept" in result.stderr


@pytest.mark.parametrize(("added", "compiles"), [("", 1), ("# another\n", 2)], ids=["same", "changed"])
def test_a_depfile_that_the_recipe_has_renamed_is_found_under_its_new_name(
    tmp_path: Path, added: str, compiles: int
) -> None:
    """As automake's recipes do: `gcc -MF .deps/a.Tpo ...; mv -f .deps/a.Tpo .deps/a.Po`."""
    (tree := tmp_path / "p").mkdir()
    (tree / ".deps").mkdir()
    (tree / "Makefile").write_text(
        "a.o: a.c\n"
        "\tgcc -MT a.o -MD -MP -MF .deps/a.Tpo -c -o a.o a.c\n"
        "\tmv -f .deps/a.Tpo .deps/a.Po\n"
        "\t@: > begun; while test -e wait; do sleep 0.05; done\n"
    )
    (tree / "a.c").write_text("int a;\n")
    with Farm(count=1, jobs=2) as farm:
        cut_off(tree, farm, units=1)
        with (tree / ".deps" / "a.Po").open("a") as depfile:
            depfile.write(added)
        dry = buildfarm("resume", "-C", str(tree), "--dry-run").stdout
        assert "would keep up to 1 result for recipes that run again" in dry
        result = buildfarm("resume", "-C", str(tree), "--hosts", farm.hosts)
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) == compiles, result.stderr
    assert ("1 result kept" in result.stderr) == (compiles == 1)
    assert (tree / ".deps" / "a.Po").read_text().startswith("a.o: a.c")


@pytest.mark.parametrize(("copied", "compiles"), [(b"", 2), (b" ", 3)], ids=["same", "other"])
def test_a_copy_of_a_module_where_its_users_search_too_is_no_doubt(
    tmp_path: Path, copied: bytes, compiles: int
) -> None:
    """ModelE copies the modules of a directory to one that all search, while its own units use them."""
    (tree := tmp_path / "p").mkdir()
    (tree / "lib").mkdir()
    (tree / "Makefile").write_text(
        "all: u.o\n"
        "a.o: a.f90\n"
        "\tgfortran -c a.f90 -o a.o\n"
        "u.o: u.f90 a.o\n"
        "\tgfortran -I lib -c u.f90 -o u.o\n"
        "\t@: > begun; while test -e wait; do sleep 0.05; done\n"
    )
    (tree / "a.f90").write_text("module a\n  integer :: n = 1\nend module\n")
    (tree / "u.f90").write_text("subroutine u\n  use a\n  print *, n\nend subroutine\n")
    with Farm(count=1, jobs=2) as farm:
        cut_off(tree, farm, units=2)
        (tree / "lib" / "a.mod").write_bytes((tree / "a.mod").read_bytes() + copied)
        result = buildfarm("resume", "-C", str(tree), "--hosts", farm.hosts)
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) == compiles, result.stderr


@pytest.mark.parametrize("kind", [".PHONY: objects\n", ""], ids=["phony", "no file"])
def test_what_a_goal_that_is_no_file_has_compiled_is_not_compiled_again(tmp_path: Path, kind: str) -> None:
    """make runs its recipe again, though it had ended; as SUMMA's, which compile a whole directory by one call."""
    (tree := tmp_path / "p").mkdir()
    (tree / "Makefile").write_text(
        f"all: rest\n{kind}"
        "objects:\n"
        "\tgcc -O1 -c a.c\n"
        "\tgfortran -O1 -c m.f90 u.f90\n"
        "rest: objects\n"
        "\t@: > begun; while test -e wait; do sleep 0.05; done\n"
        "\tgcc -O1 -c b.c\n"
    )
    (tree / "a.c").write_text("int a;\n")
    (tree / "b.c").write_text("int b;\n")
    (tree / "m.f90").write_text("module m\n  integer :: n = 1\nend module\n")
    (tree / "u.f90").write_text("subroutine u\n  use m\n  print *, n\nend subroutine\n")
    with Farm(count=1, jobs=2) as farm:
        cut_off(tree, farm, units=3)
        compiled = len(farm.compiles())
        result = buildfarm("resume", "-C", str(tree), "--hosts", farm.hosts)
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) <= compiled + 1, "b.c, if it was not made ahead"
    assert "3 results kept for recipes that run again" in result.stderr
    units = status(tree)["units"]
    assert (units["total"], units["done"], units["reused"]) == (4, 4, 0), "each is counted once"


def test_what_needs_a_file_that_goes_is_not_compiled_again(tmp_path: Path) -> None:
    """As CMake's Fortran: an object needs the stamp of a module, which a copy makes that nobody vouches for."""
    (tree := tmp_path / "p").mkdir()
    (tree / "Makefile").write_text(
        "all: rest\n"
        "m.o: m.f90\n"
        "\tgfortran -O1 -c m.f90 -o m.o\n"
        "m.stamp: m.o\n"
        "\tcp m.mod m.stamp\n"
        "u.o: u.f90 m.stamp\n"
        "\tgfortran -O1 -c u.f90 -o u.o\n"
        "rest: u.o\n"
        "\t@: > begun; while test -e wait; do sleep 0.05; done\n"
    )
    (tree / "m.f90").write_text("module m\n  integer :: n = 1\nend module\n")
    (tree / "u.f90").write_text("subroutine u\n  use m\n  print *, n\nend subroutine\n")
    with Farm(count=1, jobs=2) as farm:
        cut_off(tree, farm, units=2)
        (tree / "m.stamp").touch()  # after any barrier
        result = buildfarm("resume", "-C", str(tree), "--hosts", farm.hosts)
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) == 2, result.stderr
    assert "1 file moved" in result.stderr and "1 result kept for recipes that run again" in result.stderr
    units = status(tree)["units"]
    assert (units["total"], units["done"], units["reused"]) == (2, 1, 1)


DATED = """\
all: rest
\t$(MAKE) held.o
.PHONY: objects
objects:
\tgcc -O1 -c when.c
\tgcc -O1 -c plain.c
rest: objects
\t@: > begun; while test -e wait; do sleep 0.05; done
held.o: held.c
\tgcc -O1 -c held.c
"""


def test_what_tells_when_it_was_compiled_is_compiled_again(tmp_path: Path) -> None:
    (tree := tmp_path / "p").mkdir()
    (tree / "Makefile").write_text(DATED)
    (tree / "plain.c").write_text("int plain;\n")
    for name in ("when", "held"):
        (tree / f"{name}.c").write_text(f'#include "date.h"\nconst char *{name}(void) {{ return DATE; }}\n')
    (tree / "date.h").write_text("#define DATE __DATE__\n")
    with Farm(count=1, jobs=2) as farm:
        cut_off(tree, farm, units=2, ahead=1)
        compiled = len(farm.compiles())
        result = buildfarm("resume", "-C", str(tree), "--hosts", farm.hosts)
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) == compiled + 2, result.stderr
    assert "plain.o kept from before" in result.stderr
