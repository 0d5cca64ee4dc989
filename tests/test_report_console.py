"""Plain lines, the event file, the region's bytes, and the live view on a real pseudo terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from buildfarm.errors import MachineError
from buildfarm.model import Kind, NodeStatus
from buildfarm.report.console import open_reporters
from buildfarm.report.region import Region
from buildfarm.report.reporter import BuildStarted, Reporter, Retry, Summary, Totals, UnitDone, UnitStarted
from tests.farm import PATIENCE

PI3 = NodeStatus(key="pi3:3632", host="pi3", port=3632, state="up", slots=4)
DOWN = NodeStatus(key="pi3:3632", host="pi3", port=3632, state="down", slots=4, reason="refused", retry_at=110.0)


def tell(reporter: Reporter) -> None:
    """A small build, from its start to its end."""
    reporter.started(BuildStarted(build=3, directory="/p", time=100.0, goals=("all",), nodes=(PI3,)))
    reporter.note("only once")
    reporter.note("only once")
    reporter.totals(Totals(2))
    reporter.unit_started(UnitStarted(1, "/p/m/a\udcff.o", "pi3:3632", 1, 101.0))
    reason = "node pi3 closed after 12 of 4096 bytes"
    reporter.retry(Retry(1, "/p/m/a\udcff.o", "pi3:3632", 1, 102.0, "lost", reason, next_node="pi5:3632"))
    reporter.retry(Retry(1, "/p/m/a\udcff.o", "pi3:3632", 1, 102.0, "cancelled", "make was interrupted"))
    reporter.node_changed(DOWN, 103.0)
    reporter.node_changed(replace(DOWN, reason="no connection"), 103.5)  # asked again: it is no news
    reporter.node_changed(PI3, 104.0)
    reporter.unit_started(UnitStarted(1, "/p/m/a\udcff.o", None, 2, 104.0))
    reporter.unit_done(UnitDone(1, "/p/m/a\udcff.o", None, 2, 105.0, 1.0, lookahead=True))
    reporter.unit_done(UnitDone(2, "/p/m/b.o", "pi3:3632", 1, 105.0, 1.0, exit_status=1))
    reporter.unit_done(UnitDone(3, "/p/prog", None, 1, 106.0, 0.5, kind=Kind.LINK))
    reporter.finished(
        Summary(
            exit_status=2, time=107.0, seconds=7.0, done=1, failed=1, local=1, lookahead=1, retries={"lost": 1}, links=1
        )
    )


def test_plain_lines_go_to_stderr_and_leave_stdout_to_make(capfd: pytest.CaptureFixture[str]) -> None:
    with open_reporters() as reporters:
        assert (reporters.make_stdout, reporters.make_stderr) == (None, None)
        tell(reporters)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "buildfarm: only once",
        "buildfarm: m/a\\xff.o: node pi3 closed after 12 of 4096 bytes; retrying on pi5:3632",
        "buildfarm: node pi3:3632 is down: refused",
        "buildfarm: node pi3:3632 is back",
        "[1/2+] m/a\\xff.o here in 1.0 s, attempt 2",
        "[1/2+] m/b.o ended on pi3:3632 with status 1",
        "[1/2+] prog linked here in 0.5 s",
        "buildfarm: 1 unit in 7.0 s (1 here); 1 ahead of make; 1 retry (1 lost); 1 failed; make failed with status 2",
    ]


def test_a_build_that_had_nothing_to_do_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with open_reporters() as reporters:
        reporters.started(BuildStarted(build=1, directory="/p", time=100.0))
        reporters.finished(Summary(exit_status=0, time=100.1, seconds=0.1))
    assert capfd.readouterr() == ("", "")


def test_a_build_that_only_links_counts_its_steps_and_is_closed_in_their_words(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with open_reporters() as reporters:
        reporters.started(BuildStarted(build=1, directory="/p", time=100.0))
        for step, name in enumerate(("lib.a", "lib.a", "prog"), start=1):  # by ar, by ranlib
            kind = Kind.ARCHIVE if name == "lib.a" else Kind.LINK
            reporters.unit_started(UnitStarted(step, f"/p/{name}", None, 1, 100.0, kind))
            reporters.unit_done(UnitDone(step, f"/p/{name}", None, 1, 100.5, 0.5, kind=kind))
        reporters.finished(Summary(exit_status=0, time=101.0, seconds=1.0, links=3))
    assert capfd.readouterr().err.splitlines() == [
        "[step 1] lib.a archived here in 0.5 s",
        "[step 3] prog linked here in 0.5 s",
        "buildfarm: no units, 3 link steps in 1.0 s",
    ]


@pytest.mark.parametrize(
    ("summary", "said"),
    [
        (Summary(2, 101.0, 1.0, done=1, local=1), "1 unit in 1.0 s (1 here); make failed with status 2"),
        (
            Summary(2, 101.0, 1.0, done=1, local=1, links=1, links_failed=1),
            "1 unit in 1.0 s (1 here); 1 link step failed; make failed with status 2",
        ),
        (Summary(2, 101.0, 1.0, links_failed=2), "no units in 1.0 s; 2 link steps failed; make failed with status 2"),
        (Summary(0, 101.0, 1.0, done=1, remote=1, links_failed=1), "1 unit in 1.0 s (1 on nodes)"),  # a recipe's `-`
    ],
)
def test_the_closing_line_of_a_failed_build_says_so(
    summary: Summary, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_reporters() as reporters:
        reporters.finished(summary)
    assert capfd.readouterr().err == f"buildfarm: {said}\n"


def test_a_make_that_failed_before_anything_was_compiled_speaks_for_itself(capfd: pytest.CaptureFixture[str]) -> None:
    with open_reporters() as reporters:
        reporters.finished(Summary(exit_status=2, time=101.0, seconds=1.0))
    assert capfd.readouterr().err == ""


def test_an_interrupted_build_names_the_way_on(capfd: pytest.CaptureFixture[str]) -> None:
    with open_reporters() as reporters:
        reporters.finished(Summary(exit_status=130, time=100.0, seconds=61.0, done=3, interrupted=True))
    assert capfd.readouterr().err == "buildfarm: interrupted after 1:01; `buildfarm resume` continues it\n"


def test_events_are_one_json_object_a_line_and_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "older"}\n')
    with open_reporters(events=path, now=lambda: 100.25) as reporters:
        tell(reporters)
    records = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
    assert [record["event"] for record in records] == [
        "older",
        "build_started",
        "note",
        "totals",
        "check_out",
        "retry",
        "retry",
        "node",
        "node",
        "node",
        "check_out",
        "check_in",
        "check_in",
        "check_in",
        "build_finished",
    ]
    assert records[2] == {"event": "note", "time": "1970-01-01T00:01:40.250Z", "build": 3, "text": "only once"}
    assert records[4]["output"] == "m/a\\xff.o"
    assert records[7]["retry_in_seconds"] == 7.0
    assert records[11]["lookahead"] is True
    assert records[-1]["exit_status"] == 2


def test_an_event_file_that_cannot_be_written_is_an_error_before_the_build(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="can't write events"), open_reporters(events=tmp_path / "no" / "e"):
        pass


def test_a_full_disk_under_the_event_file_is_told_once_and_does_not_end_the_build(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with open_reporters(events=Path("/dev/full")) as reporters:
        tell(reporters)
    err = capfd.readouterr().err
    assert err.count("/dev/full: no more events are written: No space left on device") == 1
    assert "[1/2+] prog linked here" in err


# --- the region --------------------------------------------------------------------------------------------------


class Screen:
    """The text that a terminal keeps when the region's control codes are obeyed; just enough of one for a test."""

    def __init__(self) -> None:
        self.lines = [""]
        self.row = 0

    def feed(self, data: bytes) -> None:
        text = data.decode()
        while text:
            if text.startswith("\x1b["):
                end = next(i for i, c in enumerate(text[2:], 2) if c.isalpha())
                self._control(text[2:end], text[end])
                text = text[end + 1 :]
            else:
                self._put(text[0])
                text = text[1:]

    def _control(self, parameters: str, letter: str) -> None:
        if letter == "A":
            self.row -= int(parameters)
        elif letter == "J":
            del self.lines[self.row + 1 :]
            self.lines[self.row] = ""

    def _put(self, character: str) -> None:
        if character == "\n":
            self.row += 1
            if self.row == len(self.lines):
                self.lines.append("")
        elif character == "\r":
            self.column = 0
        else:
            self.lines[self.row] += character


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_text_above_the_region_is_whole_and_in_order_however_it_is_cut(size: int) -> None:
    said = b"".join(b"line %d\n" % number for number in range(20)) + b"prompt? "
    region, screen = Region(), Screen()
    for start in range(0, len(said), size):
        screen.feed(region.text(said[start : start + size], 80))
        screen.feed(region.draw(["bar", "node 1", "node 2"], 80))
    assert screen.lines[-4:] == ["prompt? ", "bar", "node 1", "node 2"]
    screen.feed(region.close(80))
    assert screen.lines == [f"line {number}" for number in range(20)] + ["prompt? "]


