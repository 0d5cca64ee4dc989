"""The stub, compiled and in Python: the same promises, each held by the same test."""

from __future__ import annotations

import errno
import os
import pty
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from buildfarm.make import wire
from buildfarm.make.masquerade import MARKER
from tests.farm import PATIENCE
from tests.stubs import Bench, Conductor, Conversation, end
from tests.stubs import bench as bench
from tests.stubs import masquerade as masquerade
from tests.stubs import tools as tools

REAL = (0, b"the real tool\n", b"")


def shown(output: bytes) -> tuple[bytes, int, bytes, set[bytes]]:
    """argv[0], pid, PATH and the variables' names as `tool show` saw them."""
    name, pid, path, *variables = output.splitlines()
    return name, int(pid), path, set(variables)


# --- without a conductor ---


@pytest.mark.parametrize("socket", [None, "", "/nonexistent/socket", "/" + "x" * 200])
def test_without_a_conductor_it_is_the_real_tool(bench: Bench, socket: str | None) -> None:
    environment = bench.environment()
    del environment["BUILDFARM_SOCKET"]
    if socket is not None:
        environment["BUILDFARM_SOCKET"] = socket
    process = bench.start("tool", "show", environment=environment)
    status, output, _ = end(process)
    name, pid, path, _ = shown(output)
    assert (status, name, pid) == (0, os.fsencode(bench.tools / "tool"), process.pid)
    assert path == f"{bench.tools}:/usr/bin:/bin".encode()


def test_by_its_recorded_path_it_is_the_real_tool_after_the_build(bench: Bench) -> None:
    process = bench.start(str(bench.masquerade.directory / "tool"), environment={"PATH": f"{bench.tools}:/usr/bin"})
    assert end(process) == REAL


def test_a_tool_that_is_not_there_is_127_and_named(bench: Bench) -> None:
    process = bench.start("tool", environment={"PATH": f"{bench.masquerade.directory}:/usr/bin"})
    status, _, errors = end(process)
    assert status == 127
    assert b"tool: not found" in errors


def test_it_never_takes_itself_or_another_masquerade_for_the_tool(bench: Bench, tmp_path: Path) -> None:
    alias = tmp_path / "alias"
    alias.symlink_to(bench.masquerade.directory)
    copies = tmp_path / "copies"
    copies.mkdir()
    (copies / "tool").symlink_to(bench.masquerade.stub)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / MARKER).touch()
    shutil.copy(bench.masquerade.stub, foreign / "tool")
    ours = bench.masquerade.directory
    path = f"{ours}/:{alias}:{foreign}:{copies}:{ours}:{bench.tools}:{ours}:/usr/bin"
    _, output, _ = end(bench.start("tool", "show", environment={"PATH": path}))
    assert shown(output)[2] == f"{bench.tools}:/usr/bin".encode()


def test_an_empty_entry_of_path_is_the_working_directory(bench: Bench) -> None:
    shutil.copy(bench.tools / "tool", bench.directory / "tool")
    process = bench.start("tool", "show", environment={"PATH": f"{bench.masquerade.directory}::/usr/bin"})
    name, _, path, _ = shown(end(process)[1])
    assert (name, path) == (b"./tool", b":/usr/bin")


@pytest.mark.skipif(not Path("/usr/lib/ccache/gcc").exists(), reason="ccache is missing: install it")
def test_ccaches_masquerade_behind_ours_works(bench: Bench, tmp_path: Path) -> None:
    (bench.directory / "a.c").write_text("int a;\n")
    log = tmp_path / "log"
    environment = bench.environment(CCACHE_DIR=str(tmp_path / "ccache"), CCACHE_LOGFILE=str(log))
    environment["PATH"] = f"{bench.masquerade.directory}:/usr/lib/ccache:/usr/bin:/bin"
    process = bench.start("gcc", "-c", "a.c", environment=environment)
    bench.conductor.accept().send(b"E")
    assert end(process) == (0, b"", b"")
    assert (bench.directory / "a.o").exists()
    assert log.exists()


# --- the call ---


def test_the_conductor_learns_the_call_to_the_byte(bench: Bench) -> None:
    environment = {os.fsencode(name): os.fsencode(value) for name, value in bench.environment().items()}
    environment |= {b"BYTES": b"\xff=\xfe", b"EMPTY": b"", b"LC_ALL": b"C"}
    process = bench.start(b"tool", b"1", b"", b"a b\n\xff", environment=environment)
    conversation = bench.conductor.accept()
    call = conversation.call
    conversation.send(b"E")
    end(process)
    assert (call.name, call.called_as, call.pid) == ("tool", "tool", process.pid)
    assert call.invocation.argv == ("tool", "1", "", "a b\n\udcff")
    assert call.invocation.cwd == str(bench.directory)
    assert {os.fsencode(n): os.fsencode(v) for n, v in call.invocation.env.items()} == environment


