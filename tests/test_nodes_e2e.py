"""Nodes that come, go, hang, answer rubbish and lie while a real build runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests import project
from tests.farm import Farm, wait_until
from tests.proxy import BadMemory, Proxy, Swapper, rubbish
from tests.tool import Running, buildfarm, environment, status

MAKEFILE = """\
CFLAGS := -O1 -Wall
OBJECTS := $(patsubst %.c,%.o,$(wildcard unit_*.c))
program: $(OBJECTS) main.o
\t$(CC) -o $@ main.o $(OBJECTS)
"""


def write_units(root: Path, count: int) -> Path:
    """A project of `count` units and a `main.c`, none like another."""
    root.mkdir()
    (root / "Makefile").write_text(MAKEFILE)
    names = [f"unit_{i}" for i in range(count)]
    for i, name in enumerate(names):
        body = "".join(f"    x = x * {i + 3} + {k};\n" for k in range(i % 5 + 1))
        (root / f"{name}.c").write_text(f"int {name}(int x) {{\n{body}    return x;\n}}\n")
    declared = "".join(f"int {name}(int x);\n" for name in names)
    called = "".join(f"    x = {name}(x);\n" for name in names)
    (root / "main.c").write_text(
        f"#include <stdio.h>\n{declared}int main(void) {{\n    int x = 1;\n{called}"
        '    printf("%d\\n", x);\n    return 0;\n}\n'
    )
    return root


def built_by_make(root: Path) -> dict[str, str]:
    """The digests of plain make's tree; the tree is clean again afterwards."""
    project.made_by_make(root)
    expected = project.digests(root)
    for path in (*root.glob("*.o"), root / "program"):
        path.unlink()
    return expected


def node_of(document: dict[str, Any], port: int) -> dict[str, Any]:
    return next(node for node in document["nodes"] if node["port"] == port)


def test_forty_units_while_nodes_die_hang_answer_rubbish_and_join(tmp_path: Path) -> None:
    tree = write_units(tmp_path / "p", 39)
    expected = built_by_make(tree)
    hosts = tmp_path / "distcc" / "hosts"
    hosts.parent.mkdir()
    with Farm(count=4, jobs=2, gated=True) as farm, Proxy(farm.nodes[2].port, rubbish) as liar:
        killed, stopped, _, added = farm.nodes
        old = f"{killed.address}/2,lzo {stopped.address}/2,lzo {liar.address}/2,lzo\n"
        hosts.write_text(old)
        farm.close_gate()
        words = ("run", "-C", str(tree), "--fallback", "never")
        with Running(words, env=environment(DISTCC_DIR=str(hosts.parent))) as build:
            wait_until(lambda: farm.waiting() == 6, "every slot to be in use")
            killed.kill()
            stopped.stop()
            hosts.write_text(f"{old}{added.address}/2,lzo\n")
            farm.open_gate()
            result = build.wait()
        stopped.cont()
        assert result.code == 0, result.stderr
        assert [c for c in added.compiles() if c.outcome == "COMPILE_OK"], "the added node has worked"
        document = status(tree)
        dead, hung, false, new = (node_of(document, p) for p in (killed.port, stopped.port, liar.port, added.port))
    assert project.digests(tree) == expected
    assert document["state"] == "complete" and document["units"]["local"] == 0
    assert dead["state"] == "down" and "refused" in dead["reason"]
    assert hung["state"] == "down" and "no answer" in hung["reason"]
    assert false["state"] == "quarantined" and "rubbish" in false["reason"]
    assert new["state"] in ("up", "busy") and new["done"] > 0 and new["failed"] == 0


def test_a_node_that_swaps_objects_is_caught_and_its_results_are_made_again(tmp_path: Path) -> None:
    tree = write_units(tmp_path / "p", 15)
    expected = built_by_make(tree)
    with Farm(count=2, jobs=4) as farm:
        swap = Swapper()
        with Proxy(farm.nodes[0].port, swap) as liar:
            hosts = f"{liar.address}/4,lzo {farm.nodes[1].address}/2,lzo"
            # All by one protocol: swapped with one of another, an answer would be rubbish and no lie.
            result = buildfarm("run", "-C", str(tree), "--hosts", hosts, "--no-pump")
            assert swap.swapped, "the proxy has lied"
        document = status(tree)
    assert result.code == 0, result.stderr
    assert f"all that {liar.address} has made in this build is made again" in result.stderr
    assert project.digests(tree) == expected
    caught = node_of(document, liar.port)
    assert caught["state"] == "quarantined" and "compiler makes of the same text" in caught["reason"]
    assert document["units"]["done"] == 16, "a unit that was made twice counts once"
    assert not document["failures"], "what failed for the liar's sake is no failure of the build"


