"""Units whose compile lines ask a program for flags (`` `nf-config --fflags` ``) are made ahead of make like others."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from buildfarm.conductor import planner
from buildfarm.make import confining
from buildfarm.make.dryrun import DryRunOutput, dry_run
from buildfarm.make.printed import Printed
from tests import project
from tests.farm import Farm, wait_until
from tests.test_e2e_lookahead import files, held, makes_tree
from tests.tool import Running, environment, status

CONFIG = """\
#!/bin/sh
echo asked >>asked
test "$1" = --fflags && cat settings/flags
"""
MAKEFILE = """\
FC = gfortran
FFLAGS = `./model-config --fflags`
CPPFLAGS = $$(./model-config --fflags) -Iinclude
model: a.o b.o c.o
	$(FC) $^ -o $@
a.o: a.f90
	until test -e go; do sleep 0.05; done
	$(FC) $(FFLAGS) -c $<
b.o: b.F90 a.o
	$(FC) $(CPPFLAGS) -c $<
c.o: c.F90 b.o
	$(FC) $(CPPFLAGS) -DREV=\\"`uname -s 2>/dev/null`\\" -c $<
"""
TEXTS = {
    "Makefile": MAKEFILE,
    "model-config": CONFIG,
    "settings/flags": "-O1 -fdefault-real-8\n",
    "a.f90": "module a\n  real :: x = 1.5\nend module\n",
    "b.F90": "module b\n  use a\n  real :: y = 2.5\nend module\n",
    "c.F90": "program c\n  use b\n  print *, x, y\nend program\n",
}


def model(root: Path) -> Path:
    tree = files(root, TEXTS)
    (tree / "model-config").chmod(0o755)
    return tree


def test_units_whose_flags_are_asked_for_are_made_ahead(tmp_path: Path) -> None:
    tree = model(tmp_path / "p")
    (tree / "go").touch()
    expected = makes_tree(tree)
    model(tree).joinpath("go").unlink()
    with Farm(count=1, jobs=8) as farm, Running(("run", "-C", str(tree), "--hosts", farm.hosts)) as build:
        wait_until(held(tree, 3), "results to be made ahead")
        assert not (tree / "asked").exists()  # what a plan's questions write is thrown away
        (tree / "go").touch()
        assert build.wait().code == 0
        assert len(farm.compiles()) == 3
    assert project.digests(tree) == expected
    assert status(tree)["units"]["lookahead"] == 3


def test_an_answer_that_has_changed_costs_a_compile_and_nothing_else(tmp_path: Path) -> None:
    tree = model(tmp_path / "p")
    (tree / "go").touch()
    (tree / "settings" / "flags").write_text("-O0\n")
    expected = makes_tree(tree)
    model(tree).joinpath("go").unlink()
    with Farm(count=1, jobs=8) as farm, Running(("run", "-C", str(tree), "--hosts", farm.hosts)) as build:
        wait_until(held(tree, 3), "results to be made ahead")
        (tree / "settings" / "flags").write_text("-O0\n")
        (tree / "go").touch()
        assert build.wait().code == 0
    assert project.digests(tree) == expected


def test_what_fails_or_does_more_than_ask_is_not_planned_with(tmp_path: Path) -> None:
    tree = model(tmp_path / "p")
    (tree / "go").touch()
    (tree / "settings" / "flags").unlink()
    planned = planner.plan_build(str(tree), [], environment())
    assert planned.graph.units() == ()
    (tree / "settings" / "flags").write_text("-O1\n")
    planned = planner.plan_build(str(tree), ["FFLAGS=`./model-config --fflags; rm go`"], environment())
    assert [unit.call.unit.source for unit in planned.graph.units() if unit.call.unit] == ["b.F90", "c.F90"]
    assert (tree / "go").exists()


SEEN = """\
all:
\tfor s in a b; do gcc -c $$s.c -o `echo $$s`.o; done
\tX=1; gcc -DX=`echo $$X` -c a.c -o c.o
\tX=2; gcc -DX=`echo $$X` -c a.c -o d.o
\tX=`date`; gcc -DX=`echo $$X` -c a.c -o e.o
\tgcc -DX=`echo`$$(echo 1; false) -c a.c -o f.o
\tgcc -DX=`echo ')'; echo` -c a.c -o g.o
"""


def test_a_question_is_asked_with_the_variables_that_its_line_has_set(tmp_path: Path) -> None:
    tree = files(tmp_path / "p", {"Makefile": SEEN, "a.c": "", "b.c": ""})
    planned = planner.plan_build(str(tree), [], environment())
    assert [" ".join(unit.argv) for unit in planned.graph.units()] == [
        "gcc -c a.c -o a.o",
        "gcc -c b.c -o b.o",
        "gcc -DX=1 -c a.c -o c.o",
        "gcc -DX=2 -c a.c -o d.o",
        "gcc -DX=) -c a.c -o g.o",
    ]


def test_a_question_that_waits_for_ever_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    makefile = "all:\n\tgcc -DX=`cat pipe` -c a.c -o c.o\n\tgcc -DX=`echo 1` -c a.c -o d.o\n"
    tree = files(tmp_path / "p", {"Makefile": makefile, "a.c": ""})
    os.mkfifo(tree / "pipe")
    monkeypatch.setattr(planner, "ASKING_SECONDS", 0.1)
    assert planner.plan_build(str(tree), [], environment()).graph.units() == ()


def test_where_writing_is_not_refused_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = model(tmp_path / "p")
    files(tree, {"mpicc": "#!/bin/sh\ntouch asked\n", "d.c": ""})
    (tree / "mpicc").chmod(0o755)
    (tree / "Makefile").write_text(MAKEFILE + "model: d.o\nd.o:\n\t./mpicc -c d.c\n")

    async def unconfined(*arguments: Any, **named: Any) -> DryRunOutput:
        return replace(await dry_run(*arguments, **named), confinement=confining.NOT_AT_ALL)

    async def printed(*_: Any, **_named: Any) -> Printed:
        pytest.fail("a script was run")

    monkeypatch.setattr(planner, "dry_run", unconfined)
    monkeypatch.setattr(planner, "printed", printed)
    planned = planner.plan_build(str(tree), [], environment())
    assert [unit.argv[0] for unit in planned.graph.units()] == ["./mpicc"]