def test_a_c_locale_adds_nothing_to_the_environment(bench: Bench) -> None:
    process = bench.start("tool", "show")
    bench.conductor.accept().send(b"E")
    assert shown(end(process)[1])[3] - {b"LC_CTYPE"} == {b"PATH"}


def test_a_call_by_absolute_path_is_seen_too(bench: Bench) -> None:
    path = str(bench.masquerade.directory / "tool")
    environment = bench.environment(PATH=f"{bench.tools}:/usr/bin")
    process = bench.start(path, environment=environment)
    conversation = bench.conductor.accept()
    assert (conversation.call.name, conversation.call.called_as) == ("tool", path)
    conversation.send(b"E")
    assert end(process) == REAL


def test_huge_calls_pass(bench: Bench) -> None:
    words = ["x" * 100_000, *("y" * 100 for _ in range(1000))]
    more = {f"VARIABLE{number}": "z" * 1000 for number in range(200)}
    process = bench.start("tool", *words, environment=bench.environment(**more))
    conversation = bench.conductor.accept()
    assert conversation.call.invocation.argv == ("tool", *words)
    assert conversation.call.invocation.env == bench.environment(**more)
    conversation.send(b"E")
    assert end(process) == REAL


def test_a_call_that_just_fits_does_not_fail_for_our_sake(bench: Bench, tmp_path: Path) -> None:
    far = tmp_path
    for _ in range(12):
        far = far / ("d" * 200)
    far.mkdir(parents=True)
    (far / "tool").symlink_to(bench.tools / "tool")
    environment = bench.environment(PATH=f"{bench.masquerade.directory}:{far}", BUILDFARM_ROOM="r" * 20_000)
    del environment["BUILDFARM_SOCKET"]

    def call(size: int) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["tool", "0", "x" * size, "y" * 100_000],
            executable=bench.masquerade.directory / "tool",
            env=environment,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, 1 << 20)),
        )

    fits, fails = 0, 131_000
    while fails - fits > 1:
        middle = (fits + fails) // 2
        try:
            call(middle)
            fits = middle
        except OSError as error:
            assert error.errno == errno.E2BIG
            fails = middle
    result = call(fits)
    assert (result.returncode, result.stdout, result.stderr) == REAL


# --- E ---


def test_exec_gives_a_compiler_its_real_path_and_takes_us_off_path(bench: Bench) -> None:
    process = bench.start("tool", "show", environment=bench.environment(BUILDFARM_TOKEN="t"))
    bench.conductor.accept().send(b"E")
    name, pid, path, variables = shown(end(process)[1])
    assert (name, pid) == (os.fsencode(bench.tools / "tool"), process.pid)
    assert path == f"{bench.tools}:/usr/bin:/bin".encode()
    assert b"BUILDFARM_SOCKET" not in variables
    assert b"BUILDFARM_TOKEN" in variables


@pytest.mark.parametrize("answer", [b"E", b"R"])
def test_a_real_gcc_knows_where_it_is(bench: Bench, answer: bytes) -> None:
    gcc = shutil.which("gcc", path="/usr/bin:/bin")
    if gcc is None:
        pytest.skip("gcc is missing: install it")
    (bench.directory / "a.c").write_text("int main(void) { return 0; }\n")
    process = bench.start("gcc", "-v", "a.c", "-o", "a")
    bench.conductor.accept().send(answer + b"K")
    status, _, errors = end(process)
    assert status == 0
    assert b"COLLECT_GCC=gcc\n" in errors  # its name as typed, as without us; PATH leads it to itself


def test_make_keeps_its_name_and_its_path(bench: Bench) -> None:
    (bench.directory / "Makefile").write_text("all:\n\t@echo '$(MAKE)' $$PATH $$BUILDFARM_SOCKET\n")
    environment = bench.environment(PATH=f"{bench.masquerade.directory}:/usr/bin:/bin")
    process = bench.start("make", environment=environment)
    bench.conductor.accept().send(b"E")
    expected = f"make {environment['PATH']} {environment['BUILDFARM_SOCKET']}\n"
    assert end(process) == (0, expected.encode(), b"")