def test_what_a_node_had_damaged_before_it_was_caught_is_made_again(tmp_path: Path) -> None:
    tree = write_units(tmp_path / "p", 15)
    expected = built_by_make(tree)
    with Farm(count=1, jobs=4, options="") as farm, Proxy(farm.nodes[0].port, BadMemory(hidden=8)) as node:
        words = ("--hosts", f"{node.address}/4", "--verify", "0", "--no-pump", "--no-lookahead")
        result = buildfarm("run", "-C", str(tree), *words)
    assert result.code == 0, result.stderr
    assert "sent a broken object" in result.stderr and "make runs again" in result.stderr
    assert project.digests(tree) == expected
    assert node_of(status(tree), node.port)["state"] == "quarantined"


def test_a_link_that_fails_beside_a_node_that_damages_objects_is_not_laid_to_makes_order(tmp_path: Path) -> None:
    tree = write_units(tmp_path / "p", 5)
    (tree / "Makefile").write_text(MAKEFILE + "\tfalse\n")
    with Farm(count=1, jobs=4, options="") as farm, Proxy(farm.nodes[0].port, BadMemory(hidden=0)) as node:
        words = ("--hosts", f"{node.address}/4", "--verify", "0", "--no-pump", "--no-lookahead")
        result = buildfarm("run", "-C", str(tree), *words)
    assert result.code == 2
    assert "make's own order" not in result.stderr
    assert f"damaged or wrong results came from {node.address}" in result.stderr
    assert "make runs again" not in result.stderr, "nothing that it had made was in the tree"


def test_with_debug_information_an_honest_node_is_not_accused(tmp_path: Path) -> None:
    tree = write_units(tmp_path / "p", 5)
    with Farm(count=1, jobs=4) as farm:
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, "--verify", "100", "CFLAGS=-O1 -g")
        assert result.code == 0 and "made again" not in result.stderr
        assert len(farm.compiles()) == 6
        assert status(tree)["nodes"][0]["state"] == "up"


def test_nodes_leave_by_the_hosts_file_and_nonsense_in_it_is_said_once(tmp_path: Path) -> None:
    tree = write_units(tmp_path / "p", 20)
    hosts = tmp_path / "distcc" / "hosts"
    hosts.parent.mkdir()
    with Farm(count=2, jobs=2, gated=True) as farm:
        left, stayed = farm.nodes
        hosts.write_text(farm.hosts)
        farm.close_gate()
        words = ("run", "-C", str(tree), "--no-lookahead", "-j4", "--verify", "0")
        with Running(words, env=environment(DISTCC_DIR=str(hosts.parent))) as build:
            wait_until(lambda: farm.waiting() == 4, "every slot to be in use")
            hosts.write_text(f"{left.address}/lots {stayed.address}/2,lzo")
            build.wait_said(f"'{left.address}/lots'")
            hosts.write_text(f"{left.address}/lots {stayed.address}/2,lzo # still")
            time.sleep(1.6)  # the list is read once a second; a machine that takes longer only makes the test weaker
            hosts.write_text(f"{stayed.address}/2,lzo")
            wait_until(lambda: node_of(status(tree), left.port)["state"] == "draining", "the node that left to drain")
            farm.open_gate()
            result = build.wait()
        assert result.code == 0, result.stderr
        assert result.stderr.count("'" + f"{left.address}/lots" + "'") == 1, "nonsense is said once"
        assert "the nodes stay as they were" in result.stderr
        assert len(left.compiles()) == 2, "units in flight finish, no more are sent"
        assert len(farm.compiles()) == 21


def test_a_public_address_gets_no_source(tmp_path: Path) -> None:
    tree = write_units(tmp_path / "p", 2)
    result = buildfarm("run", "-C", str(tree), "--hosts", "198.41.0.4/4")
    assert result.code == 0
    (node,) = status(tree)["nodes"]
    assert node["state"] == "quarantined" and "--allow-public permits it" in node["reason"]


def test_a_node_compilers_death_or_full_disk_never_harms_the_build(tmp_path: Path) -> None:
    tree = write_units(tmp_path / "p", 9)
    expected = built_by_make(tree)
    dies = '#!/bin/sh\ncase "$*" in *bf-probe*) exec /usr/bin/gcc "$@";; esac\n'
    with Farm(count=3, jobs=2) as farm:
        farm.nodes[0].install(
            "gcc", dies + "echo 'gcc: fatal error: Killed signal terminated program cc1' >&2; exit 1\n"
        )
        farm.nodes[1].install("gcc", dies + "exit 1\n")
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, "--fallback", "never")
        assert result.code == 0, result.stderr
        document = status(tree)
        killed, full, good = (node_of(document, node.port) for node in farm.nodes)
    assert project.digests(tree) == expected
    assert killed["done"] == 0 and killed["failed"] > 0 and killed["slots"] < 2
    assert full["state"] == "down" and "disk full" in full["reason"]
    assert good["done"] == 10 and good["failed"] == 0


def test_a_nodes_word_is_the_last_with_distcc_skip_local_retry(tmp_path: Path) -> None:
    tree = write_units(tmp_path / "p", 2)
    (tree / "unit_1.c").write_text("int unit_1(int x) { return x + missing; }\n")
    with Farm(count=1, jobs=2) as farm:
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, env=environment(DISTCC_SKIP_LOCAL_RETRY="1"))
        assert result.code == 2 and "missing" in result.stderr
        document = status(tree)
        assert document["units"]["local"] == 0 and document["nodes"][0]["failed"] == 0
        (failure,) = document["failures"]
        assert failure["exit_status"] == 1


