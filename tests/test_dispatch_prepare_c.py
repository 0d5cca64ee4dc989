"""C and C++ units come back from a real node as the local compiler makes them, words and depfiles included."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildfarm.dispatch import local, recipe_c
from buildfarm.dispatch.prepare import CannotTravel
from tests.travel import ENVIRONMENT, Trip

HEADER = """#pragma once
#define T 3
static const char *const here = __FILE__;
static inline int level(void) { return __INCLUDE_LEVEL__; }
"""
MAIN = """#include <stdio.h>
#include <string.h>
#include "a.h"
#define TEXT(x) #x
int first = __COUNTER__, second = __COUNTER__;
// a comment that stays
int main(void) { printf("%s %d %s %d\\n", __FILE__, T, here, level()); return (int)strlen(TEXT(FOO)); }
"""
WARNED = """#include <stdio.h>
#include "a.h"
#include "w.h"
#define MAKE(x) int x; x = 1;
int warned(void) { int unused; MAKE(k)
  long z = NULL; int q; TWICE(q); return T; }
"""
TEMPLATES = """#include <vector>
#include "a.h"
template <class X> X twice(X x) { return x + x; }
int main() {
    std::vector<int> v; unsigned u = 1;
    v.push_back(twice(T)); return v.size() > level();
}
"""


@pytest.fixture(scope="module")
def trip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trip]:
    with Trip(tmp_path_factory.mktemp("c") / "tree") as running:
        running.write("inc/a.h", HEADER)
        running.write("inc/w.h", "#define TWICE(x) ((x) = (x) + (x))\n")
        running.write("pre.h", "#define PRE 1\n")
        running.write("a.c", MAIN)
        running.write("w.c", WARNED)
        running.write("sub/b.c", '#include "../inc/a.h"\nint b(int x) { return x + T + here[0]; }\n')
        running.write("t.cc", TEMPLATES)
        yield running


@pytest.mark.parametrize("debug", ["", " -g"])
@pytest.mark.parametrize(
    "command",
    [
        "gcc -O2 -Iinc -DFOO=1 -c a.c",
        "gcc -O2 -I inc -isystem inc -include pre.h -imacros pre.h -D FOO=PRE -UBAR -c a.c -o a.o",
        "gcc -O2 -I{root}/inc -isystem {root}/sub -c {root}/a.c -o sub/a.o",
        "gcc -Iinc -c sub/b.c",
        "gcc -std=c99 -pedantic -fPIC -x c -Iinc -c sub/b.c -o b.o",
        "gcc -O2 --pedantic --std=c99 --all-warnings -finput-charset=UTF-8 -Iinc -c sub/b.c",
        "gcc -O1 -fsanitize=undefined -Iinc -c a.c",
        "g++ -O2 -std=c++17 -Iinc -c t.cc",
    ],
)
def test_objects_are_identical_and_after_stripping_with_debug_information(trip: Trip, command: str, debug: str) -> None:
    result = trip.go(command.format(root=trip.root) + debug)
    assert (result.recipe, result.status, result.local_status) == ("P2d", 0, 0)
    assert result.stripped if debug else result.raw
    assert result.words == "same"


@pytest.mark.parametrize(
    "flags",
    [
        "-MD",
        "-MMD",
        "-MD -MP -MF deps/x.d",
        "-MMD -MT 'some target' -MF x.d",
        "-MD -MQ '$(O)' -o sub/made.o",
        "-Wp,-MMD,.x.o.d",
        "-Wp,-MD,.x.o.d -Wp,-MT,x.o",
    ],
)
def test_depfiles_have_the_compilers_own_bytes(trip: Trip, flags: str) -> None:
    (trip.root / "deps").mkdir(exist_ok=True)
    result = trip.go(f"gcc -O2 -Iinc {flags} -c a.c")
    assert result.raw
    assert list(result.made.values()) == [True]


@pytest.mark.parametrize("debug", ["", " -g"])
@pytest.mark.parametrize(
    "command",
    [
        "gcc -O2 -fstack-usage -Iinc -c stack.c",
        "gcc -fstack-usage -MMD -Iinc -c {root}/stack.c -o sub/stack.x.o",
        "gcc -O2 -fstack-usage -c data.c -o data",
        "gcc -O2 -pipe -fstack-usage -Iinc -c stack.c",
        "g++ -O1 -Wall -Wextra -fstack-usage -Iinc -c t.cc",
    ],
)
def test_what_stack_usage_writes_beside_the_object_comes_too(trip: Trip, command: str, debug: str) -> None:
    trip.write(
        "stack.c", '#include "a.h"\n#define F(n) int n(int x)\nint g(int *);\nF(f) { int a[x]; return g(a) + T; }\n'
    )
    trip.write("data.c", "int data;\n")
    result = trip.go(command.format(root=trip.root) + debug)
    assert (result.status, result.local_status) == (0, 0)
    assert result.stripped if debug else result.raw
    assert result.words == "same"
    assert result.made and all(result.made.values()) and any(name.endswith(".su") for name in result.made)
    assert not trip.left_on_the_node()


def test_the_inputs_are_the_source_and_every_header(trip: Trip) -> None:
    prepared = trip.prepare("gcc -Iinc -include pre.h -c a.c")
    assert prepared.inputs[0] == str(trip.root / "a.c")
    assert {str(trip.root / "pre.h"), str(trip.root / "inc/a.h"), "/usr/include/stdio.h"} <= set(prepared.inputs)
    assert all(Path(path).is_file() for path in prepared.inputs)


@pytest.mark.parametrize("flags", ["-flto", "-flto=auto -ffat-lto-objects", "-flto -g"])
def test_a_program_linked_of_objects_for_link_time_optimization_is_the_same(trip: Trip, flags: str) -> None:
    """The objects differ from one local compile to the next, in random names of sections."""
    command = f"gcc -O2 {flags} -Iinc -c a.c"
    result = trip.go(command)
    assert (result.recipe, result.status, result.words) == ("P2d", 0, "same")
    programs = []
    for content in ((trip.root / "a.o").read_bytes(), result.object):
        (trip.root / "a.o").write_bytes(content)
        subprocess.run(["gcc", "-O2", *flags.split(), "a.o", "-o", "prog"], cwd=trip.root, check=True)
        subprocess.run(["strip", "--remove-section=.note.gnu.build-id", "prog"], cwd=trip.root, check=True)
        programs.append((trip.root / "prog").read_bytes())
    assert programs[0] == programs[1]
    with pytest.raises(CannotTravel, match="columns"):
        trip.prepare(f"{command} -DT4=__DATE__ -Wunused-macros")


@pytest.mark.parametrize("macro", ["__DATE__", "__TIME__", "__TIMESTAMP__", "__BASE_FILE__"])
def test_macros_of_the_compile_itself_are_expanded_here(
    trip: Trip, macro: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "SOURCE_DATE_EPOCH", "86400")
    trip.write("when.c", f"const char *when = {macro};\n")
    result = trip.go("gcc -O1 -c when.c")
    assert (result.recipe, result.raw) == ("P2", True)


@pytest.mark.parametrize(
    "text",
    [
        "int named; // __TIMESTAMP__\n",
        'int named; // "R" is what `1\'a` and //** are not\n',
        'const char *named = "\\033O*R";\n',
    ],
)
def test_a_macro_of_the_compile_that_a_comment_names_only_changes_nothing(trip: Trip, text: str) -> None:
    """vim's config.h: `/* Define when __DATE__ " " __TIME__ can be used */`, and no unit travelled without -O."""
    trip.write("named.c", f'/* Define when __DATE__ " " __TIME__ can be used */\n{text}')
    result = trip.go("gcc -c named.c")
    assert (result.recipe, result.raw) == ("P2d", True)


