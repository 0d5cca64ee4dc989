"""Both programs that confine a dry run, in C and in Python, let happen, refuse, throw away and say the same."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from buildfarm.make import confine, confining, inmemory

TRIES = {
    "reads": "cat old; ls; pwd",
    "writes in the tree": "echo new > file; cat file; echo more >> old; cat old; rm old; mkdir d; mv file d; ls . d",
    "writes in a second tree": "echo new > ../second/file; cat ../second/file",
    "writes elsewhere": "echo new > ../elsewhere/file; rm ../elsewhere/old; mkdir ../elsewhere/d; ls ../elsewhere",
    "renames and links elsewhere": "mv ../elsewhere/old ../elsewhere/new; ln ../elsewhere/old ../elsewhere/second",
    "writes where it may": "echo new > ../writable/file; cat ../writable/file; touch ../writable/file && echo touched",
    "truncates elsewhere": "truncate -s 0 ../elsewhere/old; cat ../elsewhere/old",
    "sets times by path": "touch -d 2001-01-01 ../elsewhere/old; stat -c %Y ../elsewhere/old",
    "sets times by path where it may": "touch -d 2001-01-01 ../writable/old && stat -c %Y ../writable/old",
    "writes to devices": "echo gone > /dev/null && echo fine",
    "tells its environment": "env | grep -v ^_= | sort",
    "tells its descriptors": "ls /proc/self/fd | wc -l",
    "tells its session and name": 'test "$(ps -o sid= -p $$ | tr -d " ")" -ne $$ && echo "$0 $1"',
    "fails": "exit 7",
    "is killed": "kill -9 $$",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = confining.prepare(tmp_path_factory.mktemp("cache"))
    assert found is not None
    return found


def places(root: Path) -> list[Path]:
    """A tree that make works in, another, one that may be written, one that may not, and one for layers."""
    found = [root / name for name in ("tree", "second", "writable", "elsewhere", "scratch")]
    for place in found:
        place.mkdir(parents=True)
        (place / "old").write_text("o")
        os.utime(place / "old", (1e9, 1e9))
    return found


def told(command: list[str], root: Path, *words: str, library: str = "", **environment: str) -> tuple[object, ...]:
    """Status, words and report of `words`, confined, and what is left in the places."""
    tree, second, writable, _, scratch = places(root)
    (scratch / "old").unlink()
    read, write = os.pipe()
    with open(read, encoding="utf-8") as report:
        line = [*command, str(tree), str(scratch), str(write), str(tree), str(second), "--", "/dev", str(writable)]
        line += [str(root / "is-not-there"), "--", library, *words]
        result = subprocess.run(
            line,
            pass_fds=(write,),
            cwd=tree,
            env={"PATH": os.defpath, "LC_ALL": "C", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        os.close(write)
        reported = report.read()
    left = {
        str(path.relative_to(root)): (path.read_text(), path.stat().st_mtime == 1e9)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
    own = [text.replace(str(root), "ROOT") for text in (result.stdout, result.stderr)]
    return result.returncode, *own, reported, left


def python() -> list[str]:
    return [sys.executable, "-I", "-S", confine.__file__]


@pytest.mark.parametrize("name", list(TRIES))
def test_both_let_the_same_happen(tmp_path: Path, program: Path, name: str) -> None:
    words = ("/bin/sh", "a shell", "-c", TRIES[name], "named", "first")
    mine, script = (
        told(command, tmp_path / kind, *words) for kind, command in (("c", [str(program)]), ("py", python()))
    )
    assert mine == script
    assert mine[3] in ("overlay", "refused", "free")


@pytest.mark.skipif(confine.abi() == 0, reason="the kernel has no Landlock")
def test_where_nothing_may_be_mounted_both_refuse_writing(tmp_path: Path, program: Path) -> None:
    """As inside another confinement, where mounting is not permitted (`landlock.rst`, "Filesystem topology")."""
    rest = ["/dev/shm", "2", ".", "--", "/dev", "--", "", "/bin/sh", "sh", "-c", "cat old; echo x > new; ls"]
    mine, script = (
        told([str(program)], tmp_path / kind, command[0], *command, ".", *rest)
        for kind, command in (("c", [str(program)]), ("py", python()))
    )
    assert mine == script
    assert str(mine[1]) == "oold\n" and str(mine[2]).startswith("refused")


@pytest.mark.parametrize("others", [None, "", "libm.so.6"])
def test_both_preload_the_library_before_all_others(tmp_path: Path, program: Path, others: str | None) -> None:
    environment = {} if others is None else {"LD_PRELOAD": others}
    words = ("/bin/sh", "sh", "-c", 'echo "$LD_PRELOAD"')
    mine, script = (
        told(command, tmp_path / kind, *words, library="libdl.so.2", **environment)
        for kind, command in (("c", [str(program)]), ("py", python()))
    )
    assert mine == script
    assert mine[1] == ("libdl.so.2\n" if others is None else f"libdl.so.2:{others}\n")


@pytest.mark.parametrize("words", [("/nonexistent/make", "make"), ("/etc/passwd", "make"), ("/", "make")])
def test_both_say_the_same_of_what_can_t_be_executed(tmp_path: Path, program: Path, words: tuple[str, ...]) -> None:
    mine, script = (
        told(command, tmp_path / kind, *words) for kind, command in (("c", [str(program)]), ("py", python()))
    )
    assert mine == script
    assert mine[0] == 1 and str(mine[2]).startswith(f"buildfarm: {words[0]}: ")


def test_both_say_the_same_of_a_directory_that_is_gone(tmp_path: Path, program: Path) -> None:
    results = [
        subprocess.run(
            [*command, str(tmp_path / "gone"), str(tmp_path), "2", "--", "/dev", "--", "", "/bin/sh", "sh"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        for command in ([str(program)], python())
    ]
    assert {(r.returncode, r.stderr) for r in results} == {
        (1, f"buildfarm: {tmp_path / 'gone'}: No such file or directory\n")
    }


def test_a_program_that_may_not_be_executed_any_more_is_done_without(tmp_path: Path, program: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(program.read_bytes())
    words = ["/", str(tmp_path / "layers"), "--", "/dev", "--", "", "/bin/sh", "sh", "-c", "echo runs"]
    out: list[bytes] = []
    status, _, report = asyncio.run(inmemory.run_in_memory(words, broken, "/", dict(os.environ), 60, out.append))
    assert (status, out) == (0, [b"runs\n"]) and report in ("overlay", "refused", "free")
