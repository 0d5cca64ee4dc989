"""A script that goes by a compiler's name runs as it is; what it calls is served, and nothing is made ahead in vain."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests import project
from tests.farm import Farm, wait_until
from tests.test_e2e_lookahead import files, held, makes_tree
from tests.tool import Running, buildfarm, environment, status

MAKEFILE = """\
all: first.o m.o u.o v.o
u.o: m.o
m.o v.o: first.o
%.o: %.f90
\tgfortran -c $< -o $@
%.o: %.c
\tgcc -c $< -o $@
"""


def test_what_a_wrapper_script_calls_goes_to_the_nodes(tmp_path: Path) -> None:
    tree, scripts, events = tmp_path / "p", tmp_path / "bin", tmp_path / "events"
    for directory in (tree, scripts):
        directory.mkdir()
    for name in ("gcc", "gfortran"):
        if (real := shutil.which(name)) is None:
            pytest.skip(f"{name} is missing: make tools")
        (scripts / name).write_text(f'#!/bin/sh\necho {name} >> {tmp_path}/log\nexec {real} -DWRAPPED "$@"\n')
        (scripts / name).chmod(0o755)
    (tree / "Makefile").write_text(MAKEFILE)
    (tree / "m.f90").write_text("module m\n integer :: k = 3\nend module\n")
    (tree / "u.f90").write_text("subroutine u\n use m\n k = 4\nend subroutine\n")
    for name in ("first", "v"):
        (tree / f"{name}.c").write_text(f"#ifndef WRAPPED\n#error past the script\n#endif\nint {name};\n")
    with Farm(count=1, jobs=2) as farm:
        words = ("run", "-C", str(tree), "--hosts", farm.hosts, "--events", str(events))
        result = buildfarm(*words, env=environment(PATH=f"{scripts}:{os.environ['PATH']}"))
        assert result.code == 0, result.stderr
        compiled = len(farm.compiles())
    told = [json.loads(line) for line in events.read_text().splitlines()]
    remote = {Path(e["output"]).name for e in told if e["event"] == "check_in" and e["node"]}
    assert remote == {"first.o", "m.o", "u.o", "v.o"}, result.stderr
    assert compiled == 4, "nothing was compiled in vain"
    assert sorted((tmp_path / "log").read_text().split()) == ["gcc", "gcc", "gfortran", "gfortran"]


MPIFORT = """\
#!/bin/sh
for word do
    shift
    case $word in -show) show=echo ;; -fc=*) ;; *) set -- "$@" "$word" ;; esac
done
MPICH_RECURSION_CHECK=1
export MPICH_RECURSION_CHECK
$show gfortran -DWRAPPED "$@" -Iinc
"""  # as MPICH's does
MODEL = """\
FC = ../bin/mpifort
model.o: b.o
\t$(FC) -c '-DTEXT="two words"' model.F90
b.o: a.o
\t$(FC) -c -fc=gfortran b.F90
a.o:
\tuntil test -e go; do sleep 0.05; done
\t$(FC) -c a.F90
"""


def test_what_mpis_wrapper_scripts_call_is_made_ahead(tmp_path: Path) -> None:
    texts = {
        "a": "module a\ninclude 'n.inc'\nend module",
        "b": "module b\nuse a\nend module",
        "model": "program model\nuse a\nprint *, n, TEXT\nend program",
    }
    tree = files(tmp_path / "p", {f"{name}.F90": f"#ifdef WRAPPED\n{text}\n#endif\n" for name, text in texts.items()})
    files(tree, {"Makefile": MODEL, "inc/n.inc": "integer :: n = 3\n"})
    files(tmp_path / "bin", {"mpifort": MPIFORT})
    (tmp_path / "bin" / "mpifort").chmod(0o755)
    (tree / "go").touch()
    expected = makes_tree(tree)
    (tree / "go").unlink()
    with Farm(count=1, jobs=4) as farm, Running(("run", "-C", str(tree), "--hosts", farm.hosts)) as build:
        wait_until(held(tree, 2), "results to be made ahead")
        (tree / "go").touch()
        result = build.wait()
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) == 3, "nothing was compiled in vain"
    assert project.digests(tree) == expected
    told = status(tree)["units"]
    assert (told["total"], told["done"], told["lookahead"]) == (3, 3, 2)  # b.o's own words are not shown


NOTING = """\
#!/bin/sh
echo "$@" >> ../noted
exec gcc "$@"
"""


def test_a_wrapper_of_the_projects_own_that_shows_nothing_runs_as_often_as_under_make(tmp_path: Path) -> None:
    tree = files(tmp_path / "p", {"Makefile": "all: a.o b.o\n%.o: %.c\n\tcd sub && ../mpicc -c ../$<\n", "sub/x": ""})
    files(tree, {"mpicc": NOTING, "a.c": "int a;\n", "b.c": "int b;\n"})
    (tree / "mpicc").chmod(0o755)
    before = project.digests(tree)
    assert "2 units" in buildfarm("plan", "-C", str(tree)).stdout
    assert project.digests(tree) == before
    with Farm(count=1, jobs=2) as farm:
        assert buildfarm("run", "-C", str(tree), "-j1", "--hosts", farm.hosts).code == 0
    assert (tree / "noted").read_text() == "-c ../a.c\n-c ../b.c\n"


def test_a_compiler_that_finds_no_assembler_fails_as_under_make_and_no_node_is_blamed(tmp_path: Path) -> None:
    gcc = shutil.which("gcc")
    (tmp_path / "Makefile").write_text(f"export PATH := /nonexistent\na.o: a.c\n\t{gcc} -c a.c\n")
    (tmp_path / "a.c").write_text("int a;\n")
    with Farm(count=1, jobs=2) as farm:
        result = buildfarm("run", "-C", str(tmp_path), "--hosts", farm.hosts)
        assert result.code == 2
        assert not farm.compiles()
    assert "make runs again" not in result.stderr
    assert result.stdout.count(" -c a.c") == 1


FAKEROOT = """\
all:
\tfakeroot sh -c "gcc -c a.c; chown 1:1 a.o; stat -c %u a.o > owner"
\tfakeroot $(MAKE) -f inner.mk
"""


def test_a_build_that_calls_fakeroot_ends_though_its_daemon_has_gone(tmp_path: Path) -> None:
    if shutil.which("fakeroot") is None:
        pytest.skip("fakeroot is missing: make tools")
    (tmp_path / "Makefile").write_text(FAKEROOT)
    (tmp_path / "inner.mk").write_text("all: b.o c.o\n")
    for name in "abc":
        (tmp_path / f"{name}.c").write_text(f"int {name};\n")
    with Farm(count=2, jobs=2) as farm:
        result = buildfarm("run", "-C", str(tmp_path), "--hosts", farm.hosts, "--verify", "1")
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) >= 3
    assert (tmp_path / "owner").read_text() == "1\n"