@pytest.mark.parametrize("macro", ["__DATE__", "__TIME__", "__TIMESTAMP__", "__BASE_FILE__"])
@pytest.mark.parametrize("options", ["", "-flto -O2", "-fsanitize=undefined"])
def test_a_macro_of_the_compile_that_is_defined_and_not_used_changes_nothing(
    trip: Trip, macro: str, options: str
) -> None:
    """Trusted Firmware gives `-DBUILD_MESSAGE_TIMESTAMP='__TIME__", "__DATE__'` to all of its units."""
    paste = "#define PASTE(a, b) a##b\n#define TELL(x) __##x##__\n"
    trip.write("stamp.h", f"#define STAMP {macro}\n#define SAY(x) f(x STAMP)\n{paste}")
    trip.write("stamped.c", '#include "stamp.h"\nint stamped(int x) { return x + PASTE(1, 2); }\n')
    result = trip.go(f"gcc {options} -DBUILT={macro} -c stamped.c")
    assert result.recipe == "P2d"
    assert result.raw or options.startswith("-flto")  # whose sections have names made of chance


@pytest.mark.parametrize("use", ["STAMP", "BUILT", "PASTE(ST, AMP)", "SAY(STAMP)", "AGAIN", "TELL(DATE)"])
def test_a_macro_of_the_compile_is_found_wherever_it_is_used(
    trip: Trip, use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "SOURCE_DATE_EPOCH", "86400")
    trip.write(
        "stamp.h",
        "#define STAMP __DATE__\n#define SAY(x) x x\n#define PASTE(a, b) a##b\n#define AGAIN STAMP\n"
        "#define TELL(x) __ ## x##__\n",
    )
    trip.write("used.c", f'#include "stamp.h"\nconst char *used = {use};\n')
    result = trip.go("gcc -O1 -DBUILT=__DATE__ -c used.c")
    assert (result.recipe, result.raw) == ("P2", True)


