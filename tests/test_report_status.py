"""The status document: its JSON fits the published schema, and its human form says what to do next."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.cli.snapshot import translate
from buildfarm.report import status as report
from buildfarm.report.document import StatusDocument, json_schema
from buildfarm.report.status import Build, Failure, NodeLine, Out, Status, Units
from buildfarm.report.status_view import view
from buildfarm.state.views import BuildView, CheckedOutView, Counters, FailureView, NodeView, StatusRows
from tests.tool import environment

START = 1_795_000_000.0

RUNNING = Status(
    directory="/home/pi/Climate/ModelE/decks",
    state="running",
    now=START + 61.2,
    build=Build(7, ("gcm",), {"RUN": "myrun"}, 4242, START, eta_seconds=40.1, resumed_from=6),
    units=Units(143, True, 112, 8, 23, 0, 104, 8, 31, 2, 0),
    links_done=6,
    nodes=(
        NodeLine("10.168.168.41", 3632, "up", 8, 8, 52, 0, "gcc 12.2.0 x86_64-linux-gnu", mean_seconds=2.314),
        NodeLine("10.168.168.42", 3632, "down", 8, reason="no connection: refused", retry_in_seconds=31.7),
    ),
    checked_out=(Out("model/RADIATION.o", "10.168.168.41", 1, 3.2), Out("model/HERE.o", None, 2, 0.1)),
    failures=(Failure("model/BAD.o", "gfortran -c BAD.f90", 1, "\x1b[31mError\x1b[0m: \udcff\n" + "more\n" * 9),),
)


def test_the_document_has_the_fields_of_the_interface_and_no_others() -> None:
    document = json.loads(report.as_json(RUNNING))
    assert document["build"] == {
        "id": 7,
        "goals": ["gcm"],
        "variables": {"RUN": "myrun"},
        "pid": 4242,
        "exit_status": None,
        "started": "2026-11-18T11:06:40Z",
        "ended": None,
        "elapsed_seconds": 61.2,
        "eta_seconds": 40.1,
        "resumed_from": 6,
        "make_pid": None,
    }
    assert document["units"]["waiting"] == 23
    assert document["nodes"][0] == {
        "name": "10.168.168.41",
        "port": 3632,
        "state": "up",
        "slots": 8,
        "checked_out": 8,
        "done": 52,
        "failed": 0,
        "compiler": "gcc 12.2.0 x86_64-linux-gnu",
        "reason": None,
        "retry_in_seconds": None,
        "mean_seconds": 2.31,
    }
    assert document["checked_out"][0] == {
        "output": "model/RADIATION.o",
        "node": "10.168.168.41",
        "attempt": 1,
        "seconds": 3.2,
    }
    assert list(document) == [
        "schema",
        "directory",
        "state",
        "resumable",
        "build",
        "units",
        "link_steps",
        "planning",
        "nodes",
        "checked_out",
        "failures",
    ]


@pytest.mark.parametrize("status", [RUNNING, Status("/p", "none", 0.0)])
def test_what_is_printed_fits_the_models(status: Status) -> None:
    StatusDocument.model_validate_json(report.as_json(status))


def texts() -> st.SearchStrategy[str]:
    """Paths and messages as `os.fsdecode` gives them: any bytes but NUL."""
    return st.binary(max_size=12).map(lambda b: b.replace(b"\0", b"").decode("utf-8", "surrogateescape"))


counts = st.integers(0, 5)


@given(
    st.builds(
        StatusRows,
        state=st.sampled_from(["running", "complete", "failed", "interrupted"]),
        build=st.builds(
            BuildView,
            id=counts,
            goals=st.tuples(texts()),
            variables=st.dictionaries(texts(), texts(), max_size=2),
            directory=texts(),
            pid=counts,
            exit_status=st.none() | counts,
            started=st.just(START),
            ended=st.none() | st.just(START + 5),
            resumed_from=st.none() | counts,
        ),
        counters=st.builds(
            Counters,
            total=st.none() | counts,
            done=counts,
            checked_out=st.integers(1, 5),
            reused=counts,
            links_running=st.integers(1, 5),
        ),
        nodes=st.tuples(
            st.builds(
                NodeView,
                key=texts(),
                host=texts(),
                port=st.integers(1, 65535),
                state=st.sampled_from(["up", "busy", "down", "quarantined", "draining"]),
                slots=counts,
                checked_out=counts,
                done=counts,
                failed=counts,
                compiler=st.none() | texts(),
                reason=st.none() | texts(),
                retry_at=st.none() | st.floats(START - 5, START + 50),
                mean_seconds=st.none() | st.floats(0, 9),
                languages=st.just("c"),
            )
        ),
        checked_out=st.tuples(
            st.builds(
                CheckedOutView,
                output=texts(),
                kind=st.sampled_from(["compile", "link"]),
                node=st.none() | texts(),
                attempt=st.integers(1, 3),
                started=st.floats(START, START + 5),
                arrived=st.booleans(),
            )
        ),
        failures=st.tuples(
            st.builds(
                FailureView,
                output=texts(),
                argv=st.tuples(texts(), texts()),
                cwd=texts(),
                exit_status=counts,
                stderr=st.binary(max_size=20),
            )
        ),
        eta_seconds=st.none() | st.floats(0, 100),
        eta_at=st.none() | st.just(START + 1),
    )
)
def test_whatever_stands_in_the_journal_the_document_is_valid_and_the_text_is_safe(rows: StatusRows) -> None:
    status = translate(rows, "/p", START + 9)
    text = report.as_json(status)
    assert text.isascii()
    StatusDocument.model_validate_json(text)
    human = report.human(status)
    human.encode("utf-8")
    assert "\x1b" not in human
    view(status)


def test_the_published_schema_names_every_field_of_the_document() -> None:
    schema = json_schema()
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert list(properties) == list(json.loads(report.as_json(RUNNING)))
    assert schema["required"] == list(properties)


def test_bytes_that_are_not_utf8_are_visible_in_json_and_harmless_for_people() -> None:
    assert json.loads(report.as_json(RUNNING))["failures"][0]["stderr"].startswith("\x1b[31mError\x1b[0m: \\xff\n")
    assert "    Error: \\xff\n" in report.human(RUNNING)


def test_people_see_the_numbers_and_what_to_do_next() -> None:
    text = report.human(RUNNING)
    assert "/home/pi/Climate/ModelE/decks: running for 1 min 1 s (pid 4242), 0:40 left" in text
    assert "build 7    gcm RUN=myrun  (resumed from build 6)" in text
    assert "112/143 done, 8 checked out, 23 waiting, 104 on nodes, 8 here, 31 ahead of make, 2 retried" in text
    assert "10.168.168.42:3632  down" in text
    assert "tried again in 0:32" in text
    assert "... 4 more lines: --json has them" in text
    assert "`buildfarm run` starts one" in report.human(Status("/p", "none", 0.0))
    for state in ("interrupted", "failed"):
        assert "`buildfarm resume`" in report.human(RUNNING._replace(state=state))


@pytest.mark.parametrize(
    ("state", "code", "resumable"),
    [
        ("complete", 0, False),
        ("failed", 1, True),
        ("running", 3, False),
        ("interrupted", 4, True),
        ("none", 5, False),
    ],
)
def test_states_have_the_exit_codes_of_the_interface(state: str, code: int, resumable: bool) -> None:
    status = Status("/p", state, 0.0)
    assert (status.exit_code, status.resumable) == (code, resumable)


def node(key: str, host: str, port: int) -> NodeView:
    return NodeView(key, host, port, "up", 4, 1, 0, 0, None, None, None, None, "c")


def out(output: str, node: str | None, kind: str = "compile") -> CheckedOutView:
    return CheckedOutView(output, kind, node, 1, START + 1)


BUILD = BuildView(1, (), {}, "/p", 1, None, START, None, None)


def test_a_node_is_called_by_its_host_unless_two_share_it() -> None:
    nodes = (node("a:1", "a", 1), node("b:1", "b", 1), node("b:2", "b", 2))
    outs = (out("/p/x.o", "a:1"), out("/p/y.o", "b:2"), out("/p/z.o", None), out("/p/prog", None, "link"))
    status = translate(StatusRows("running", BUILD, nodes=nodes, checked_out=outs), "/p", START + 2)
    assert [(o.output, o.node) for o in status.checked_out] == [("x.o", "a"), ("y.o", "b:2"), ("z.o", None)]
    shown = {node.name: [unit.output for unit in node.running] for node in view(status).nodes}
    assert shown == {"a:1": ["x.o"], "b:1": [], "b:2": ["y.o"], "this machine": ["z.o"]}


def test_a_node_without_a_row_of_its_own_is_shown_by_its_attempts() -> None:
    status = translate(StatusRows("running", BUILD, checked_out=(out("/p/x.o", "a:1"),)), "/p", START + 2)
    assert [(node.name, len(node.running)) for node in view(status).nodes] == [("a:1", 1)]


def test_what_was_kept_by_resume_does_not_wait() -> None:
    rows = StatusRows("running", BUILD, Counters(total=143, done=20, checked_out=3, reused=112))
    assert translate(rows, "/p", START).units.waiting == 8


def test_a_complete_build_has_no_more_units_than_it_has_done() -> None:
    units = translate(StatusRows("complete", BUILD, Counters(total=11, done=7)), "/p", START).units
    assert (units.total, units.total_is_final, units.waiting) == (7, True, 0)


def test_what_is_in_place_is_done_while_it_waits_for_the_disk() -> None:
    arrived = [replace(out("/p/x.o", "a:1"), arrived=True, lookahead=True), replace(out("/p/y.o", None), arrived=True)]
    waiting = replace(out("/p/w.o", "a:1"), waits=True)
    outs = (*arrived, replace(out("/p/x", None, "link"), arrived=True), waiting, out("/p/z.o", "a:1"))
    counters = Counters(total=6, done=1, checked_out=4, remote=1, links_running=1)
    status = translate(StatusRows("running", BUILD, counters, checked_out=outs), "/p", START + 2)
    assert [unit.output for unit in status.checked_out] == ["z.o"]
    assert status.units == Units(6, done=3, checked_out=1, waiting=2, remote=2, local=1, lookahead=1)
    assert (status.links_done, status.links_running) == (1, 0)
    killed = translate(StatusRows("interrupted", BUILD, counters, checked_out=outs), "/p", START + 2)
    assert [unit.output for unit in killed.checked_out] == ["x.o", "y.o", "z.o"], "after a kill only the disk counts"
    assert (killed.units.done, killed.units.checked_out) == (1, 3)


def test_a_node_that_had_units_when_its_build_was_killed_was_needed() -> None:
    asked = replace(node("a:1", "a", 1), state="down", reason=report.NOT_PROBED)
    status = translate(StatusRows("interrupted", BUILD, nodes=(replace(asked, done=1), asked)), "/p", START + 2)
    assert [line.state for line in status.nodes] == ["up", "down"]
    worked, idle = report.human(status).splitlines()[-2:]
    assert "not asked" not in worked and "1 done" in worked and "was not needed" in idle


def test_retries_are_told_with_their_causes() -> None:
    rows = StatusRows("running", BUILD, Counters(total=9, done=9, retried=2), retries=(("late", 1), ("lost", 2)))
    status = translate(rows, "/p", START)
    assert json.loads(report.as_json(status))["units"]["retries"] == {"late": 1, "lost": 2}
    assert "2 retried (2 lost, 1 late)" in report.human(status)


def test_the_eta_goes_down_between_two_words_of_the_build() -> None:
    rows = StatusRows("running", BUILD, eta_seconds=40.0, eta_at=START + 10)
    for now, left in ((START + 10, 40.0), (START + 25, 25.0), (START + 99, 0.0)):
        build = translate(rows, "/p", now).build
        assert build is not None
        assert build.eta_seconds == left


def test_the_clock_of_a_dead_build_stands_still() -> None:
    rows = StatusRows("interrupted", BUILD, checked_out=(out("/p/x.o", None),))
    status = translate(rows, "/p", START + 86400)
    assert status.elapsed_seconds == 1.0
    assert status.checked_out[0].seconds == 0.0
    ended = StatusRows("interrupted", BUILD, last_heard_at=START + 7.0)
    assert translate(ended, "/p", START + 86400).elapsed_seconds == 7.0


def test_no_node_of_a_dead_build_is_busy() -> None:
    busy = NodeView("a:1", "a", 1, "busy", 2, 2, 3, 0, None, None, None, None, "")
    for state, shown in (("running", "busy"), ("interrupted", "up")):
        (seen,) = translate(StatusRows(state, BUILD, nodes=(busy,)), "/p", START).nodes
        assert seen.state == shown


def test_status_imports_nothing_that_is_slow_to_import(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from buildfarm.cli import main\n"
        "try: main(['status', '--json', '-C', sys.argv[1]])\n"
        "except SystemExit: pass\n"
        "heavy = {'networkx', 'pydantic', 'rich', 'asyncio', 'filelock', 'platformdirs', 'buildfarm.model'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)\n"
    )
    nobodys = environment(HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path))
    words = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(words, env=nobodys, capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)


def test_a_build_without_units_is_not_counted_in_noughts() -> None:
    build = Build(1, (), {}, 42, 100.0, ended=101.0, exit_status=0)
    done = Status("/p", "complete", 101.0, build, Units(total_is_final=True), links_done=1)
    assert "  units      none\n  links      1 done" in report.human(done)
    assert "  units      none yet" in report.human(done._replace(state="running", units=Units()))


def test_an_ipv6_address_is_shown_in_brackets_as_the_host_list_has_it() -> None:
    by_ssh = NodeLine("pi4", 3632, "up", 4, by_ssh="me@pi4")
    nodes = (NodeLine("fd00::1", 3632, "up", 4), NodeLine("pi3", 3633, "up", 4), by_ssh)
    shown = [line.split()[0] for line in report.node_table(nodes)]
    assert shown == ["[fd00::1]:3632", "pi3:3633", "me@pi4"]


def test_a_node_that_was_never_asked_is_not_called_down() -> None:
    build = Build(1, (), {}, 42, 100.0, ended=101.0, exit_status=0)
    node = NodeLine("pi3", 3632, "down", 4, reason=report.NOT_PROBED)
    ended = Status("/p", "complete", 101.0, build, nodes=(node, node._replace(name="pi4", reason="refused")))
    first, second = report.human(ended).splitlines()[-2:]
    assert "not asked" in first and "was not needed" in first and "down" not in first
    assert "down" in second
    assert report.NOT_PROBED in report.human(ended._replace(state="running"))
