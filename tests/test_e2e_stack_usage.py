"""A project that asks for `-fstack-usage` is built on nodes, with the files that it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import project
from tests.farm import Farm
from tests.test_nodes_e2e import built_by_make
from tests.tool import buildfarm

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
