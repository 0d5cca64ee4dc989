"""Recipe lines, and the tool calls that a shell would make of them."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.graph.shell import parse

ENVIRONMENT = {"DIRS": "p q", "FLAGS": "-a  -b", "EMPTY": ""}


def calls(line: str) -> list[tuple[str, str]]:
    """(words, directory) of every command."""
    return [(" ".join(c.argv), c.cwd) for c in parse(line, "/w", ENVIRONMENT).commands]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gcc -c a.c -o a.o", [("gcc -c a.c -o a.o", "/w")]),
        ("cd sub && gcc -c a.c", [("gcc -c a.c", "/w/sub")]),
        ("cd sub; cd ../lib; make", [("make", "/w/lib")]),
        ("(cd sub; make) && make", [("make", "/w/sub"), ("make", "/w")]),
        ("{ cd sub; make; }; make", [("make", "/w/sub"), ("make", "/w/sub")]),
        ("cd /abs/./x && make", [("make", "/abs/x")]),
        ("gcc $FLAGS a.c", [("gcc -a -b a.c", "/w")]),
        ("gcc $EMPTY $UNSET a.c", [("gcc a.c", "/w")]),
        ("gcc -c \\\n  a.c # why", [("gcc -c a.c", "/w")]),
        ("gcc a.c > log 2>&1 < x", [("gcc a.c", "/w")]),
        ("gcc a.c 2>&1 | tee log", [("gcc a.c", "/w"), ("tee log", "/w")]),
        ("/bin/sh -c 'cd q && gcc z.c'", [("gcc z.c", "/w/q")]),
        ("for d in a b; do make -C $d; done", [("make -C a", "/w"), ("make -C b", "/w")]),
        ("for d in $DIRS; do (cd $d && make); done", [("make", "/w/p"), ("make", "/w/q")]),
        ("for d in $DIRS; do cd $d; make; cd ..; done", [("make", "/w/p"), ("make", "/w/q")]),
        ("for d in ; do make; done; gcc a.c", [("gcc a.c", "/w")]),
        ("exec gcc a.c", [("gcc a.c", "/w")]),
        ("B=x; gcc ${B}.c", [("gcc x.c", "/w")]),
    ],
)
def test_calls_are_found_with_their_directory(line: str, expected: list[tuple[str, str]]) -> None:
    script = parse(line, "/w", ENVIRONMENT)
    assert [(" ".join(c.argv), c.cwd) for c in script.commands] == expected
    assert script.opaque == ()
    assert all(command.certain for command in script.commands)


@pytest.mark.parametrize(
    ("line", "writing"),
    [
        ("echo a; echo b >f; echo c 2>&1", ["echo b"]),
        ("echo a >/dev/null 2>&1; echo b >>f; echo c 2>f; echo d <f", ["echo b", "echo c"]),
        ("{ echo a; echo b; } >f; (echo c) >&f; (echo d) >/dev/null", ["echo a", "echo b", "echo c"]),
        ("for i in a b; do echo $i; done >f; if echo c; then echo d; fi", ["echo a", "echo b"]),
        ("if echo c; then echo d; fi >f; sh -c 'echo e' >f; sh -c 'echo g'", ["echo c", "echo d", "echo e"]),
        ("echo '>'; : >f; >f", [":", ":"]),
    ],
)
def test_commands_whose_output_goes_to_a_file_are_known(line: str, writing: list[str]) -> None:
    script = parse(line, "/w", ENVIRONMENT)
    assert [" ".join(command.argv) for command in script.commands if command.writes] == writing
    assert script.opaque == ()


def test_quotes_are_taken_off() -> None:
    (command,) = parse(r"""gcc -DV=\"1\" '-DW="a b"' "-I$FLAGS" a\ b.c""", "/w", ENVIRONMENT).commands
    assert command.argv == ("gcc", '-DV="1"', '-DW="a b"', "-I-a  -b", "a b.c")


def test_prefixes_and_exports_are_the_command_s_environment() -> None:
    script = parse("export A=1; B='2 3' gcc a.c; env C=4 gcc b.c", "/w", {})
    assert [dict(command.environment) for command in script.commands] == [
        {"A": "1", "B": "2 3"},
        {"A": "1", "C": "4"},
    ]


@pytest.mark.parametrize(
    ("line", "uncertain"),
    [
        ("test -f x || gcc x.c", "gcc"),
        ("[ -d x ] && make -C x", "make"),
        ("if test -d x; then make -C x; fi", "make"),
        ("if a; then b; elif c; then make; fi", "make"),
        ("if a; then b; else make; fi", "make"),
        ("! cmp a b && make", "make"),
    ],
)
def test_what_the_line_may_skip_is_not_certain(line: str, uncertain: str) -> None:
    by_name = {command.argv[0]: command for command in parse(line, "/w", {}).commands}
    assert not by_name[uncertain].certain


def test_what_follows_a_doubtful_command_is_certain_again() -> None:
    commands = parse("test -d x && make -C x; make -C y", "/w", {}).commands
    assert [(c.argv[-1], c.certain) for c in commands] == [("x", True), ("x", False), ("y", True)]


