"""What is compiled past buildfarm is built all the same, counted in the closing line, and told by `doctor`."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.farm import Farm
from tests.tool import buildfarm, command, environment

MAKEFILE = """\
all: seen.o moved.o joined.o past.o
seen.o past.o: wait
past.o: past.c
\t$(RUN) gcc -c past.c -o past.o
moved.o: seen.c
\t$(CC) -c seen.c -o tmp.o && mv tmp.o moved.o && cp moved.o copied.o
joined.o: seen.o moved.o
\tld -r -o $@ seen.o
wait:
\t$(CC) -c first.c; until $(STATUS) | grep -q '"total_is_final": true'; do :; done
"""

LAUNCHER = "#include <unistd.h>\nint main(int n, char **words) { return n < 2 || execvp(words[1], words + 1); }\n"


@pytest.fixture
def launcher(tmp_path: Path) -> Path:
    """A static program that executes its words: no hook sees what."""
    source, program = tmp_path / "launcher.c", tmp_path / "launcher"
    source.write_text(LAUNCHER)
    built = subprocess.run(["cc", "-static", "-o", program, source], capture_output=True, check=False)
    if built.returncode:
        pytest.skip("libc.a is missing: install libc6-dev")
    return program


def write(root: Path, makefile: str, *names: str) -> Path:
    root.mkdir()
    for name in names:
        (root / f"{name}.c").write_text(f"int {name};\n")
    (root / "Makefile").write_text(makefile)
    return root


def test_what_was_compiled_by_calls_that_are_not_caught_is_counted_and_told(tmp_path: Path, launcher: Path) -> None:
    tree = write(tmp_path / "p", MAKEFILE, "first", "seen", "past")
    status = f"STATUS={shlex.join(command('status', '--json'))}"
    with Farm(count=1, jobs=2) as farm:
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, status, f"RUN={launcher}")
        assert result.code == 0, result.stderr
        assert (tree / "past.o").exists() and (tree / "copied.o").exists()
        assert "; 1 compiled here unseen" in result.stderr
        told = buildfarm("doctor", "-C", str(tree), "--hosts", "").stdout
        assert "1 compiled here by calls that buildfarm did not see: past.o" in told
        assert "../launcher" in told
        (tree / "past.o").unlink()
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, status, "RUN=")
        assert result.code == 0 and "unseen" not in result.stderr, result.stderr
    assert "did not see" not in buildfarm("doctor", "-C", str(tree), "--hosts", "").stdout


def test_a_build_of_which_no_call_is_seen_is_told_too(tmp_path: Path, launcher: Path) -> None:
    makefile = f"all: a.o sub/b.o\n%.o: %.c\n\t{launcher} gcc -c $< -o $@\n"
    tree = write(tmp_path / "p", makefile, "a")
    (tree / "sub").mkdir()
    (tree / "sub" / "b.c").write_text("int b;\n")
    result = buildfarm("run", "-C", str(tree))
    assert result.code == 0 and "2 compiled here unseen" in result.stderr, result.stderr
    assert "not see: a.o, sub/b.o" in buildfarm("doctor", "-C", str(tree), "--hosts", "").stdout
    again = buildfarm("run", "-C", str(tree))
    assert again.code == 0 and "unseen" not in again.stderr, again.stderr
    assert "not see: a.o, sub/b.o" in buildfarm("doctor", "-C", str(tree), "--hosts", "").stdout, (
        "they are unseen still"
    )


def test_a_cleared_environment_is_seen_through(tmp_path: Path) -> None:
    makefile = (
        "all: a.o b.o c.o d.o e.o\na.o: a.c\n\tenv -i PATH=/usr/bin:/bin gcc -c a.c -o a.o\n"
        "d.o: d.c\n\tenv -i python3 -c \"import os; os.system('gcc -c d.c -o d.o')\"\n"
        f"e.o: e.c\n\tenv -i PATH=$$PATH {shlex.join(command('run', '-f', 'inner2.mk'))}\n"
        "b.o: b.c\n\tenv -i sh -c '/usr/bin/gcc -c b.c -o b.o; true'\n"
        "c.o: c.c\n\tenv -i PATH=/usr/bin:/bin make -f inner.mk\n"
    )
    tree = write(tmp_path / "p", makefile, "a", "b", "c", "d", "e")
    (tree / "inner.mk").write_text("c.o: c.c\n\tLD_PRELOAD= gcc -c c.c -o c.o\n")
    (tree / "inner2.mk").write_text("e.o: e.c\n\tgcc -c e.c -o e.o\n")
    with Farm(count=1, jobs=2) as farm:
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts)
        assert result.code == 0, result.stderr
        assert len(farm.sources()) == 5


def test_what_a_program_that_was_just_built_compiles_goes_to_nodes(tmp_path: Path) -> None:
    """CPython compiles its extension modules so, by the Python that it has just built."""
    makefile = (
        "all: a.o b.o c.o\ndriver: driver.c\n\t$(CC) -o $@ driver.c\nsh:\n\tln -s /bin/sh $@\n"
        "a.o: a.c driver\n\t./driver gcc -c a.c -o a.o\n"
        "b.o: b.c driver\n\t./driver env -i PATH=$$PATH sh -c 'gcc -c b.c -o b.o; true'\n"
        "c.o: c.c sh\n\t./sh -c 'gcc -c c.c -o c.o; true'\n"
    )
    tree = write(tmp_path / "p", makefile, "a", "b", "c")
    (tree / "driver.c").write_text(LAUNCHER)
    with Farm(count=1, jobs=2) as farm:
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts)
        assert result.code == 0 and "unseen" not in result.stderr, result.stderr
        assert len(farm.sources()) == 3
    assert "did not see" not in buildfarm("doctor", "-C", str(tree), "--hosts", "").stdout


def test_an_object_that_is_named_through_the_directory_above_was_seen(tmp_path: Path) -> None:
    """As LAPACK's, made in SRC and named `../INSTALL/slamch.o`."""
    tree = write(tmp_path / "p", "", "a")
    (tree / "src").mkdir()
    (tree / "src" / "Makefile").write_text("all: ../a.o\n%.o: %.c\n\tgcc -c $< -o $@\n")
    with Farm(count=1, jobs=2) as farm:
        result = buildfarm("run", "-C", str(tree / "src"), "--hosts", farm.hosts)
    assert result.code == 0 and "unseen" not in result.stderr, result.stderr


@pytest.mark.skipif(not shutil.which("ccache"), reason="ccache is missing: install it")
@pytest.mark.parametrize("cache", ["ccache cc", "/usr/bin/ccache /usr/bin/cc", "/usr/lib/ccache/cc"])
def test_what_ccache_had_was_compiled_by_nobody(tmp_path: Path, cache: str) -> None:
    makefile = (
        f"all: a.o\na.o: a.c wait\n\t{cache} -c a.c -o a.o\n"
        "wait:\n\t$(CC) -c first.c; until $(STATUS) | grep -q '\"total_is_final\": true'; do :; done\n"
    )
    tree = write(tmp_path / "p", makefile, "first", "a")
    surroundings = environment() | {"CCACHE_DIR": str(tmp_path / "cache")}
    surroundings.pop("CCACHE_DISABLE", None)
    status = f"STATUS={shlex.join(command('status', '--json'))}"
    for expected in ("2 units", "1 unit"):
        result = buildfarm("run", "-C", str(tree), status, env=surroundings)
        assert result.code == 0 and f"buildfarm: {expected} in" in result.stderr, result.stderr
        assert "unseen" not in result.stderr
        (tree / "a.o").unlink()
