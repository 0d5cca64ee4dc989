"""The numbers behind every view: events in, view out."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.model import Kind, NodeStatus
from buildfarm.report import view
from buildfarm.report.eta import Outlook
from buildfarm.report.progress import NodeView, Progress, Running, View
from buildfarm.report.reporter import BuildStarted, Retry, Summary, Totals, UnitDone, UnitStarted
from buildfarm.report.text import clock, count, duration, encodable, folded, harmless, printable, relative

PI3 = NodeStatus(key="pi3:3632", host="pi3", port=3632, state="up", slots=4)


def begun(reused: int = 0, *nodes: NodeStatus) -> Progress:
    progress = Progress()
    progress.started(
        BuildStarted(build=1, directory="/p", time=100.0, nodes=nodes or (PI3,), local_slots=2, reused=reused)
    )
    return progress


def start(step: int, node: str | None, time: float, attempt: int = 1, kind: Kind = Kind.COMPILE) -> UnitStarted:
    return UnitStarted(step, f"/p/m/u{step}.o", node, attempt, time, kind=kind)


def done(
    step: int, node: str | None, time: float, seconds: float = 1.0, status: int = 0, kind: Kind = Kind.COMPILE
) -> UnitDone:
    return UnitDone(step, f"/p/m/u{step}.o", node, 1, time, seconds, exit_status=status, kind=kind)


def test_a_unit_is_in_flight_on_its_node_until_it_is_done() -> None:
    progress = begun()
    progress.totals(Totals(10))
    progress.unit_started(start(1, "pi3:3632", 101.0))
    progress.unit_started(start(2, None, 102.0))
    seen = progress.view(104.0)
    assert (seen.done, seen.total, seen.in_flight, seen.elapsed_seconds) == (0, 10, 2, 4.0)
    assert seen.nodes[0].running == (Running("m/u1.o", 3.0),)
    assert seen.nodes[1].name == "this machine"
    assert seen.nodes[1].running == (Running("m/u2.o", 2.0),)
    progress.unit_done(done(1, "pi3:3632", 105.0))
    seen = progress.view(160.0)
    assert (seen.done, seen.in_flight, seen.nodes[0].done, seen.nodes[0].per_minute) == (1, 1, 1, 1.0)


def test_the_total_is_never_less_than_what_was_seen() -> None:
    progress = begun()
    progress.totals(Totals(1))
    for step in (1, 2, 3):
        progress.unit_started(start(step, None, 101.0))
    assert progress.total == 3


def test_a_second_attempt_beside_the_first_counts_as_one_unit_and_ends_with_it() -> None:
    progress = begun(0, PI3, NodeStatus("pi5:3632", "pi5", 3632, "up", 4))
    progress.unit_started(start(1, "pi3:3632", 101.0))
    progress.unit_started(start(1, "pi5:3632", 110.0, attempt=2))
    assert progress.total == 1
    progress.unit_done(done(1, "pi5:3632", 111.0))
    progress.retry(Retry(1, "/p/m/u1.o", "pi3:3632", 1, 111.0, "superseded", "pi5 was faster"))
    assert progress.view(112.0).in_flight == 0
    assert (progress.done, progress.retried) == (1, 0)


def test_a_fault_counts_as_a_retry_and_frees_the_slot() -> None:
    progress = begun()
    progress.unit_started(start(1, "pi3:3632", 101.0))
    progress.retry(Retry(1, "/p/m/u1.o", "pi3:3632", 1, 102.0, "lost", "closed"))
    assert progress.view(103.0).in_flight == 0
    assert progress.retried == 1


def test_links_are_counted_apart() -> None:
    progress = begun()
    progress.unit_started(start(1, None, 101.0, kind=Kind.LINK))
    assert progress.view(101.0).in_flight == 0
    assert progress.view(101.0).nodes[-1].running
    progress.unit_done(done(1, None, 102.0, kind=Kind.LINK))
    assert (progress.done, progress.links, progress.total) == (0, 1, 0)


def test_what_resume_kept_counts_as_done() -> None:
    progress = begun(reused=112)
    progress.totals(Totals(143, is_final=True))
    progress.unit_done(done(1, "pi3:3632", 105.0))
    assert (progress.view(106.0).done, progress.total) == (113, 143)


def test_no_eta_before_there_is_a_rate() -> None:
    progress = begun()
    progress.totals(Totals(10))
    progress.unit_done(done(1, None, 101.0))
    progress.unit_done(done(2, None, 102.0))
    assert progress.eta_seconds(102.0) is None


def test_the_eta_follows_the_rate_and_grows_while_nothing_comes_back() -> None:
    progress = begun()
    progress.totals(Totals(10))
    for step in range(5):
        progress.unit_done(done(step, None, 101.0 + step))
    assert progress.eta_seconds(105.0) == pytest.approx(5.0)
    assert progress.eta_seconds(125.0) == pytest.approx(30.0)


def test_nobody_knows_what_is_left_when_all_that_is_known_is_done_and_more_may_come() -> None:
    progress = begun()
    progress.totals(Totals(5))
    for step in range(5):
        progress.unit_done(done(step, None, 101.0 + step))
    assert progress.eta_seconds(106.0) is None


def test_the_plan_speaks_before_the_rate_does() -> None:
    progress = begun()
    progress.totals(Totals(10, is_final=True))
    for step in range(5):
        progress.unit_done(done(step, None, 101.0 + step))
    progress.look(Outlook(100.0))
    progress.look(Outlook(105.0, units=5, made=5.0, spent=5.0, left=40.0))
    assert progress.eta_seconds(105.0) == pytest.approx(40.0)


def test_the_eta_is_nothing_when_nothing_is_left() -> None:
    progress = begun()
    progress.totals(Totals(5, is_final=True))
    for step in range(5):
        progress.unit_done(done(step, None, 101.0 + step))
    assert progress.eta_seconds(106.0) == 0.0


def test_a_node_that_joins_stands_before_this_machine() -> None:
    progress = begun()
    progress.node_changed(NodeStatus("pi9:3632", "pi9", 3632, "down", 4, reason="refused", retry_at=130.0), 101.0)
    names = [node.name for node in progress.view(120.0).nodes]
    assert names == ["pi3:3632", "pi9:3632", "this machine"]
    assert progress.view(120.0).nodes[1].retry_in_seconds == 10.0


def test_the_end_clears_the_slots() -> None:
    progress = begun()
    progress.unit_started(start(1, None, 101.0))
    progress.finished(Summary(exit_status=2, time=102.0, seconds=2.0))
    assert progress.view(103.0).in_flight == 0


# --- the drawing -------------------------------------------------------------------------------------------------


def farm(nodes: int, running: int = 2) -> View:
    return View(
        done=112,
        total=143,
        total_is_final=False,
        failed=0,
        in_flight=8,
        elapsed_seconds=61.2,
        eta_seconds=40.1,
        nodes=tuple(
            NodeView(
                name=f"10.168.168.{number}:3632",
                state="down" if number == nodes - 1 else "up",
                slots=8,
                running=tuple(Running(f"model/RADIATION_{slot}.o", 1.5 * slot) for slot in range(running)),
                done=number,
                reason="connection refused" if number == nodes - 1 else None,
                retry_in_seconds=60.0 if number == nodes - 1 else None,
            )
            for number in range(nodes)
        ),
    )


@pytest.mark.parametrize("nodes", [0, 1, 5, 30])
@pytest.mark.parametrize(("width", "height"), [(200, 40), (80, 12), (40, 6), (12, 1), (1, 1)])
def test_a_view_never_exceeds_the_terminal(nodes: int, width: int, height: int) -> None:
    lines = view.lines(farm(nodes), width=width, height=height, color=False)
    assert 1 <= len(lines) <= height
    assert max(map(len, lines)) <= max(10, width - 1)


def test_the_view_names_what_each_slot_compiles() -> None:
    bar, first, *_ = view.lines(farm(2), width=120, height=10, color=False)
    assert "112/143+  8 in flight  >0:40 left  1:01 gone" in bar
    (bar,) = view.lines(replace(farm(0), total_is_final=True), width=120, height=10, color=False)
    assert "112/143  8 in flight  0:40 left  1:01 gone" in bar
    assert "10.168.168.0:3632 2/8" in first
    assert "RADIATION_0.o 0s, RADIATION_1.o 2s" in first


def test_between_two_words_of_a_node_the_view_shows_how_it_stands() -> None:
    progress = begun()
    progress.node_changed(replace(PI3, state="down", reason="refused", retry_at=110.0), 101.0)
    progress.stand([replace(PI3, state="down", reason="refused", retry_at=130.0), replace(PI3, key="unknown:1")])
    pi3, here = progress.view(120.0).nodes
    assert (pi3.name, pi3.retry_in_seconds, here.name) == ("pi3:3632", 10.0, "this machine")


def test_no_more_slots_are_taken_than_there_are_while_a_result_is_on_its_way_to_the_journal() -> None:
    one = farm(1)
    full = replace(one.nodes[0], slots=1, running=(Running("a.o", 3.0), Running("b.o", 0.0)))
    _, line = view.lines(replace(one, nodes=(full,)), width=120, height=10, color=False)
    assert " 1/1 " in line and "a.o 3s, b.o 0s" in line


def test_nodes_at_fault_are_never_hidden() -> None:
    lines = view.lines(farm(30), width=120, height=6, color=False)
    assert "connection refused; tried again in 1:00" in lines[1]
    assert lines[-1].startswith("  and 26 more nodes: 52/208 slots")


def test_without_colour_there_are_no_colours() -> None:
    assert "\x1b[3" not in "".join(view.lines(farm(3), width=100, height=9, color=False))
    assert "\x1b[3" in "".join(view.lines(farm(3), width=100, height=9, color=True))


# --- words -------------------------------------------------------------------------------------------------------


def test_strange_names_become_visible() -> None:
    assert printable("a\x1b[2Jb\udcffc\n") == "a\\x1b[2Jb\\xffc\\x0a"
    assert encodable("a\udcff\x1b") == "a\\xff\x1b"
    assert encodable("\ud834") == "\\ud834"
    assert harmless("\x1b[31merror\x1b[0m: x\r\n\ty\x07\x1b]0;title\x07") == "error: x\n\ty\\x07"


def test_durations_read_well() -> None:
    assert [clock(seconds) for seconds in (0, 9, 754, 3723)] == ["0:00", "0:09", "12:34", "1:02:03"]
    assert [duration(s) for s in (0.44, 9.96, 59.6, 200, 7500)] == [
        "0.4 s",
        "10 s",
        "1 min 0 s",
        "3 min 20 s",
        "2 h 5 min",
    ]
    assert [count(1, "retry"), count(2, "retry"), count(0, "unit")] == ["1 retry", "2 retries", "0 units"]
    assert relative("/p/m/a.o", "/p") == "m/a.o"
    assert relative("/q/a.o", "/p") == "/q/a.o"
    assert relative("/a.o", "/") == "a.o"
    assert relative("/home/pi/ModelE/model/a.o", "/home/pi/ModelE/decks") == "../model/a.o"
    assert relative("/home/pi/lib/a.o", "/home/pi/ModelE/decks") == "../../lib/a.o"
    assert relative("/srv/lib/a.o", "/srv/models/ModelE/decks") == "/srv/lib/a.o"
    assert relative("/usr/include/stdio.h", "/home/pi") == "/usr/include/stdio.h"
    assert relative("/home/pi/ModelE/decks", "/home/pi/ModelE/decks") == "."


def test_a_unit_that_runs_longer_than_the_others_is_not_expected_to_end_at_once() -> None:
    progress = begun()
    progress.totals(Totals(4, is_final=True))
    for step in (1, 2, 3):
        progress.unit_done(done(step, "pi3:3632", 101.0))
    progress.unit_started(start(4, "pi3:3632", 101.0))
    assert (progress.eta_seconds(161.0) or 0.0) >= 30.0


@given(st.lists(st.text("ab '$\\\n", max_size=9), min_size=1), st.none() | st.integers(1, 30))
def test_a_folded_command_is_the_same_to_a_shell_and_no_wider_than_its_words_need(
    words: list[str], columns: int | None
) -> None:
    plain = [word.replace("\n", "-") for word in words]
    lines = folded(shlex.join(plain), indent=4, columns=columns).split("\n    ")
    assert shlex.split("".join(line.removesuffix("\\") for line in lines)) == plain
    if columns is None:
        assert len(lines) == 1
    else:
        assert all(4 + len(line) <= columns or len(shlex.split(line.removesuffix(" \\"))) == 1 for line in lines)