@pytest.mark.parametrize("answer", [b"E", b"R"])
def test_a_script_without_an_interpreter_line_is_given_to_the_shell(
    bench: Bench, answer: bytes, tmp_path: Path
) -> None:
    script = tmp_path / "tool"
    script.write_text('echo "$0" "$@"\n')
    script.chmod(0o755)
    path = f"{bench.masquerade.directory}:{tmp_path}:/usr/bin:/bin"
    process = bench.start("tool", "a b", "c", environment=bench.environment(PATH=path))
    conversation = bench.conductor.accept()
    conversation.send(answer + b"K")
    assert end(process) == (0, f"{script} a b c\n".encode(), b"")


@pytest.mark.parametrize("answer", [b"E", b"R"])
def test_inherited_descriptors_reach_the_tool(bench: Bench, answer: bytes) -> None:
    reader, writer = os.pipe()
    process = bench.start("tool", "write", str(writer), pass_fds=[writer])
    bench.conductor.accept().send(answer + b"K")
    os.close(writer)
    assert end(process)[0] == 0
    with os.fdopen(reader, "rb") as file:
        assert file.read() == b"token"


# --- R ---


def test_run_reports_the_status_and_exits_with_it_when_released(bench: Bench) -> None:
    process = bench.start("tool", "3")
    conversation = bench.conductor.accept()
    conversation.send(b"R")
    assert conversation.receive() == wire.Ended(3 << 8)
    assert process.poll() is None
    conversation.send(b"K")
    assert end(process) == (3, b"the real tool\n", b"")


def test_the_tool_runs_as_a_child_with_our_stdin(bench: Bench) -> None:
    process = bench.start("tool", "copy", stdin=b"\0\xff text")
    bench.conductor.accept().send(b"RK")
    assert end(process) == (0, b"\0\xff text", b"")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM, signal.SIGPIPE])
def test_a_tool_killed_by_a_signal_takes_the_stub_along(bench: Bench, number: signal.Signals) -> None:
    process = bench.start("tool", "die", str(int(number)))
    conversation = bench.conductor.accept()
    conversation.send(b"R")
    report = conversation.receive()
    assert isinstance(report, wire.Ended)
    assert os.WTERMSIG(report.status) == number
    conversation.send(b"K")
    assert end(process)[0] == -number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT])
def test_a_signal_is_forwarded_to_the_child(bench: Bench, number: signal.Signals) -> None:
    process = bench.start("tool", "signals")
    conversation = bench.conductor.accept()
    conversation.send(b"R")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    assert conversation.receive() == wire.Ended(7 << 8)
    conversation.send(b"K")
    assert end(process) == (7, f"{number.name}\n".encode(), b"")


def test_a_terminals_interrupt_reaches_the_child_once(bench: Bench) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(bench.directory)
        os.execve(bench.masquerade.directory / "tool", ["tool", "signals"], bench.environment())
    conversation = bench.conductor.accept()
    conversation.send(b"R")
    with os.fdopen(terminal, "r+b", buffering=0) as screen:
        text = b""
        while b"ready" not in text:
            text += screen.read(100)
        screen.write(b"\x03")
        while b"SIGINT" not in text:
            text += screen.read(100)
        os.kill(pid, signal.SIGTERM)  # the tool ends with 7 and how often it was interrupted
        assert conversation.receive() == wire.Ended(8 << 8)
        conversation.send(b"K")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 8


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE])
def test_a_stub_that_waits_dies_by_the_signal(bench: Bench, number: signal.Signals) -> None:
    process = bench.start("tool")
    bench.conductor.accept()
    process.send_signal(number)
    assert end(process) == (-number, b"", b"")


def test_a_missing_tool_is_reported(bench: Bench) -> None:
    process = bench.start("tool", environment=bench.environment(PATH=str(bench.masquerade.directory)))
    conversation = bench.conductor.accept()
    conversation.send(b"R")
    assert conversation.receive() == wire.Ended(127 << 8)
    conversation.send(b"K")
    assert end(process)[0] == 127


# --- D ---


def test_done_installs_prints_and_exits(bench: Bench) -> None:
    (bench.directory / "t1").write_text("object")
    (bench.directory / "t2").write_text("depfile")
    (bench.directory / "a.o").write_text("old")
    process = bench.start("tool")
    conversation = bench.conductor.accept()
    renames = [("t1", "a.o"), (str(bench.directory / "t2"), str(bench.directory / "a.d"))]
    conversation.send(wire.encode_done(1 << 8, b"out\0\xff", b"warning\n", renames))
    assert conversation.receive() == wire.Delivered(0)
    assert end(process) == (1, b"out\0\xff", b"warning\n")
    assert (bench.directory / "a.o").read_text() == "object"
    assert (bench.directory / "a.d").read_text() == "depfile"
    assert not (bench.directory / "t1").exists()


