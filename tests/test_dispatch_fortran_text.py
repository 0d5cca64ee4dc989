"""Included files are put into a text so that the compiler sees what it would have read, line numbers and all."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.dispatch.fortran_text import with_includes
from buildfarm.dispatch.prepared import CannotTravel

MARKER = re.compile(rb'# (\d+) "([^"]*)"')


def positions(text: bytes, name: bytes) -> list[tuple[bytes, int, bytes]]:
    """(file, line number, line) of every line that is not a marker, as f951 counts."""
    number, seen = 1, []
    for line in text.split(b"\n"):
        if marker := MARKER.match(line):
            number, name = int(marker[1]), marker[2]
        else:
            seen.append((name, number, line))
            number += 1
    return seen


def test_a_file_is_framed_by_markers_with_the_name_as_written() -> None:
    text = b"subroutine s\n  INCLUDE 'a.inc'  ! why\nend\n"
    whole = with_includes(text, b"src/s.f90", lambda name: b"integer :: i\n")
    assert whole == b'subroutine s\n# 1 "a.inc" 1\ninteger :: i\n# 3 "src/s.f90" 2\nend\n'


def test_markers_of_the_preprocessor_are_counted_from() -> None:
    text = b'# 1 "s.F90"\n# 1 "<built-in>"\n# 1 "s.F90"\na\n# 1 "x.h" 1\nx\ninclude "i"\ny\n# 3 "s.F90" 2\nb\n'
    whole = with_includes(text, b"s.F90", lambda name: b"i")
    assert (b"x.h", 3, b"y") in positions(whole, b"s.F90")
    assert (b"s.F90", 3, b"b") in positions(whole, b"s.F90")
    assert (b"i", 1, b"i") in positions(whole, b"s.F90")


@pytest.mark.parametrize(
    "line",
    [
        b"x = include",
        b"! include 'a'",
        b"include 'a' // b",
        b"include a",
        b"#include 'a'",
        b"!$ include 'a'",
        b"include ''",
    ],
)
def test_what_is_no_include_line_stays(line: bytes) -> None:
    text = b"first\n" + line + b"\nlast"
    assert with_includes(text, b"s", lambda name: b"never\n") == text


@pytest.mark.parametrize("line", [b"!$ include 'a'", b"c$ include 'a'", b"      include 'a'", b'\tInclude"a"'])
def test_with_openmp_a_sentinel_is_no_comment(line: bytes) -> None:
    assert b"there" in with_includes(line + b"\n", b"s", lambda name: b"there\n", openmp=True)


def test_a_file_left_to_the_compiler_leaves_its_line() -> None:
    text = b"include 'omp_lib.h'\n"
    assert with_includes(text, b"s", lambda name: None) == text


def test_a_file_that_includes_itself_keeps_the_unit_here() -> None:
    with pytest.raises(CannotTravel, match="deeper"):
        with_includes(b"include 's'\n", b"s", lambda name: b"include 's'\n")


@given(st.lists(st.sampled_from(["include 'a'", "include 'b'", "x", ""]), max_size=12), st.booleans())
def test_every_line_keeps_its_file_and_number(lines: list[str], newline: bool) -> None:
    files = {b"a": b"one\ntwo\ninclude 'b'\nfour" + b"\n" * newline, b"b": b"in b\n"}
    text = "\n".join(lines).encode()
    seen = positions(with_includes(text, b"main", lambda name: files[name]), b"main")
    wanted = [
        (b"main", number, line.encode())
        for number, line in enumerate(lines, start=1)
        if line and not line.startswith("include")
    ]
    assert [position for position in seen if position[0] == b"main" and position[2]] == wanted
    for file, number, line in seen:
        if file == b"a" and line:
            assert files[b"a"].split(b"\n")[number - 1] == line
