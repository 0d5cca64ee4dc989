"""Only the newest result of the newest source gets into the tree: edits under a unit, late results, orphans."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.farm import Farm, wait_until
from tests.tool import Running, buildfarm, environment

OLD, NEW = "int value(void) { return 1; }\n", "int value(void) { return 2; }\n"


def write(tree: Path, source: str = OLD) -> Path:
    tree.mkdir()
    (tree / "Makefile").write_text("all: warm.o unit.o\n%.o: %.c unit.h\n\tcc -O1 -c $< -o $@\n")
    (tree / "unit.h").write_text("#define WORTH 1\n")
    (tree / "unit.c").write_text('#include "unit.h"\n' + source)
    (tree / "warm.c").write_text("int warm;\n")
    return tree


def made_of(tree: Path, source: str) -> bytes:
    other = write(tree.parent / f"made-{len(list(tree.parent.iterdir()))}", source)
    subprocess.run(["make"], cwd=other, check=True, capture_output=True, env=environment())
    return (other / "unit.o").read_bytes()


def edit_keeping_everything_but_ctime(path: Path) -> None:
    before = path.stat()
    with open(path, "r+b") as file:
        text = file.read().replace(b"1; }", b"2; }")
        file.seek(0)
        file.write(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


@pytest.mark.parametrize("kept", [False, True], ids=["rewritten", "with its old time and size"])
def test_a_result_of_a_source_that_was_edited_meanwhile_is_made_again(tmp_path: Path, kept: bool) -> None:
    tree = write(tmp_path / "p")
    with Farm(count=1, jobs=2, gated=True) as farm:

        def edit() -> None:
            wait_until(lambda: len(farm.compiles()) >= 1, "the first unit")
            farm.close_gate()
            (tree / "go").touch()
            wait_until(lambda: farm.waiting() > 0, "the unit at the gate")
            if kept:
                edit_keeping_everything_but_ctime(tree / "unit.c")
            else:
                (tree / "unit.c").write_text('#include "unit.h"\n' + NEW)
            farm.open_gate()

        makefile = (tree / "Makefile").read_text()
        wait = "unit.o: | pause\npause: warm.o\n\twhile ! test -e go; do sleep 0.02; done\n"
        (tree / "Makefile").write_text(makefile + wait)
        actor = threading.Thread(target=edit)
        actor.start()
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, "--no-lookahead")
        actor.join()
        assert result.code == 0, result.stderr
        assert len(farm.started()) == 3, "the old text's result was taken"
    assert (tree / "unit.o").read_bytes() == made_of(tree, NEW)


def test_a_dead_builds_orphan_can_not_overwrite_what_its_successor_makes(tmp_path: Path) -> None:
    tree = write(tmp_path / "p")
    slow = tmp_path / "bin"
    slow.mkdir()
    script = (
        '#!/bin/sh\ncase "$*" in *unit.c*) trap "" TERM HUP INT; touch began; sleep 3;; esac\nexec /usr/bin/gcc "$@"\n'
    )
    (slow / "cc").write_text(script)
    (slow / "cc").chmod(0o755)
    env = environment(PATH=f"{slow}:{os.environ['PATH']}")
    with Running(("run", "-C", str(tree), "--hosts", ""), env) as build:
        wait_until((tree / "began").exists, "the compiler to have begun")
        os.kill(build.process.pid, 9)
        build.process.wait()
        (tree / "unit.c").write_text('#include "unit.h"\n' + NEW)
        (slow / "cc").write_text('#!/bin/sh\nexec /usr/bin/gcc "$@"\n')
        begun = time.monotonic()
        assert buildfarm("resume", "-C", str(tree), env=env).code == 0
        time.sleep(max(0.0, 4 - (time.monotonic() - begun)))  # longer than the orphan would have taken
    assert (tree / "unit.o").read_bytes() == made_of(tree, NEW)


def test_plain_make_gets_it_wrong(tmp_path: Path) -> None:
    """The proof that the promise above is not make's: the stale object is newer than the edited source."""
    tree = write(tmp_path / "p")
    gcc = tmp_path / "cc"
    wait = "until test -e go; do sleep 0.02; done"
    slow = f'#!/bin/sh\ngcc -E "$3" -o text.i && touch began && {wait} && gcc -O1 -c text.i -o "$5"\n'
    gcc.write_text(slow)  # as distcc does: the text is read first, the object comes later
    gcc.chmod(0o755)
    (tree / "Makefile").write_text(f"unit.o: unit.c unit.h\n\t{gcc} -O1 -c $< -o $@\n")
    build = subprocess.Popen(["make"], cwd=tree, env=environment(), stdout=subprocess.DEVNULL)
    wait_until((tree / "began").exists, "the text to have been read")
    (tree / "unit.c").write_text('#include "unit.h"\n' + NEW)
    (tree / "go").touch()
    assert build.wait() == 0
    assert subprocess.run(["make", "-q"], cwd=tree, env=environment(), check=False).returncode == 0
    assert (tree / "unit.o").read_bytes() != made_of(tree, NEW)


def test_what_a_failed_compiler_left_half_written_is_made_again(tmp_path: Path) -> None:
    """The driver of `gcc -pipe` whose assembler is killed fails as for an error, and leaves what there is."""
    tree = write(tmp_path / "p")
    tools = tmp_path / "bin"
    tools.mkdir()
    find = 'while [ "$1" != -o ]; do shift; done'
    (tools / "as").write_text(f'#!/bin/sh\n{find}\nprintf half >"$2"\nkill -9 $$\n')
    (tools / "as").chmod(0o755)
    makefile = (tree / "Makefile").read_text()
    (tree / "Makefile").write_text(makefile.replace("cc -O1", f"cc -O1 -pipe -B{tools}/"))
    assert buildfarm("run", "-C", str(tree), "--hosts", "", "unit.o").code == 2
    assert (tree / "unit.o").read_bytes() == b"half", "this compiler cleans up behind its assembler"
    assert subprocess.run(["make", "-q", "unit.o"], cwd=tree, env=environment(), check=False).returncode == 0
    (tools / "as").unlink()
    assert buildfarm("run", "-C", str(tree), "--hosts", "").code == 0
    assert (tree / "unit.o").read_bytes() == made_of(tree, OLD)
