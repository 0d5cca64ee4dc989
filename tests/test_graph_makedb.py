"""What make prints under `-n -p --trace`, real and literal, comes out as rules and steps."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.graph.makedb import MakeDatabase, complaints
from buildfarm.graph.trace import RecipeLine
from tests.hearing import parse

REFERENCE = r"""
VPATH = src
.PHONY: all
all: foo.o x\ y.o a.x dc | odir
foo.o: CFLAGS += -DX
define MULTI
a

b
endef
foo.o: Z := $(MULTI)
foo.o: foo.h
x\ y.o: x\ y.c
	cc -c '$<' \
	-o '$@'
%.x %.y: %.z
	gen $@
a.z:
	@echo gen.z
	@

	:
dc::
	echo 1
dc:: foo.o
	echo 2
odir: ; mkdir $@
g1 g2 &: foo.o
	touch g1 g2
c\:d: foo.o
	touch $@
all: g1 c\:d circ missing
circ: circ2
circ2: circ
	echo
"""


def dry_run(directory: Path, *arguments: str) -> tuple[MakeDatabase, str]:
    done = subprocess.run(
        ["make", "-n", "-p", "-k", "--trace", *arguments],
        cwd=directory,
        capture_output=True,
        check=False,
        env={**os.environ, "LANGUAGE": "C", "MAKEFLAGS": ""},
    )
    return parse(os.fsdecode(done.stdout)), os.fsdecode(done.stderr)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[MakeDatabase, str]:
    directory = tmp_path_factory.mktemp("reference")
    (directory / "src").mkdir()
    for name in ("src/foo.c", "src/x y.c", "foo.h"):
        (directory / name).touch()
    (directory / "Makefile").write_text(REFERENCE)
    return dry_run(directory)


def test_prerequisites_come_with_implicit_vpath_and_order_only_ones(
    reference: tuple[MakeDatabase, str],
) -> None:
    rules = reference[0].rules
    assert set(rules["foo.o"].prerequisites) == {"src/foo.c", "foo.h"}
    assert rules["all"].order_only == ("odir",)
    assert rules["all"].phony
    assert rules["all"].prerequisites == ("foo.o", "x y.o", "a.x", "dc", "g1", "c:d", "circ", "missing")
    assert "src/foo.c" not in rules


def test_names_with_spaces_and_colons_stay_whole(reference: tuple[MakeDatabase, str]) -> None:
    rules = reference[0].rules
    assert rules["x y.o"].prerequisites == ("src/x y.c",)
    assert rules["c:d"].prerequisites == ("foo.o",)


def test_double_colon_rules_are_joined(reference: tuple[MakeDatabase, str]) -> None:
    database = reference[0]
    assert database.rules["dc"].double_colon
    assert database.rules["dc"].prerequisites == ("foo.o",)
    assert [step.lines[0].text for step in database.steps if step.target == "dc"] == ["echo 1", "echo 2"]


def test_grouped_and_pattern_rules_name_what_else_they_make(reference: tuple[MakeDatabase, str]) -> None:
    rules = reference[0].rules
    grouped = subprocess.run(["make", "-pqf", "-"], input="all:", capture_output=True, text=True, check=False).stdout
    assert rules["g1"].also_makes == (("g2",) if "grouped-target" in grouped else ())  # make 4.3
    assert rules["a.x"].also_makes == ("a.y",)


def test_steps_come_in_order_with_place_and_reason(reference: tuple[MakeDatabase, str]) -> None:
    steps = {step.target: step for step in reference[0].steps}
    assert steps["foo.o"].place is None
    assert steps["foo.o"].lines == (RecipeLine("cc -DX   -c -o foo.o src/foo.c"),)
    assert steps["x y.o"].lines == (RecipeLine("cc -c 'src/x y.c' \\\n-o 'x y.o'"),)
    assert steps["a.z"].lines == (RecipeLine("echo gen.z"), RecipeLine(":"))
    assert steps["a.x"].due_to in ("a.z", "")  # make 4.4: "target does not exist", whatever else is newer
    assert steps["a.z"].place is not None and steps["a.z"].place.startswith("Makefile:")
    assert list(steps) == ["foo.o", "x y.o", "a.z", "a.x", "dc", "odir", "g1", "c:d", "circ2"]


def test_what_has_no_rule_is_reported_once(reference: tuple[MakeDatabase, str]) -> None:
    database, stderr = reference
    found = complaints(stderr)
    assert [(rule.target, rule.needed_by) for rule in found.missing] == [("missing", "all")]
    assert found.fatal == ()
    assert database.rules["missing"].failed and database.rules["missing"].absent
    assert database.complete


def test_goals_are_the_default_goal_or_the_given_ones(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("a: ; echo a\nb: ; echo b\n")
    assert dry_run(tmp_path)[0].goals == ("a",)
    assert dry_run(tmp_path, "b", "a")[0].goals == ("b", "a")
    assert dry_run(tmp_path)[0].directory == str(tmp_path)


def test_one_shell_recipes_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(".ONESHELL:\na:\n\tcd x\n\tgcc -c a.c\n")
    database, _ = dry_run(tmp_path)
    assert database.one_shell
    assert database.steps[0].lines == (RecipeLine("cd x\ngcc -c a.c"),)


def test_names_that_are_no_utf8_survive(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.o")
    (tmp_path / "Makefile").write_bytes(b"caf\xe9.o: ; touch $@\n")
    database, _ = dry_run(tmp_path)
    assert database.goals == (name,)
    assert database.steps[0].target == name
    assert os.fsencode(database.steps[0].lines[0].text) == b"touch caf\xe9.o"


def test_the_words_of_make_4_4_are_understood() -> None:
    text = (
        "Makefile:3: update target 'all' due to: target is .PHONY\necho\n"
        "Makefile:5: update target 'a', 'b' due to: target does not exist\ngen a b\n"
        "<builtin>: update target 'c.o' due to: c.c h.h\ncc -c c.c\n"
    )
    steps = parse(text).steps
    assert [(s.target, s.also, s.due_to) for s in steps] == [
        ("all", (), "target is .PHONY"),
        ("a", ("b",), ""),
        ("c.o", (), "c.c h.h"),
    ]


def test_after_a_re_exec_the_last_pass_counts() -> None:
    def one(target: str) -> str:
        return (
            f"Makefile:1: target '{target}' does not exist\ntouch {target}\n"
            "# Make data base, printed on Mon\n\n# Variables\n\n"
            f"# makefile\n.DEFAULT_GOAL := {target}\n\n# Files\n\n{target}:\n#  File has been updated.\n\n"
            "# files hash-table stats:\n# Finished Make data base on Mon\n"
        )

    database = parse(one("old") + one("new"))
    assert [step.target for step in database.steps] == ["new"]
    assert list(database.rules) == ["new"]
    assert database.goals == ("new",)


def test_marks_of_the_plan_shell_stick_to_their_line() -> None:
    text = "M:1: target 'a' does not exist\nmake -C x\n\x1e4\nmake -C y \\\n all\n\x1e5\ntouch a\n"
    assert parse(text).steps[0].lines == (
        RecipeLine("make -C x", 4),
        RecipeLine("make -C y \\\n all", 5),
        RecipeLine("touch a"),
    )


def test_make_s_own_messages_are_no_recipe_lines() -> None:
    text = (
        "make: Entering directory '/x'\nM:1: target 'a' does not exist\ntouch a\n"
        "make[2]: Nothing to be done for 'b'.\nmake: 'c' is up to date.\nmake: Leaving directory '/x'\n"
    )
    assert parse(text).steps[0].lines == (RecipeLine("touch a"),)


def test_parsing_is_linear() -> None:
    def text(rules: int) -> str:
        trace = "".join(f"M:1: target 'o{n}.o' does not exist\ngcc -c -o o{n}.o s{n}.c\n" for n in range(rules))
        files = "".join(
            f"o{n}.o: s{n}.c h{n % 50}.h | dir\n#  Implicit rule search has been done.\n"
            "#  File has been updated.\n# automatic\n# @ := x\n#  recipe to execute (from 'M', line 1):\n\tgcc\n\n"
            for n in range(rules)
        )
        return (
            f"{trace}# Make data base, printed on x\n\n# Files\n\n{files}# files hash-table stats:\n"
            "# Finished Make data base on x\n"
        )

    def seconds(rules: int) -> float:
        whole = text(rules)
        best = 1e9
        for _ in range(3):
            began = time.process_time()
            assert len(parse(whole).rules) == rules
            best = min(best, time.process_time() - began)
        return best

    assert seconds(8_000) < 32 * seconds(1_000), "eight times the rules; where it is quadratic, 64 times the time"


@given(st.text(alphabet="ab:| \n\t#'\\\x1e1", max_size=400))
def test_strange_text_never_raises(text: str) -> None:
    parse(text)
    parse(f"# Make data base, printed on x\n\n# Files\n\n{text}\n\n# files hash-table stats:\n")
    complaints(text)