def test_lines_that_a_narrower_terminal_has_folded_are_erased_as_folded() -> None:
    region = Region()
    region.draw(["x" * 70, "y" * 70], 80)
    assert region.erase(40).startswith(b"\r\x1b[3A")


def test_a_full_screen_program_has_the_terminal_to_itself() -> None:
    region = Region()
    region.draw(["bar"], 80)
    out = region.text(b"\x1b[?1049h\x1b[2;2Hmenu", 80)
    assert out.endswith(b"\x1b[?1049h\x1b[2;2Hmenu")
    assert region.draw(["bar"], 80) == b""
    assert region.text(b"no newline", 80) == b"no newline"
    assert region.close(80) == b""


# --- the live view -----------------------------------------------------------------------------------------------

BUILDER = """
import os, subprocess, sys
from buildfarm.model import NodeStatus
from buildfarm.report.console import open_reporters
from buildfarm.report.reporter import BuildStarted, Summary, Totals, UnitStarted
with open_reporters() as reporters:
    node = NodeStatus(key="pi3:3632", host="pi3", port=3632, state="up", slots=4)
    reporters.started(BuildStarted(build=1, directory="/p", time=0.0, nodes=(node,)))
    reporters.totals(Totals(9))
    reporters.unit_started(UnitStarted(1, "/p/RADIATION.o", "pi3:3632", 1, 0.0))
    make = subprocess.Popen(["sh", "-c", sys.argv[1]], stdout=reporters.make_stdout, stderr=reporters.make_stderr)
    status = make.wait()
    reporters.finished(Summary(exit_status=0, time=3.0, seconds=3.0, done=1, remote=1))
sys.exit(status)
"""


