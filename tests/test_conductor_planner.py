"""How plans are made: without looking for garbage meanwhile, and the same with a make that buffers."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from buildfarm.conductor import planner

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


def test_a_plan_is_the_same_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Makefile").write_text(MAKEFILE)
    for number in range(50):
        (tmp_path / f"u{number}.c").write_text(f"int u{number};\n")
    environment = {"PATH": os.environ["PATH"]}
    buffered = planner.plan_build(str(tmp_path), ["-k"], environment)
    monkeypatch.setattr(planner, "_library", lambda: None)
    plain = planner.plan_build(str(tmp_path), ["-k"], environment)
    assert buffered.troubles == plain.troubles == ()
    assert len(buffered.graph.units()) == 50
    assert buffered.graph.to_json() == plain.graph.to_json()