@pytest.mark.parametrize(
    "text",
    [
        "// that goes on\\\n/* here\nconst char *when = __DATE__; /**/\n",
        "/* that ends *\\\n/ const char *when = __DATE__; /**/\n",
        "//*** a title ***\nconst char *when = __DATE__; /**/\n",
        "#define APOSTROPHE can't /*\nconst char *when = __DATE__; /**/\n",
        'const char *raw = R"x(/* ")x", *when = __DATE__; /**/\n',
        'const char *raw = R"(/*)" __DATE__ "*/";\n',
        'const char *raw = R"(\n#define X )" __DATE__;\n',
        "/*\n#define X */ const char *when = __DATE__;\n",
        "enum { one = 1 //* this */ 1\n}; const char *when = __DATE__;\n",
    ],
)
def test_a_macro_of_the_compile_behind_an_odd_comment_is_expanded_here(trip: Trip, text: str) -> None:
    trip.write("odd.c", text)
    assert trip.go("gcc -O1 -c odd.c").recipe == "P2"


@pytest.mark.parametrize("pumped", [False, True])
@pytest.mark.parametrize("flags", ["gcc -O2 -fopenmp", "gcc -O1 -fopenmp-simd -Wall", "g++ -O2 -g -fopenmp"])
def test_pragmas_of_openmp_reach_the_node(trip: Trip, flags: str, pumped: bool) -> None:
    """-fdirectives-only leaves them out, and the loop would be serial."""
    suffix = "cc" if flags.startswith("g++") else "c"
    text = '#define LOOP _Pragma("omp parallel for")\nint a[99];\nvoid f(void) {\n#pragma omp parallel for simd\n'
    text += "  for (int i = 0; i < 99; i++) a[i] += i;\n  LOOP\n  for (int i = 0; i < 99; i++) a[i] += i;\n}\n"
    trip.write(f"parallel.{suffix}", text)
    result = trip.go(f"{flags} -c parallel.{suffix}", pumped=pumped)
    assert (result.status, result.local_status) == (0, 0)
    assert result.stripped


@pytest.mark.parametrize("pumped", [False, True])
def test_pragmas_of_openmp_reach_the_node_without_optimization(trip: Trip, pumped: bool) -> None:
    trip.write(
        "loop.c", "int a[9];\nvoid f(void) {\n#pragma omp parallel for\n  for (int i = 0; i < 9; i++) a[i] = i;\n}\n"
    )
    if pumped:
        assert trip.go("gcc -fopenmp -c loop.c", pumped=True).raw
    else:
        with pytest.raises(CannotTravel, match="without -O"):
            trip.prepare("gcc -fopenmp -c loop.c")


