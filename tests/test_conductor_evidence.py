"""A result made ahead of make counts only while all that it was made from is the same."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from buildfarm.conductor.evidence import ABSENT, Evidence, Witness
from buildfarm.conductor.probes import Probes
from buildfarm.dispatch.stamps import RACY_NS
from buildfarm.graph.classify import classify
from buildfarm.model import Unit
from tests.farm import PATIENCE

OLD = 1_000_000_000_000_000_000


def age(*paths: Path) -> None:
    """Make files look older than any build, as the sources of a project are."""
    for path in paths:
        os.utime(path, ns=(OLD, OLD))


def unit(*argv: str) -> Unit:
    found = classify(argv).unit
    assert found is not None
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "version.h").write_text("#define V 1\n")
    (tmp_path / "a.c").write_text('#include "version.h"\n#include <stdio.h>\nint v = V;\n')
    age(tmp_path / "second" / "version.h", tmp_path / "a.c")
    return tmp_path


def taken(tree: Path, witness: Witness) -> Evidence:
    compile_unit = unit("gcc", "-Ifirst", "-Isecond", "-c", "a.c", "-o", "a.o")
    inputs = (str(tree / "a.c"), str(tree / "second" / "version.h"), "/usr/include/stdio.h")
    evidence = witness.take(compile_unit, str(tree), {}, inputs, {}, time.time_ns())
    assert evidence is not None
    return evidence


def test_nothing_changed_holds(tree: Path) -> None:
    witness = Witness()
    assert witness.holds(taken(tree, witness).inputs)


def test_the_same_bytes_under_a_new_time_hold(tree: Path) -> None:
    witness = Witness()
    evidence = taken(tree, witness)
    os.utime(tree / "second" / "version.h")
    assert witness.holds(evidence.inputs)


def test_a_changed_header_does_not_hold(tree: Path) -> None:
    witness = Witness()
    evidence = taken(tree, witness)
    (tree / "second" / "version.h").write_text("#define V 2\n")
    assert not witness.holds(evidence.inputs)


def test_a_removed_header_does_not_hold(tree: Path) -> None:
    witness = Witness()
    evidence = taken(tree, witness)
    (tree / "second" / "version.h").unlink()
    assert not witness.holds(evidence.inputs)


@pytest.mark.parametrize("shadow", ["first/version.h", "version.h", "first/stdio.h"])
def test_a_new_file_that_the_compiler_would_find_first_does_not_hold(tree: Path, shadow: str) -> None:
    witness = Witness()
    evidence = taken(tree, witness)
    (tree / shadow).write_text("#define V 3\n")
    assert not witness.holds(evidence.inputs)
    assert not Witness().holds(evidence.inputs)


def test_an_upgraded_compiler_does_not_hold(tree: Path) -> None:
    compiler = tree / "gcc"
    compiler.write_text("version 12")
    witness = Witness()
    inputs = (str(tree / "a.c"),)
    evidence = witness.take(unit("gcc", "-c", "a.c"), str(tree), {}, inputs, {}, time.time_ns(), str(compiler))
    assert evidence is not None and witness.holds(evidence.inputs)
    compiler.write_text("version 13")
    assert not witness.holds(evidence.inputs)


def test_a_new_file_of_another_name_holds(tree: Path) -> None:
    witness = Witness()
    evidence = taken(tree, witness)
    (tree / "first" / "other.h").write_text("")
    (tree / "a.o").write_bytes(b"")
    assert witness.holds(evidence.inputs)


def test_a_new_directory_of_shadows_is_told_by_its_name_alone(tree: Path) -> None:
    witness = Witness()
    compile_unit = unit("gcc", "-Ifirst", "-c", "a.c")
    markers = subprocess.run(
        ["gcc", "-E", "-xc", "-"], input=b"#include <sys/stat.h>", capture_output=True, check=True
    ).stdout.decode()
    inputs = (str(tree / "a.c"), *sorted(set(re.findall(r'"(/usr/[^"]*/sys/[^"]*)"', markers))))
    assert len(inputs) > 1
    evidence = witness.take(compile_unit, str(tree), {}, inputs, {}, time.time_ns())
    assert evidence is not None
    assert evidence.inputs[str(tree / "first" / "sys")] == ABSENT
    assert str(tree / "first" / "sys" / "types.h") not in evidence.inputs
    (tree / "first" / "sys").mkdir()
    assert not witness.holds(evidence.inputs)


def test_a_file_changed_while_it_was_read_proves_nothing(tree: Path) -> None:
    compile_unit = unit("gcc", "-c", "a.c")
    begun = time.time_ns()
    (tree / "a.c").write_text("int v;\n")
    assert Witness().take(compile_unit, str(tree), {}, (str(tree / "a.c"),), {}, begun) is None


def test_a_shadow_that_came_while_it_was_compiled_proves_nothing(tree: Path) -> None:
    compile_unit = unit("gcc", "-Ifirst", "-Isecond", "-c", "a.c")
    inputs = (str(tree / "a.c"), str(tree / "second" / "version.h"))
    begun = time.time_ns()
    shadow = tree / "first" / "version.h"
    shadow.write_text("#define V 3\n")
    age(shadow)
    assert Witness().take(compile_unit, str(tree), {}, inputs, {}, begun) is None
    later = time.time_ns() + RACY_NS + 1_000_000
    assert Witness().take(compile_unit, str(tree), {}, inputs, {}, later) is not None


def test_a_copy_of_a_module_that_comes_with_it_is_no_shadow(tree: Path) -> None:
    (tree / "a.f90").write_text("use m\nend\n")
    (tree / "second" / "m.mod").write_text("module")
    age(tree / "a.f90")
    later = time.time_ns() + RACY_NS + 1_000_000
    one = unit("gfortran", "-Ifirst", "-Isecond", "-c", "a.f90")
    inputs = (str(tree / "a.f90"), str(tree / "second" / "m.mod"))
    for content, is_taken in (("module", True), ("another", False)):
        (tree / "first" / "m.mod").write_text(content)
        evidence = Witness().take(one, str(tree), {}, inputs, {}, later - RACY_NS, modules_since_ns=later)
        assert (evidence is not None) is is_taken


@pytest.mark.parametrize(
    ("copy", "named", "holds"), [("same", False, True), ("same", True, False), ("new", False, False)]
)
def test_a_copy_of_a_module_that_comes_later_is_no_shadow_but_for_a_depfile(
    tree: Path, copy: str, named: bool, holds: bool
) -> None:
    """CVMix and ModelE copy a module to a directory that its users search first."""
    (tree / "early").mkdir()
    (tree / "own").mkdir()
    (tree / "own" / "m.mod").write_text("same")
    (tree / "u.f90").write_text("use m\nend\n")
    age(tree / "u.f90", tree / "own" / "m.mod")
    user = unit("gfortran", "-c", "-Iearly", "-Jown", "u.f90")
    inputs = (str(tree / "u.f90"), str(tree / "own" / "m.mod"))
    witness = Witness()
    evidence = witness.take(user, str(tree), {}, inputs, {}, time.time_ns())
    assert evidence is not None and witness.holds(evidence.inputs)
    (tree / "early" / "m.mod").write_text(copy)
    assert witness.holds(evidence.inputs, named=named) is holds


def test_what_reads_a_file_that_was_just_made_waits_until_it_can_be_vouched_for(tree: Path) -> None:
    made = tree / "made.h"
    made.write_text("int made;\n")
    asyncio.run(Witness().settled([str(made), str(tree / "not there")]))
    assert time.time_ns() - made.stat().st_mtime_ns >= RACY_NS


def test_a_file_from_the_future_is_not_waited_for(tree: Path) -> None:
    os.utime(tree / "a.c", ns=(0, time.time_ns() + 3_600_000_000_000))
    asyncio.run(asyncio.wait_for(Witness().settled([str(tree / "a.c")]), PATIENCE))


def test_every_header_that_gcc_prefers_is_on_the_list_of_absences(tree: Path) -> None:
    """gcc itself says where it looks: each place before the one found must be covered."""
    search = subprocess.run(
        ["gcc", "-Ifirst", "-Isecond", "-H", "-E", "a.c"], cwd=tree, capture_output=True, text=True, check=True
    ).stderr
    assert "second/version.h" in search
    evidence = taken(tree, Witness()).inputs
    absent = {path for path, digest in evidence.items() if digest == ABSENT}
    assert {str(tree / "version.h"), str(tree / "first" / "version.h")} <= absent


def test_a_module_that_is_not_in_place_yet_is_known_by_any_name(tree: Path) -> None:
    """A unit in `build/` finds `../mods/m.mod`, which is made ahead and comes to its place later."""
    for directory in ("mods", "build", "private"):
        (tree / directory).mkdir()
    (tree / "private" / "m.mod").write_text("module")
    (tree / "a.f90").write_text("end\n")
    age(tree / "private" / "m.mod", tree / "a.f90")
    compile_unit = unit("gfortran", "-I../mods", "-J.", "-c", "../a.f90")
    inputs = (f"{tree}/build/../a.f90", f"{tree}/build/../mods/m.mod")
    witness = Witness()
    private = {str(tree / "mods" / "m.mod"): str(tree / "private" / "m.mod")}
    evidence = witness.take(compile_unit, str(tree / "build"), {}, inputs, private, time.time_ns())
    assert evidence is not None
    (tree / "private" / "m.mod").rename(tree / "mods" / "m.mod")
    assert witness.holds(evidence.inputs)


def test_a_directory_that_changes_all_the_time_is_not_listed_for_a_few_names(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = Witness()
    monkeypatch.setattr(os, "listdir", lambda path: pytest.fail(f"{path} was listed"))
    one = unit("gfortran", "-Ifirst", "-c", "a.f", "-o", "a.o")
    (tree / "a.f").write_text("      end\n")
    age(tree / "a.f")
    for number in range(20):
        (tree / "first" / f"{number}.o").touch()
        evidence = witness.take(one, str(tree), {}, (str(tree / "a.f"),), {}, time.time_ns())
        assert evidence is not None
        assert witness.holds(evidence.inputs)


def test_a_module_that_came_before_it_was_read_is_known_though_the_unit_had_been_begun(tree: Path) -> None:
    one = unit("gfortran", "-c", "a.f90", "-o", "a.o")
    (tree / "a.f90").write_text("use m\nend\n")
    age(tree / "a.f90")
    inputs = (str(tree / "a.f90"), str(tree / "m.mod"))
    begun = time.time_ns()
    (tree / "m.mod").write_text("module")

    def taken_when_read_at(moment: int) -> Evidence | None:
        return Witness().take(one, str(tree), {}, inputs, {}, begun, modules_since_ns=moment)

    came = (tree / "m.mod").stat().st_ctime_ns
    assert taken_when_read_at(came + RACY_NS) is None, "too near to tell"
    assert taken_when_read_at(came + RACY_NS + 1) is not None
    age(tree / "m.mod")
    assert taken_when_read_at(begun) is None, "a renamed file keeps its mtime"


@pytest.mark.parametrize(("name", "asked"), [("a.f90", ()), ("a.F90", ("extra.h",))])
def test_fortran_asks_for_headers_only_through_the_preprocessor(
    tmp_path: Path, name: str, asked: tuple[str, ...]
) -> None:
    source = tmp_path / name
    source.write_text('#if __has_include("extra.h")\n#endif\nend\n')
    assert Probes().names(unit("gfortran", "-c", name, "-o", "a.o"), [str(source)]) == asked
