"""Compiles by libtool are foretold as it makes them, and automake's substitutions as the shell makes them."""

from __future__ import annotations

import pytest

from buildfarm.graph import shell
from buildfarm.graph.libtool import compiles, environment

SCRIPT = """\
#! /bin/bash
# ### BEGIN LIBTOOL CONFIG
build_libtool_libs=yes
build_old_libs=yes
pic_mode=default
objdir=.libs
need_locks="no"
pic_flag=" -fPIC -DPIC"
compiler_c_o="yes"
# ### END LIBTOOL CONFIG
build_old_libs=later
# ### BEGIN LIBTOOL TAG CONFIG: CXX
pic_flag=" -fpic"
# ### END LIBTOOL TAG CONFIG: CXX
# ### BEGIN LIBTOOL TAG CONFIG: disable-static
build_old_libs=`case $build_libtool_libs in yes) echo no;; *) echo yes;; esac`
# ### END LIBTOOL TAG CONFIG: disable-static
"""


def foretold(line: str, text: str | None = SCRIPT) -> list[str]:
    asked = []

    def read(path: str) -> str | None:
        asked.append(path)
        return text

    calls = [" ".join(call) for call in compiles(line.split(), read)]
    assert set(asked) <= {"./libtool"}
    return calls


def test_one_call_of_libtool_is_two_of_the_compiler() -> None:
    line = "/bin/bash ./libtool --silent --tag=CC --mode=compile gcc -O2 -c -o src/a.lo src/a.c"
    assert foretold(line) == [
        "gcc -O2 -c src/a.c -fPIC -DPIC -o src/.libs/a.o",
        "gcc -O2 -c src/a.c -o src/a.o",
    ]


@pytest.mark.parametrize(
    ("option", "objects"),
    [("-static", ["a.o"]), ("-shared", [".libs/a.o"]), ("-prefer-pic", [".libs/a.o", "a.o"]), ("-Wc,-g", [])],
)
def test_options_of_libtools_own_choose(option: str, objects: list[str]) -> None:
    calls = foretold(f"./libtool --mode=compile cc {option} -c a.c -o a.lo")
    assert [call.split()[-1] for call in calls] == objects
    assert all(option not in call.split() for call in calls)


def test_a_tag_has_settings_of_its_own() -> None:
    assert "-fpic" in foretold("./libtool --tag=CXX --mode=compile g++ -c a.cc -o a.lo")[0]


@pytest.mark.parametrize(
    "line",
    [
        "./libtool --mode=link gcc -o liba.la a.lo",
        "./libtool --tag=disable-static --mode=compile gcc -c a.c -o a.lo",
        "./libtool --mode=compile gcc -c a.c -o a.o",
        "./libtool --config",
        "./libtool",
        "sh",
    ],
)
def test_what_is_not_understood_is_not_foretold(line: str) -> None:
    assert foretold(line) == []


def test_without_its_script_nothing_is_foretold() -> None:
    assert foretold("./libtool --mode=compile gcc -c a.c -o a.lo", None) == []


def test_the_locale_that_the_script_sets_is_the_compilers() -> None:
    text = "for _G_var in LANG\ndo\n\ndone\nLC_ALL=C\nLANGUAGE=C\nexport LANGUAGE LC_ALL\n"
    assert environment(["sh", "./libtool", "--mode=compile"], lambda _: text) == {"LC_ALL": "C", "LANGUAGE": "C"}
    assert environment(["./libtool"], lambda _: "LC_ALL=C\nexport LC_ALL\n") == {}


DEPBASE = (
    r"depbase=`echo src/a.lo | sed 's|[^/]*$|.deps/&|;s|\.lo$||'`; gcc -MF $depbase.Tpo -c -o src/a.lo src/a.c && "
    "\\\nmv -f $depbase.Tpo $depbase.Plo"
)


def test_automakes_name_of_a_depfile_is_known() -> None:
    script = shell.parse(DEPBASE, "/p", {})
    assert [" ".join(command.argv) for command in script.commands] == [
        "gcc -MF src/.deps/a.Tpo -c -o src/a.lo src/a.c",
        "mv -f src/.deps/a.Tpo src/.deps/a.Plo",
    ]


@pytest.mark.parametrize(("there", "source"), [(True, "a.c"), (False, "../a.c")])
def test_automakes_place_of_a_source_is_asked_for(there: bool, source: str) -> None:
    line = "cd obj && gcc -c -o x.o `test -f 'a.c' || echo '../'`a.c"
    asked: list[str] = []

    def exists(path: str) -> bool:
        asked.append(path)
        return there

    (command,) = [c for c in shell.parse(line, "/p", {}, exists).commands if c.argv[0] == "gcc"]
    assert command.argv[-1] == source
    assert set(asked) == {"/p/obj/a.c"}


@pytest.mark.parametrize("substitution", ["`date`", "`echo a | sed 's|a|b|'`", "`test -f a || echo $x`"])
def test_any_other_substitution_stays_unknown(substitution: str) -> None:
    script = shell.parse(f"gcc -c {substitution}.c", "/p", {})
    assert not script.commands
    assert len(script.opaque) == 1
