"""Under an outer make's job server a unit that waits for a node holds no token, and the outer make counts right."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import project
from tests.farm import PATIENCE, Farm, wait_until
from tests.tool import command, environment, status

SLOTS, JOBS = 6, 2
OUTER = """\
all: $(PARTS)
$(PARTS): FORCE
\t+$(BUILDFARM) -C $@
FORCE:
"""
STEP = "\t@echo + >> $(LOG); sleep 0.03; echo - >> $(LOG)\n"  # what runs here, at both sides of the compile and alone
INNER = f"""\
OBJECTS = f1.o f2.o f3.o f4.o f5.o f6.o f7.o f8.o
all: $(OBJECTS) local1 local2 local3
%.o: %.c
{STEP}\t@$(CC) -c $< -o $@
{STEP}local%:
{STEP}"""
# Each compile is killed while it is away, and the recipe goes on without it.
KILLED = f"""\
all: f1.o f2.o f3.o f4.o
%.o: %.c
\t-@timeout 1 $(CC) -c $< -o $@
{STEP}"""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Farm]:
    with Farm(count=1, jobs=SLOTS, gated=True) as farm:
        yield farm


def styles() -> list[list[str]]:
    """make's words for each style of job server that it knows."""
    try:
        said = subprocess.run(["make", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return [[]]
    modern = tuple(int(number) for number in said.split()[2].split(".")[:2]) >= (4, 4)
    return [["--jobserver-style=pipe"], ["--jobserver-style=fifo"]] if modern else [[]]


@pytest.fixture(params=styles(), ids=lambda words: words[0].partition("=")[2] if words else "pipe")
def style(request: pytest.FixtureRequest) -> list[str]:
    words: list[str] = request.param
    return words


def write(root: Path, parts: list[str], makefile: str = INNER) -> None:
    (root / "Makefile").write_text(OUTER)
    for part in parts:
        (root / part).mkdir()
        (root / part / "Makefile").write_text(makefile)
        for number in range(1, 9):
            (root / part / f"f{number}.c").write_text(f"int f{number};\n")


def outer(root: Path, parts: list[str], nodes: Farm, style: list[str], *words: str) -> subprocess.Popen[str]:
    """make with `JOBS` jobs whose recipes run buildfarm; it is to be ended by its reader."""
    run_it = shlex.join(command("run", "--hosts", nodes.hosts, *words))
    return subprocess.Popen(
        ["make", f"-j{JOBS}", *style, f"PARTS={' '.join(parts)}", f"BUILDFARM={run_it}", f"LOG={root}/log"],
        cwd=root,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ended(make: subprocess.Popen[str], code: int = 0, *, least: int = JOBS) -> str:
    """What make has said when it has ended, and has counted its tokens: at least so many, and never too many."""
    try:
        said, _ = make.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(make.pid, signal.SIGKILL)
        raise
    assert make.returncode == code, said
    assert "jobserver unavailable" not in said
    for count in re.findall(r"INTERNAL: Exiting with (\d+) jobserver tokens", said):
        assert least <= int(count) <= JOBS, said
    return said


def crowd(root: Path) -> int:
    """The most recipe steps that ran here at once."""
    most = now = 0
    for line in (root / "log").read_text().split():
        now += 1 if line == "+" else -1
        most = max(most, now)
    assert now == 0
    return most


@pytest.mark.parametrize("parts", [["x"], ["x", "y"]], ids=len)
@pytest.mark.parametrize("words", [["--no-lookahead"], []], ids=["asked", "ahead"])
def test_more_units_wait_for_nodes_than_may_run_here(
    parts: list[str], words: list[str], style: list[str], nodes: Farm, tmp_path: Path
) -> None:
    write(tmp_path, parts)
    nodes.close_gate()
    make = outer(tmp_path, parts, nodes, style, *words)
    try:
        wait_until(lambda: nodes.waiting() == SLOTS, "as many units on the nodes as there are slots")
        # Each part is a build of its own and knows no other's slots.
        wait_until(lambda: begun(tmp_path) >= SLOTS + 2, "recipes beyond that which wait for a slot")
    finally:
        nodes.open_gate()
    ended(make)
    assert crowd(tmp_path) <= JOBS
    for part in parts:
        document = status(tmp_path / part)
        assert document["units"]["done"] == document["units"]["remote"] == 8
        ours = project.digests(tmp_path / part)
        assert {name for name in ours if name.endswith(".o")} == {f"f{number}.o" for number in range(1, 9)}


def begun(root: Path) -> int:
    """How many steps have run here so far."""
    log = root / "log"
    return log.read_text().count("-") if log.exists() else 0


def test_with_no_node_it_is_make(style: list[str], tmp_path: Path) -> None:
    write(tmp_path, ["x", "y"])
    with Farm(count=1, jobs=SLOTS) as farm:
        farm.nodes[0].kill()
        ended(outer(tmp_path, ["x", "y"], farm, style))
    assert crowd(tmp_path) <= JOBS


def test_compiles_that_are_killed_while_they_are_away_cost_no_token(
    style: list[str], nodes: Farm, tmp_path: Path
) -> None:
    write(tmp_path, ["x", "y"], KILLED)
    nodes.close_gate()
    make = outer(tmp_path, ["x", "y"], nodes, style, "--no-lookahead")
    try:
        said = ended(make)
    finally:
        nodes.open_gate()
    assert said.count("Error 124 (ignored)") == 8
    crowd(tmp_path)  # may be more than two: a recipe goes on at once, and its token is taken when there is one


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_build_that_is_told_to_stop_gives_every_token_back(
    number: signal.Signals, style: list[str], nodes: Farm, tmp_path: Path
) -> None:
    write(tmp_path, ["x"])
    nodes.close_gate()
    make = outer(tmp_path, ["x"], nodes, style, "--no-lookahead")
    try:
        wait_until(lambda: nodes.waiting() == SLOTS, "as many units on the nodes as there are slots")
        os.kill(status(tmp_path / "x")["build"]["pid"], number)
        # make 4.4 loses the tokens that it has when it is killed, without us as well.
        said = ended(make, code=2, least=1 if style else JOBS)
    finally:
        nodes.open_gate()
    assert f"Error {128 + number}" in said