@pytest.mark.parametrize(
    "text",
    [
        "#pragma redefine_extname foo bar\nint foo(void); int g(void) { return foo(); }\n",
        '#include "a.h"\nint X = 3;\n#include "x.h"\n#pragma push_macro("X")\n#undef X\n'
        '#pragma pop_macro("X")\nint f(void) { return X; }\n',
    ],
    ids=["redefine_extname", "pop_macro"],
)
def test_pragmas_for_names_reach_the_node(trip: Trip, text: str) -> None:
    """-fdirectives-only leaves them out, and the code would be another one."""
    trip.write("x.h", "#define X 1\n")
    trip.write("names.c", text)
    result = trip.go("gcc -O1 -Iinc -I. -c names.c")
    assert (result.status, result.raw) == (0, True)


def test_what_a_pragma_tells_is_left_to_a_local_compile(trip: Trip) -> None:
    trip.write("tells.c", '#pragma message "told"\nint x;\n')
    assert trip.go("gcc -O1 -c tells.c").words == "local"


def test_a_pragma_that_does_not_count_changes_nothing(trip: Trip) -> None:
    trip.write("silent.c", '#ifdef OLD\n#pragma message "told"\n#endif\nint x;\n')
    assert trip.go("gcc -c silent.c").recipe == "P2d"


