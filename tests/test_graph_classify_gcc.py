"""What `classify` derives, held against the real gcc and gfortran: depfiles, outputs, response files, objects."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from buildfarm.graph.classify import classify, expand_response, response_files
from buildfarm.graph.response import split_words
from buildfarm.model import Kind, Unit
from tests.farm import PATIENCE

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is missing: install it")
needs_gfortran = pytest.mark.skipif(shutil.which("gfortran") is None, reason="gfortran is missing: install it")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    for name in ("src", "inc", "sys", "obj.d", "mod"):
        (root / name).mkdir()
    (root / "inc/h.h").write_text("int f(void);\n")
    (root / "inc/odd #$name.h").write_text("")
    (root / "sys/s.h").write_text("typedef int t;\n")
    (root / "inc/pre.h").write_text("#define PRE 1\n")
    (root / "src/a.c").write_text(
        '#include "h.h"\n#include "odd #$name.h"\n#include <s.h>\n#include <stddef.h>\nint f(void) { return 1; }\n'
    )
    shutil.copy(root / "src/a.c", root / "b.c")
    shutil.copy(root / "src/a.c", root / "src/c.cc")
    (root / "inc/x.inc").write_text("      print *, 1\n")
    (root / "src/m.F90").write_text(
        '#include "../inc/h.inc"\nmodule m\n use iso_c_binding\ncontains\n subroutine s\n'
        " include '../inc/x.inc'\n end\nend module\n"
    )
    (root / "inc/h.inc").write_text("! nothing\n")
    return root


def run(argv: list[str], cwd: Path) -> None:
    subprocess.run(argv, cwd=cwd, check=True, capture_output=True, timeout=PATIENCE)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def compile_and_forget(argv: list[str], root: Path) -> dict[str, bytes]:
    """Runs `argv` and returns the files that it wrote, which are then removed."""
    before = files(root)
    run(argv, root)
    written = {name: (root / name).read_bytes() for name in files(root) - before}
    for name in written:
        (root / name).unlink()
    return written


def unit_of(argv: list[str]) -> Unit:
    call = classify(argv)
    assert call.kind is Kind.COMPILE and call.unit is not None
    return call.unit


DEPFILE_OPTIONS = [
    (),
    ("-MF", "deps.mk"),
    ("-MFobj.d/deps.P",),
    ("-MP",),
    ("-MT", "x y$z"),
    ("-MQ", "x y$z"),
    ("-MTone", "-MQ", "two", "-MT", "three"),
    ("-MP", "-MF", "obj.d/.a.Tpo", "-MT", "a.lo"),
]
OUTPUTS = [(), ("-o", "obj.d/a.o"), ("-oplain",), ("-o", "obj.d/noext"), ("-o", "./x.y.o"), ("-o", "a b$.o")]
SOURCES = ["src/a.c", "b.c", "src/c.cc"]


def depfile_commands() -> list[list[str]]:
    return list(_depfile_commands())


def _depfile_commands() -> Iterator[list[str]]:
    common = ["-Iinc", "-isystem", "sys", "-include", "inc/pre.h", "-c"]
    combinations = itertools.product([("-MD",), ("-MMD",), ("-MD", "-MMD")], DEPFILE_OPTIONS, OUTPUTS)
    for number, (style, options, output) in enumerate(combinations):
        yield ["gcc", *style, *common, *options, *output, SOURCES[number % 3]]
    for output in OUTPUTS:
        for wrapped in ("-Wp,-MD,w.d", "-Wp,-MMD,obj.d/.w.d", "-Wp,-MMD,w.d,-MP", "-Wp,-MP,-MQ,q,-MD,w.d"):
            yield ["gcc", wrapped, *common, *output, "src/a.c"]
            yield ["gcc", *common, *output, wrapped, "-MT", "t", "src/a.c"]
            yield ["gcc", *common, *output, "-Wp,-MT,w", wrapped, "-MT", "t", "-MF", "n.d", "src/a.c"]
    yield ["gcc", "-MD", *common, "-S", "src/a.c"]
    yield ["gcc", "-MD", "-S", "-o", "obj.d/a.asm", *common, "src/a.c"]
    yield ["g++", "-MD", *common, "b.c"]
    yield ["gcc", "-MD", *common, "-x", "c++", "b.c", "-o", "obj.d/b.o"]


@pytest.mark.parametrize("argv", depfile_commands(), ids=" ".join)
def test_a_separate_preprocessing_writes_the_depfile_that_the_compile_would_write(argv: list[str], tree: Path) -> None:
    unit = unit_of(argv)
    assert unit.depfile is not None
    assert unit.local_reason is None
    expected = compile_and_forget(argv, tree)
    assert set(expected) == {str(Path(unit.output)), str(Path(unit.depfile.path))}
    preprocess = [
        argv[0],
        *unit.preprocess_arguments,
        *unit.depfile.arguments,
        "-E",
        unit.source,
        "-o",
        "/dev/null",
    ]
    without_output = preprocess[:-2]
    written = compile_and_forget(without_output, tree)
    assert written == {str(Path(unit.depfile.path)): expected[str(Path(unit.depfile.path))]}


@needs_gfortran
@pytest.mark.parametrize("module_directory", [(), ("-J", "mod")])
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("options", DEPFILE_OPTIONS)
def test_fortran_syntax_check_writes_the_depfile_that_the_compile_would_write(
    options: tuple[str, ...], output: tuple[str, ...], module_directory: tuple[str, ...], tree: Path
) -> None:
    argv = ["gfortran", "-MD", *module_directory, *options, "-c", *output, "src/m.F90"]
    unit = unit_of(argv)
    assert unit.depfile is not None and unit.local_reason is None
    path = str(Path(unit.depfile.path))
    expected = compile_and_forget(argv, tree)
    check = ["gfortran", *unit.preprocess_arguments, *unit.depfile.arguments, "-fsyntax-only", unit.source]
    assert compile_and_forget(check, tree)[path] == expected[path]


@pytest.mark.parametrize(
    "command",
    [
        "gcc -c b.c",
        "gcc -S b.c",
        "gcc -c -S b.c -o obj.d/b.x",
        "gcc -c -xc++ b.c",
        "gcc -E b.c -o b.i",
        "gcc -E -MD b.c -o b.i",
        "gcc -E -MMD -MF q.d b.c",
        "gcc -E -MD b.c",
        "gcc -M b.c",
        "gcc -MM -MF q.d b.c",
        "gcc -MM b.c -o q.d",
        "gcc -c -MM b.c -MT x",
        "gcc -fsyntax-only b.c",
        "gcc -fsyntax-only -MD b.c -o obj.d/b.o",
        "gcc -fsyntax-only -c b.c -o x.o",
        "gcc -shared -fPIC b.c",
        "gcc -shared -fPIC -MD b.c",
        "gcc -shared -fPIC -MD src/a.c",
        "gcc -shared -fPIC -MD b.c src/only.c",
        "gcc -shared -fPIC -MD b.c -o obj.d/p.so",
        "gcc -shared -fPIC -Wl,-Map=m.map b.c -o p.so",
        "gcc -shared -fPIC -Xlinker -Map=m.map b.c",
        "gcc -c b.c src/only.c",
        "gcc -c inc/h.h",
        "gcc inc/h.h",
        "gcc inc/h.h -o obj.d/h.gch",
        "gcc -x c-header -c inc/x.h -o x.gch",
        "gcc --version",
        "gcc -### -c b.c",
        "gcc -v",
        "gcc -dumpmachine",
        "gcc -print-prog-name=ld",
        "gcc --help=target",
    ],
)
def test_the_outputs_named_are_those_that_gcc_writes(command: str, tree: Path) -> None:
    (tree / "inc/x.h").write_text("int x;\n")
    (tree / "src/only.c").write_text("int only;\n")
    argv = [*command.split(), "-Iinc", "-isystem", "sys"]
    call = classify(argv)
    assert set(compile_and_forget(argv, tree)) == {str(Path(name)) for name in call.outputs}


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "-O2 -Wall",
        "-std=c99 -trigraphs -fPIC",
        "-DN=3 -U__linux__",
        "-fno-common -ffunction-sections -m64",
    ],
)
def test_the_split_arguments_make_the_same_object(flags: str, tree: Path) -> None:
    argv = ["gcc", *flags.split(), "-I", "inc", "-isystem", "sys", "-include", "inc/pre.h", "-c", "src/a.c"]
    unit = unit_of(argv)
    expected = compile_and_forget(argv, tree)["a.o"]
    run(["gcc", *unit.preprocess_arguments, "-E", unit.source, "-o", "t.i"], tree)
    run(["gcc", *unit.compile_arguments, "-c", "t.i", "-o", "t.o"], tree)
    assert (tree / "t.o").read_bytes() == expected
    (tree / "t.i").unlink()
    (tree / "t.o").unlink()


# --- response files ---------------------------------------------------------------------------------------


def test_response_files_are_named_and_expanded_also_when_nested() -> None:
    argv = ("gcc", "@one", "-c", "@missing", "@")
    assert response_files(argv) == ("one", "missing")
    first = expand_response(argv, {"one": "-DA  '@two' \"x y\""})
    assert first == ("gcc", "-DA", "@two", "x y", "-c", "@missing", "@")
    texts = {"one": "-DA @two", "two": "-DB\n-DC"}
    assert expand_response(("gcc", "@one"), texts) == ("gcc", "-DA", "-DB", "-DC")
    assert response_files(("@x",)) == ()


def test_a_response_file_that_names_itself_ends() -> None:
    assert expand_response(("gcc", "@a"), {"a": "-x @a"})[:3] == ("gcc", "-x", "-x")


def test_an_expansion_of_nothing_is_nothing() -> None:
    assert expand_response((), {}) == ()
    assert expand_response(("gcc", "@a"), {"a": " \n"}) == ("gcc",)


@pytest.mark.skipif(shutil.which("c++filt") is None, reason="c++filt is missing: install binutils")
@settings(max_examples=60, deadline=None)
@given(text=st.text(st.sampled_from("ab \t\n\v\f\r'\"\\@,="), max_size=20))
@example(text="a\\")
@example(text="'a\\'b' c")
@example(text='"a\\"b"\'c d\'e')
@example(text="''")
@example(text="@b")
def test_words_are_split_as_libiberty_splits_them(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """c++filt prints each of its arguments, expanded by the same `expandargv` as gcc's."""
    directory = tmp_path_factory.mktemp("response")
    (directory / "r").write_bytes(text.encode())
    shown = subprocess.run(
        ["c++filt", "@r"],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    assert shown.stdout.decode() == "".join(f"{word}\n" for word in split_words(text))