@pytest.mark.parametrize(("extra", "code"), [({}, 2), ({"DISTCC_FALLBACK": "1"}, 0)])
def test_distcc_fallback_0_fails_where_no_node_is_left(tmp_path: Path, extra: dict[str, str], code: int) -> None:
    tree = write_units(tmp_path / "p", 1)
    env = environment(**{"DISTCC_FALLBACK": "0", "DISTCC_BACKOFF_PERIOD": "1", **extra})
    with Farm(count=1, jobs=1) as farm:
        for name in ("gcc", "gcc-12", "x86_64-linux-gnu-gcc", "x86_64-linux-gnu-gcc-12"):
            farm.nodes[0].install(name, "#!/bin/sh\necho nonsense\n")
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, env=env)
    assert result.code == code, result.stderr


def test_distcc_io_timeout_bounds_an_attempt(tmp_path: Path) -> None:
    tree = write_units(tmp_path / "p", 1)
    slow = '#!/bin/sh\ncase "$*" in *bf-probe*) ;; *) sleep 300;; esac\nexec /usr/bin/gcc "$@"\n'
    with Farm(count=1, jobs=2) as farm:
        farm.nodes[0].install("gcc", slow)
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, env=environment(DISTCC_IO_TIMEOUT="1"))
        assert result.code == 0
        assert "no answer within 1 s" in result.stderr


def test_a_node_that_is_killed_and_comes_back_works_on(tmp_path: Path) -> None:
    tree = write_units(tmp_path / "p", 20)
    with Farm(count=1, jobs=2, gated=True) as farm:
        (node,) = farm.nodes
        farm.close_gate()
        words = ("run", "-C", str(tree), "--hosts", farm.hosts, "--fallback", "never", "-j4", "--verify", "0")
        with Running(words) as build:
            wait_until(lambda: farm.waiting() == 2, "compilers under way")
            node.kill()
            wait_until(lambda: node_of(status(tree), node.port)["state"] == "down", "the loss to be noticed")
            farm.open_gate()
            node.restart()
            result = build.wait()
        assert result.code == 0, result.stderr
        document = status(tree)
    assert document["units"]["remote"] == 21
    assert node_of(document, node.port)["state"] in ("up", "busy")


def test_a_liars_results_that_recipes_moved_on_are_made_again_too(tmp_path: Path) -> None:
    tree = write_units(tmp_path / "p", 21)
    (tree / "Makefile").write_text(
        MAKEFILE + "%.o: %.c\n\t$(CC) $(CFLAGS) -c $< -o $*.tmp.o\n\tmv $*.tmp.o $@\n"  # libtool's way
    )
    expected = built_by_make(tree)
    with Farm(count=1, jobs=4) as farm:
        swap = Swapper(honest=8)  # of which some have their places when the first lie is seen
        with Proxy(farm.nodes[0].port, swap) as liar:
            words = ("--hosts", f"{liar.address}/4,lzo", "--verify", "100", "--no-pump", "--no-lookahead")
            result = buildfarm("run", "-C", str(tree), *words)
    assert swap.swapped and result.code == 0, result.stderr
    assert "everything must be made anew" in result.stderr
    assert project.digests(tree) == expected


@pytest.mark.parametrize("flags", ["-O2", "-O2 -g"])
def test_an_honest_node_is_not_accused_over_fortran_and_c_plus_plus(tmp_path: Path, flags: str) -> None:
    """Modules, a submodule's parent, preprocessing, anonymous namespaces: all compared, no difference."""
    (tmp_path / "a.f90").write_text("module a\n  implicit none\n  integer, parameter :: n = 3\nend module\n")
    (tmp_path / "b.F90").write_text(
        "#define TWO 2\nmodule b\n  use a\n  implicit none\ncontains\n  integer function twice()\n    twice = TWO * n\n"
        "  end function\nend module\n"
    )
    (tmp_path / "c.cc").write_text(
        "#include <string>\nnamespace { struct S { std::string s{__FILE__}; }; S once; }\n"
        'extern "C" int size() { return (int)once.s.size(); }\n'
    )
    (tmp_path / "Makefile").write_text(
        f"all: a.o b.o c.o\nb.o: a.o\n%.o: %.f90\n\tgfortran {flags} -c $<\n%.o: %.F90\n\tgfortran {flags} -c $<\n"
        f"%.o: %.cc\n\tg++ {flags} -Wall -Wextra -c $<\n"
    )
    with Farm(count=1, jobs=2) as farm:
        result = buildfarm("run", "-C", str(tmp_path), "--hosts", farm.hosts, "--verify", "100", "--fallback", "never")
        assert result.code == 0, result.stderr
        (node,) = status(tmp_path)["nodes"]
    assert (node["state"], node["reason"]) == ("up", None)
    assert node["done"] >= 3  # more where `b` was made ahead from a module that came as it was read
