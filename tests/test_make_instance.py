"""The MAKEFLAGS of an environment, as far as -j and the order of goals go."""

from __future__ import annotations

import pytest

from buildfarm.make.instance import flags_in_order, jobs_of


@pytest.mark.parametrize(
    ("flags", "jobs"),
    [
        ("", None),
        ("k", None),
        ("-j4", 4),
        ("-k -j", 0),
        ("j3", 3),
        ("--jobs=2 -- A=-j9", 2),
        ("A=-j9", None),
        ("w -j8 --jobserver-auth=3,4", None),
        ("--no-such-option -j2", None),
    ],
)
def test_the_users_makeflags_say_how_many_jobs(flags: str, jobs: int | None) -> None:
    assert jobs_of({"MAKEFLAGS": flags}) == jobs


def test_makeflags_stand_above_gnumakeflags() -> None:
    assert jobs_of({"GNUMAKEFLAGS": "-j2"}) == 2
    assert jobs_of({"GNUMAKEFLAGS": "-j2", "MAKEFLAGS": "-j3"}) == 3


@pytest.mark.parametrize(
    ("flags", "alone"),
    [
        (" -j8 --jobserver-auth=3,4", ""),  # 4.2 and 4.3
        ("kw -j8 --jobserver-auth=fifo:/tmp/GMfifo7 --no-print-directory", "kw --no-print-directory"),  # 4.4
        ("k -j8 --jobserver-fds=3,4 -j -- A=x\\ -j8\\ y B=\\ --\\ ", "k -- A=x\\ -j8\\ y B=\\ --\\ "),
    ],
)
def test_several_goals_leave_the_callers_job_server(flags: str, alone: str) -> None:
    assert flags_in_order(("make", "clean", "all"), {"MAKEFLAGS": flags}) == alone


@pytest.mark.parametrize("words", [("all",), (), ("-j2", "clean", "all"), ("clean", "A=all"), ("--nonsense", "a", "b")])
def test_one_goal_or_its_own_jobs_change_nothing(words: tuple[str, ...]) -> None:
    assert flags_in_order(("make", *words), {"MAKEFLAGS": " -j8 --jobserver-auth=3,4"}) is None


def test_without_a_job_server_nothing_is_changed() -> None:
    assert flags_in_order(("make", "clean", "all"), {"MAKEFLAGS": "k"}) is None
    assert flags_in_order(("make", "clean", "all"), {}) is None
