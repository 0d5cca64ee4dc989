"""Limits: raised as far as a farm needs, make alone where no farm could work, and make's own limit left alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from buildfarm.conductor.limits import LEAST_FILES
from tests.tool import TIMEOUT, buildfarm, command, environment, status


def _run(directory: Path, limits: str) -> subprocess.CompletedProcess[str]:
    words = ["sh", "-c", f'{limits}; exec "$@"', "sh", *command("run", "-C", str(directory), "--hosts", "localhost/2")]
    return subprocess.run(
        words, env=environment(), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=TIMEOUT
    )


@pytest.mark.parametrize("files", [20, 24])
def test_with_too_few_for_any_farm_make_runs_alone_and_one_line_says_so(tmp_path: Path, files: int) -> None:
    (tmp_path / "a.c").write_text("int a;\n")
    (tmp_path / "Makefile").write_text("all: a.o\n\techo > made\na.o: a.c\n\tcc -c $<\n")
    result = _run(tmp_path, f"ulimit -n {files}")
    assert result.returncode == 0
    assert (tmp_path / "made").exists() and (tmp_path / "a.o").exists()
    assert f"the limit is {files}" in result.stderr and "make runs alone, without nodes" in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert status(tmp_path)["state"] == "complete"
    assert _run(tmp_path, f"ulimit -n {files}").stdout.count("cc -c") == 0


@pytest.mark.parametrize("limits", ["ulimit -f 20", "ulimit -d 40000", "ulimit -v 300000"])
def test_with_too_small_files_or_too_few_threads_too(tmp_path: Path, limits: str) -> None:
    (tmp_path / "a.c").write_text("int a;\n")
    (tmp_path / "Makefile").write_text('all: a.o\n\ttest "$$(ulimit -f)" = $(F)\na.o: a.c\n\tcc -c $<\n')
    size = "20" if "-f" in limits else "unlimited"
    result = _run(tmp_path, f'{limits}; set -- "$@" F={size}')
    assert result.returncode == 0 and (tmp_path / "a.o").exists(), result.stderr
    (line,) = result.stderr.splitlines()
    assert "the limit is" in line and "make runs alone, without nodes" in line


def test_make_alone_that_was_interrupted_is_swept_as_ever(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all: half\nhalf:\n\techo begun > $@\n\tkill -9 $$(cat pid)\n\tsleep 100\n")
    words = command("run", "-C", str(tmp_path), "--hosts", "localhost/2")
    script = f'ulimit -n 24; echo $$ > {tmp_path}/pid; exec "$@"'
    killed = subprocess.run(
        ["sh", "-c", script, "sh", *words], env=environment(), stdout=subprocess.DEVNULL, timeout=TIMEOUT
    )
    assert killed.returncode == -9
    (tmp_path / "Makefile").write_text("all: half\nhalf:\n\techo whole > $@\n")
    result = buildfarm("resume", "-C", str(tmp_path), "--hosts", "localhost/2")
    assert (result.code, (tmp_path / "half").read_text()) == (0, "whole\n"), result.stderr


def test_make_alone_ends_at_a_signal_and_can_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all:\n\tkill -TERM $$(cat pid); sleep 100\n")
    words = command("run", "-C", str(tmp_path), "--hosts", "localhost/2")
    script = f'ulimit -n 24; echo $$ > {tmp_path}/pid; exec "$@"'
    ended = subprocess.run(
        ["sh", "-c", script, "sh", *words], env=environment(), stdout=subprocess.DEVNULL, timeout=TIMEOUT
    )
    assert ended.returncode == 143
    assert status(tmp_path)["state"] == "interrupted"


def test_who_wants_no_local_compile_gets_none(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all:\n\techo > made\n")
    result = _run(tmp_path, 'ulimit -n 20; set -- "$@" --fallback never')
    assert result.returncode == 71
    assert "the limit is 20" in result.stderr and "hint: ulimit -n" in result.stderr
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