def test_the_recipes_umask_holds_for_what_is_installed(bench: Bench) -> None:
    (bench.directory / "t").write_text("object")
    (bench.directory / "t").chmod(0o644)
    process = bench.start("/bin/sh", "-c", "umask 077; exec tool", environment=bench.environment(BUILDFARM_UMASK="22"))
    conversation = bench.conductor.accept()
    conversation.send(wire.encode_done(0, b"", b"", [("t", "a.o")]))
    assert end(process)[0] == 0
    assert (bench.directory / "a.o").stat().st_mode & 0o777 == 0o600


def test_done_can_end_by_a_signal(bench: Bench) -> None:
    process = bench.start("tool")
    bench.conductor.accept().send(wire.encode_done(signal.SIGTERM, b"", b""))
    assert end(process) == (-signal.SIGTERM, b"", b"")


def test_large_texts_are_whole_and_in_order(bench: Bench) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)  # a terminal or pipe that some other program left so
    process = subprocess.Popen(
        ["tool"],
        executable=bench.masquerade.directory / "tool",
        env=bench.environment(),
        stdout=writer,
        stderr=writer,
    )
    os.close(writer)
    output, errors = b"o" * 700_000, b"e" * 900_000
    bench.conductor.accept().send(wire.encode_done(0, output, errors))
    with os.fdopen(reader, "rb") as file:
        assert file.read() == output + errors
    assert process.wait(PATIENCE) == 0


def test_a_closed_stdin_does_not_break_the_conversation(bench: Bench) -> None:
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'exec "$0" <&-', str(bench.masquerade.directory / "tool")],
        env=bench.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    conversation = bench.conductor.accept()
    conversation.send(wire.encode_done(0, b"lost", b"lost"))
    assert conversation.receive() == wire.Delivered(0)
    assert conversation.connection.recv(100) == b""
    assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_tool_with_a_closed_stream_is_executed_itself(bench: Bench, closed: str) -> None:
    """Nobody answers: one that called would wait."""
    process = subprocess.Popen(
        ["/bin/sh", "-c", f'exec "$0" {closed}', str(bench.masquerade.directory / "tool")],
        env=bench.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    process.wait(PATIENCE)


def test_after_a_rename_that_fails_another_answer_is_taken(bench: Bench) -> None:
    (bench.directory / "t1").write_text("1")
    (bench.directory / "t3").write_text("3")
    process = bench.start("tool")
    conversation = bench.conductor.accept()
    conversation.send(wire.encode_done(0, b"out", b"err", [("t1", "a"), ("t2", "b"), ("t3", "c")]))
    assert conversation.receive() == wire.Delivered(errno.ENOENT)
    assert sorted(path.name for path in bench.directory.iterdir()) == ["a", "stdin", "t3"]
    conversation.send(b"R")
    assert conversation.receive() == wire.Ended(0)
    conversation.send(b"K")
    assert end(process) == REAL


# --- a conductor that is killed ---

DONE = wire.encode_done(0, b"out", b"err", [("t", "a.o")])


def _say(data: bytes) -> Callable[[Conductor], object]:
    def act(conductor: Conductor) -> None:
        conductor.accept().send(data)

    return act


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda conductor: conductor.listener.accept(), id="before it read the call"),
        pytest.param(lambda conductor: conductor.listener.accept()[0].recv(20), id="in the middle of the call"),
        pytest.param(lambda conductor: conductor.accept(), id="before an answer"),
        pytest.param(_say(b"?"), id="after junk"),
        *(pytest.param(_say(DONE[:cut]), id=f"{cut} bytes into an answer") for cut in (1, 9, 17, 19, len(DONE) - 1)),
    ],
)  # fmt: skip
def test_killed_before_a_whole_answer_it_leaves_the_real_tool(bench: Bench, act: Callable[[Conductor], object]) -> None:
    (bench.directory / "t").write_text("object")
    more = {f"VARIABLE{number}": "z" * 1000 for number in range(400)}  # more than a socket's buffer
    conductor = bench.conductor.die_after(act)
    process = bench.start("tool", environment=bench.environment(**more))
    assert end(process) == REAL
    assert not (bench.directory / "a.o").exists()
    os.waitpid(conductor, 0)


def test_killed_while_the_call_waits_in_the_backlog_it_leaves_the_real_tool(bench: Bench) -> None:
    process = bench.start("tool")
    bench.conductor.die_after(lambda conductor: conductor.accept())
    assert end(process) == REAL


