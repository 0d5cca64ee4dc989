"""Machines of another architecture work through a matching cross compiler, and only through a matching one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import project
from tests.farm import Farm
from tests.test_nodes_e2e import built_by_make, node_of, write_units
from tests.tool import buildfarm, environment, status

CROSS = "aarch64-linux-gnu-gcc"
OTHER = "/usr/bin/" + CROSS
needs_cross = pytest.mark.skipif(not os.path.exists(OTHER), reason=f"{CROSS} is missing: install gcc-aarch64-linux-gnu")


def make_foreign(farm: Farm, *, also: tuple[str, ...] = ()) -> None:
    """Let the node's own gcc and g++ be an Arm's; `also`: names of ours that it has not."""
    (node,) = farm.nodes
    for name in ("gcc", "gcc-12", "cc"):
        node.install(name, f'#!/bin/sh\nexec {OTHER} "$@"\n')
    for name in ("g++", "g++-12", "c++"):
        node.install(name, '#!/bin/sh\nexec /usr/bin/aarch64-linux-gnu-g++ "$@"\n')
    for name in also:
        node.install(name, f'#!/bin/sh\nexec {OTHER} "$@"\n')


@needs_cross
def test_an_arm_node_compiles_for_this_machine_through_its_cross_compiler(tmp_path: Path) -> None:
    tree = write_units(tmp_path / "p", 5)
    expected = built_by_make(tree)
    with Farm(count=1, jobs=3) as farm:
        make_foreign(farm)
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, "--fallback", "never")
        assert result.code == 0, result.stderr
        assert {compile.compiler for compile in farm.compiles()} == {"x86_64-linux-gnu-gcc"}
        node = node_of(status(tree), farm.nodes[0].port)
    assert project.digests(tree) == expected
    assert node["done"] == 6 and node["compiler"].endswith("x86_64-linux-gnu")


@needs_cross
def test_an_arm_node_without_one_is_quarantined_with_the_reason(tmp_path: Path) -> None:
    tree = write_units(tmp_path / "p", 2)
    with Farm(count=1, jobs=3) as farm:
        make_foreign(farm, also=("x86_64-linux-gnu-gcc", "x86_64-linux-gnu-gcc-12"))
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts)
        assert result.code == 0 and not farm.compiles()
        node = node_of(status(tree), farm.nodes[0].port)
    assert node["state"] == "quarantined"
    assert "its gcc has target aarch64-linux-gnu, here it is x86_64-linux-gnu" in node["reason"]


@needs_cross
@pytest.mark.parametrize("fitting", [True, False])
def test_a_cross_compiler_of_the_users_goes_where_the_same_one_is(tmp_path: Path, fitting: bool) -> None:
    """The project itself is for an Arm: CC is the cross compiler, whose version the node must share."""
    tree = write_units(tmp_path / "p", 3)
    words = (f"CC={CROSS}", "CFLAGS=-O1 -static-libgcc", "unit_0.o", "unit_1.o", "unit_2.o")
    project.made_by_make(tree, *words)
    expected = project.digests(tree)
    for path in tree.glob("*.o"):
        path.unlink()
    with Farm(count=1, jobs=3) as farm:
        if not fitting:
            old = '#!/bin/sh\ncase "$*" in *--version*) echo aarch64-linux-gnu-gcc 4.8;; *) exec {} "$@";; esac\n'
            farm.nodes[0].install(CROSS, old.format(OTHER))
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, *words, env=environment())
        assert result.code == 0, result.stderr
        document = status(tree)
        units = [c for c in farm.compiles() if c.compiler == CROSS and "--version" not in c.command]
    assert project.digests(tree) == expected
    assert document["units"]["remote"] == (3 if fitting else 0), document
    assert len(units) == (3 if fitting else 0)
    assert document["nodes"][0]["state"] == "up" and document["nodes"][0]["failed"] == 0
