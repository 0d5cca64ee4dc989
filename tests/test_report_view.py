"""The live view's lines: narrow and wide, 30 nodes, nodes that are not known yet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from buildfarm.dispatch import health
from buildfarm.report import status
from buildfarm.report.progress import NodeView, Running, View
from buildfarm.report.view import lines


def _view(nodes: int, *, reason: str | None = None, state: str = "busy") -> View:
    return View(
        done=12,
        total=143,
        total_is_final=False,
        failed=0,
        in_flight=nodes,
        elapsed_seconds=61.0,
        eta_seconds=42.0,
        nodes=tuple(
            NodeView(
                name=f"10.168.168.{100 + i}:3632",
                state=state,
                slots=4,
                running=(Running(f"model/RADIATION_{i}.o", 3.2),),
                done=i,
                per_minute=12.0,
                reason=reason,
            )
            for i in range(nodes)
        ),
    )


@pytest.mark.parametrize("width", [20, 50, 80, 200])
@pytest.mark.parametrize("height", [1, 2, 10, 40])
def test_thirty_nodes_never_exceed_the_terminal(width: int, height: int) -> None:
    shown = lines(_view(30), width=width, height=height, color=False)
    assert len(shown) <= height
    assert all(len(line) < width for line in shown)
    if 2 < height < 31 and width > 40:
        assert "more nodes" in shown[-1]


def test_names_that_begin_alike_can_be_told_apart_when_narrow() -> None:
    shown = lines(_view(4), width=44, height=10, color=False)
    names = {line.split()[0] for line in shown[1:]}
    assert len(names) == 4
    assert all(name.startswith("…") for name in names)


def test_a_node_that_is_not_known_yet_is_not_called_down() -> None:
    assert status.NOT_PROBED == health.NOT_PROBED
    shown = "\n".join(lines(_view(2, reason=health.NOT_PROBED, state="down"), width=120, height=10, color=False))
    assert health.NOT_PROBED in shown and "down" not in shown
    assert "down: refused" in "\n".join(
        lines(_view(1, reason="refused", state="down"), width=120, height=9, color=False)
    )


def test_a_node_that_was_up_and_is_asked_again_is_not_called_down_yet() -> None:
    shown = "\n".join(lines(_view(2, reason=health.ASKED_AGAIN, state="down"), width=120, height=10, color=False))
    assert shown.count(health.ASKED_AGAIN) == 2 and "down" not in shown
    node = status.NodeLine("pi3", 3632, "down", 4, done=5, reason=health.ASKED_AGAIN)
    told = status.human(status.Status("/p", "running", 1.0, status.Build(1, (), {}, 1, 0.0), nodes=(node,)))
    line = told.splitlines()[-1]
    assert line.split()[:2] == ["pi3:3632", "silent"] and line.endswith(health.ASKED_AGAIN)


def test_without_colour_there_is_no_escape_code_but_bold_of_none() -> None:
    assert not any("\x1b[3" in line for line in lines(_view(3), width=100, height=10, color=False))


@pytest.mark.parametrize("width", [20, 80])
def test_without_units_there_is_no_bar_that_stands_still(width: int) -> None:
    idle = replace(_view(0), done=0, total=0, in_flight=0, eta_seconds=None, links=3)
    (line,) = lines(idle, width=width, height=10, color=False)
    assert line.startswith("no units yet") and len(line) < width
    if width == 80:
        assert line == "no units yet  3 other steps done  1:01 gone"
    (line,) = lines(replace(idle, total_is_final=True, links=0), width=80, height=10, color=False)
    assert line == "no units  1:01 gone"


def test_the_bar_is_yellow_only_when_something_has_failed_which_make_may_not_mind() -> None:
    well, ill = (lines(replace(_view(0), failed=failed), width=80, height=1)[0] for failed in (0, 1))
    assert "\x1b[32m━" in well and "\x1b[33m━" not in well
    assert "\x1b[33m━" in ill