def test_killed_after_run_it_leaves_the_tools_status(bench: Bench) -> None:
    bench.conductor.die_after(_say(b"R"))
    assert end(bench.start("tool", "3")) == (3, b"the real tool\n", b"")


def test_killed_before_release_it_leaves_the_tools_status(bench: Bench) -> None:
    def act(conductor: Conductor) -> None:
        conversation = conductor.accept()
        conversation.send(b"R")
        conversation.receive()

    bench.conductor.die_after(act)
    assert end(bench.start("tool", "3")) == (3, b"the real tool\n", b"")


def test_killed_after_a_whole_answer_it_leaves_that(bench: Bench) -> None:
    (bench.directory / "t").write_text("object")
    bench.conductor.die_after(_say(DONE))
    assert end(bench.start("tool")) == (0, b"out", b"err")
    assert (bench.directory / "a.o").read_text() == "object"


def test_killed_after_an_answer_that_can_not_be_installed_it_leaves_the_real_tool(bench: Bench) -> None:
    bench.conductor.die_after(_say(DONE))
    assert end(bench.start("tool")) == REAL


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be someone else")
def test_a_conductor_of_another_user_is_not_believed(bench: Bench) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:  # pytest's own can't be entered by others
        os.chown(directory, 65534, 65534)
        os.seteuid(65534)
        try:
            theirs = Conductor(Path(directory) / "s")
        finally:
            os.seteuid(0)
        environment = bench.environment(BUILDFARM_SOCKET=str(theirs.path))
        assert end(bench.start("tool", environment=environment)) == REAL
        theirs.close()


# --- the tool's words in a file ---


def _capture(bench: Bench, *words: str) -> tuple[subprocess.Popen[bytes], Conversation, Path]:
    """Let a `tool` whose stderr goes to a file begin."""
    (bench.tools / "talk").write_text(
        "#!/bin/sh\nprintf 'a\\0b\\377\\n' >&2; printf out; echo more >&2; exit ${1:-0}\n"
    )
    (bench.tools / "talk").chmod(0o755)
    link = bench.masquerade.directory / "talk"
    if not link.exists():
        link.symlink_to(bench.masquerade.directory / "tool")
    process = bench.start("talk", *words)
    conversation = bench.conductor.accept()
    file = bench.directory / "words"
    conversation.send(wire.encode_capture(str(file)))
    return process, conversation, file


WORDS = b"a\0b\xff\nmore\n"


def test_the_tools_words_are_in_the_file_and_then_on_stderr_to_the_byte(bench: Bench) -> None:
    process, conversation, file = _capture(bench, "3")
    assert conversation.receive() == wire.Ended(3 << 8)
    assert file.read_bytes() == WORDS
    conversation.send(wire.RELEASE)
    assert end(process) == (3, b"out", WORDS)
    assert not file.exists()


def test_when_the_conductor_dies_the_words_are_on_stderr_all_the_same(bench: Bench) -> None:
    process, conversation, file = _capture(bench)
    conversation.receive()
    conversation.connection.close()
    assert end(process) == (0, b"out", WORDS)
    assert not file.exists()


def test_a_file_that_cannot_be_made_leaves_the_words_where_they_belong(bench: Bench) -> None:
    process = bench.start("tool")
    conversation = bench.conductor.accept()
    conversation.send(wire.encode_capture("/nonexistent/words"))
    assert conversation.receive() == wire.Ended(0)
    conversation.send(wire.RELEASE)
    assert end(process) == REAL


def test_on_a_terminal_there_is_no_file(bench: Bench, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["tool"],
        executable=bench.masquerade.directory / "tool",
        env=bench.environment(),
        cwd=bench.directory,
        stdout=subprocess.DEVNULL,
        stderr=slave,
    )
    conversation = bench.conductor.accept()
    conversation.send(wire.encode_capture(str(tmp_path / "words")))
    assert conversation.receive() == wire.Ended(0)
    assert not (tmp_path / "words").exists()
    conversation.send(wire.RELEASE)
    assert process.wait(PATIENCE) == 0
    os.close(master)
    os.close(slave)


def test_a_stub_that_is_killed_leaves_the_words_in_the_file(bench: Bench) -> None:
    process, conversation, file = _capture(bench)
    conversation.receive()
    process.kill()
    end(process)
    assert file.read_bytes() == WORDS


def test_half_an_answer_with_a_file_leaves_the_real_tool(bench: Bench, tmp_path: Path) -> None:
    process = bench.start("tool")
    conversation = bench.conductor.accept()
    conversation.send(wire.encode_capture(str(tmp_path / "words"))[:9])
    conversation.connection.close()
    assert end(process) == REAL
