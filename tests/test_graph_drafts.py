"""A recipe that writes the source that it compiles is told as a script that prints that source, or not at all."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from buildfarm.graph import drafts
from buildfarm.graph.classify import classify

COMPILE = "gfortran -c -O1 a.f90"


def script(lines: list[str], compile_line: str, where: Path) -> str | None:
    argv = tuple(compile_line.split())
    unit = classify(argv).unit
    assert unit is not None
    if not drafts.writes(lines, unit.source):
        return None
    return drafts.script(lines, argv, unit, str(where), {})


@pytest.mark.parametrize(
    "lines",
    (
        ["rm -f a.f90", "cpp -P -traditional -DN=7 a.F > a.f90", COMPILE],
        ["cpp -P -traditional -DN=7 a.F a.f90", COMPILE],
        ["cpp -P -traditional -DN=7 a.F -o a.f90", COMPILE],
        ["cpp -P -traditional -DN=7 a.F | sed 's/x/x/' >a.f90", COMPILE],
        ["sed 's/x/x/' a.F > a.b", "cpp -P -traditional -DN=7 a.b  > a.f90", "rm a.b", COMPILE],
        ["sed 's/x/x/' a.F > a.b", "cpp -P -traditional -DN=7 a.b > b.f90; mv b.f90 a.f90", COMPILE],
        ["cpp -P -traditional -DN=7 a.F > a.f90", "if echo | fgrep -q DA; then ./rename a.f90; fi", COMPILE],
        [f"cpp -P -traditional -DN=7 a.F >a.f90; {COMPILE} && rm -f a.f90"],
        [f"gfortran -E -P -cpp -DN=7 a.F >a.f90 && {COMPILE}; rm -f a.f90"],
        [f"cpp -P -traditional -DN=7 a.F \\\n  > a.f90 && \\\n  {COMPILE}"],
    ),
    ids=lambda lines: lines[0][:30],
)
def test_what_the_recipe_would_compile_is_printed(lines: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.F").write_text("      integer x\n#ifdef N\n      x = N\n#endif\n      end\n")
    text = script(lines, COMPILE, tmp_path)
    assert text is not None
    done = subprocess.run(["sh", "-c", text], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "x = 7" in done.stdout and "#" not in done.stdout
    assert not list(tmp_path.glob("*.o"))


@pytest.mark.parametrize(
    ("lines", "compile_line"),
    (
        ([COMPILE], COMPILE),
        (["echo a.f90", COMPILE], COMPILE),
        (["gfortran -c b.f90 > a.f90.log", COMPILE], COMPILE),
        (["cpp a.F > ba.f90", COMPILE], COMPILE),
        (["cp a.f90 kept.f90", COMPILE], COMPILE),
        (["cpp a.f90 > /dev/null", COMPILE], COMPILE),
        (["./generate > a.f90", COMPILE], COMPILE),
        (["curl -s x > a.f90", COMPILE], COMPILE),
        (["cpp a.F > a.f90; ./count a.f90 && gfortran -c a.f90"], "gfortran -c a.f90"),
        (["cpp a.F > a.f90; while read x; do gfortran -c a.f90; done"], "gfortran -c a.f90"),
        (["cpp a.F > a.F90", "gfortran -c a.F90"], "gfortran -c a.F90"),
        (["m4 a.m4 > a.c", "gcc -c a.c"], "gcc -c a.c"),
        (["cpp a.F > a.f90; /usr/bin/gfortran -c a.f90"], "/usr/bin/gfortran -c a.f90"),
    ),
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_what_is_no_filter_s_work_is_left_to_make(lines: list[str], compile_line: str, tmp_path: Path) -> None:
    assert script(lines, compile_line, tmp_path) is None
