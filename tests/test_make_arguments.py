"""make's command line is taken apart as GNU make itself does it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from buildfarm.errors import UsageError
from buildfarm.make.arguments import UNLIMITED_JOBS, Definition, MakeArguments, parse, parse_definition


def split(line: str) -> MakeArguments:
    return parse(line.split())


@pytest.mark.parametrize(
    ("line", "jobs", "goals"),
    [
        ("x", None, ("x",)),
        ("-j", UNLIMITED_JOBS, ()),
        ("-j x", UNLIMITED_JOBS, ("x",)),
        ("-j4 x", 4, ("x",)),
        ("-j 4 x", 4, ("x",)),
        ("-kj4 x", 4, ("x",)),
        ("-kj 4 x", 4, ("x",)),
        ("-j 4x", UNLIMITED_JOBS, ("4x",)),
        ("--jobs", UNLIMITED_JOBS, ()),
        ("--jobs=4", 4, ()),
        ("--jobs 4 x", 4, ("x",)),
        ("-j2 -j8", 8, ()),
        ("-j2 -j", UNLIMITED_JOBS, ()),
        ("-l -j4 3", 4, ("3",)),
    ],
)
def test_jobs(line: str, jobs: int | None, goals: tuple[str, ...]) -> None:
    arguments = split(line)
    assert (arguments.jobs, arguments.goals) == (jobs, goals)


def test_directories_follow_one_another() -> None:
    assert split("all").directory == "."
    assert split("-C a -C b").directory == "a/b"
    assert split("-Ca --directory=b --directory c").directory == "a/b/c"
    assert split("-C a -C /b -kC c").directory == "/b/c"


def test_makefiles_are_listed_and_stdin_is_noticed() -> None:
    arguments = split("-f a.mk --file b.mk --makefile=c.mk -kfd.mk")
    assert arguments.makefiles == ("a.mk", "b.mk", "c.mk", "d.mk")
    assert not arguments.reads_stdin
    assert split("-f -").reads_stdin


@pytest.mark.parametrize(
    "line",
    [
        "-I inc x", "-o old x", "-W new x", "-E a=b x", "--eval a=b x", "--eval=a=b x", "--what-if new x",
        "--assume-old=old x", "-Oline x", "-O x", "--output-sync x", "-l 2.5 x", "-l .5 x", "-l2 x", "-l x",
        "--load-average=3 x", "--max-load 3 x", "--debug x", "--debug=b x", "--shuffle x", "--shuffle=reverse x",
        "--jobserver-auth=3,4 x", "--jobserver-style fifo x", "--no-pr x", "--trace x", "- x",
        "--warn-undefined-variables x",
    ],
)  # fmt: skip
def test_an_operand_is_never_a_goal(line: str) -> None:
    arguments = split(line)
    assert arguments.goals == ("x",)
    assert arguments.make_words == tuple(line.split())
    assert not arguments.definitions


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-C a -kj4 x -f m V=1", "-k -f m x V=1"),
        ("-kC a x", "-k x"),
        ("x -j 3 -k", "-k x"),
        ("--jobs 3 -- -k", "-- -k"),
        ("-l -j4 3", "-l -- 3"),
        ("-kiw --jobs", "-k -i -w"),
        ("-bBdeikLmprRsSw x", "-b -B -d -e -i -k -L -m -p -r -R -s -S -w x"),
    ],
)
def test_make_gets_all_but_directory_and_jobs(line: str, words: str) -> None:
    assert " ".join(split(line).make_words) == words


@pytest.mark.parametrize("line", ["-C a -kj4 x -f m V=1 -l -j4 3", "-l 3 -- -x a=b -", "-I a -O --eval b=c d"])
def test_the_words_for_make_mean_the_same(line: str) -> None:
    first = split(line)
    second = parse(first.make_words)
    assert (second.goals, second.variables, second.flags, second.makefiles, second.load) == (
        first.goals,
        first.variables,
        first.flags,
        first.makefiles,
        first.load,
    )


def test_after_two_dashes_nothing_is_an_option() -> None:
    arguments = split("-k -- -j A=1 -x")
    assert (arguments.goals, arguments.variables, arguments.jobs) == (("-j", "-x"), {"A": "1"}, None)


@pytest.mark.parametrize("word", ["-n", "--dry-run", "--just-print", "--recon", "-q", "-t", "-v", "--help", "-kn"])
def test_a_make_that_runs_no_recipe_is_noticed(word: str) -> None:
    assert parse([word]).dry_run


def test_the_last_of_opposites_counts() -> None:
    assert split("-S -k").keep_going
    assert not split("-k --stop").keep_going
    assert split("-l 2.5 -l").load is None
    assert split("-l2.5").load == 2.5


@pytest.mark.parametrize(
    "words",
    [["-y"], ["--nonsense"], ["--print"], ["-C"], ["-C", ""], ["-f"], ["-j0"], ["-j4k"], ["-j=4"], ["--jobs="],
     ["-j", ""], ["-W"], ["--silent=yes"], ["-n3"], ["--eval"]],
)  # fmt: skip
def test_what_make_would_refuse_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        parse(words)


DEFINITIONS = [
    ("a=b", Definition("a", "=", "b")),
    ("a:=b", Definition("a", ":=", "b")),
    ("a::=b", Definition("a", "::=", "b")),
    ("a+=b", Definition("a", "+=", "b")),
    ("a?=b", Definition("a", "?=", "b")),
    ("a!=echo b", Definition("a", "!=", "echo b")),
    (" a = b c", Definition("a", "=", "b c")),
    ("a\t?=b", Definition("a", "?=", "b")),
    ("a=", Definition("a", "=", "")),
    ("a==b", Definition("a", "=", "=b")),
    ("a+b=c", Definition("a+b", "=", "c")),
    ("a?b=c", Definition("a?b", "=", "c")),
    ("a!b=c", Definition("a!b", "=", "c")),
    ("$(x =)y=c", Definition("$(x =)y", "=", "c")),
    ("a:b=c", None),
    ("a:b", None),
    ("a b=c", None),
    ("a : =c", None),
    ("a ! =c", None),
    ("a#b=c", None),
    ("#=c", None),
    ("${a=b}", None),
    ("a$=b", None),
    ("a", None),
    ("", None),
]


@pytest.mark.parametrize(("word", "definition"), DEFINITIONS)
def test_definitions_are_told_from_goals(word: str, definition: Definition | None) -> None:
    assert parse_definition(word) == definition


@pytest.mark.parametrize(("word", "definition"), [case for case in DEFINITIONS if case[0]])
def test_make_tells_definitions_from_goals_likewise(word: str, definition: Definition | None, tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("$(info [$(MAKEOVERRIDES)])\nall:;@:\n%:;@:\n")
    result = subprocess.run(
        ["make", "-R", word],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert (result.stdout.splitlines()[0] != "[]") == (definition is not None), result


def test_the_last_definition_gives_the_value() -> None:
    assert split("A=1 B:=2 A=3").variables == {"A": "3", "B": "2"}
