"""What CMake's link scripts run is foretold as cmake runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildfarm.graph.cmake import links
from tests.tool import buildfarm

CALL = ("/usr/bin/cmake", "-E", "cmake_link_script", "CMakeFiles/x.dir/link.txt", "--verbose=1")
ARCHIVED = '/usr/bin/ar qc libx.a "a b.o" c.o\n\n/usr/bin/ranlib libx.a\n'


def test_the_lines_of_a_link_script_are_the_calls() -> None:
    asked = []

    def read(path: str) -> str:
        asked.append(path)
        return ARCHIVED

    assert links(CALL, read) == (
        ("/usr/bin/ar", "qc", "libx.a", "a b.o", "c.o"),
        ("/usr/bin/ranlib", "libx.a"),
    )
    assert asked == [CALL[3]]


@pytest.mark.parametrize("words", ["cmake -E touch x y", "gcc -E cmake_link_script link.txt", "cmake -E", "ar r x y"])
def test_no_other_command_is_taken_for_one(words: str) -> None:
    assert links(words.split(), lambda _: ARCHIVED) == ()


@pytest.mark.parametrize("text", [None, "", "/usr/bin/ar qc 'libx.a\n"])
def test_a_script_that_cannot_be_read_foretells_nothing(text: str | None) -> None:
    assert links(CALL, lambda _: text) == ()


def test_a_plan_counts_the_links_of_link_scripts(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(
        "prog: a.o\n\tcd sub && /usr/bin/cmake -E cmake_link_script prog.dir/link.txt --verbose=1\na.o:\n\tcc -c a.c\n"
    )
    (tmp_path / "a.c").write_text("int main(void) { return 0; }\n")
    (tmp_path / "sub/prog.dir").mkdir(parents=True)
    (tmp_path / "sub/prog.dir/link.txt").write_text("/usr/bin/cc ../a.o -o ../prog\n")
    lines = buildfarm("plan", "-C", str(tmp_path)).stdout.splitlines()
    assert "1 unit to compile, 1 link step" in lines[0]
    assert any(line.split()[1:] == ["prog", "here:", "link"] for line in lines), lines
