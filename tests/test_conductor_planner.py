"""How plans are made: without looking for garbage meanwhile, and the same with a make that buffers."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.conductor import planner
from buildfarm.graph.exchange import to_json
from buildfarm.graph.questions import Questions
from buildfarm.make import dryrun, records
from buildfarm.make.instance import MakeInstance
from tests.hearing import heard_run

MAKEFILE = """\
program: $(patsubst %.c,%.o,$(sort $(wildcard *.c)))
\tgcc -o $@ $^
%.o: %.c
\tgcc -O2 -c $< -o $@
"""


@pytest.mark.parametrize("on", [True, False])
def test_the_collector_is_left_as_it_was_found(on: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if on else gc.disable)()
        assert planner.uncollected(gc.isenabled) is False
        with pytest.raises(ZeroDivisionError):
            planner.uncollected(lambda: 1 // 0)
        assert gc.isenabled() is on
    finally:
        (gc.enable if before else gc.disable)()


def test_a_plan_is_the_same_without_what_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Makefile").write_text(MAKEFILE)
    for number in range(50):
        (tmp_path / f"u{number}.c").write_text(f"int u{number};\n")
    environment = {"PATH": os.environ["PATH"]}
    buffered = planner.plan_build(str(tmp_path), ["-k"], environment)
    monkeypatch.setattr(planner, "_natives", lambda: (None, None, None))
    plain = planner.plan_build(str(tmp_path), ["-k"], environment)
    assert buffered.troubles == plain.troubles == ()
    assert len(buffered.graph.units()) == 50
    assert to_json(buffered.graph, {}) == to_json(plain.graph, {})


def test_what_was_heard_counts_for_the_same_directory_and_environment_only(tmp_path: Path) -> None:
    line = "gcc -c a.c -o a.o"
    instance = MakeInstance(str(tmp_path), ("make", "-C", "sub"), {"HOME": "/h"})
    hearing = planner.Hearing(instance)
    hearing(f"Makefile:1: target 'a.o' does not exist\n{line}\nMakefile:1: target 'b.o' does not exist\n".encode())
    there = os.path.realpath(tmp_path / "sub")
    warm = hearing.early(there, {"HOME": "/else"})
    assert warm is hearing.early(there, {}) and len(list(warm.recipes())) == 1
    elsewhere = hearing.early(str(tmp_path), {})
    assert elsewhere is not warm and not list(elsewhere.recipes())
    here = hearing.early(there, {"COMPILER_PATH": "/x"}).plain(line)
    assert here is not None and here.call.unit is not None and not here.call.unit.may_travel


STEPS = {
    "a.o": "a.o: a.c\n\tcc -c a.c -o a.o\n",
    "b.o": "b.o: b.c\n\tcc -c b.c -o b.o\n\tar rc lib.a b.o\n",
    "c.o": "c.o: c.c\n\t@mkdir -p d && cc -c c.c -o c.o\n",
    "sub": "sub: e.o\n\t+$(MAKE) -C sub B=1\n",
    "e.o": "e.o: e.c\n\tcc -c e.c \\\n\t-o e.o\n",
    "f.o": ".PHONY: f.o\nf.o: f.c\n\tcc -c f.c -o f.o\n",
    "g.o": "g.o:: g.c\n\tcc -c g.c -o g.o\ng.o:: h.c\n\tcc -c h.c -o h.o\n",
    "i.o": "i%o j%o: i%c\n\tcc -c i.c -o i.o\n\tcc -c j.c -o j.o\n",
    "k.o": "k.o: k.c\n\tcc -c k.c -o k.o\n\t@echo \\\n\tM:1: target 'a.o' does not exist\n",
    "l\\ m.o": "l\\ m.o: größe.c\n\tcc -c größe.c -o 'l m.o'\n",
    "n.o": ".ONESHELL:\nn.o: n.c\n\tcc -c n.c -o n.o\n\tar rc n.a n.o\n",
    "o.o": "include made.mk\nmade.mk: ; +cc -c made.c -o made.o\no.o: o.c\n\tcc -c o.c -o o.o\n",
    "p.o": "p.o: absent\n\tcc -c p.c -o p.o\n",
    "q.o": "q.o: q.c | a.o\n\tcc -c q.c -o q.o\n\t+echo between\n\tcc -c r.c -o r.o\n",
}


@settings(max_examples=30, deadline=None)
@given(names=st.lists(st.sampled_from(list(STEPS)), unique=True, min_size=1), size=st.integers(1, 4000))
def test_heard_in_pieces_of_any_size_a_plan_is_that_of_the_text(names: list[str], size: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        (tree / "sub").mkdir()
        for letter in ("a", "b", "c", "e", "f", "g", "h", "i", "k", "größe", "n", "o", "q", "r"):
            (tree / f"{letter}.c").touch()
        (tree / "Makefile").write_text(f"all: {' '.join(names)}\n" + "".join(STEPS[name] for name in names))
        instance = MakeInstance(name, ("make",), {"PATH": os.environ["PATH"]})
        library, confiner, cut = planner._natives()
        output = asyncio.run(heard_run(instance, library=library, confiner=confiner))
        assert not output.error
        said = b"".join(output.pieces)
        heard = planner.Hearing(instance, cut)
        at = 0
        while at < len(said):
            end = said.find(b"\n", min(at + size, len(said) - 1)) + 1
            heard(said[at:end])
            at = end
        late = planner.Hearing(MakeInstance("/", ("make",), {}))  # for another directory it has read nothing early
        late(said)
        plans = [
            planner._understand(instance, output, hearing, hearing.database(), Questions()) for hearing in (heard, late)
        ]
        assert plans[0] == plans[1]


def test_records_are_found_in_pieces_of_any_size(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(
        "all: a b\na:\n\techo first\n\t+echo A \\\n\tB\nb: ; $(MAKE) -C sub\nexport V = \x1ebuildfarm\n"
    )
    raw: list[bytes] = []

    class Kept(records.Records):
        def __call__(self, piece: bytes) -> None:
            raw.append(piece)
            super().__call__(piece)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dryrun, "Records", Kept)
        output = asyncio.run(heard_run(MakeInstance(str(tmp_path), ("make",), {"PATH": os.environ["PATH"]})))
    text = b"".join(raw)
    (token,) = set(re.findall(rb"\x1e(buildfarm-[0-9a-f]{16})\n", text))
    for size in range(1, 200):
        told: list[bytes] = []
        again = records.Records(token.decode(), told.append)
        for at in range(0, len(text), size):
            again(text[at : at + size])
        again.end()
        assert b"".join(told) == b"".join(output.pieces)
        assert again.complete and len(again.found) == len(output.submakes) == 3
        assert all(piece.endswith(b"\n") for piece in told)
