"""make's own words, surroundings and manners under `buildfarm run`: all as if make itself had been called."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests import project
from tests.farm import Farm
from tests.test_fidelity_jobserver import crowd
from tests.tool import TIMEOUT, command, environment

MAKEFILE = """\
CFLAGS = -O0
all: prog sub note
prog: a.o b.o
\t$(CC) -o $@ $^
a.o: a.c gen.h
\t$(CC) $(CFLAGS) -c $< -o $@
b.o: b.c
\t@$(CC) $(CFLAGS) -c $< -o $@
gen.h:
\techo '#define GEN 1' > $@
sub:
\t+$(MAKE) -C sub
note:
\t@echo level $(MAKELEVEL) make $(MAKE) flags $(filter-out -j% --jobserver%,$(MAKEFLAGS)) goals $(MAKECMDGOALS)
\t@cat > stdin.txt
bad: bad1 bad2 a.o
bad1:
\t$(CC) -c missing.c -o $@
bad2:
\t-false
\tfalse
.PHONY: all sub note bad
"""


def write(root: Path) -> None:
    """The project, as it is before every build."""
    (root / "sub").mkdir(parents=True)
    (root / "Makefile").write_text(MAKEFILE)
    (root / "other.mk").write_text("other: b.o\n\tcp $< $@\nb.o: b.c\n\t$(CC) -c $<\n")
    (root / "a.c").write_text('#include "gen.h"\nint b(int);\nint main(void) { return b(GEN) - 1; }\n')
    (root / "b.c").write_text("int b(int x) { return x; }\n")
    (root / "sub" / "Makefile").write_text("all: c.o\n")
    (root / "sub" / "c.c").write_text("int c;\n")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Farm]:
    with Farm(count=1, jobs=4) as farm:
        yield farm


def run(words: Sequence[str], root: Path, stdin: bytes, **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        words,
        cwd=root,
        input=stdin,
        env=environment(**variables),
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )


def said(stderr: bytes) -> list[str]:
    """What make and its tools said, without buildfarm's own lines."""
    text = re.sub(r"\[\d+/\d+\] .*\n", "", stderr.decode())  # also in the middle of another line
    lines = text.splitlines()
    return sorted(line for line in lines if not line.startswith(("buildfarm:", "[")))


def duel(
    root: Path, words: Sequence[str], nodes: Farm, *, stdin: bytes = b"", within: Sequence[str] = (), **variables: str
) -> bytes:
    """Run make and buildfarm in fresh trees of one name; all that is left must be equal.  make's stdout.

    `within`: words that the command follows.
    """
    outcomes = []
    for start in (["make"], [*command("run", "--hosts", nodes.hosts)]):
        place = root / "p"
        write(place)
        done = run([*within, *start, *words], place, stdin, **variables)
        left = run(["make", "-n"], place, b"").stdout
        tree = {name: digest for name, digest in project.digests(place).items() if ".buildfarm/" not in name}
        outcomes.append((done.returncode, done.stdout, said(done.stderr), tree, left))
        place.rename(root / f"was-{len(outcomes)}")
    assert outcomes[0] == outcomes[1]
    return outcomes[0][1]


@pytest.mark.parametrize(
    "words",
    [
        ["-j1"],
        ["-j1", "-k", "bad"],
        ["-j1", "-S", "bad"],
        ["-i", "-j1", "bad", "all"],
        ["-n"],
        ["-n", "bad"],
        ["-q"],
        ["-t", "a.o", "b.o"],
        ["-B", "-j1", "-s"],
        ["-w", "-j1"],
        ["-j1", "--no-print-directory", "--trace"],
        ["-rR", "-j1", "CC=cc", "a.o"],
        ["-Oline", "-j1", "prog"],
        ["-e", "-j1", "a.o"],
        ["-l", "100", "-j1", "b.o"],
        ["-f", "other.mk", "-j1"],
        ["-C", "sub", "-j1"],
        ["-j1", "--eval", "extra: ; @echo extra", "extra", "b.o"],
        ["-q", "b.o"],
        ["-j1", "no-such-goal"],
        ["-W", "b.c", "-o", "a.o", "-j1", "prog", "CFLAGS=-O1 -DX='a b'"],
        ["--version"],
        ["-j1", "--", "b.o"],
    ],
    ids=" ".join,
)
def test_an_option_of_makes_does_what_it_does_in_make(words: list[str], nodes: Farm, tmp_path: Path) -> None:
    duel(tmp_path, words, nodes, CFLAGS="-O1")


@pytest.mark.parametrize("words", [["-j1"], ["-j1", "-k", "bad"]], ids=" ".join)
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full"])
def test_a_closed_or_full_stream_is_makes_own_trouble(
    closed: str, words: list[str], nodes: Farm, tmp_path: Path
) -> None:
    duel(tmp_path, words, nodes, within=["sh", "-c", f'"$@" {closed}; echo $?', "sh"], CFLAGS="-Wall -Wextra")


