"""Where a recipe writes the source that it then compiles, as WRF's do, the unit is made ahead of make all the same.

Its text is drafted by the recipe's own filters, whose changes are thrown away; and a draft that differs from what
make's recipe has written in the end is never used.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import project
from tests.farm import Farm, wait_until
from tests.test_e2e_lookahead import files, held, makes_tree, with_units_away
from tests.tool import Running, buildfarm, environment, status

FORMS = {
    "hrldas": "$(RM) $(*).f90\n\t$(CPP) $(*).F > $(*).f90\n\t$(FC) -c -I../share $(*).f90",
    "wrf": "$(RM) $@\n\tsed 's/  *$$//' $*.F > $*.bb\n\t$(CPP) $*.bb  > $*.f90\n\t$(RM) $*.bb\n"
    "\t@ if echo $(FLAGS) | fgrep DVAR; then ./rename $*.f90 > x; mv x $*.f90; fi\n\t$(FC) -o $@ -c -I../share $*.f90",
    "one line": "$(CPP) $< > $*.f90; $(FC) -o $@ -c -I../share $*.f90 && $(RM) $*.f90",
    "compiler": "$(FC) -E -cpp -P -DN=5 $< > tmp_$*.f90 && $(FC) -c -I../share tmp_$*.f90 -o $@; $(RM) tmp_$*.f90",
    "named": "$(CPP) -o $*.f90 $<\n\t$(FC) -c -I../share $*.f90",
}


def weather(root: Path, recipe: str) -> Path:
    """Two directories of a chain each, built one after the other by makes that know of no jobs."""
    rule = "CPP = cpp -P -traditional -DN=5\nFC = gfortran -g -O1 -Wall\n"
    rule += f".SUFFIXES:\n.SUFFIXES: .F .o\n.F.o:\n\t{recipe}\n"
    texts = {"Makefile": "all:\n\t(cd share; make)\n\t(cd phys; make)\n\tgfortran -o model */*.o\n"}
    for where, names, first in (("share", "abcd", ""), ("phys", "efgh", "d")):
        chain = list(zip([first, *names], names, strict=False))
        objects = " ".join(f"{name}.o" for name in names)
        needs = "".join(f"{name}.o: {before}.o\n" for before, name in chain if before and before != first)
        texts[f"{where}/Makefile"] = f"all: {objects}\n{needs}{rule}"
        for before, name in chain:
            use = f"  use m_{before}, only: {before}\n" if before else ""
            value = f"{before} + N" if before else "N"
            texts[f"{where}/{name}.F"] = (
                f"#ifdef N\nmodule m_{name}\n{use}  integer, parameter :: {name} = {value}\ncontains\n"
                f"  integer function f_{name}(x)\n    integer :: x, unused\n    f_{name} = x * {name}\n"
                f"  end function\nend module\n#endif\n"
            )
    texts["phys/h.F"] += "program model\n  use m_h\n  print *, f_h(2)\nend program\n"
    return files(root, texts)


@pytest.mark.parametrize("recipe", FORMS.values(), ids=FORMS)
def test_units_whose_recipes_write_their_sources_are_made_ahead(tmp_path: Path, recipe: str) -> None:
    tree = weather(tmp_path / "p", recipe)
    expected = makes_tree(tree)
    with Farm(count=1, jobs=16, gated=True) as farm:
        result = with_units_away(farm, 6, "-C", str(tree))
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) == 8
    assert project.digests(tree) == expected
    assert status(tree)["units"]["lookahead"] >= 5
    assert subprocess.run(["make", "-q", "-C", "phys"], cwd=tree, env=environment()).returncode == 0


def test_what_a_draft_leaves_out_is_seen_when_make_asks(tmp_path: Path) -> None:
    recipe = "$(CPP) $< > $*.f90\n\t@perl -pi -e 's/= x [*]/= 1 + x */' $*.f90\n\t$(FC) -c -I../share $*.f90"
    tree = weather(tmp_path / "p", recipe)
    expected = makes_tree(tree)
    with Farm(count=1, jobs=16) as farm:
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts)
        assert result.code == 0, result.stderr
    assert project.digests(tree) == expected


def test_a_draft_changes_nothing(tmp_path: Path) -> None:
    recipe = "until test -e ../go; do sleep 0.05; done\n\trm -f ../log; cp $< ../made.$*\n\t$(CPP) $< > $*.f90\n\t"
    recipe += "touch -d 2001-01-01 $<\n\t$(FC) -c -I../share $*.f90"
    tree = weather(tmp_path / "p", recipe)
    (tree / "log").touch()
    times = {path: path.stat().st_mtime_ns for path in tree.rglob("*.F")}
    with Farm(count=1, jobs=16) as farm, Running(("run", "-C", str(tree), "--hosts", farm.hosts)) as build:
        wait_until(held(tree, 8), "results to be made ahead")
        assert (tree / "log").exists() and not list(tree.glob("made.*"))
        assert not list(tree.glob("[ps]*/*.f90"))
        assert {path: path.stat().st_mtime_ns for path in tree.rglob("*.F")} == times
        (tree / "go").touch()
        assert build.wait().code == 0


def test_a_draft_meets_no_temporary_file_of_makes_own_recipe(tmp_path: Path) -> None:
    recipe = "cp $< $(TMPDIR)/$*.i\n\tuntil test -e ../go; do sleep 0.05; done\n\t"
    recipe += "$(CPP) $< > $*.f90\n\t$(FC) -c -I../share $*.f90"
    tree = weather(tmp_path / "p", recipe)
    (tmp_path / "tmp").mkdir()
    surroundings = environment(TMPDIR=str(tmp_path / "tmp"))
    with (
        Farm(count=1, jobs=16) as farm,
        Running(("run", "-C", str(tree), "--hosts", farm.hosts), env=surroundings) as build,
    ):
        wait_until(held(tree, 8), "results to be made ahead")
        assert [path.name for path in tmp_path.glob("tmp/*.i")] == ["a.i"]  # make's own first
        (tree / "go").touch()
        assert build.wait().code == 0
