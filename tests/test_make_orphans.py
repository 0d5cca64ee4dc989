"""What a dead build left running is found by its token and ended, and nothing else is."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from buildfarm.make import orphans

PATIENCE = 200.0  # seconds, half of them for SIGTERM: whoever is ended sooner is not waited for
DEAF = "import signal; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; print('up', flush=True); signal.pause()"
PLAIN = "import signal; print('up', flush=True); signal.pause()"
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-ISE", "-c", sys.argv[1]], env={}, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture
def token() -> str:
    return secrets.token_hex(8)


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def start(started: list[subprocess.Popen[str]], token: str | None, *words: str) -> tuple[int, str]:
    """A process of the build `token` that is up; its pid and first line."""
    environment = {} if token is None else {"BUILDFARM_TOKEN": token}
    process = subprocess.Popen(
        [sys.executable, "-ISE", "-c", *words], env=environment, stdout=subprocess.PIPE, text=True
    )
    started.append(process)
    assert process.stdout is not None
    return process.pid, process.stdout.readline().strip()


def test_processes_of_the_build_are_found_and_no_others(token: str, started: list[subprocess.Popen[str]]) -> None:
    mine, _ = start(started, token, PLAIN)
    start(started, None, PLAIN)
    start(started, token + "0", PLAIN)
    assert orphans.find(token) == [mine]


def test_a_child_that_dropped_its_environment_is_found(token: str, started: list[subprocess.Popen[str]]) -> None:
    parent, child = start(started, token, PARENT, PLAIN)
    assert orphans.find(token) == sorted([parent, int(child)])
    assert orphans.end(token, 20) == []
    assert orphans.find(token) == []


def test_they_are_ended_by_sigterm(token: str, started: list[subprocess.Popen[str]]) -> None:
    start(started, token, PLAIN)
    assert orphans.end(token, PATIENCE) == []
    assert started[0].wait(5) == -signal.SIGTERM


def test_a_stopped_one_is_ended_too(token: str, started: list[subprocess.Popen[str]]) -> None:
    pid, _ = start(started, token, PLAIN)
    os.kill(pid, signal.SIGSTOP)
    assert orphans.end(token, PATIENCE) == []
    assert started[0].wait(5) == -signal.SIGTERM


def test_who_ignores_sigterm_is_killed_in_bounded_time(token: str, started: list[subprocess.Popen[str]]) -> None:
    start(started, token, DEAF)
    assert orphans.end(token, 0.2) == []
    assert started[0].wait(5) == -signal.SIGKILL


def test_a_corpse_is_not_waited_for(token: str, started: list[subprocess.Popen[str]]) -> None:
    pid, _ = start(started, token, PLAIN)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert orphans.find(token) == []
    assert orphans.start_time(pid) is None


def test_we_and_our_ancestors_are_never_among_them(token: str) -> None:
    script = (
        "import os, sys; from buildfarm.make import orphans;"
        "print(orphans.find(sys.argv[1]), orphans.end(sys.argv[1], 1))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, token],
        env={**os.environ, "BUILDFARM_TOKEN": token},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "[] []\n"


def test_start_times_tell_processes_apart(token: str, started: list[subprocess.Popen[str]]) -> None:
    pid, _ = start(started, token, PLAIN)
    assert orphans.start_time(pid) == orphans.start_time(pid) is not None
    assert orphans.start_time(pid) != orphans.start_time(os.getpid())