@pytest.mark.parametrize(
    "line",
    [
        "gcc `date`.c",
        "gcc $(ls)",
        "gcc *.c",
        "gcc ${x:-y}.c",
        "for f in *.c; do gcc $f; done",
        "for f in $(ls); do gcc $f; done",
        "while read f; do gcc $f; done",
        "case $x in a) gcc a.c;; esac",
        "cd `pwd` && gcc a.c",
        "a=`date`; gcc $a.c",
        "cat <<EOF\ngcc a.c\nEOF",
        "f() { gcc a.c; }",
        "eval gcc a.c",
    ],
)
def test_what_can_t_be_known_is_opaque(line: str) -> None:
    script = parse(line, "/w", {})
    assert not any(command.argv[0] == "gcc" for command in script.commands)
    assert script.opaque


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gcc -c `x-config --cflags` a.c", ["gcc", "-c", "-I/a", "-DB", "a.c"]),
        ("gcc -c $(x-config --cflags) a.c", ["gcc", "-c", "-I/a", "-DB", "a.c"]),
        ('gcc -c "$(x-config --cflags)" a.c', ["gcc", "-c", "-I/a -DB", "a.c"]),
        ("gcc -c -DV=`x-config --cflags`x a.c", ["gcc", "-c", "-DV=-I/a", "-DBx", "a.c"]),
        ("F=`x-config --cflags`; gcc -c $F a.c", ["gcc", "-c", "-I/a", "-DB", "a.c"]),
        ("sh -c 'gcc -c `x-config --cflags` a.c'", ["gcc", "-c", "-I/a", "-DB", "a.c"]),
    ],
)
def test_what_a_command_prints_stands_in_its_place(line: str, words: list[str]) -> None:
    asked: list[tuple[str, str, dict[str, str]]] = []

    def ask(command: str, cwd: str, exported: Mapping[str, str]) -> str:
        asked.append((command, cwd, dict(exported)))
        return "-I/a -DB"

    script = parse(f"export Q=1; cd sub; {line}", "/w", {}, ask=ask)
    assert list(script.commands[-1].argv) == words
    assert script.opaque == ()
    assert asked == [("x-config --cflags", "/w/sub", {"Q": "1"})]


def test_arithmetic_is_asked_of_nobody() -> None:
    script = parse("gcc -c a$((1 + 1)).c", "/w", {}, ask=lambda *_: pytest.fail("asked"))
    assert script.opaque == ("gcc -c a$((1 + 1)).c",)


def test_an_opaque_command_leaves_the_others_alone() -> None:
    assert calls("echo `date` > x; gcc b.c") == [("gcc b.c", "/w")]
    assert calls("for f in *.c; do gcc $f; done; gcc after.c") == [("gcc after.c", "/w")]


def test_a_loop_without_end_is_given_up() -> None:
    words = " ".join(["x"] * 200)
    line = f"for a in {words}; do for b in {words}; do for c in {words}; do :; done; done; done"
    assert len(parse(line, "/w", {}).commands) < 100_000


@given(st.lists(st.text(alphabet="ab '\"\\$`*?~#;&|<>(){}=\n!", max_size=8), min_size=1, max_size=5))
def test_quoted_words_come_back(words: list[str]) -> None:
    line = " ".join(["gcc", *map(shlex.quote, words)])
    (command,) = parse(line, "/w", {}).commands
    assert command.argv == ("gcc", *words)


@given(st.text(alphabet="ab \t\n;&|(){}<>'\"\\$`=#*!fordinthesac", max_size=60))
def test_strange_lines_never_raise(line: str) -> None:
    parse(line, "/w", {})


@pytest.mark.parametrize(
    "line",
    [
        "printf '%s\\n' $V \"$V\" '$V' a$V\"b\" \\$V",
        "cd / && printf '%s\\n' \"a\\\"b\" 'c\\d' e\\\nf",
        "for i in 1 '2 3' $V; do printf '%s\\n' \"$i\" x$i; done",
        "V=5; printf '%s\\n' $V; (V=6; printf '%s\\n' $V); printf '%s\\n' $V",
        "A=$V; printf '%s\\n' \"$A\" ${A}z; if true; then printf '%s\\n' q; fi",
    ],
)
def test_words_are_those_of_the_real_shell(line: str) -> None:
    environment = {"V": " x  y ", "PATH": "/usr/bin:/bin"}
    real = subprocess.run(["sh", "-c", line], env=environment, capture_output=True, text=True, check=True)
    printed = [c.argv[2:] for c in parse(line, "/", environment).commands if c.argv[0] == "printf"]
    assert "".join(f"{word}\n" for words in printed for word in words) == real.stdout


WORDS = st.text("abcXYZ01_@%+:,./-=", min_size=1, max_size=6) | st.sampled_from(
    ["gcc", "cd", "exec", "env", "sh", "-c", "test", "if", "for", "done", "export", ".", "make", "A=b", "/bin/sh"]
)


@given(st.lists(WORDS, min_size=1, max_size=5))
def test_plain_words_come_to_the_same_by_the_short_way_and_the_long_one(words: list[str]) -> None:
    line = " ".join(words)
    long_way = parse(f"{line} ;", "/w", ENVIRONMENT)  # a semicolon is for the shell to read
    assert parse(line, "/w", ENVIRONMENT).commands == long_way.commands
