"""Units that a real node preprocesses come back as the local compiler makes them, and what is unclear stays away."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace

import pytest

from buildfarm.dispatch.debug_paths import restored, working_directory
from buildfarm.dispatch.recipe_pump import Unclear
from tests.travel import ENVIRONMENT, Trip

HEADER = """#ifndef A_H
#define A_H
#include <assert.h>
#define T 3
static const char *const here = __FILE__;
static inline int level(int x) { assert(x != 7); return __INCLUDE_LEVEL__ + x; }
#endif
"""
MAIN = """#include <stdio.h>
#include <string.h>
#include "a.h"
#if __has_include("there.h")
#include "there.h"
#endif
#if __has_include(<not/there.h>)
#error not here
#endif
#define TEXT(x) #x
int first = __COUNTER__, line = __LINE__;
int main(void) { printf("%s %s %d %s\\n", TEXT(FOO), __FILE__, T, here); assert(line); return level(line); }
"""
WARNED = """#include "a.h"
#define NEVER 1
#include "w.h"
#warning look
int warned(void) { int unused; return "x" + T; }
"""
TEMPLATES = """#include <iostream>
#include <map>
#include <vector>
#include "a.h"
namespace { struct Hidden { int x = 1; }; }
int main() { std::map<int, std::vector<Hidden>> m; m[1].push_back({}); std::cout << m.size() << here; return level(T); }
"""


@pytest.fixture(scope="module", params=[False, True], ids=["any node", "node alike"])
def trip(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Trip]:
    with Trip(tmp_path_factory.mktemp("pump") / "tree", alike=request.param) as running:
        running.write("inc/a.h", HEADER)
        running.write("inc/there.h", "extern int there;\n")
        running.write("inc/w.h", "static int odd(void) { int i; }\n")
        running.write("pre.h", "#define PRE 1\n")
        running.write("a.c", MAIN)
        running.write("w.c", WARNED)
        running.write(
            "sub/b.c", '#include "../inc/a.h"\n#include <limits.h>\nint b(int x) { return x + INT_MAX + level(x); }\n'
        )
        running.write("t.cc", TEMPLATES)
        yield running


@pytest.mark.parametrize(
    "command",
    [
        "gcc -O2 -Iinc -DFOO=1 -c a.c",
        "gcc -Iinc -c a.c -o a.o",
        "gcc -O2 -I inc -isystem inc -include pre.h -imacros pre.h -D FOO=PRE -UBAR -c a.c -o a.o",
        "gcc -O2 -I{root}/inc -isystem {root}/sub -include {root}/pre.h -c {root}/a.c -o sub/a.o",
        "gcc -O2 -I/usr/include -iquote inc -idirafter sub -Inot/there -c a.c",
        "gcc -std=c99 -pedantic -fPIC -O1 -Iinc -ffreestanding -c sub/b.c -o b.o",
        "gcc -O2 -nostdinc -c n.c",
        "g++ -O2 -std=c++17 -Iinc -c t.cc",
        "g++ -O2 -I{root}/inc -c {root}/t.cc -o t.o",
    ],
)
def test_objects_and_words_are_identical(trip: Trip, command: str) -> None:
    trip.write("n.c", "int n;\n")
    result = trip.go(command.format(root=trip.root), pumped=True)
    assert (result.recipe, result.status, result.local_status) == ("P3", 0, 0), result.remote_stderr
    assert result.raw
    assert result.words == "same"


@pytest.mark.parametrize(
    "command",
    [
        "gcc -g -Iinc -c a.c",
        "gcc -g3 -O2 -Iinc -MMD -c a.c",
        "gcc -ggdb -O2 -I{root}/inc -c {root}/a.c -o {root}/a.o",
        "gcc -g -gdwarf-4 -O2 -I inc -c sub/b.c -o b.o",
        "g++ -g -O1 -Iinc -c t.cc",
    ],
)
def test_debug_information_says_the_same_as_the_local_compilers(trip: Trip, command: str) -> None:
    result = trip.go(command.format(root=trip.root), pumped=True)
    assert result.recipe == "P3" and result.stripped and result.words == "same"
    output = trip.unit(command.format(root=trip.root)).output
    local = (trip.root / output).read_bytes()
    assert str(trip.root).encode() + b"\0" in result.object, "the directory where the user compiles"
    assert dwarf(result.object) == dwarf(local)


def dwarf(content: bytes) -> list[str]:
    """What debuggers read; without the places of strings, which are others where some are shorter."""
    with tempfile.NamedTemporaryFile(suffix=".o") as file:
        file.write(content)
        file.flush()
        words = ["readelf", "--debug-dump=info,decodedline,macro", file.name]
        told = subprocess.run(words, capture_output=True, check=True, text=True).stdout
    return re.sub(r"offset: (0x)?[0-9a-f]+", "", told).replace(file.name, "").splitlines()


def test_a_directory_by_another_name_is_called_as_the_shell_calls_it(trip: Trip) -> None:
    other = trip.root.parent / "another-name"
    other.symlink_to(trip.root)
    cwd, named = str(trip.root), str(other)
    assert working_directory(cwd, {"PWD": named}) == named
    assert working_directory(cwd, {"PWD": "/"}) == working_directory(cwd, {}) == cwd
    other.unlink()


def test_what_is_not_understood_is_not_restored(trip: Trip) -> None:
    prepared = trip.prepare_pumped("gcc -g -O1 -Iinc -c a.c")
    content = trip.send(prepared.job).object
    sent = str(trip.root)
    assert restored(content, sent, sent) is not None
    assert restored(content, sent, sent + "/" + "x" * 200) is None, "there is no room for that name"
    assert restored(content, "/another", "/another") is None
    assert restored(content + b"/tmp/distccd_0a1b/home", sent, sent) is None
    assert restored(b"no object", sent, sent) is None
    prepared = trip.prepare_pumped("gcc -g -O1 -Wa,--compress-debug-sections -Iinc -c a.c")
    assert restored(trip.send(prepared.job).object, sent, sent) is None


def test_in_a_subdirectory_the_names_stay_as_typed(trip: Trip) -> None:
    result = trip.go("gcc -O2 -I../inc -c ../a.c -o a.o", cwd="sub", pumped=True)
    assert result.raw and result.words == "same"


@pytest.mark.parametrize(
    "command",
    [
        "gcc -O2 -Wall -Wextra -Iinc -c w.c",
        "gcc -O2 -Wall -Wextra -I{root}/inc -c {root}/w.c -o w.o",
        "gcc -Wall -Iinc -c sub/../w.c -o w.o",
        "gcc -Wall -Wunused-macros -DUNUSED -Iinc -include pre.h -c w.c",
    ],
)
def test_warnings_are_told_in_the_local_compilers_words(trip: Trip, command: str) -> None:
    result = trip.go(command.format(root=trip.root), pumped=True)
    assert b"|" in result.local_stderr and b"look" in result.local_stderr
    assert (result.words, result.raw) == ("same", True)


@pytest.mark.parametrize("flags", ["-Wall", "-Wall -fdiagnostics-color=always"])
@pytest.mark.parametrize(
    ("name", "words"), [("g.y", "local"), ("{root}/g.y", "local"), ("{root}/made.c", "local"), ("not-there.y", "same")]
)
def test_lines_of_the_file_that_a_line_directive_names_are_left_to_a_local_compile(
    trip: Trip, name: str, words: str, flags: str
) -> None:
    trip.write("g.y", "rule: 'x' { int unused; }\n")
    text = f'int a;\n#line 1 "{name.format(root=trip.root)}"\nint f(void) {{ int unused; return sizeof here; }}\n'
    trip.write("made.c", f'#include "inc/a.h"\n{text}')
    result = trip.go(f"gcc -O2 {flags} -c made.c", pumped=True)
    assert result.raw and (b"|" in result.local_stderr) == (words == "local")
    assert result.words == words


@pytest.mark.parametrize(
    "flags",
    [
        "-MD",
        "-MMD",
        "-MD -MP -MF deps/x.d",
        "-MMD -MP -MT 'some target' -MT other -MF x.d",
        "-MD -MQ made -o sub/made.o",
        "-Wp,-MMD,.x.o.d",
        "-Wp,-MD,.x.o.d -Wp,-MT,x.o -MTy",
        "-Wp,-MD,.y.o.d -include pre.h -I{root}/inc",
    ],
)
@pytest.mark.parametrize("source", ["a.c", "./a.c", "{root}/a.c"])
def test_depfiles_have_the_compilers_own_bytes(trip: Trip, flags: str, source: str) -> None:
    (trip.root / "deps").mkdir(exist_ok=True)
    result = trip.go(f"gcc -O2 {flags} -Iinc -c {source}".format(root=trip.root), pumped=True)
    assert result.raw
    assert list(result.made.values()) == [True]


def test_the_inputs_are_what_was_read_and_no_more(trip: Trip) -> None:
    trip.write("some.c", '#ifdef NEVER\n#include "pre.h"\n#endif\n#include "a.h"\nint x = T;\n')
    prepared = trip.prepare_pumped("gcc -Iinc -c some.c")
    assert str(trip.root / "pre.h") in prepared.inputs
    result = trip.go("gcc -Iinc -c some.c", pumped=True)
    assert result.inputs[0] == str(trip.root / "some.c")
    assert str(trip.root / "pre.h") not in result.inputs
    listed = subprocess.run(
        ["gcc", "-M", "-Iinc", "some.c"], cwd=trip.root, env=ENVIRONMENT, capture_output=True, check=True, text=True
    ).stdout
    names = listed.replace("\\\n", " ").split()[1:]
    assert sorted(result.inputs) == sorted(os.path.join(trip.root, name) for name in names)


def test_a_header_named_by_a_macro_that_nobody_defines_is_none(trip: Trip) -> None:
    trip.write("inc/open.h", "#ifdef USER_H\n#include USER_H /* the user's */\n#endif\nint open_;\n")
    trip.write("user.h", "int user;\n")
    trip.write("closed.c", '#include "open.h"\n')
    trip.write("opened.c", '#define USER_H "user.h"\n#include "open.h"\n')
    assert trip.go("gcc -O1 -Iinc -c closed.c", pumped=True).raw
    for command in ("gcc -O1 -Iinc -c opened.c", "gcc -O1 -Iinc -I. '-DUSER_H=\"user.h\"' -c closed.c"):
        with pytest.raises(Unclear, match="USER_H"):
            trip.prepare_pumped(command)
    trip.write("inc/late.h", '# define USER_H "user.h"\n')
    trip.write("late.c", '#include "late.h"\n#include "open.h"\n')
    with pytest.raises(Unclear, match="USER_H"):
        trip.prepare_pumped("gcc -O1 -Iinc -I. -c late.c")


def test_next_headers_and_computed_order_are_those_of_here(trip: Trip) -> None:
    trip.write("one/n.h", "#include_next <n.h>\nint one = N;\n")
    trip.write("two/n.h", "#define N 2\n")
    trip.write("three/n.h", "#define N 3\n")
    trip.write("next.c", "#include <n.h>\n")
    assert trip.go("gcc -Ione -Itwo -Ithree -c next.c", pumped=True).raw


def test_a_header_that_changes_or_appears_is_seen(trip: Trip) -> None:
    trip.write("late/v.h", "#define V 1\n")
    trip.write("v.c", '#include "v.h"\nint v = V;\n')
    (trip.root / "early").mkdir()
    command = "gcc -Iearly -Ilate -c v.c"
    assert trip.go(command, pumped=True).raw
    trip.write("late/v.h", "#define V 22\n")
    assert trip.go(command, pumped=True).raw
    trip.write("early/v.h", "#define V 3\n")
    assert trip.go(command, pumped=True).raw
    (trip.root / "early/v.h").unlink()
    assert trip.go(command, pumped=True).raw


@pytest.mark.parametrize(
    "text",
    [
        '/* */ #include "spelt.h"\n',
        '/*\n */ # include "spelt.h"\n',
        '#/* */include/**/"spelt.h"\n',
        '#\\\ninclude "spelt.h"\n',
        '#include \\\n  "spelt.h"\n',
        '/* */ # /* */ \\\n include \\\n "spelt.h"\n',
        '/* #include "nowhere.h" */ /* */ #include "spelt.h"\n',
        '#include "spelt.h"\nstruct { int included, include_dirs; } o = { .included = 1, .include_dirs = 2 };\n',
        '#include "spelt.h"\nconst char *t = "#\\n" "50%:" "/*" "#/*";\n',
    ],
)
def test_however_a_directive_is_spelt_its_file_goes_along(trip: Trip, text: str) -> None:
    trip.write("inc/spelt.h", "#define SPELT 7\n")
    trip.write("spelt.c", f"{text}int spelt = SPELT;\n")
    assert trip.go("gcc -Iinc -c spelt.c", pumped=True).raw


@pytest.mark.parametrize(
    "text",
    [
        '#define NAME "a.h"\n#include NAME\n',
        "const char *when = __DATE__;\n",
        "#define TELL(x) __ ## x##__\nconst char *when = TELL(DATE);\n",
        "const char *when = __TIMESTAMP__;\n",
        '%:include "a.h"\n',
        '%:/* */include "a.h"\n',
        '#/* *\n */include "a.h"\n',
        '#\\\npragma GCC dependency "a.h"\n',
        '__asm__(".include \\"a.c\\"");\n',
        '#include "/usr/include/stdio.h"\n',
        "#define HAS(x) __has_include(x)\n",
        '__asm__(".incbin \\"a.c\\"");\n',
        '#pragma GCC dependency "a.h"\n',
        'const char *glob = "x/*";\n#define NAME "a.h"\n#include NAME\n',
        '#include "once/1.h"\n#include "once/2.h"\n',
        '#include "with.h"\n',
        '#include "link/../pre.h"\n',
    ],
)
def test_what_is_not_clear_is_refused(trip: Trip, text: str) -> None:
    trip.write("once/1.h", "#pragma once\nstatic int once;\n")
    trip.write("once/2.h", "#pragma once\nstatic int once;\n")
    trip.write("with.h", "int with;\n")
    trip.write("with.h.gch", "")
    trip.write("elsewhere/deep/x.h", "")
    trip.write("elsewhere/pre.h", "#define OTHER\n")
    if not (trip.root / "link").exists():
        (trip.root / "link").symlink_to("elsewhere/deep")
    trip.write("odd.c", text)
    with pytest.raises(Unclear):
        trip.prepare_pumped("gcc -Iinc -c odd.c")


@pytest.mark.parametrize(
    "flags",
    [
        "-g -gz",
        "-fsanitize=undefined",
        "-ffile-prefix-map=a=b",
        "-DWHEN=__TIME__",
        "-DTELL(x)=__##x##__",
        "--sysroot=/",
        "-x c",
        "-MD -MG",
        "-frecord-gcc-switches",
        "-flto=auto",
    ],
)
def test_options_of_other_recipes_are_refused(trip: Trip, flags: str) -> None:
    with pytest.raises(Unclear):
        trip.prepare_pumped(f"gcc {flags} -Iinc -c a.c")


def test_an_answer_that_tells_of_the_node_is_not_used(trip: Trip) -> None:
    prepared = trip.prepare_pumped("gcc -Iinc -c a.c")
    answer = trip.send(prepared.job)
    assert prepared.settle is not None
    assert prepared.settle(answer) is not None
    for lie in (
        replace(answer, depfile=b""),
        replace(answer, depfile=b"unit.o: a.c /etc/passwd\n"),
        replace(answer, depfile=b"unit.o: a.c $(shell id)\n"),
        replace(answer, depfile=answer.depfile + b"all: ; id\n"),
        replace(answer, object=answer.object + b"/tmp/distccd_x/a.h"),
    ):
        assert prepared.settle(lie) is None


def test_nothing_stays_on_the_node(trip: Trip) -> None:
    trip.go("gcc -O2 -Iinc -MD -c a.c", pumped=True)
    assert trip.left_on_the_node() == []