def on_a_terminal(script: str, gate: Path, *, when: bytes, kill: bool = False) -> tuple[bytes, int]:
    """What a terminal gets from a build whose make is `script`, and how the builder ended.

    The script waits at the fifo `gate`, which is opened when the terminal has shown `when`, after the builder was
    killed if `kill`.
    """
    os.mkfifo(gate)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, "-c", BUILDER, script], {**os.environ, "TERM": "xterm"})
    seen = b""
    status: int | None = None
    waiting = True
    deadline = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 1.0)[0]:
                continue
            try:
                seen += os.read(terminal, 65536)
            except OSError:  # EIO: nobody holds the other side any more
                break
            if waiting and when in seen:
                waiting = False
                if kill:
                    os.kill(pid, signal.SIGKILL)
                    _, status = os.waitpid(pid, 0)
                gate.write_text("go\n")
    finally:
        os.close(terminal)
    if status is None:
        _, status = os.waitpid(pid, 0)
    return seen, os.waitstatus_to_exitcode(status)


def until(terminal: int, seen: bytes, text: bytes, *, after: int = 0) -> bytes:
    """What the terminal has shown when `text` has come."""
    while text not in seen[after:]:
        assert select.select([terminal], [], [], PATIENCE)[0], f"{text!r} has not come, but {seen!r}"
        try:
            seen += os.read(terminal, 65536)
        except OSError:  # EIO: nobody holds the other side any more
            pytest.fail(f"{text!r} has not come, but {seen!r}")
    return seen