def test_a_macro_whose_parameter_is_called_like_a_pragma_costs_no_second_preprocessing(
    trip: Trip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """glibc's sys/cdefs.h has one, and so has every unit that includes a header of glibc's."""
    runs: list[bool] = []
    preprocess = recipe_c._preprocess

    async def counted(*given: Any, plain: bool) -> local.Finished:
        runs.append(plain)
        return await preprocess(*given, plain=plain)

    monkeypatch.setattr(recipe_c, "_preprocess", counted)
    trip.write("warns.c", "#define warn(message) _Pragma (#message)\nwarn(GCC warning)\nint x;\n")
    assert trip.prepare("gcc -O1 -c warns.c").job.recipe == "P2d"
    assert runs == [False]


def test_an_object_that_holds_columns_does_not_travel_fully_preprocessed(trip: Trip) -> None:
    trip.write("both.c", "const char *when = __DATE__; int f(int x) { return x << 31; }\n")
    with pytest.raises(CannotTravel, match="columns"):
        trip.prepare("gcc -fsanitize=undefined -c both.c")


def test_a_unit_whose_stack_usage_is_told_does_not_travel_fully_preprocessed(trip: Trip) -> None:
    """The file of -fstack-usage tells the column of each function's name."""
    trip.write("told.c", "#define LOCAL __attribute__((noinline)) static\nLOCAL int f(void) { return 1; }\n")
    with pytest.raises(CannotTravel, match="columns"):
        trip.prepare("gcc -O2 -fstack-usage -Wunused-macros -c told.c")


def test_a_unit_without_optimization_does_not_travel_fully_preprocessed(trip: Trip) -> None:
    """unity.c of cJSON's tests: two returns in one macro call are one place after full preprocessing."""
    trip.write("plain.c", "int f(void) { return 1; }\n")
    for flags in ("", "-O2 -O0"):
        with pytest.raises(CannotTravel, match="without -O"):
            trip.prepare(f"gcc {flags} -Wunused-macros -c plain.c")


@pytest.mark.parametrize(
    "text",
    [
        '__asm__(".incbin \\"a.c\\"");',
        '__asm__(".include \\"a.c\\"");',
        '__asm__(".include " "\\"a.c\\"");',
        '__asm__(".include " FILE);',
        '#define INCLUDE ".include"\n__asm__(INCLUDE " \\"a.c\\"");',
        '#define SAME(x) x\n__asm__(SAME(".incbin") " \\"a.c\\"");',
        '#define BOTH(x, y) x " " y\n__asm__(BOTH(".incbin", "\\"a.c\\""));',
        '#define TEXT(x) #x\n__asm__(TEXT(.include "/a.c"));',
        'const char *a = "/*";\n__asm__(".incbin \\"a.c\\"");\nconst char *z = "*/";',
        'const char *a = R"("/*)";\n__asm__(".incbin \\"a.c\\""); /* */',
        '#define SAME(x) x\n__asm__(SAME(".incbin \\"") "a.c\\"");',
    ],
)
def test_an_assembler_file_keeps_the_unit_here(trip: Trip, text: str) -> None:
    trip.write("blob.c", f'#define FILE "\\"a.c\\""\n{text}\n')
    with pytest.raises(CannotTravel, match="assembler"):
        trip.prepare("gcc -c blob.c")


def test_a_text_that_looks_for_the_name_of_such_a_directive_travels(trip: Trip) -> None:
    """conf_def.c of OpenSSL, whose configuration files have an `.include` of their own."""
    trip.write(
        "conf.c",
        "int strncmp(const char *, const char *, unsigned long); int strcmp(const char *, const char *);\n"
        'int f(const char *p) { return strncmp(p, ".include", 8) == 0 || strncmp(p, ".incbin ", sizeof ".incbin")\n'
        '|| !strcmp(p, ".include") || strcmp(p, ".incbin"); }\n',
    )
    assert trip.go("gcc -O1 -c conf.c").raw


def test_a_text_that_tells_of_such_a_directive_in_comments_travels(trip: Trip) -> None:
    """compile.c of distcc, which looks for the directive itself (remote.c, which names it in a message, stays)."""
    trip.write(
        "scan.c",
        "char *strstr(const char *, const char *);\n"
        'const char *word = "ERROR"; // the 1\'s\n'
        '/* it\'s .incbin "a.c" */ int a; // .include "a.c"\n'
        'int f(const char *p) { return strstr(p, ".incbin \\\\\\"") || strstr(p, ".incbin \\""); }\n',
    )
    assert trip.go("gcc -O1 -c scan.c").raw


def test_a_counter_in_a_directive_is_preprocessed_fully(trip: Trip) -> None:
    trip.write("count.c", "#if __COUNTER__ == 0\nint zero = __COUNTER__;\n#endif\n")
    result = trip.go("gcc -O1 -c count.c")
    assert (result.recipe, result.raw) == ("P2", True)


@pytest.mark.parametrize(
    ("command", "recipe"),
    [
        ("gcc -O2 -Wall -Iinc -c w.c", "P3d"),
        ("gcc -O2 -Wall -I{root}/inc -c w.c", "P3r"),
        ("gcc -O2 -Wall -g -I{root}/inc -c {root}/w.c -o w.o", "P3r"),
        ("g++ -Wall -Iinc -c t.cc -Wextra", "P3d"),
    ],
)
def test_warnings_are_told_in_the_local_compilers_words(trip: Trip, command: str, recipe: str) -> None:
    result = trip.go(command.format(root=trip.root))
    assert b"|" in result.local_stderr  # there are lines of the source in it
    assert (result.words_by, result.words) == (recipe, "same")
    assert result.stripped


@pytest.mark.parametrize(
    "options",
    [
        "-fmacro-prefix-map={root}/=",  # Kbuild's
        "-ffile-prefix-map={root}=. -g",  # Debian's
        "-ffile-prefix-map={root}=elsewhere -fmacro-prefix-map={root}/=longer/",
        "-fmacro-prefix-map=/=//// -fdebug-prefix-map=relative=x -g",
        "-fsanitize=address,undefined",
    ],
)
def test_words_about_absolute_files_are_the_same_with_prefixes_mapped(trip: Trip, options: str) -> None:
    trip.write("p.c", "char b[2];\nvoid f(void) { int unused; __builtin_strcpy(b, __FILE__); }\n")
    result = trip.go(f"gcc -O2 -Wall {options} -c {{root}}/p.c -o p.o".format(root=trip.root))
    assert b"unused" in result.local_stderr and b"'b'" in result.local_stderr  # how far depends on __FILE__
    assert (result.words_by, result.words) == ("P3r", "same")
    assert result.stripped


@pytest.mark.parametrize(
    ("name", "recipe"), [("g.y", "P3d"), ("../tree/sub/g.y", "P3d"), ("{root}/g.y", "P3r"), ("not-there.y", "P3d")]
)
def test_lines_of_the_file_that_a_line_directive_names_are_shown(trip: Trip, name: str, recipe: str) -> None:
    for place in ("g.y", "sub/g.y"):
        trip.write(place, "rule: 'x' { int unused; }\n")
    trip.write("made.c", f'int a;\n#line 1 "{name.format(root=trip.root)}"\nint f(void) {{ int unused; return 0; }}\n')
    result = trip.go("gcc -O2 -Wall -c made.c")
    assert (b"rule: 'x'" in result.local_stderr) == (name != "not-there.y")
    assert (result.words_by, result.words) == (recipe, "same")


def test_warnings_of_the_preprocessor_are_told_once(trip: Trip) -> None:
    trip.write("pw.c", "#warning look here\nint x;\n")
    result = trip.go("gcc -Wall -c pw.c")
    assert result.remote_stderr == b"" and result.words == "same"


@pytest.mark.parametrize(
    "define",
    [
        "#define MAKE  int unused",
        "# define MAKE int unused",
        "#define MAKE int a = 1; \\\n  int unused",
        "#define MAKE int a = 0; switch (x) { case 1: a = 1; /* fall through */ case 2: return a; }",
    ],
)
def test_words_about_a_macro_whose_spelling_is_lost_are_left_to_a_local_compile(trip: Trip, define: str) -> None:
    """Preprocessing writes its definition anew: on one line, without comments, with other columns (mosquitto)."""
    trip.write("own.c", f"{define}\nint f(int x) {{ MAKE; return x; }}\n")
    result = trip.go("gcc -O1 -Wextra -Wall -c own.c")
    assert result.raw
    assert result.words == "local"


@pytest.mark.parametrize(
    "text",
    [
        '#include <stdio.h>\nvoid f(int x) { printf("%s", x); }\n',  # points into a string literal
        "#warning look here\nint f(void) { int unused; }\n",  # both preprocessor and compiler have words
    ],
)
def test_words_that_only_a_local_compile_knows_are_left_to_it(trip: Trip, text: str) -> None:
    trip.write("own.c", text)
    result = trip.go("gcc -Wall -c own.c")
    assert result.raw
    assert result.words == "local"


def test_assembler_text_travels(trip: Trip) -> None:
    result = trip.go("gcc -O2 -Iinc -S a.c")
    assert (result.status, result.raw) == (0, True)


def test_a_compile_error_comes_back_as_one(trip: Trip) -> None:
    trip.write("bad.c", "int f(void) { return nothing; }\n")
    result = trip.go("gcc -c bad.c")
    assert (result.status, result.local_status) == (0x100, 1)


def test_a_missing_header_is_left_to_the_local_compiler(trip: Trip) -> None:
    trip.write("missing.c", '#include "nowhere.h"\n')
    with pytest.raises(CannotTravel, match="preprocessing failed"):
        trip.prepare("gcc -c missing.c")


def test_names_with_quotes_and_blanks_travel(trip: Trip) -> None:
    trip.write('odd dir/qu"ote.h', "static const char *const name = __FILE__;\n")
    trip.write("odd dir/o d.c", '#include "qu\\"ote.h"\nconst char *f(void) { return name; }\n'.replace("\\", ""))
    trip.write("odd dir/o d.c", '#include <qu"ote.h>\nconst char *f(void) { return name; }\n')
    result = trip.go("gcc '-Iodd dir' -c 'odd dir/o d.c' -o odd.o")
    assert result.raw
    assert str(trip.root / 'odd dir/qu"ote.h') in result.inputs


def test_nothing_is_left_on_the_node(trip: Trip) -> None:
    trip.go(f"gcc -O2 -Wall -I{trip.root}/inc -c {trip.root}/w.c")
    assert [name for name in trip.left_on_the_node() if "distccd_" in name] == []


@pytest.mark.parametrize("flag", ["-include /dev/stdin", "-imacros /proc/self/fd/0"])
def test_a_header_from_a_stream_of_the_recipes_is_left_to_its_own_compiler(trip: Trip, flag: str) -> None:
    with pytest.raises(CannotTravel, match="a stream of the recipe's"):
        trip.go(f"gcc -O2 -Iinc {flag} -c a.c")


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no /dev/shm here")
def test_a_header_of_a_tree_in_memory_travels(trip: Trip) -> None:
    with tempfile.NamedTemporaryFile("w", dir="/dev/shm", suffix=".h") as header:
        header.write("#define X 3\n")
        header.flush()
        result = trip.go(f"gcc -O2 -Iinc -include {header.name} -c a.c")
    assert (result.recipe, result.raw) == ("P2d", True)
