"""Which commands in a recipe line only ask something, and what a plan asks."""

from __future__ import annotations

import pytest

from buildfarm.graph.questions import Question, Questions, only_asks


@pytest.mark.parametrize(
    "command",
    [
        "nf-config --fflags",
        "/usr/bin/nc-config --cflags --libs",
        "pkg-config --cflags glib-2.0 2>/dev/null",
        "pkg-config --cflags $LIBRARY",
        "python3-config --includes",
        "llvm-config-15 --cxxflags",
        "git rev-parse HEAD",
        "cd ../config && cat flags",
        "uname -s | tr A-Z a-z",
        "hostname -s",
        "(cat flags 2>/dev/null)",
        "grep VERSION= version.sh | sed 's/.*=//'",
        "test -f x.h && echo -DX || echo -DY",
    ],
)
def test_questions(command: str) -> None:
    assert only_asks(command, "/w", {"LIBRARY": "x"})


@pytest.mark.parametrize(
    "command",
    [
        "date",
        "hostname farm",
        "hostname -F name",
        "cat flags >/dev/null.txt",
        "make -s flags",
        "./flags.sh",
        "cat flags >copy",
        "nf-config --fflags | tee log",
        "sed -i s/a/b/ flags",
        "sed -n 's/a/b/w copy' flags",
        "git pull",
        "git",
        "nf-config --fflags; rm flags",
        "cat *.flags",
        "echo `date`",
        "",
    ],
)
def test_what_may_do_something_or_says_something_else_each_time_is_none(command: str) -> None:
    assert not only_asks(command, "/w", {})


def test_a_question_is_asked_once_and_then_known() -> None:
    questions = Questions()
    assert questions("nf-config --fflags", "/w", {"A": "1"}) is None
    assert questions("date", "/w", {}) is None
    question = Question("nf-config --fflags", "/w", frozenset({("A", "1")}))
    assert [*questions.taken()] == [[question]] and not questions.open
    questions.answers[question] = "-I/usr/include"
    assert questions("nf-config --fflags", "/w", {"A": "1"}) == "-I/usr/include"
    assert questions("nf-config --fflags", "/elsewhere", {"A": "1"}) is None
    assert questions("nf-config --fflags", "/w", {"A": "2"}) is None
    assert questions("uname", "/w", {"A": "2"}) is None
    assert [[asked.command for asked in together] for together in questions.taken()] == [
        ["nf-config --fflags"],
        ["nf-config --fflags", "uname"],
    ]
