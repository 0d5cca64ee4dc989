"""`explain`: why a unit was compiled, where, and what make would do with it now."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.farm import Farm, wait_until
from tests.tool import Running, buildfarm, status

MAKEFILE = "CFLAGS := -O1\nall: a.o b.o\n%.o: %.c a.h\n\t$(CC) $(CFLAGS) -c $< -o $@\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "a.h").write_text("int a;\n")
    for name in ("a", "b"):
        (tmp_path / f"{name}.c").write_text(f'#include "a.h"\nint {name}_;\n')
    _run(tmp_path)
    return tmp_path


def _run(tree: Path, *words: str) -> None:
    result = buildfarm("run", "-C", str(tree), "--hosts", "", *words)
    assert result.code == 0, result.stderr


def _why(tree: Path, output: str = "a.o") -> list[str]:
    result = buildfarm("explain", "-C", str(tree), output, "--no-plan")
    assert result.code == 0, result.stderr
    return [line.split(None, 1)[1] for line in result.stdout.splitlines() if line.startswith("  why")]


def _touch(file: Path) -> None:
    file.write_text(file.read_text() + "\n")


def test_why_a_unit_was_compiled_is_told_for_each_of_makes_reasons(tree: Path) -> None:
    assert _why(tree) == ["no build of this tree had made it before"]
    _touch(tree / "a.c")
    _run(tree)
    assert _why(tree)[0].startswith("a.c was newer (written ")
    _run(tree, "-B", "CFLAGS=-O2")
    assert "with -O2, without -O1" in _why(tree)[0]
    _run(tree, "-B", "CFLAGS=-O2")
    assert _why(tree)[0] == "make was told to, by -B"
    (tree / "a.o").unlink()
    _run(tree, "CFLAGS=-O2")
    reasons = _why(tree)
    unknown = "is not known, for it was made here: that had changed, or it had been removed, or"
    assert reasons[0].startswith(f"what it read in build 4 {unknown}")
    assert reasons[-1] == "no build of this tree had made it before"


def test_what_is_made_beside_an_object_has_the_objects_story(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("a.o: a.c\n\t$(CC) -MMD -c $< -o $@\n")
    (tmp_path / "a.c").write_text("int a;\n")
    _run(tmp_path)
    _touch(tmp_path / "a.c")
    _run(tmp_path)
    assert len(_why(tmp_path, "a.d")) == 2
    assert _why(tmp_path, "a.d") == _why(tmp_path)


def test_what_make_would_do_now_is_told(tree: Path) -> None:
    assert "now: up to date" in buildfarm("explain", "-C", str(tree), "a.o").stdout
    stamp = (tree / "a.o").stat().st_mtime + 5
    os.utime(tree / "a.h", (stamp, stamp))
    said = buildfarm("explain", "-C", str(tree), "a.o").stdout
    assert "here because there are no nodes" in said
    assert "now: make would make it anew: newer are a.h" in said
    (tree / "a.o").unlink()
    assert "it is not there" in buildfarm("explain", "-C", str(tree), "a.o").stdout
    assert buildfarm("explain", "-C", str(tree), "z.o").code == 1


def test_a_compile_error_is_told_as_a_nodes_and_this_machines(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("b.o: b.c\n\tcc -c b.c\n")
    (tmp_path / "b.c").write_text("int b(void)\n{\n    return missing;\n}\n")
    with Farm(count=1) as farm:
        node = farm.nodes[0].address
        result = buildfarm("run", "-C", str(tmp_path), "--hosts", farm.hosts, "--no-lookahead")
    assert result.code == 2
    said = buildfarm("explain", "-C", str(tmp_path), "b.o", "--no-plan").stdout.splitlines()
    assert "  where     here because the compiler failed on a node: the verdict is this machine's" in said
    assert f"    1. {node}: failed: the compiler ended with status 1" in said
    assert "    2. here: failed" in said
    units = status(tmp_path)["units"]
    assert (units["failed"], units["retried"]) == (1, 0)


def test_a_unit_that_was_away_ahead_of_make_when_its_build_died_tells_that(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(
        "all:\n\tuntil test -e go; do sleep 0.05; done\n\t$(MAKE) b.o\nb.o: b.c\n\tcc -c b.c\n"
    )
    (tmp_path / "b.c").write_text("int b;\n")
    with Farm(count=1, gated=True) as farm:
        farm.close_gate()
        with Running(("run", "-C", str(tmp_path), "--hosts", farm.hosts)) as build:
            wait_until(lambda: farm.waiting() > 0, "b.o on a node")
            build.kill_all()
        farm.open_gate()
        (tmp_path / "go").touch()
        assert buildfarm("resume", "-C", str(tmp_path), "--hosts", farm.hosts).code == 0
    assert _why(tmp_path, "b.o")[0] == "build 1 was interrupted while it was being made ahead of make"
    said = buildfarm("explain", "-C", str(tmp_path), "b.o", "--no-plan").stdout
    assert "\nb.o: interrupted in build 1" in said
    (tmp_path / "b.c").write_text("int bb;\n")
    assert buildfarm("run", "-C", str(tmp_path), "--hosts", "").code == 0
    assert _why(tmp_path, "b.o")[0].startswith("b.c was newer")


def test_a_unit_that_is_out_is_checked_out_while_its_build_runs_and_interrupted_after(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("b.o: b.c\n\tcc -c b.c\n")
    (tmp_path / "b.c").write_text("int b;\n")
    told = ("explain", "-C", str(tmp_path), "b.o", "--no-plan")
    with Farm(count=1, gated=True) as farm:
        farm.close_gate()
        with Running(("run", "-C", str(tmp_path), "--hosts", farm.hosts, "--no-lookahead")) as build:
            wait_until(lambda: farm.waiting() > 0, "b.o on a node")
            assert buildfarm(*told).stdout.startswith("b.o: checked out in build 1")
            build.kill_all()
    assert buildfarm(*told).stdout.startswith("b.o: interrupted in build 1")


def test_an_output_that_no_build_has_made_is_guessed_at(tree: Path) -> None:
    for typed, meant in (("src/a.o", "a.o"), ("bb.o", "b.o")):
        result = buildfarm("explain", "-C", str(tree), typed)
        assert (result.code, result.stdout) == (1, f"{typed}: no build in {tree} has made it; did you mean {meant}?\n")
    assert "did you mean" not in buildfarm("explain", "-C", str(tree), "quite.different").stdout


@pytest.mark.parametrize("spelled", ["./a.o", "sub/../a.o", ".//a.o"])
def test_an_output_is_found_and_shown_by_its_normal_path_however_its_recipe_spells_it(
    tmp_path: Path, spelled: str
) -> None:
    (tmp_path / "Makefile").write_text(f"a:\n\tgcc -MMD -c a.c -o {spelled}\n")
    (tmp_path / "a.c").write_text("int a;\n")
    (tmp_path / "sub").mkdir()
    ran = buildfarm("run", "-C", str(tmp_path), "--hosts", "", "--plain", "--events", str(tmp_path / "events"))
    assert "] a.o here" in ran.stderr
    for output in ("a.o", "./a.o", spelled, str(tmp_path / "a.o"), "a.d", str(tmp_path / spelled)):
        told = buildfarm("explain", "-C", str(tmp_path), output, "--no-plan")
        assert told.code == 0, told.stdout
        assert told.stdout.startswith("a.o: made in build 1")
    assert '"output":"a.o"' in (tmp_path / "events").read_text().replace(" ", "")
    (tmp_path / "a.c").write_text("no C\n")
    assert buildfarm("run", "-C", str(tmp_path), "--hosts", "", "--plain").code == 2
    assert [failure["output"] for failure in status(tmp_path)["failures"]] == ["a.o"]
    assert "a.o: FAILED" in buildfarm("explain", "-C", str(tmp_path), "./a.o", "--no-plan").stdout
