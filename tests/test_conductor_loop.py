"""A build that is stopped and continued: the clock of deadlines stands still meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from buildfarm.conductor import loop
from tests.farm import PATIENCE, Farm, wait_until
from tests.tool import Running, environment

TIMED = """
import asyncio, sys
from buildfarm.conductor.loop import Loop

async def wait():
    loop = asyncio.get_running_loop()
    answer = loop.create_future()
    loop.add_reader(0, lambda: answer.done() or answer.set_result(sys.stdin.readline()))
    loop.call_later(0.2, lambda: print("ready", flush=True))
    async with asyncio.timeout(3):
        await answer

with asyncio.Runner(loop_factory=Loop) as runner:
    runner.run(wait())
"""


def test_a_deadline_that_passed_while_the_process_was_stopped_has_not_passed() -> None:
    with subprocess.Popen([sys.executable, "-c", TIMED], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            state = Path(f"/proc/{process.pid}/stat")
            wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "S", "the loop to wait")
            process.send_signal(signal.SIGSTOP)
            process.stdin.write(b"answer\n")
            process.stdin.flush()
            time.sleep(6)
            process.send_signal(signal.SIGCONT)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def test_time_that_the_loop_waits_for_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STANDSTILL", 0.05)

    async def elapsed() -> float:
        begun = loop.now()
        await asyncio.sleep(0.2)
        return loop.now() - begun

    with asyncio.Runner(loop_factory=loop.Loop) as runner:
        assert runner.run(elapsed()) >= 0.2


def test_work_that_holds_the_loop_up_is_a_standstill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STANDSTILL", 0.05)

    async def elapsed() -> float:
        begun = loop.now()
        time.sleep(0.3)
        await asyncio.sleep(0)
        return loop.now() - begun

    with asyncio.Runner(loop_factory=loop.Loop) as runner:
        assert runner.run(elapsed()) < 0.2


def test_a_timer_that_is_set_right_after_a_standstill_is_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STANDSTILL", 0.05)

    async def slept() -> float:
        await asyncio.sleep(0)
        time.sleep(4.0)  # as if stopped in the middle of a callback
        woken = time.monotonic()
        await asyncio.sleep(0.01)
        return time.monotonic() - woken

    with asyncio.Runner(loop_factory=loop.Loop) as runner:
        assert any(runner.run(slept()) < 3 for _ in range(5)), "and not for another standstill"


def test_the_clock_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STANDSTILL", 0.05)

    async def times() -> list[float]:
        found = []
        for seconds in (0.0, 0.04, 0.03, 0.2, 0.0, 0.1):
            time.sleep(seconds)
            found.append(loop.now())
            await asyncio.sleep(0)
            found.append(loop.now())
        return found

    with asyncio.Runner(loop_factory=loop.Loop) as runner:
        found = runner.run(times())
    assert found == sorted(found)


def test_a_build_that_is_stopped_and_continued_finds_no_node_late(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(
        "all: a.o b.o c.o d.o\na.o b.o c.o d.o: gate\ngate: first.o\n\tuntil test -e shut; do sleep 0.1; done\n"
    )
    for name in ("first", "a", "b", "c", "d"):
        (tmp_path / f"{name}.c").write_text(f"int {name};\n")
    with Farm(1, 4, gated=True) as farm:
        words = ("run", "-C", str(tmp_path), "--hosts", farm.hosts, "--no-lookahead")
        with Running(words, environment(DISTCC_IO_TIMEOUT="12")) as build:
            wait_until((tmp_path / "first.o").exists, "the first unit")
            farm.close_gate()
            (tmp_path / "shut").touch()
            farm.wait_started(5)
            os.killpg(build.process.pid, signal.SIGSTOP)
            time.sleep(13)
            farm.open_gate()
            farm.wait_compiles(5)
            os.killpg(build.process.pid, signal.SIGCONT)
            result = build.wait()
    assert result.code == 0
    assert "(5 on nodes)" in result.stderr, result.stderr
    assert "down" not in result.stderr and "attempt" not in result.stderr