def test_on_a_terminal_the_view_is_drawn_and_makes_output_stays_whole(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    script = f"seq 1 300; test -t 1 && test -t 2 && echo coloured; read go < {gate}; echo end >&2; exit 3"
    seen, code = on_a_terminal(script, gate, when=b"RADIATION.o")
    assert code == 3
    assert seen.count(b"\x1b[?25h") == 1
    screen = Screen()
    screen.feed(seen)
    kept = [line for line in screen.lines if line]
    assert kept == [*map(str, range(1, 301)), "coloured", "end", "buildfarm: 1 unit in 3.0 s (1 on nodes)"]


SHELL = """
import os, signal, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
builder = os.fork()
if not builder:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
os.waitpid(builder, os.WUNTRACED)
os.tcsetpgrp(0, os.getpgrp())
print("stopped", flush=True)
os.tcsetpgrp(0, builder)
os.killpg(builder, signal.SIGCONT)
_, status = os.waitpid(builder, 0)
sys.exit(status != 0)
"""


def test_a_build_that_is_stopped_leaves_the_terminal_to_the_shell(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    pid, terminal = pty.fork()
    if pid == 0:
        words = [sys.executable, "-c", SHELL, BUILDER, f"seq 1 5; read go < {gate}; echo end"]
        os.execve(sys.executable, words, {**os.environ, "TERM": "xterm"})
    try:
        seen = until(terminal, b"", b"5\r\n")  # what make prints before it is stopped
        seen = until(terminal, seen, b"RADIATION.o")
        os.write(terminal, b"\x1a")
        seen = until(terminal, seen, b"stopped")
        shell = seen.index(b"stopped")
        assert seen.rindex(b"\x1b[?25h", 0, shell) > seen.rindex(b"\x1b[?25l", 0, shell)  # it has a cursor
        seen = until(terminal, seen, b"RADIATION.o", after=shell)
        gate.write_text("go\n")
        seen = until(terminal, seen, b"on nodes)")
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        os.close(terminal)  # hangs up what still runs
    screen = Screen()
    screen.feed(seen.replace(b"^Z", b""))  # the terminal's echo, which Linux makes after it has sent the signal
    kept = [line for line in screen.lines if line]
    assert kept == [*map(str, range(1, 6)), "stopped", "end", "buildfarm: 1 unit in 3.0 s (1 on nodes)"]


def test_makes_output_goes_on_when_the_builder_is_killed(tmp_path: Path) -> None:
    gate, done = tmp_path / "gate", tmp_path / "done"
    script = f"trap '' HUP; echo first; read go < {gate}; echo second || exit 9; echo third && touch {done}"
    seen, code = on_a_terminal(script, gate, when=b"first", kill=True)
    assert code == -signal.SIGKILL
    assert b"second\r\nthird" in seen
    assert done.exists()


def test_without_a_terminal_there_are_no_escape_codes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUILDER, "echo said; echo complained >&2"], capture_output=True, check=True
    )
    assert done.stdout == b"said\n"
    assert b"\x1b" not in done.stderr
    assert b"complained\n" in done.stderr


def test_the_closing_line_says_why_no_node_had_a_unit(capfd: pytest.CaptureFixture[str]) -> None:
    other = replace(DOWN, key="pi5:3632", host="pi5", reason="refused")
    done = Summary(exit_status=0, time=107.0, seconds=7.0, done=1, local=1)
    for nodes, summary, why in (
        ((DOWN,), done, "; no node had one: refused"),
        ((DOWN, other), done, "; no node had one: refused"),
        (
            (DOWN, replace(other, reason="no C")),
            done,
            "; no node had one: pi3:3632 is down (refused), pi5:3632 is down (no C)",
        ),
        ((DOWN, replace(PI3, key="pi5:3632")), done, ""),
        ((DOWN, PI3), done, ""),
        ((DOWN,), replace(done, done=2, remote=1), ""),
        ((), done, ""),
    ):
        with open_reporters() as reporters:
            reporters.started(BuildStarted(build=3, directory="/p", time=100.0, goals=("all",), nodes=(PI3,)))
            for node in nodes:
                reporters.node_changed(node, 103.0)
            reporters.finished(summary)
        last = capfd.readouterr().err.splitlines()[-1]
        assert last.partition(")")[2] == (f"{why}; `buildfarm doctor` says how to mend it" if why else "")


def test_what_is_no_unit_and_no_link_step_is_told_only_if_it_fails(capfd: pytest.CaptureFixture[str]) -> None:
    """ccache preprocesses into files of its own."""
    step = UnitDone(1, "/ccache/tmp/x.i", None, 1, 101.0, 0.1, kind=Kind.OTHER)
    with open_reporters() as reporters:
        reporters.started(BuildStarted(build=3, directory="/p", time=100.0, goals=("all",), nodes=(PI3,)))
        reporters.unit_done(step)
        reporters.unit_done(replace(step, step=2, output="/p/a", kind=Kind.LINK))
        reporters.unit_done(replace(step, step=3, exit_status=1))
        reporters.unit_done(replace(step, step=4, exit_status=1, tries_out=True))
    assert capfd.readouterr().err.splitlines() == [
        "[step 1] a linked here in 0.1 s",
        "[step 1] /ccache/tmp/x.i ended here with status 1",
    ]
