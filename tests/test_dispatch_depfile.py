"""A depfile with other names is folded as the compiler would have folded it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.dispatch import depfile
from buildfarm.dispatch.depfile import renamed
from buildfarm.graph.classify import classify


def test_without_the_name_nothing_changes() -> None:
    text = b"a.o: a.c \\\n odd\\ name.h\n"
    assert renamed(text, b"/private/", b"") == text


def test_targets_and_prerequisites_are_renamed() -> None:
    assert renamed(b"/p/m.mod a.o: a.f90 /p/n.mod\n", b"/p/", b"mods/") == b"mods/m.mod a.o: a.f90 mods/n.mod\n"


@given(st.lists(st.integers(min_value=1, max_value=40), max_size=30), st.booleans())
def test_folding_again_gives_gccs_own_lines(lengths: list[int], phony: bool) -> None:
    """Both foldings come from one reference: libcpp's loop, written down plainly."""
    names = [b"N" * length for length in lengths]
    long = _written([b"/private/m.mod", b"a.o"], [b"a.f90", *(b"/private/" + name for name in names)], phony)
    short = _written([b"m.mod", b"a.o"], [b"a.f90", *names], phony)
    assert renamed(long, b"/private/", b"") == short
    assert renamed(_written([b"x/m", b"a"], [b"x/" + n for n in names], phony), b"x/", b"much/longer/") == _written(
        [b"much/longer/m", b"a"], [b"much/longer/" + n for n in names], phony
    )


def _written(targets: list[bytes], prerequisites: list[bytes], phony: bool) -> bytes:
    """mkdeps.cc: make_write with colmax 72."""
    out, column = b"", 0
    for part, names in ((0, targets), (1, prerequisites)):
        if part:
            out, column = out + b":", column + 1
        for name in names:
            if column:
                if column + len(name) > 72:
                    out, column = out + b" \\\n", 0
                out, column = out + b" ", column + 1
            out, column = out + name, column + len(name)
    out += b"\n"
    return out + b"".join(name + b":\n" for name in prerequisites) if phony else out


@pytest.mark.parametrize("count", [1, 7, 30])
def test_the_reference_is_gcc(tmp_path: Path, count: int) -> None:
    names = [f"header{i * i}.h" for i in range(count)]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "a.c").write_text("".join(f'#include "{name}"\n' for name in names))
    written = subprocess.run(["gcc", "-MM", "a.c"], cwd=tmp_path, capture_output=True, check=True).stdout
    assert written == _written([b"a.o"], [b"a.c", *(name.encode() for name in names)], phony=False)


@pytest.mark.parametrize(
    "options",
    [
        "-MMD -MD",
        "-MD -MMD -o x.o",
        "-MD -Wp,-MP -o x.o",
        "-MMD -MQ q -MT t",
        "-MMD -MT t -MQ q -MT u",
        "-Wp,-MT,w -MD -o x.o",
        "-MF n.d -Wp,-MD,w.d,-MT,w -MT t",
    ],
)
def test_a_depfile_written_for_its_options_is_gccs_or_none(tmp_path: Path, options: str) -> None:
    (tmp_path / "h.h").touch()
    (tmp_path / "a.c").write_text('#include "h.h"\n#include <stddef.h>\n')
    words = ["gcc", "-c", *options.split(), "a.c"]
    subprocess.run(words, cwd=tmp_path, check=True)
    unit = classify(words).unit
    assert unit is not None and unit.depfile is not None
    written = (tmp_path / unit.depfile.path).read_bytes()
    wanted = depfile.wanted(unit.depfile.arguments, unit.source)
    if wanted is None:
        assert any(word.startswith("-MQ") for word in unit.depfile.arguments) and "-MT" in options
        return
    every = ["gcc", "-M" if wanted.system else "-MM", "a.c"]
    names = depfile.read(subprocess.run(every, cwd=tmp_path, capture_output=True, check=True).stdout)
    assert names is not None and depfile.write(wanted, names) == written
