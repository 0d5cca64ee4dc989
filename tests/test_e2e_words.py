"""A compiler's words on this machine: whole on stderr, in the status document, and not lost when stubs are killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.farm import Farm, wait_until
from tests.tool import Running, buildfarm, environment, status

MAKEFILE = "all: good.o bad.o\n%.o: %.c\n\t$(CC) $(CFLAGS) -c $< -o $@\n"


def _project(root: Path) -> Path:
    root.mkdir()
    (root / "Makefile").write_text(MAKEFILE)
    (root / "good.c").write_text("#warning mind this\nint good;\n")
    (root / "bad.c").write_text("int bad(void) { return missing; }\n")
    return root


def test_a_unit_that_fails_here_has_its_compilers_words_in_the_status(tmp_path: Path) -> None:
    tree = _project(tmp_path / "p")
    result = buildfarm("run", "-C", str(tree), "--hosts", "", "-k")
    assert result.code == 2
    (failure,) = status(tree)["failures"]
    assert "'missing' undeclared" in failure["stderr"]
    assert failure["stderr"] in result.stderr
    assert result.stderr.count("mind this") == 2  # the message and gcc's quotation of the line
    assert not (tree / ".buildfarm" / "work").exists()


def test_words_of_a_killed_stub_are_printed_all_the_same(tmp_path: Path) -> None:
    tree = _project(tmp_path / "p")
    compiler = tmp_path / "bin" / "gcc"
    compiler.parent.mkdir()
    compiler.write_text(
        f'#!/bin/sh\necho "last words" >&2\necho $PPID > {tmp_path}/stub\n'
        f"until test -e {tmp_path}/go; do sleep 0.05; done\n"
    )
    compiler.chmod(0o755)
    env = environment(PATH=f"{compiler.parent}:{os.environ['PATH']}")
    with Running(("run", "-C", str(tree), "--hosts", "", "-j1", "CC=gcc", "bad.o"), env) as build:
        wait_until(lambda: (tmp_path / "stub").exists() and bool((tmp_path / "stub").read_text()), "the compiler")
        os.kill(int((tmp_path / "stub").read_text()), signal.SIGKILL)
        (tmp_path / "go").touch()
        result = build.wait()
    assert result.code != 0
    assert result.stderr.count("last words") == 1


def test_words_of_a_build_that_was_killed_whole_are_printed_once_by_a_stub_or_by_the_next_build(tmp_path: Path) -> None:
    tree = _project(tmp_path / "p")
    compiler = tmp_path / "bin" / "gcc"
    compiler.parent.mkdir()
    compiler.write_text(f'#!/bin/sh\necho "last words" >&2\ntouch {tmp_path}/said\nexec sleep 60\n')
    compiler.chmod(0o755)
    env = environment(PATH=f"{compiler.parent}:{os.environ['PATH']}")
    with Running(("run", "-C", str(tree), "--hosts", "", "-j1", "CC=gcc", "bad.o"), env) as build:
        wait_until((tmp_path / "said").exists, "the compiler")
        build.kill_all()
        result = buildfarm("run", "-C", str(tree), "--hosts", "", "good.o")
        assert build.process.stderr is not None
        before = build.process.stderr.read().decode()
    assert result.code == 0, result.stderr
    assert (before + result.stderr).count("last words") == 1


def test_words_left_in_a_dead_builds_directory_are_printed_by_the_next(tmp_path: Path) -> None:
    tree = _project(tmp_path / "p")
    left = tree / ".buildfarm" / "work" / "words"
    left.mkdir(parents=True)
    (left / "3").write_bytes(b"last words\n")
    result = buildfarm("run", "-C", str(tree), "--hosts", "", "good.o")
    assert result.stderr.count("last words") == 1
    assert not left.exists()


SILENT_THE_SECOND_TIME = """#!/bin/sh
case " $* " in *bf-probe*|*" -v "*|*-dump*|*--version*) exec /usr/bin/gcc "$@";; esac
case " $* " in *-Wall*) mkdir "$(dirname "$0")/once" 2>/dev/null && exec /usr/bin/gcc "$@";; esac
for last; do case $previous in -o) : > "$last";; esac; previous=$last; done
"""


def test_a_node_that_sends_no_object_with_its_words_is_not_believed_to_have_none(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("w.o: w.c\n\tgcc -O1 -Wall -c w.c\n")
    (tmp_path / "w.c").write_text("int w(int x)\n{\n    if (x = 3) x++;\n    return x;\n}\n")
    with Farm(count=1, jobs=2, compilers={"gcc": SILENT_THE_SECOND_TIME}) as farm:
        farm.nodes[0].bin.chmod(0o777)  # distccd runs the script as another user
        result = buildfarm("run", "-C", str(tmp_path), "--hosts", farm.hosts)
        asked = len(farm.compiles())
    assert result.code == 0, result.stderr
    assert asked >= 2
    assert "suggest parentheses" in result.stderr


def test_a_compile_that_may_fail_alarms_nobody(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int a;\n")
    (tmp_path / "conftest.c").write_text("int conftest = missing;\n")
    (tmp_path / "probe.c").write_text("int probe = missing;\n")
    recipe = "\t$(CC) -c conftest.c 2>&1 || true\n\t-@$(CC) -c probe.c 2> probe.log\n\t$(CC) -c a.c\n"
    (tmp_path / "Makefile").write_text(f"all:\n{recipe}")
    result = buildfarm("run", "-C", str(tmp_path), "--hosts", "", "--plain")
    assert result.code == 0 and "conftest" not in result.stderr and "FAILED" not in result.stderr, result.stderr
    closing = result.stderr.splitlines()[-1]
    assert closing.startswith("buildfarm: 1 unit in ") and closing.endswith("; 1 failed, which make did not mind")
    told = buildfarm("status", "-C", str(tmp_path)).stdout
    assert "failed     probe.o (status 1), which make did not mind" in told and "conftest" not in told


def test_a_build_that_only_links_says_what_it_did(tmp_path: Path) -> None:
    (tmp_path / "hello.c").write_text("int main(void) { return 0; }\n")
    (tmp_path / "Makefile").write_text("hello: hello.c\n")
    result = buildfarm("run", "-C", str(tmp_path), "--hosts", "", "--plain")
    step, closing = result.stderr.splitlines()[-2:]
    assert step.startswith("[step 1] hello linked here in ")
    assert closing.startswith("buildfarm: no units, 1 link step in ")
    assert "  units      none\n" in buildfarm("status", "-C", str(tmp_path)).stdout


def test_a_unit_that_leaves_no_file_is_called_by_its_source(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int a;\n")
    (tmp_path / "b.c").write_text("int b = missing;\n")
    (tmp_path / "Makefile").write_text("all:\n\tgcc -c a.c -o /dev/null\n\tgcc -c -o /dev/null b.c\n")
    result = buildfarm("run", "-C", str(tmp_path), "--hosts", "", "--plain", "-j1")
    assert "] a.c here in " in result.stderr
    assert "] b.c ended here with status 1" in result.stderr
    (failure,) = status(tmp_path)["failures"]
    assert failure["output"] == "b.c"
