"""Units of clang's come back from a real node as the local clang makes them; they travel preprocessed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildfarm.dispatch.prepare import CannotTravel
from tests import project
from tests.farm import Farm
from tests.test_dispatch_prepare_c import HEADER, MAIN, TEMPLATES, WARNED
from tests.test_nodes_e2e import built_by_make
from tests.tool import buildfarm, environment
from tests.travel import Trip

pytestmark = [
    pytest.mark.skipif(not os.path.exists("/usr/bin/clang"), reason="clang is missing: install clang"),
]


@pytest.fixture(scope="module")
def trip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trip]:
    with Trip(tmp_path_factory.mktemp("clang") / "tree") as running:
        running.write("inc/a.h", HEADER)
        running.write("inc/w.h", "#define TWICE(x) ((x) = (x) + (x))\n")
        running.write("a.c", MAIN)
        running.write("w.c", WARNED)
        running.write("t.cc", TEMPLATES)
        yield running


@pytest.mark.parametrize("debug", ["", " -g"])
@pytest.mark.parametrize(
    "command",
    [
        "clang -O2 -Iinc -DFOO=1 -c a.c",
        "clang -O0 -Wall -Qunused-arguments -I{root}/inc -isystem inc -c {root}/a.c -o a.o",
        "clang -Iinc -MD -MF a.d -c a.c",
        "clang++ -std=c++17 -Iinc -c t.cc",
        "clang -O1 -Iinc -c a.c -lm -L. -Wl,-z,now -s",  # which it says are unused
    ],
)
def test_objects_are_identical_and_after_stripping_with_debug_information(trip: Trip, command: str, debug: str) -> None:
    result = trip.go(command.format(root=trip.root) + debug)
    assert (result.recipe, result.status, result.words) == ("P2", 0, "same")
    assert result.stripped if debug else result.raw
    assert all(result.made.values())


def test_debug_information_tells_the_directory_of_the_compile(trip: Trip) -> None:
    result = trip.go("clang -g -Iinc -c a.c")
    assert str(trip.root).encode() in result.object


def test_words_come_from_a_local_compile(trip: Trip) -> None:
    assert trip.go("clang -Wall -Wextra -Iinc -c w.c").words == "local"


@pytest.mark.parametrize(
    "flags", ["-Wdocumentation", "-flto", "-march=native", "-Xclang -O2", "-fcoverage-mapping", "-ftime-trace"]
)
def test_what_only_this_machine_can_do_stays(trip: Trip, flags: str) -> None:
    assert trip.unit(f"clang {flags} -c a.c").local_reason is not None


@pytest.mark.parametrize("expression", ["__builtin_COLUMN()", "f(1) + __builtin_COLUMN()"])
def test_columns_in_code_stay(trip: Trip, expression: str) -> None:
    trip.write("column.c", f"int f(int x);\nint column(void) {{ return {expression}; }}\n")
    with pytest.raises(CannotTravel, match="columns"):
        trip.prepare("clang -c column.c")


def test_a_precompiled_header_in_use_stays(trip: Trip) -> None:
    header = trip.write("pre.h", "int pre;\n")
    subprocess.run(["clang", "-x", "c-header", header, "-o", f"{header}.pch"], check=True)
    with pytest.raises(CannotTravel, match="precompiled"):
        trip.prepare("clang -Iinc -include pre.h -c a.c")


LAUNCHER = """#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int count, char **words)
{
    char path[4096];
    const char *slash = strrchr(words[0], '/');
    (void)count;
    snprintf(path, sizeof path, "/usr/bin/%s", slash ? slash + 1 : words[0]);
    words[0] = path;
    return execv(path, words);
}
"""


def test_compilers_behind_one_launcher_are_not_taken_for_one_another(tmp_path: Path) -> None:
    """As ccache's links on PATH: gcc and clang are the same file then."""
    tree, links = tmp_path / "p", tmp_path / "links"
    tree.mkdir()
    links.mkdir()
    subprocess.run(["gcc", "-x", "c", "-", "-o", tmp_path / "launcher"], input=LAUNCHER, text=True, check=True)
    for name in ("gcc", "clang"):
        (links / name).symlink_to("../launcher")
    rules = "program: a.o b.o; gcc -o $@ $^\na.o: a.c; gcc -O1 -c $<\nb.o: b.c; clang -g -c $<\n"
    (tree / "Makefile").write_text(rules)
    (tree / "a.c").write_text("int b(void);\nint main(void) { return b(); }\n")
    (tree / "b.c").write_text("int b(void) { return 0; }\n")
    surroundings = environment()
    surroundings["PATH"] = f"{links}:{surroundings['PATH']}"
    with Farm(count=1, jobs=2) as farm:
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, "--fallback", "never", env=surroundings)
        assert result.code == 0, result.stderr
        assert [(one.compiler, one.source) for one in farm.compiles()] == [("gcc", "unit.c"), ("clang", "unit.c")]
    assert str(tree).encode() in (tree / "b.o").read_bytes()


def test_a_project_of_clangs_is_built_on_nodes(tmp_path: Path) -> None:
    tree = tmp_path / "p"
    tree.mkdir()
    (tree / "Makefile").write_text("CC = clang\nprogram: a.o b.o; $(CC) -o $@ $^\n")
    (tree / "a.c").write_text("int b(void);\nint main(void) { return b(); }\n")
    (tree / "b.c").write_text("int b(void) { return 0; }\n")
    expected = built_by_make(tree)
    with Farm(count=1, jobs=2) as farm:
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, "--fallback", "never")
        assert result.code == 0, result.stderr
        assert {compile.compiler for compile in farm.compiles()} == {"clang"}
    assert project.digests(tree) == expected
