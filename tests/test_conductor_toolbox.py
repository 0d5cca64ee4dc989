"""A call's fingerprint holds what its result depends on."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildfarm.conductor import toolbox
from buildfarm.conductor.toolbox import Toolbox
from buildfarm.model import Invocation


@pytest.mark.parametrize(("options", "moves"), [((), False), (("-march=native",), True), (("-mtune=native",), True)])
def test_what_was_made_for_another_processor_is_another_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], moves: bool
) -> None:
    call = Invocation(("gcc", *options, "-c", "a.c"), "/tree", {"PATH": "/bin"})
    here = Toolbox(tmp_path).mark(call)
    assert Toolbox(tmp_path).mark(call) == here
    monkeypatch.setattr(toolbox, "_processor", lambda: "CPU part\t: 0xd08")
    assert (Toolbox(tmp_path).mark(call) != here) is moves


def test_the_processor_is_told_without_what_changes_by_the_second() -> None:
    told = toolbox._processor()
    assert "flags" in told or "Features" in told
    assert "MHz" not in told
