"""Whole builds whose nodes preprocess: the tree is make's, and what a node can't know goes another way."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from buildfarm.dispatch.closure import SearchPath
from buildfarm.dispatch.headers import Headers
from tests.farm import Farm, Node, wait_until
from tests.tool import Running, buildfarm, environment

UNITS = 40
MAKEFILE = """\
OBJECTS := $(patsubst %.c,%.o,$(sort $(wildcard u*.c)))
CFLAGS = -O1 -Wall -Wextra -Iinclude -MMD -MP
program: $(OBJECTS)
\tgcc -o $@ $(OBJECTS)
include/made.h: made.sh
\tsh made.sh > $@
$(OBJECTS): include/made.h
-include $(OBJECTS:.o=.d)
"""


def write(root: Path) -> Path:
    (root / "include").mkdir(parents=True)
    (root / "Makefile").write_text(MAKEFILE)
    (root / "made.sh").write_text("echo '#define MADE 7'\n")
    (root / "include" / "own.h").write_text(
        '#pragma once\n#include <stdint.h>\n#include "made.h"\nextern int32_t all;\n'
    )
    for number in range(UNITS):
        body = f"int u{number}(int unused) {{ return MADE + {number}; }}\n"
        (root / f"u{number:02}.c").write_text(f'#include <stdio.h>\n#include <string.h>\n#include "own.h"\n{body}')
    (root / "umain.c").write_text('#define NAME "own.h"\n#include NAME\nint main(void) { return MADE == 0; }\n')
    return root


ALWAYS = """
import sys
from buildfarm.cli import main
from buildfarm.conductor.thrift import Thrift
Thrift.pump_pays = lambda *_: True
main(sys.argv[1:])
"""


@pytest.fixture
def pump_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes preprocess what they can: which way is cheaper depends on who else uses this machine (`thrift`)."""
    monkeypatch.setattr("tests.tool.command", lambda *words: [sys.executable, "-c", ALWAYS, *words])


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".buildfarm" not in path.parts
    }


def made_by_make(root: Path) -> tuple[dict[str, bytes], str]:
    done = subprocess.run(["make"], cwd=root, env=environment(), capture_output=True, text=True, check=True)
    expected = files(root)
    for path in (*root.glob("*.o"), *root.glob("*.d"), root / "program", root / "include" / "made.h"):
        path.unlink(missing_ok=True)
    return expected, done.stderr


def preprocessed_there(farm: Farm) -> int:
    """How many units the nodes preprocessed."""
    return sum("-ffile-prefix-map=bf__R" in command for command in farm.started())


def hoped(farm: Farm) -> int:
    """How many of them without our system headers."""
    return sum("bf__R" in command and "-nostdinc" not in command for command in farm.started())


def proofs(farm: Farm) -> int:
    """How often nodes were asked what system headers they have."""
    return sum(
        node.text().count("forking to execute: gcc -frandom-seed=bf-probe -fno-toplevel-reorder") for node in farm.nodes
    )


@pytest.mark.usefixtures("pump_pays")
def test_objects_depfiles_and_words_are_makes(tmp_path: Path) -> None:
    tree = write(tmp_path / "p")
    expected, words = made_by_make(tree)
    with Farm(count=2, jobs=1) as farm:
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, "-j2", "--no-lookahead")
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) > UNITS
        assert preprocessed_there(farm) > UNITS / 2 and proofs(farm) >= 2
        assert not any("-nostdinc" in command for command in farm.started()), "system headers travelled"
    assert files(tree) == expected
    for line in words.splitlines():
        assert line in result.stderr


OTHER_BYTES = """#!/bin/sh
/usr/bin/gcc "$@" || exit
case "$*" in *bf_alike.c*)
    for word in "$@"; do case $word in *.o) sed -i s/fputs/FPUTS/ "$word" ;; esac; done ;;
esac
"""


