"""The cutter in C and makedb's own cut any text into the same rows, and real data bases into the same rules."""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.graph.makedb import Reader, rows
from buildfarm.home import own_directory
from buildfarm.make import blocks
from tests.hearing import parse

WORDS = ["a.o", ":", ": ", "::", " | ", "|", " ", "name with spaces", "größe", "\udcff", "\\\n", "$@", "%", "=", "\0"]
LINES = ["\n", "\n\n", "\n\n\n", "\n#  Builtin rule", "\n# Not a target:\n", "\n# automatic\n", "\n\tcc -c a.c\n"]
FACTS = ["\n#  Phony target (prerequisite of .PHONY).", "\n#  File does not exist.", "\n#  Failed to be updated."]
MORE = ["\n#  Also makes: ", "\n#  Also makes: b.o c.o", "\n#  Implicit rule search has been done.", "\n#  "]
RECIPES = ["\n#  recipe to execute (from 'Makefile', line 12):", "\n#  recipe to execute (from '", "', line ", "7):"]
ENDS = ["# Not a target:", "#  Builtin rule"]
PIECES = [*WORDS, *LINES, *FACTS, *MORE, *RECIPES, *ENDS]


@pytest.fixture(scope="module")
def cut() -> blocks.Cut:
    found = blocks.prepare(own_directory("cache"))
    assert found is not None
    return found


@given(pieces=st.lists(st.one_of(st.sampled_from(PIECES), st.text("\n#: |a", max_size=3)), max_size=40))
def test_both_cut_any_text_into_the_same_rows(cut: blocks.Cut, pieces: list[str]) -> None:
    text = os.fsencode("\n" + "".join(pieces))
    assert list(cut(text)) == list(rows(text))


MAKEFILES = {
    "everyday": "all: a.o b.o | d\n\techo $^\n%.o: %.c ; cc -c $<\nd: ; mkdir $@\n.PHONY: all\n",
    "odd names": "all: a\\ b c\\:d $$x e%f\na\\ b: ; echo\nc\\:d: ; echo\n$$x: x\\ y ; echo\nx\\ y größe: ; echo\n",
    "double colons and groups": "all:: a\n\techo 1\nall:: b\n\techo 2\n%.x %.y: %.z ; touch $*\na: p.x\n",
    "target-specific": "all: export V = 1\nall: W := a\\\n b\ndefine D\n1\n\n#  2\nendef\nall: D = 1\nall: ; :\n",
    "no rules": "X = 1\n",
    "failures": "all: absent other\nother: absent\n\techo\n",
    "recipes that look like facts": "all:\n\t#  Phony target\n\t# automatic\n\techo '#  File does not exist'\n",
}


@pytest.mark.parametrize("name", list(MAKEFILES))
@pytest.mark.parametrize("flags", [[], ["-r"]])
def test_a_data_base_gives_the_same_rules(tmp_path: Path, cut: blocks.Cut, name: str, flags: list[str]) -> None:
    (tmp_path / "Makefile").write_text(MAKEFILES[name])
    for source in ("a.c", "b.c", "p.z"):
        (tmp_path / source).touch()
    (tmp_path / os.fsdecode(b"\xff.c")).touch()
    command = ["make", "-n", "-p", "-k", "--trace", *flags]
    text = os.fsdecode(
        subprocess.run(command, cwd=tmp_path, capture_output=True, env={"PATH": os.environ["PATH"]}).stdout
    )
    assert parse(text, cut) == parse(text)
    assert parse(text).complete


ALL_NAMES = MAKEFILES["odd names"] + "all: x\\ y x\\ y größe | p q größe\n.PHONY: p\np\\ q q::\nq:: größe x\\  y\n"


@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=9), runs=st.sampled_from([1, 2]))
def test_a_reader_says_the_same_in_pieces_of_any_size(
    cut: blocks.Cut, said: bytes, sizes: list[int], runs: int
) -> None:
    whole = (b"M:1: target 'old' does not exist\ncc -c old.c\n" + said) * (runs - 1) + said
    reader = Reader(cut)
    at = 0
    for size in itertools.cycle(sizes):
        end = whole.find(b"\n", at + size) + 1 or len(whole)
        reader.read(whole[at:end])
        if (at := end) == len(whole):
            break
    assert reader.database() == parse(os.fsdecode(said))


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What make says of a project with all kinds of names."""
    tree = tmp_path_factory.mktemp("tree")
    (tree / "Makefile").write_text(ALL_NAMES)
    command = ["make", "-n", "-p", "-k", "--trace"]
    return subprocess.run(command, cwd=tree, capture_output=True, env={"PATH": os.environ["PATH"]}).stdout
