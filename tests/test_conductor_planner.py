"""How plans are made: without looking for garbage meanwhile, and the same with a make that buffers."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from buildfarm.conductor import planner
from buildfarm.make.instance import MakeInstance

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
    assert buffered.graph.to_json() == plain.graph.to_json()


def test_a_plan_is_the_same_when_it_was_heard_while_make_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Makefile").write_text(MAKEFILE + f"lint: ; gcc -fsyntax-only{' -DWIDE=1' * 200} u1.c\n.PHONY: lint\n")
    for number in range(1000):  # more than a piece
        (tmp_path / f"u{number}.c").write_text(f"int u{number};\n")
    environment = {"PATH": os.environ["PATH"]}
    told: list[bytes] = []
    listen = planner.Hearing.__call__

    def kept(self: planner.Hearing, piece: bytes) -> None:
        told.append(piece)
        listen(self, piece)

    monkeypatch.setattr(planner.Hearing, "__call__", kept)
    heard = planner.plan_build(str(tmp_path), ["program", "lint"], environment)
    assert told and all(piece.endswith(b"\n") for piece in told)
    monkeypatch.setattr(planner.Hearing, "__call__", lambda self, piece: None)
    read = planner.plan_build(str(tmp_path), ["program", "lint"], environment)
    assert len(heard.graph.units()) == 1000
    assert heard.graph.to_json() == read.graph.to_json()


def test_what_was_heard_counts_for_the_same_directory_and_environment_only(tmp_path: Path) -> None:
    line = "gcc -c a.c -o a.o"
    instance = MakeInstance(str(tmp_path), ("make", "-C", "sub"), {"HOME": "/h"})
    hearing = planner.Hearing(instance)
    hearing(f"Makefile:1: target 'a.o' does not exist\n{line}\n".encode())
    there = os.path.realpath(tmp_path / "sub")
    warm = hearing.lines(there, {"HOME": "/else"})
    assert warm is hearing.lines(there, {}) and warm(line) is warm(line)
    elsewhere = hearing.lines(str(tmp_path), {})
    assert elsewhere is not warm and elsewhere(line) != warm(line)
    here = hearing.lines(there, {"COMPILER_PATH": "/x"})(line)
    assert here is not None and here.call.unit is not None and not here.call.unit.may_travel