# Half of the units come when every node has told of its headers: before that, none is sent ours.
SECOND_HALF = """\
$(filter u2% u3%,$(OBJECTS)): told
told:
\tuntil test -e asked; do sleep 0.05; done; touch $@
"""


def has_told(node: Node) -> bool:
    return any("-fno-toplevel-reorder" in job.command for job in node.jobs_done())


@pytest.mark.usefixtures("pump_pays")
def test_a_node_with_other_system_headers_is_sent_ours(tmp_path: Path) -> None:
    tree = write(tmp_path / "p")
    with (tree / "Makefile").open("a") as makefile:
        makefile.write(SECOND_HALF)
    (tree / "asked").touch()
    expected, _ = made_by_make(tree)
    (tree / "told").unlink()
    (tree / "asked").unlink()
    with Farm(count=3, jobs=1) as farm:
        farm.nodes[0].install("gcc", OTHER_BYTES)
        with Running(("run", "-C", str(tree), "--hosts", farm.hosts, "-j3", "--no-lookahead")) as build:
            wait_until(lambda: all(map(has_told, farm.nodes)), "three answers")
            (tree / "asked").touch()
            result = build.wait()
        assert result.code == 0, result.stderr
        assert any("-nostdinc" in command for command in farm.nodes[0].started())
        assert not any("-nostdinc" in command for node in farm.nodes[1:] for command in node.started())
        assert preprocessed_there(farm) > UNITS / 3
    assert files(tree) == expected


# A node tells of its headers only when it has been given a unit in that hope, or nobody hopes for long.
SLOW_PROOF = """#!/bin/sh
case "$*" in
*bf_alike.c*) for i in $(seq 2000); do test -e "$TMPDIR/hoped" || sleep 0.05; done ;;
*bf__R*) touch "$TMPDIR/hoped" ;;
esac
exec /usr/bin/gcc "$@"
"""
# Its headers are others, and what it makes of units whose system headers did not travel is too.
SLOW_AND_OTHER = """#!/bin/sh
case "$*" in
*bf_alike.c*)
    for i in $(seq 2000); do test -e "$TMPDIR/hoped" || sleep 0.05; done
    /usr/bin/gcc "$@" || exit
    for word in "$@"; do case $word in *.o) sed -i s/fputs/FPUTS/ "$word" ;; esac; done ;;
*-nostdinc*) exec /usr/bin/gcc "$@" ;;
*bf__R*) touch "$TMPDIR/hoped"; {otherwise} ;;
*) exec /usr/bin/gcc "$@" ;;
esac
"""


@pytest.mark.usefixtures("pump_pays")
def test_units_leave_in_the_hope_that_a_node_proves_its_headers(tmp_path: Path) -> None:
    tree = write(tmp_path / "p")
    expected, _ = made_by_make(tree)
    with Farm(count=2, jobs=2) as farm:
        for node in farm.nodes:
            node.install("gcc", SLOW_PROOF)
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, "-j4", "--no-lookahead")
        assert result.code == 0, result.stderr
        assert preprocessed_there(farm) > UNITS * 3 / 4
    assert files(tree) == expected


@pytest.mark.usefixtures("pump_pays")
@pytest.mark.parametrize("otherwise", ['exec /usr/bin/gcc "$@" -O0', "echo stdio.h: no such luck >&2; exit 1"])
@pytest.mark.parametrize("lookahead", [False, True])
def test_what_left_in_vain_hope_is_made_anew(tmp_path: Path, otherwise: str, lookahead: bool) -> None:
    tree = write(tmp_path / "p")
    expected, _ = made_by_make(tree)
    with Farm(count=2, jobs=2) as farm:
        for node in farm.nodes:
            node.install("gcc", SLOW_AND_OTHER.replace("{otherwise}", otherwise))
        words = ["-j4", "--verify", "0", *([] if lookahead else ["--no-lookahead"])]
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, *words)
        assert result.code == 0, result.stderr
        assert 0 < hoped(farm) < UNITS
        assert "no such luck" not in result.stderr + result.stdout
    assert files(tree) == expected


