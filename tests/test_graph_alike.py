"""Commands that differ in two names only are classified as one by one."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.graph.alike import Alike
from buildfarm.graph.classify import classify
from buildfarm.graph.names import is_conftest
from buildfarm.model import ToolCall


def words(text: str) -> list[str]:
    return text.split()


NAMES = st.sampled_from(
    words(
        "a.c b.c d/a.c d.e/b.c a.o b.o x/a.o .c c a.f90 b.F90 m.f a.cc a.s a.S a.h a.i a.s.c - -x.c @a.c /dev/null "
        "/dev/a.c conftest.c x/conftest.o conftest conftestx.c a-conftest.c 0 none c++ é.c"
    )
) | st.just("")
OPTIONS = st.sampled_from(
    words(
        "-O2 -g -Wall -c -S -E -I. -I -o -ob.o -D -DA=1 -x -xc -MD -MMD -MFa.d -MF -Wp,-MD,x -include -march=native "
        "-flto -fsyntax-only -J. -l -lm -- --param -save-temps"
    )
)
TOOLS = st.sampled_from(["gcc", "g++", "gfortran", "/usr/bin/cc", "clang", "ar", "ld", "mpif90"])


@st.composite
def families(draw: st.DrawFn) -> list[tuple[str, ...]]:
    """Commands of one form: the same options, the names drawn anew for each."""
    name = object()
    usual = st.just(["-c", name, "-o", name])
    form: list[object] = draw(st.lists(OPTIONS, max_size=3))
    form += draw(usual | st.permutations(["-c", name, "-o", name]) | st.lists(OPTIONS | st.just(name), max_size=6))
    form += draw(st.lists(OPTIONS, max_size=2))
    tool = draw(TOOLS)
    return [
        (tool, *(draw(NAMES) if word is name else str(word) for word in form)) for _ in range(draw(st.integers(2, 6)))
    ]


@settings(max_examples=500)
@given(st.lists(families(), min_size=1, max_size=3))
def test_they_come_to_the_same_as_each_by_itself(groups: list[list[tuple[str, ...]]]) -> None:
    alike = Alike(classify)
    for argv in (argv for group in groups for argv in group):
        assert alike(argv) == classify(argv)


def test_a_project_s_commands_are_read_once() -> None:
    read: list[Sequence[str]] = []

    def counted(argv: Sequence[str]) -> ToolCall:
        read.append(argv)
        return classify(argv)

    alike = Alike(counted)
    units = [alike(("gcc", "-O2", "-c", f"u{n}.c", "-o", f"o/u{n}.o")).unit for n in range(100)]
    assert len(read) == 1
    assert all(unit is not None for unit in units)
    assert len({unit.compile_arguments for unit in units if unit is not None}) == 1
    assert alike(("gcc", "-O2", "-c", "x.cc", "-o", "o/x.o")) == classify(("gcc", "-O2", "-c", "x.cc", "-o", "o/x.o"))
    assert len(read) == 2


def test_a_name_of_autoconf_s_is_known() -> None:
    assert all(map(is_conftest, ("conftest", "conftest.c", "a/conftest-1.o", "a/conftest.")))
    assert not any(map(is_conftest, ("conftestx", "aconftest.c", "conftest/a.c", "")))
