"""What `classify` says of single commands: kinds, outputs, arguments, and the reasons to stay here."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from buildfarm.graph.classify import classify, needs_native_expansion, parted, with_native_expansion
from buildfarm.graph.fingerprint import fingerprint
from buildfarm.model import TRIAL, Kind, Language, ToolCall, Unit


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def call(command: str, **environment: str) -> ToolCall:
    return classify(command.split(), environment=environment)


def unit(command: str, **environment: str) -> Unit:
    found = call(command, **environment).unit
    assert found is not None, command
    return found


@pytest.mark.parametrize(
    ("command", "source", "output"),
    [
        ("gcc -c a.c", "a.c", "a.o"),
        ("gcc -c ../src/a.b.c", "../src/a.b.c", "a.b.o"),
        ("cc -c -o x/y.lo a.c", "a.c", "x/y.lo"),
        ("gcc-12 -ox.o -c a.c", "a.c", "x.o"),
        ("x86_64-linux-gnu-gcc a.c -c", "a.c", "a.o"),
        ("/usr/bin/arm-linux-gnueabihf-g++-12 -c a.cc", "a.cc", "a.o"),
        ("gcc -S a.c", "a.c", "a.s"),
        ("gcc -c -S a.c", "a.c", "a.s"),
        ("gfortran -c m.F90 -J mod", "m.F90", "m.o"),
        ("mpif90 -c m.f90 -o obj/m.o", "m.f90", "obj/m.o"),
        ("mpicc.openmpi -c m.c", "m.c", "m.o"),
        ("gcc -c x.f90", "x.f90", "x.o"),
        ("gcc -c a.c -lm -L/x -Wl,-z,now -rdynamic", "a.c", "a.o"),
    ],
)
def test_a_single_source_to_an_object_is_a_unit_that_may_travel(command: str, source: str, output: str) -> None:
    found = call(command)
    assert (found.kind, found.outputs) == (Kind.COMPILE, (output,))
    assert found.unit is not None
    assert (found.unit.source, found.unit.output, found.unit.local_reason) == (source, output, None)
    assert found.unit.argv == tuple(command.split())
    assert found.unit.tool == found.tool == command.split()[0].rpartition("/")[2]


@pytest.mark.parametrize(
    ("command", "language"),
    [
        ("gcc -c a.c", Language.C),
        ("g++ -c a.c", Language.CXX),
        ("mpicxx -c a.c", Language.CXX),
        ("gcc -c a.C", Language.CXX),
        ("gcc -c a.cpp", Language.CXX),
        ("gcc -x c++ -c a.c", Language.CXX),
        ("gcc -xc++ -c a.inc", Language.CXX),
        ("g++ -x c -c a.cc", Language.C),
        ("gcc -x c++ -x none -c a.c", Language.C),
        ("gcc -c a.f", Language.FORTRAN),
        ("gfortran -c a.c", Language.C),
        ("gcc -c a.S", Language.OTHER),
        ("gcc -c a.m", Language.OTHER),
    ],
)
def test_the_language_comes_from_x_the_tool_and_the_suffix(command: str, language: Language) -> None:
    assert unit(command).language is language


def test_preprocessing_and_compiling_get_what_matters_to_each() -> None:
    found = unit(
        "gcc -O2 -g -Wall -std=c99 -fPIC -mavx -I inc -Iinc2 -D A=1 -DB -U C -include c.h -isystem s -iquote q "
        "-idirafter d -imacros m.h -pthread --param max-inline-insns-single=9 -Wa,--noexecstack -pipe -w -ansi "
        "-Wp,-D_FORTIFY_SOURCE=2 -nostdinc -o o/a.o -c a.c"
    )
    assert found.local_reason is None
    assert found.preprocess_arguments == words(
        "-O2 -g -Wall -std=c99 -fPIC -mavx -Iinc -Iinc2 -DA=1 -DB -UC -includec.h -isystems -iquoteq -idirafterd "
        "-imacrosm.h -pthread --param=max-inline-insns-single=9 -w -ansi -Wp,-D_FORTIFY_SOURCE=2 -nostdinc"
    )
    assert found.compile_arguments == words(
        "-O2 -g -Wall -std=c99 -fPIC -mavx -pthread --param=max-inline-insns-single=9 -Wa,--noexecstack -pipe -w -ansi"
    )


def test_fortran_keeps_its_include_directories_and_leaves_j_and_macros_to_the_master() -> None:
    found = unit("gfortran -cpp -DA -Iinc -I ../m -J mod -O2 -ffree-form -fopenmp -c a.f -o a.o")
    assert found.local_reason is None
    assert found.preprocess_arguments == words("-cpp -DA -Iinc -I../m -Jmod -O2 -ffree-form -fopenmp")
    assert found.compile_arguments == words("-Iinc -I../m -O2 -ffree-form -fopenmp")
    assert found.fortran is not None
    assert found.fortran.cpp and found.fortran.free_form
    assert found.fortran.module_directory == "mod"
    assert found.fortran.include_directories == ("inc", "../m")


@pytest.mark.parametrize(
    ("command", "cpp", "free_form"),
    [
        ("gfortran -c a.f", False, False),
        ("gfortran -c a.F", True, False),
        ("gfortran -c a.for", False, False),
        ("gfortran -c a.fpp", True, False),
        ("gfortran -c a.f90", False, True),
        ("gfortran -c a.F08", True, True),
        ("gfortran -nocpp -c a.F08", False, True),
        ("gfortran -cpp -c a.f03", True, True),
        ("gfortran -ffixed-form -c a.f90", False, False),
        ("gfortran -x f95-cpp-input -c a.f90", True, True),
        ("gfortran -x f95-cpp-input -c a.f", True, False),
        ("gfortran -x f95 -c a.F90", False, True),
    ],
)
def test_fortran_form_and_cpp_follow_suffix_and_options(command: str, cpp: bool, free_form: bool) -> None:
    found = unit(command)
    assert found.fortran is not None
    assert (found.fortran.cpp, found.fortran.free_form, found.local_reason) == (cpp, free_form, None)


@pytest.mark.parametrize(
    ("command", "debug"),
    [
        ("gcc -c a.c", False),
        ("gcc -g -c a.c", True),
        ("gcc -ggdb3 -c a.c", True),
        ("gcc -gdwarf-4 -c a.c", True),
        ("gcc -g -g0 -c a.c", False),
        ("gcc -g0 -g1 -c a.c", True),
        ("gcc -gno-column-info -gz -c a.c", False),
    ],
)
def test_debug_says_whether_debug_information_is_asked_for(command: str, debug: bool) -> None:
    assert unit(command).debug is debug


@pytest.mark.parametrize("flag", ["-Wunused-macros", "-frecord-gcc-switches"])
def test_flags_that_need_full_preprocessing(flag: str) -> None:
    assert unit(f"gcc {flag} -c a.c").full_preprocessing
    assert not unit("gcc -Wall -c a.c").full_preprocessing


@pytest.mark.parametrize(
    "flag",
    words(
        "-fwpa -flto-report --coverage -fprofile-arcs -fprofile-use=x -ftest-coverage -fplugin=x.so -specs=x -B/x "
        "-gsplit-dwarf -save-temps -save-temps=obj -fdump-tree-all -fcallgraph-info -Wa,-a "
        "-Wa,-g,-alh=x.lst -Wa,--MD,x -Wa,-MD,x -Wa,--MD=x -Wa,--gdwarf-5 "
        "-Wa,--statistics -Wa,-Z,--no-weird -v -H -P -C -CC -traditional-cpp -dA -fpch-preprocess -fdirectives-only "
        "-fpreprocessed -MG -fopt-info=x -frepo -fcompare-debug -Wp,-MT,x "
        "-Wp,-MD,x,-MG -Wp,-MT -Wp,-MD,x,-MMD,y -MT=x -weird -fmodules-ts -Wa,-I. -finput-charset=latin1 --include=x"
    ),
)
def test_what_may_not_travel_stays_with_the_reason_in_the_users_words(flag: str) -> None:
    found = unit(f"gcc -O2 {flag} -c a.c")
    assert found.local_reason is not None
    assert found.local_reason.startswith(flag.split("=")[0][:3]), found.local_reason


@pytest.mark.parametrize(
    "command",
    [
        "gcc -c -o /dev/null a.c",
        "gcc -c -o - a.c",
        "gcc -c a.s",
        "gcc -c a.S",
        "gcc -c a.i",
        "gcc -c x.h",
        "g++ -x c++-header -c x.h -o x.gch",
        "gcc -g -S a.c",
        "gcc -c a.c b.o",
        "gcc -c a.c -o a.o -x c",
        "gcc -x c -c a.c -x c++",
        "g++ -x c -c a.c",  # its driver takes the text, `.i` on a node, for C++
        "gfortran -S a.f90",
        "gfortran -MD -c a.f90",
        "gfortran -x f77 -c a.f90",
        "gfortran -x f95 -c a.inc",
        "clang -flto=thin -c a.c",
        "clang -fstack-usage -c a.c",
        "gcc -fstack-usage -S a.c",
        "gfortran -fstack-usage -c a.f90",
        "gcc -MF x.d -c a.c",
        "gcc -MD -MF - -c a.c",
        "gcc -MD -Wp,-MD,y -c a.c",
        "gcc -Xassembler -g -c a.c",
        "gcc -c a.c -I",
        "gfortran -flto -c a.f90",
        "gcc -flto -S a.c",
        "gcc -flto=auto -frandom-seed=1 -c a.c",
    ],
)
def test_forms_that_may_not_travel_are_units_that_stay(command: str) -> None:
    found = call(command)
    assert found.kind is Kind.COMPILE
    assert found.unit is not None and found.unit.local_reason is not None
    assert not any(path.startswith("/dev/") for path in found.outputs)


def test_trees_in_memory_are_trees() -> None:
    found = call("gcc -MD -c /dev/shm/t/a.c -o /dev/shm/t/a.o")
    assert found.outputs == ("/dev/shm/t/a.o", "/dev/shm/t/a.d")
    assert found.unit is not None and found.unit.local_reason is None
    assert call("gcc -o /dev/shm/t/prog /dev/shm/t/a.o").outputs == ("/dev/shm/t/prog",)


@pytest.mark.parametrize(
    ("flags", "written"),
    [("", "a.su"), ("-o d/b.x.o", "d/b.x.su"), ("-o b", "b.su"), ("-fno-stack-usage", None)],
)
def test_the_file_of_stack_usage_is_an_output(flags: str, written: str | None) -> None:
    found = call(f"gcc -fstack-usage -c d/a.c {flags}")
    assert found.unit is not None and found.unit.local_reason is None
    assert found.unit.stack_usage == written
    assert written is None or written in found.outputs


@pytest.mark.parametrize(
    ("flags", "written"),
    [
        ("-Wa,-a,-ad,-alms=b/a.lst", "b/a.lst"),
        ("-Wa,-aln=a.lst -Wa,-mrelax-relocations=no", "a.lst"),
        ("-g -Wa,-adhlns=a.lst", "a.lst"),
    ],
)
def test_a_listing_is_an_output_that_this_machines_assembler_writes(flags: str, written: str) -> None:
    found = call(f"gcc {flags} -c d/a.c")
    assert found.unit is not None and found.unit.local_reason is None
    assert found.unit.listing == written and written in found.outputs
    assert not any(word.startswith("-Wa,-a") for word in found.unit.compile_arguments)


@pytest.mark.parametrize(
    "command",
    [
        "gcc -Wa,-a -c a.c",
        "gcc -Wa,-aln=x,-aln=y -c a.c",
        "gcc -Wa,-aln=x -Wa,-aln=y -c a.c",
        "gcc -Wa,-aln=x,-MD=y -c a.c",
        "gcc -Wa,-aln=/dev/stdout -c a.c",
        "gcc -Wa,-aln=x -pipe -c a.c",
        "gcc -Wa,-aln=x -g -c a.c",
        "gcc -Wa,-aln=x -fstack-usage -c a.c",
        "gcc -Wa,-aln=x -flto -c a.c",
        "gcc -Wa,-aln=x -S a.c",
        "gfortran -Wa,-aln=x -c a.f90",
        "clang -Wa,-aln=x -c a.c",
    ],
)
def test_other_listings_are_written_here(command: str) -> None:
    found = unit(command)
    assert found.local_reason is not None


def test_options_are_known_by_their_long_names() -> None:
    found = unit("gcc --compile --debug a.c")
    assert (found.output, found.debug, found.local_reason) == ("a.o", True, None)
    assert call("gcc --preprocess a.c").kind is Kind.QUERY


@pytest.mark.parametrize(
    "flag",
    words(
        "-DNDEBUG -pg -Werror -fmacro-prefix-map=a=b -ffile-prefix-map=/x=. -frandom-seed=1 -fworking-directory "
        "-fno-lto -flto -flto=auto -flto-partition=one -ffat-lto-objects "
        "-Wa,--noexecstack -Wa,-mrelax-relocations=no,--fatal-warnings "
        "--ansi --pedantic --pedantic-errors --all-warnings --no-warnings --pipe -finput-charset=UTF-8 -EL "
        "-trigraphs -fsanitize=address -fopenmp -fmodule-private -static -Wl,-z,now"
    ),
)
def test_flags_that_may_travel(flag: str) -> None:
    assert unit(f"gcc {flag} -c a.c").local_reason is None


@pytest.mark.parametrize(
    "variable",
    ["DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES", "COMPILER_PATH", "GCC_EXEC_PREFIX", "GCC_COMPARE_DEBUG"],
)
def test_variables_that_keep_a_unit_here(variable: str) -> None:
    reason = unit("gcc -c a.c", **{variable: "x"}).local_reason
    assert reason is not None and reason.startswith(f"${variable}")
    assert unit("gcc -c a.c", **{variable: ""}).local_reason is None


def test_native_options_stay_until_they_are_expanded() -> None:
    found = unit("gcc -O2 -march=native -mtune=native -g -c a.c")
    assert needs_native_expansion(found)
    assert found.local_reason == "-march=native: stands for this machine's processor"
    expanded = with_native_expansion(found, ("-march=armv8-a", "-mtune=cortex-a72"))
    assert expanded.local_reason is None and not needs_native_expansion(expanded)
    assert expanded.compile_arguments == ("-O2", "-march=armv8-a", "-mtune=cortex-a72", "-g")
    assert expanded.preprocess_arguments == expanded.compile_arguments
    assert not needs_native_expansion(unit("gcc -march=native --coverage -c a.c"))
    assert not needs_native_expansion(unit("gcc -c a.c"))


@pytest.mark.parametrize(
    ("command", "kind", "outputs"),
    [
        ("gcc a.o b.o -o prog", Kind.LINK, ("prog",)),
        ("gcc a.o", Kind.LINK, ("a.out",)),
        ("gcc a.c -o prog -lm", Kind.LINK, ("prog",)),
        ("gcc -shared -fPIC a.o -o liba.so", Kind.LINK, ("liba.so",)),
        ("gcc -r a.o b.o -o c.o", Kind.LINK, ("c.o",)),
        ("gcc -MD a.c b.c", Kind.LINK, ("a.out", "a-a.d", "a-b.d")),
        ("gcc -MD a.c -o x/prog.so -shared", Kind.LINK, ("x/prog.so", "x/prog.d")),
        ("gcc a.o -Wl,-Map=p.map -o p", Kind.LINK, ("p", "p.map")),
        ("gcc a.o -Wl,-Map,p.map -o p", Kind.LINK, ("p", "p.map")),
        ("gcc a.o -o /dev/null", Kind.LINK, ()),
        ("gfortran m.o -o model", Kind.LINK, ("model",)),
        ("ld -r -o all.o a.o b.o", Kind.LINK, ("all.o",)),
        ("ld.gold a.o -Map m -ofoo", Kind.LINK, ("foo", "m")),
        ("ar rcs lib.a a.o", Kind.ARCHIVE, ("lib.a",)),
        ("ar -rcs lib.a a.o", Kind.ARCHIVE, ("lib.a",)),
        ("ar cru x/lib.a a.o b.o", Kind.ARCHIVE, ("x/lib.a",)),
        ("gcc-ar-12 -r -c lib.a a.o", Kind.ARCHIVE, ("lib.a",)),
        ("ar rb first.o lib.a a.o", Kind.ARCHIVE, ("lib.a",)),
        ("ar dN 2 lib.a a.o", Kind.ARCHIVE, ("lib.a",)),
        ("ar --plugin p.so qc lib.a a.o", Kind.ARCHIVE, ("lib.a",)),
        ("ar rcl deps lib.a a.o", Kind.ARCHIVE, ("lib.a",)),
        ("ar s lib.a", Kind.ARCHIVE, ("lib.a",)),
        ("ar m lib.a a.o", Kind.ARCHIVE, ("lib.a",)),
        ("ar t lib.a", Kind.QUERY, ()),
        ("ar p lib.a a.o", Kind.QUERY, ()),
        ("ar x lib.a", Kind.OTHER, ()),
        ("ar -M", Kind.OTHER, ()),
        ("ranlib lib.a b.a", Kind.ARCHIVE, ("lib.a", "b.a")),
        ("arm-linux-gnueabihf-ranlib -D lib.a", Kind.ARCHIVE, ("lib.a",)),
        ("ranlib --version", Kind.QUERY, ()),
        ("ar --version", Kind.QUERY, ()),
        ("ld --version", Kind.QUERY, ()),
        ("ld -v", Kind.QUERY, ()),
        ("ld -m elf_x86_64 -z noexecstack --no-warn-rwx-segments -v", Kind.QUERY, ()),  # Kbuild's question
        ("ld -m elf_x86_64 -T kernel.lds -o kernel a.o", Kind.LINK, ("kernel",)),
        ("ld -z now -soname x.so a.o", Kind.LINK, ("a.out",)),
        ("ld -T kernel.lds -o kernel", Kind.LINK, ("kernel",)),  # the script names the inputs
        ("ld -c all.mri -o kernel", Kind.LINK, ("kernel",)),
        ("ld -G a.o -o a.so", Kind.LINK, ("a.so",)),
        ("ld -omagic a.o", Kind.LINK, ("magic",)),
    ],
)
def test_links_and_archives_name_what_they_write(command: str, kind: Kind, outputs: tuple[str, ...]) -> None:
    found = call(command)
    assert (found.kind, found.outputs, found.unit) == (kind, outputs, None)


@pytest.mark.parametrize(
    "command",
    [
        "gcc --version",
        "gcc -v",
        "gcc -dumpmachine",
        "gcc -print-search-dirs",
        "gcc -print-file-name=x.o",
        "gcc --help=target",
        "gcc -### -c a.c",
        "gcc -E a.c",
        "gcc -E -",
        "gcc -dM -E -x c /dev/null",
        "gcc -M a.c",
        "gcc -MM -MT a.o a.c b.c",
        "gcc -c -MM a.c",
        "gcc -fsyntax-only a.c",
        "gcc -fsyntax-only -c -l",
        "gcc -fsyntax-only -l",
        "gcc -E a.c -o /dev/null",
        "mpicc -show",
        "mpif90 --showme:compile",
        "gcc",
        "gcc -c",
    ],
)
def test_a_query_writes_no_file(command: str) -> None:
    found = call(command)
    assert (found.kind, found.outputs, found.unit) == (Kind.QUERY, (), None)


@pytest.mark.parametrize(
    ("command", "outputs"),
    [
        ("gcc -E a.c -o a.i", ("a.i",)),
        ("gcc -E -MD a.c", ("a.d",)),
        ("gcc -E -MD -MF x.d a.c", ("x.d",)),
        ("gcc -MM -MF .depend a.c", (".depend",)),
        ("gcc -M a.c -o a.d", ("a.d",)),
        ("gcc -fsyntax-only -MMD -o obj/a.o a.c", ("obj/a.d",)),
        ("gfortran -fsyntax-only a.f90", ()),
        ("gcc -c a.c b.c", ("a.o", "b.o")),
        ("gcc -x c -c - -o a.o", ("a.o",)),
        ("gcc -c conftest.c", ("conftest.o",)),
        ("gcc -o conftest conftest.c", ("conftest",)),
        ("gfortran -c conftest.f90 -o x.o", ("x.o",)),
        ("gcc -Werror -mweird -x c -c /dev/null -o .tmp/tmp", (".tmp/tmp",)),
        ("gcc -x c -c /dev/stdin -o a.o", ("a.o",)),
        ("gcc x.h", ("x.h.gch",)),
        ("gcc -c a.o", ()),
        ("ccache gcc -c a.c", ()),
        ("distcc gcc -c a.c", ()),
        ("libtool --mode=compile gcc -c a.c", ()),
        ("as a.s", ()),
    ],
)
def test_what_is_not_understood_runs_here_with_a_reason(command: str, outputs: tuple[str, ...]) -> None:
    found = call(command)
    assert (found.kind, found.outputs, found.unit) == (Kind.OTHER, outputs, None)
    assert found.reason


def test_what_may_fail_is_told_from_a_source_that_comes_through_a_pipe() -> None:
    assert call("gcc -x c -c /dev/null -o x").reason == TRIAL
    assert call("gcc -x c -c /dev/stdin -o x.o").reason == "/dev/stdin: not a regular file"


def test_an_empty_command_is_no_error() -> None:
    assert classify(()).kind is Kind.OTHER
    assert classify(("gcc", "")).kind is Kind.LINK


@pytest.mark.parametrize(
    ("line", "sources"),
    [
        ("gcc -O1 -c a.c sub/b.c -MMD", ["a.c", "sub/b.c"]),
        ("g++ -c a.cc -Iinc b.c", ["a.cc", "b.c"]),
        ("gcc -c a.c sub/a.c", []),  # one object
        ("gcc -c a.c a.c", []),
        ("gcc -c a.c b.c -include a.c", []),
        ("gcc -c a.c b.s", []),
        ("gcc -c a.c b.c lib.a", []),
        ("gcc -c a.c b.c -MMD -MF x.d", []),
        ("gcc -c a.c b.c -save-temps", []),
        ("gcc -c a.c b.c -o c.o", []),
        ("gcc -S a.c b.c", []),
        ("gcc a.c b.c -o program", []),
        ("gfortran -c -J mod a.f90 b.F90", ["a.f90", "b.F90"]),
    ],
)
def test_several_sources_in_one_command_are_as_many_units_where_each_could_travel(
    line: str, sources: list[str]
) -> None:
    call = classify(line.split())
    assert [unit.source for unit in call.units] == sources
    for unit in call.units:
        alone = tuple(word for word in line.split() if word == unit.source or word not in sources)
        assert unit.argv == alone
        assert parted(("/opt/gcc/bin/gcc", *line.split()[1:]), unit) == ("/opt/gcc/bin/gcc", *alone[1:])
    if sources:
        assert call.kind is Kind.OTHER
        suffixes = (".o", ".d") if "-MMD" in line else (".o",)
        assert call.outputs == tuple(Path(name).stem + suffix for suffix in suffixes for name in sources)


PIECES = words(
    "-c -S -E -M -MD -MF -MT -MP -MMD -o -x c c++ f77 none - -I -D A=1 -Wp,-MD,x -Wp, -Wl,-Map -Wl,-Map,m -Xlinker "
    "-march=native -g -O2 -flto a.c b.f90 c.o d.h .c x/ -J -include -l -lm --param --output -fsyntax-only -v conftest.c"
)


@example(tool="gcc", rest=["-c", "-", "-", "--output"])
@given(
    tool=st.sampled_from(words("gcc g++ gfortran mpif90 clang ar ranlib ld ccache")),
    rest=st.lists(st.one_of(st.sampled_from(PIECES), st.text("-ox=, ", max_size=5)), max_size=10),
)
def test_no_command_is_an_error_and_every_unit_is_whole(tool: str, rest: list[str]) -> None:
    found = classify([tool, *rest])
    assert (found.unit is not None) == (found.kind is Kind.COMPILE)
    assert (found.reason is not None) == (found.kind is Kind.OTHER)
    if found.kind is Kind.QUERY:
        assert found.outputs == ()
    assert not any(path.startswith("/dev/") or not path for path in found.outputs)
    if found.unit is not None:
        unit = found.unit
        assert (unit.fortran is not None) == (unit.language is Language.FORTRAN)
        if unit.may_travel:
            assert unit.output == found.outputs[0]
            travelling = {"-c", "-S", "-o", "-E", unit.source}
            assert not travelling & {*unit.preprocess_arguments, *unit.compile_arguments}


def test_classifying_a_typical_command_costs_little() -> None:
    argv = words(
        "gcc -std=c99 -pedantic -O2 -g -Wall -Wextra -Wno-missing-field-initializers -I ../deps/hiredis "
        "-I../deps/linenoise -I../deps/lua/src -DREDIS_STATIC= -DUSE_JEMALLOC -DFOO=bar -fPIC "
        "-fno-omit-frame-pointer -MMD -MP -MF obj/a.d -o obj/a.o -c src/a.c"
    )
    line = shlex.join(argv)

    def least(work: Callable[[], object]) -> float:
        """Seconds of processor time: what a hundred cost when nobody disturbs them."""
        best = 1e9
        for _ in range(20):
            start = time.process_time()
            for _ in range(100):
                work()
            best = min(best, time.process_time() - start)
        return best

    ratio = least(lambda: classify(argv)) / least(lambda: shlex.split(line))
    assert ratio < 1, f"{ratio:.1f} times what cutting the line into words costs"


def test_the_fingerprint_covers_what_can_change_a_compile_and_nothing_else() -> None:
    argv = ("gcc", "-c", "a.c")
    base = fingerprint("/x", argv, {"HOME": "/h"})
    assert base == fingerprint("/x", argv, {"TERM": "dumb", "MAKELEVEL": "2"})
    others = {
        fingerprint("/y", argv, {}),
        fingerprint("/x", (*argv, "-g"), {}),
        fingerprint("/x", ("gcc", "-c a.c"), {}),
        fingerprint("/x", argv, {"CPATH": "/i"}),
        fingerprint("/x", argv, {"OMPI_CC": "clang"}),
        fingerprint("/x", argv, {"LC_ALL": "C"}),
        fingerprint("/x", argv, {"SOURCE_DATE_EPOCH": "1"}),
        fingerprint("/x\udcff", argv, {}),
    }
    assert len(others) == 8 and base not in others
