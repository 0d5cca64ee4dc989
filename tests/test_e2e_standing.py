"""A dry run is of another mind than make where a recipe writes only what has changed: nothing is compiled for that."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests import project
from tests.farm import Farm, wait_until
from tests.test_e2e_lookahead import files, held, module_chain, waiting
from tests.tool import Running, buildfarm, status

UNITS = 12
FLAGS = "FLAGS: FORCE\n\t@echo '$(STAMP)' | cmp -s - $@ || echo '$(STAMP)' >$@\nFORCE:\n"


def tree_of(root: Path) -> Path:
    """Units that depend on FLAGS, whose recipe always runs and mostly writes nothing, as git's do."""
    objects = " ".join(f"u{i}.o" for i in range(UNITS))
    makefile = f"prog: {objects} main.o\n\tcc -o $@ $^\n%.o: %.c common.h FLAGS\n\tcc -O1 -c $< -o $@\n{FLAGS}"
    texts = {"Makefile": makefile, "common.h": "#define N 1\n", "main.c": "int main(void) { return 0; }\n"}
    for i in range(UNITS):
        texts[f"u{i}.c"] = f'#include "common.h"\nint u{i}(int x) {{ return x + N + {i}; }}\n'
    return files(root, texts)


def made_in_a_copy(tree: Path, *words: str) -> dict[str, str]:
    """What make makes of the tree as it is, times and all."""
    copy = tree.with_name("copy")
    shutil.copytree(tree, copy, symlinks=True, ignore=shutil.ignore_patterns(".buildfarm"))
    done = project.made_by_make(copy, *words)
    assert done.returncode == 0, done.stderr
    return project.digests(copy)


def test_what_stands_is_not_compiled_again_for_a_plan_that_errs(tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "p")
    with Farm(count=1, jobs=8, compilers=waiting(0.7)) as farm:
        assert buildfarm("run", "-C", str(tree), "--hosts", farm.hosts).code == 0
        before = len(farm.compiles())
        (tree / "u3.c").write_text("int u3(int x) { return x - 3; }\n")
        (tree / "u5.o").unlink()
        expected = made_in_a_copy(tree)
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts)
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) - before == 2
    assert project.digests(tree) == expected
    units = status(tree)["units"]
    assert units["done"] == units["total"] == 2


def test_nothing_stands_where_make_is_told_to_make_everything(tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "p")
    with Farm(count=1, jobs=32, gated=True) as farm:
        assert buildfarm("run", "-C", str(tree), "--hosts", farm.hosts).code == 0
        farm.close_gate()
        with Running(("run", "-C", str(tree), "--hosts", farm.hosts, "-kB", "-j1")) as build:
            wait_until(lambda: farm.waiting() == UNITS + 1, "all units on the node, of which make has asked for one")
            wait_until(lambda: status(tree)["units"]["total"] == UNITS + 1, "all units to be counted")
            farm.open_gate()
            assert build.wait().code == 0


@pytest.mark.parametrize("change", ["STAMP=new", "common.h"])
def test_what_make_asks_for_all_the_same_is_made_ahead(tmp_path: Path, change: str) -> None:
    tree = tree_of(tmp_path / "p")
    words = [change] if "=" in change else []
    with (tree / "Makefile").open("a") as makefile:  # make gets no further before there are results of lookahead
        makefile.write("u5.o: | gate\ngate: u4.o\n\tuntil test -e go; do sleep 0.05; done\n")
    (tree / "go").touch()
    with Farm(count=1, jobs=8) as farm:
        assert buildfarm("run", "-C", str(tree), "--hosts", farm.hosts).code == 0
        before = len(farm.compiles())
        (tree / "main.c").write_text("int main(void) { return 1; }\n")
        if not words:
            (tree / change).write_text("#define N 2\n")
        expected = made_in_a_copy(tree, *words)
        (tree / "go").unlink()
        with Running(("run", "-C", str(tree), "--hosts", farm.hosts, "-j1", *words)) as build:
            wait_until(held(tree, UNITS // 2), "results to be made ahead")
            (tree / "go").touch()
            result = build.wait()
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) - before == UNITS + 1
    assert project.digests(tree) == expected
    assert status(tree)["units"]["lookahead"] >= UNITS // 2


def test_who_has_read_a_module_that_is_written_anew_does_not_stand(tmp_path: Path) -> None:
    tree = module_chain(tmp_path / "p", prerequisites=True)
    makefile = (tree / "Makefile").read_text().replace("%.o: %.f90\n", "%.o: %.f90 FLAGS\n")
    (tree / "Makefile").write_text(makefile + "prog: apart.o\n" + FLAGS)
    (tree / "apart.f90").write_text("subroutine apart(x)\n  integer :: x\n  x = 1\nend subroutine\n")
    with Farm(count=1, jobs=32, compilers=waiting(0.5)) as farm:
        assert buildfarm("run", "-C", str(tree), "--hosts", farm.hosts).code == 0
        before = len(farm.compiles())
        text = (tree / "m0.f90").read_text()
        (tree / "m0.f90").write_text(text.replace("c0 = 0", "c0 = 5"))
        expected = made_in_a_copy(tree)
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts)
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) - before == 16  # neither main.f90 nor apart.f90
    assert project.digests(tree) == expected
    assert status(tree)["units"]["lookahead"] > 0