def test_an_answer_that_tells_of_headers_of_the_nodes_own_is_not_used(tmp_path: Path) -> None:
    tree = write(tmp_path / "p")
    expected, _ = made_by_make(tree)
    with tempfile.TemporaryDirectory(prefix="bf-headers-") as name:
        Path(name).chmod(0o755)
        (Path(name) / "string.h").write_text("#include_next <string.h>\nint of_the_node;\n")
        with Farm(count=1, jobs=2) as farm:
            farm.nodes[0].install("gcc", f'#!/bin/sh\nexec /usr/bin/gcc -I{name} "$@"\n')
            result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, "-j2", "--no-lookahead")
            assert result.code == 0, result.stderr
            assert 0 < hoped(farm) < UNITS, "after the first such answer it is sent all headers, or texts"
    assert files(tree) == expected


def test_nobody_else_preprocesses_where_the_user_wants_that_done_here(tmp_path: Path) -> None:
    tree = write(tmp_path / "p")
    expected, _ = made_by_make(tree)
    with Farm(count=1, jobs=4) as farm:
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, "--no-pump")
        assert result.code == 0, result.stderr
        assert preprocessed_there(farm) == proofs(farm) == 0
    assert files(tree) == expected


def test_units_whose_text_would_mislead_are_preprocessed_there(tmp_path: Path) -> None:
    """cJSON's tests: -Wunused-macros wants full preprocessing, which changes columns, and without -O these matter."""
    (tmp_path / "p").mkdir()
    tree = tmp_path / "p"
    (tree / "Makefile").write_text("CFLAGS = -Wall -Wunused-macros\nall: a.o b.o c.o\n")
    for name in "abc":
        (tree / f"{name}.c").write_text(f"#include <stdio.h>\n#define UNUSED 1\nint {name}(void) {{ return EOF; }}\n")
    expected, words = made_by_make(tree)
    with Farm(count=2, jobs=2) as farm:
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, "--no-lookahead")
        assert result.code == 0, result.stderr
        assert preprocessed_there(farm) >= 3
    assert files(tree) == expected
    assert result.stderr.count("-Wunused-macros") == words.count("-Wunused-macros") == 3


def test_a_compile_error_is_told_in_the_local_compilers_words(tmp_path: Path) -> None:
    tree = write(tmp_path / "p")
    (tree / "u05.c").write_text('#include "own.h"\n#include "not/there.h"\n')
    (tree / "u06.c").write_text('#include "own.h"\nint f(void) { return g }\n')
    by_make = subprocess.run(["make", "-k"], cwd=tree, env=environment(), capture_output=True, text=True, check=False)
    subprocess.run("rm -f *.o *.d program include/made.h", shell=True, cwd=tree, check=True)
    with Farm(count=1, jobs=4) as farm:
        result = buildfarm("run", "-k", "-C", str(tree), "--hosts", farm.hosts)
    assert result.code == by_make.returncode == 2
    for line in by_make.stderr.splitlines():
        if "error:" in line:
            assert line in result.stderr


def test_headers_are_read_once_for_many_units(tmp_path: Path) -> None:
    tree = write(tmp_path / "p")
    (tree / "include" / "made.h").write_text("#define MADE 1\n")
    search = SearchPath((), (str(tree / "include"), "/usr/include"))
    headers = Headers()
    first = headers.closure(str(tree / "u00.c"), (), str(tree), search).files
    second = headers.closure(str(tree / "u01.c"), (), str(tree), search).files
    assert [a is b for a, b in zip(first[1:], second[1:], strict=True)] == [True] * (len(first) - 1)
    (tree / "include" / "made.h").write_text("#define MADE 22\n")
    third = headers.closure(str(tree / "u00.c"), (), str(tree), search).files
    changed = [a.path for a, b in zip(first, third, strict=True) if a is not b]
    assert changed == [str(tree / "include" / "made.h")]
