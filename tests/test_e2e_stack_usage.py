"""A project that asks for `-fstack-usage` is built on nodes, with the files that it writes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import project
from tests.farm import Farm
from tests.test_nodes_e2e import built_by_make
from tests.tool import buildfarm, environment

MAKEFILE = """export CFLAGS = -O2 -fstack-usage
program: main.o sub; $(CC) -o $@ main.o sub/*.o
sub: ; $(MAKE) -C sub all
.PHONY: sub
"""


@pytest.mark.parametrize("order", ["-j1", "-j4"])  # with -j1 the last are made ahead
def test_the_tree_is_makes_own(tmp_path: Path, order: str) -> None:
    tree = tmp_path / "p"
    (tree / "sub").mkdir(parents=True)
    (tree / "Makefile").write_text(MAKEFILE)
    (tree / "main.c").write_text("int main(void) { return 0; }\n")
    (tree / "sub/Makefile").write_text("all: a.o b.o c.o\n")
    for name in "abc":
        (tree / f"sub/{name}.c").write_text(f"int {name}(int n) {{ int x[n]; return x[n - 1]; }}\n")
    expected = built_by_make(tree)
    for path in (*tree.rglob("*.o"), *tree.rglob("*.su")):
        path.unlink()
    with Farm(count=1, jobs=2) as farm:
        result = buildfarm("run", order, "-C", str(tree), "--hosts", farm.hosts, "--fallback", "never")
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) == 4
    assert "sub/a.su" in expected and project.digests(tree) == expected


LISTED = """export CFLAGS = -Os -g -gdwarf-2
all: build/main.elf
build/%.o: %.c Makefile | build
	$(CC) -c $(CFLAGS) -MMD -MP -MF"$(@:%.o=%.d)" -Wa,-a,-ad,-alms=build/$(notdir $(<:.c=.lst)) $< -o $@
build/main.elf: build/main.o build/a.o build/b.o; $(CC) $^ -o $@
build: ; mkdir $@
"""


@pytest.mark.parametrize("order", ["-j1", "-j4"])
def test_listings_are_those_of_make_but_for_the_random_name(tmp_path: Path, order: str) -> None:
    """As STM32CubeMX writes its Makefiles."""
    tree = tmp_path / "p"
    tree.mkdir()
    (tree / "Makefile").write_text(LISTED)
    (tree / "main.c").write_text('#include "a.h"\nint main(void) { return MACRO(a(2)) + b(2); }\n')
    (tree / "a.h").write_text("#define MACRO(x) ((x) * (x))\nint a(int), b(int);\n")
    for name in "ab":
        (tree / f"{name}.c").write_text(f'#include "a.h"\nint {name}(int n) {{ return MACRO(n) + 1; }}\n')
    subprocess.run(["make", "-C", str(tree)], check=True, env=environment(), capture_output=True)
    expected = {path.name: listed(path) for path in (tree / "build").glob("*.lst")}
    shutil.rmtree(tree / "build")
    with Farm(count=1, jobs=2) as farm:
        result = buildfarm("run", order, "-C", str(tree), "--hosts", farm.hosts, "--fallback", "never")
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) == 3
    assert {path.name: listed(path) for path in (tree / "build").glob("*.lst")} == expected
    assert sorted(expected) == ["a.lst", "b.lst", "main.lst"]


def listed(path: Path) -> str:
    return re.sub(r"/cc\w{6}\.s\b", "/cc.s", path.read_text())
