"""The order of several goals, which make keeps where nobody says -j."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import project
from tests.test_e2e_lookahead import files, makes_tree
from tests.tool import buildfarm, environment

REBUILT = {
    "Makefile": "rebuild:\n\t$(MAKE) clean all\nall: a.o b.o\nclean:\n\tsleep 1\n\trm -f *.o\n",
    "a.c": "int a;\n",
    "b.c": "int b;\n",
}


def test_recursive_makes_keep_the_order_of_their_goals(tmp_path: Path) -> None:
    tree = files(tmp_path / "p", REBUILT)
    expected = makes_tree(tree, "all")
    project.made_by_make(tree, "all")
    result = buildfarm("run", "-C", str(tree), "--hosts", "", "rebuild")
    assert result.code == 0, result.stderr
    assert project.digests(tree) == expected


@pytest.mark.parametrize("jobs", ["-j1", "-j3"])
def test_the_jobs_of_makeflags_are_the_users(jobs: str, tmp_path: Path) -> None:
    tree = files(tmp_path / "p", {"Makefile": "all:\n\t@echo $(filter -j%,$(MAKEFLAGS)) >said\n"})
    result = buildfarm("run", "-C", str(tree), "--hosts", "", env=environment(MAKEFLAGS=jobs))
    assert result.code == 0, result.stderr
    # make before 4.4 does not name a -j1 here
    assert {*(tree / "said").read_text().split(), "-j1"} == {jobs, "-j1"}
