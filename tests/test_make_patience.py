"""A dry run ends when it has used its processor time, or uses none; a busy machine ends none."""

from __future__ import annotations

import subprocess

import pytest

from buildfarm.make.patience import Patience, processor_time


def looks(*times: tuple[float, float]) -> list[object]:
    """What a patience of 60 s says at each look: elapsed, used."""
    patience = Patience(60)
    return [pytest.approx(patience.left(*at)) for at in times]


def test_who_shares_the_processors_with_many_gets_the_time_that_is_left() -> None:
    assert looks((60, 10), (110, 12), (158, 59), (164, 60)) == [50, 48, 6, 0]


def test_who_only_waits_is_ended() -> None:
    assert looks((60, 0.05)) == [0]
    assert looks((60, 30), (90, 30.2)) == [30, 0]


def test_who_has_lost_the_time_of_a_process_that_nobody_waited_for_has_got_on() -> None:
    assert looks((60, 40), (80, 35)) == [20, 25]


def test_who_does_a_little_for_ever_is_ended() -> None:
    patience = Patience(60)
    elapsed = 60.0
    while left := patience.left(elapsed, elapsed / 50):
        elapsed += left
    assert 600 <= elapsed < 610


def test_the_time_of_a_session_is_that_of_all_its_processes() -> None:
    def busy(seconds: float) -> str:
        return f"python3 -c 'import time\nwhile time.process_time() < {seconds}: pass'"

    def session(first: float, second: float) -> subprocess.Popen[bytes]:
        words = ["sh", "-c", f"{busy(first)}; ({busy(second)}) & wait; echo; read _"]
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, bufsize=0)

    with session(0.2, 0.3) as one, session(2, 0.1) as other:
        for process in (one, other):
            assert process.stdout is not None and process.stdin is not None
            process.stdout.read(1)
        assert 0.48 <= processor_time(one.pid) < 2 <= processor_time(other.pid)
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.close()