def test_a_reader_that_goes_ends_make_as_ever(nodes: Farm, tmp_path: Path) -> None:
    gone = "import os, signal, sys; signal.signal(signal.SIGPIPE, signal.SIG_DFL); r, w = os.pipe(); os.close(r)"
    run_it = "os.dup2(w, 1); os.execvp(sys.argv[1], sys.argv[1:])"
    duel(tmp_path, ["-p", "-n"], nodes, within=["sh", "-c", f'"$0" -c "{gone}; {run_it}" "$@"; :', sys.executable])


def test_a_makefile_from_stdin_is_read_by_make_alone(nodes: Farm, tmp_path: Path) -> None:
    makefile = b"it: b.o\n\t@echo made\nb.o: b.c\n\t$(CC) -c $<\n"
    assert b"made" in duel(tmp_path, ["-j1", "-f", "-"], nodes, stdin=makefile)


def test_a_recipe_reads_the_users_stdin(nodes: Farm, tmp_path: Path) -> None:
    duel(tmp_path, ["-j1"], nodes, stdin=b"typed by the user\n")
    assert (tmp_path / "was-2" / "stdin.txt").read_bytes() == b"typed by the user\n"


@pytest.mark.parametrize(
    "variables",
    [{"MAKEFLAGS": "k"}, {"MAKEFLAGS": "n"}, {"GNUMAKEFLAGS": "--no-print-directory"}, {"MAKELEVEL": "2"}],
    ids=str,
)
def test_makes_variables_are_obeyed(variables: dict[str, str], nodes: Farm, tmp_path: Path) -> None:
    goals = ["bad"] if variables.get("MAKEFLAGS") == "k" else []
    duel(tmp_path, ["-j1", *goals], nodes, stdin=b"", **variables)


# Nobody ends before a second one has begun.
LOADED = (
    "all: 1 2 3 4 5 6\n1 2 3 4 5 6:\n\t@echo + >> $(LOG); until [ `grep -c + $(LOG)` -ge 2 ]; do sleep 0.02; done;"
    " sleep 0.05; echo - >> $(LOG)\n"
)


def test_under_an_outer_make_it_is_a_client_of_its_job_server(nodes: Farm, tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Makefile").write_text(LOADED)
    line = " ".join(command("run", "--hosts", f"'{nodes.hosts}'"))
    (tmp_path / "Makefile").write_text(f"export LOG := {tmp_path}/log\nall: x y\nx y: FORCE\n\t+{line} -C $@\nFORCE:\n")
    done = run(["make", "-j3"], tmp_path, b"")
    assert done.returncode == 0, done.stderr
    assert b"jobserver unavailable" not in done.stderr
    assert 2 <= crowd(tmp_path) <= 3


def test_its_make_is_the_job_server_of_recursive_makes(nodes: Farm, tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Makefile").write_text(LOADED)
    (tmp_path / "Makefile").write_text(f"export LOG := {tmp_path}/log\nall: x y\nx y: FORCE\n\t$(MAKE) -C $@\nFORCE:\n")
    done = run(command("run", "--hosts", nodes.hosts, "-j3"), tmp_path, b"")
    assert done.returncode == 0, done.stderr
    assert b"jobserver unavailable" not in done.stderr
    assert 2 <= crowd(tmp_path) <= 3


def test_a_run_inside_a_recipe_joins_the_build_that_runs(nodes: Farm, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "Makefile").write_text("all: one.o two.o\n")
    for name in ("one", "two"):
        (tmp_path / "inner" / f"{name}.c").write_text(f"int {name};\n")
    line = " ".join(command("run", "--hosts", "127.0.0.1:1/4"))
    (tmp_path / "Makefile").write_text(f"all:\n\t+{line} -C inner\n\t+{line} -C inner -n\n")
    before = len(nodes.compiles())
    done = run(command("run", "--hosts", nodes.hosts), tmp_path, b"")
    assert done.returncode == 0, done.stderr
    nodes.wait_compiles(before + 2)
    assert not (tmp_path / "inner" / ".buildfarm").exists()
    assert (tmp_path / "inner" / "two.o").exists()


def test_a_dead_builds_variables_do_not_disturb(nodes: Farm, tmp_path: Path) -> None:
    duel(tmp_path, ["-j1"], nodes, BUILDFARM_SOCKET=str(tmp_path / "gone"), BUILDFARM_MASQUERADE="/nonexistent")


def test_dry_runs_leave_nothing_of_ours_behind(nodes: Farm, tmp_path: Path) -> None:
    write(tmp_path / "p")
    assert run([*command("run", "--hosts", nodes.hosts), "-n"], tmp_path / "p", b"").returncode == 0
    assert not (tmp_path / "p" / ".buildfarm").exists()
