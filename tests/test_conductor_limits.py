"""Open files: raised as far as a farm needs, refused where no build could end, and make's own limit left alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

from buildfarm.conductor.limits import LEAST_FILES
from tests.tool import TIMEOUT, command, environment


def _run(directory: Path, limits: str) -> subprocess.CompletedProcess[str]:
    words = ["sh", "-c", f'{limits}; exec "$@"', "sh", *command("run", "-C", str(directory), "--hosts", "localhost/2")]
    return subprocess.run(
        words, env=environment(), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=TIMEOUT
    )


def test_too_few_for_any_build_is_said_before_it_begins(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all:\n\techo > made\n")
    result = _run(tmp_path, "ulimit -n 20")
    assert result.returncode == 71
    assert "the limit is 20" in result.stderr and "hint: ulimit -n" in result.stderr
    assert len(result.stderr.splitlines()) == 2, result.stderr
    assert not (tmp_path / "made").exists()


def test_the_least_that_is_allowed_is_enough(tmp_path: Path) -> None:
    units = " ".join(f"u{number}.o" for number in range(12))
    for number in range(12):
        (tmp_path / f"u{number}.c").write_text(f"int f{number}(void) {{ return {number}; }}\n")
    (tmp_path / "Makefile").write_text(f"libu.a: {units}\n\tar rcs $@ $^\n%.o: %.c\n\t$(CC) -c $< -o $@\n")
    result = _run(tmp_path, f"ulimit -n {LEAST_FILES}")
    assert result.returncode == 0, result.stderr
    assert "Too many" not in result.stderr and (tmp_path / "libu.a").exists()


def test_a_soft_limit_is_raised_for_buildfarm_and_not_for_make(tmp_path: Path) -> None:
    (tmp_path / "one.c").write_text("int one;\n")
    (tmp_path / "Makefile").write_text("all: one.o\n\t@ulimit -n >limit\none.o: one.c\n\tcc -c $<\n")
    result = _run(tmp_path, "ulimit -S -n 60")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "limit").read_text() == "60\n"
