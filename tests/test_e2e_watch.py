"""`buildfarm watch` with a real make: a save builds once, what a build writes builds nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.farm import wait_until
from tests.tool import TIMEOUT, command, environment

MAKEFILE = """\
all: a.o generated.h
\t@echo built >> log
generated.h: seed
\tcp seed generated.h
a.o: a.c
\t$(CC) -c $< -o $@
"""


class _Watching:
    """A running `buildfarm watch` whose stderr goes to a file."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.said = tree.parent / "said"
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                command("watch", "-C", str(tree), "--hosts", "", "--quiet-seconds", "0.2"),
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )

    def builds(self) -> int:
        return self.said.read_text().count("waiting for a change")

    def wait_builds(self, number: int) -> None:
        wait_until(lambda: self.builds() >= number, f"{number} builds; said: {self.said.read_text()}")

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """What happens meanwhile is seen at once, however long it takes."""
        os.kill(self.process.pid, signal.SIGSTOP)
        yield
        os.kill(self.process.pid, signal.SIGCONT)

    def changed(self) -> list[str]:
        return [line.partition("changed: ")[2] for line in self.said.read_text().splitlines() if "changed: " in line]


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[_Watching]:
    tree = tmp_path / "p"
    tree.mkdir()
    (tree / "Makefile").write_text(MAKEFILE)
    (tree / "a.c").write_text("int a;\n")
    (tree / "seed").write_text("int seed;\n")
    running = _Watching(tree)
    yield running
    if running.process.poll() is None:
        os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()


def test_each_save_builds_once_and_is_named(watching: _Watching) -> None:
    tree = watching.tree
    watching.wait_builds(1)
    with watching.stopped():  # an editor's several writes are one change, if they come at once
        for text in ("int a = 1;\n", "int a = 2;\n", "int a = 3;\n"):
            (tree / "a.c").write_text(text)
    watching.wait_builds(2)
    assert watching.changed() == ["a.c"]
    with watching.stopped():
        (tree / "a.c~").write_text("backup\n")
        (tree / ".hidden").write_text("hidden\n")
        (tree / "seed").write_text("int other;\n")
    watching.wait_builds(3)
    assert watching.changed()[1:2] == ["seed"]
    (tree / "a.c").write_text("int a = mistake;\n")
    wait_until(lambda: "failed with status 2" in watching.said.read_text(), f"the mistake: {watching.said.read_text()}")
    (tree / "a.c").write_text("int a = 4;\n")
    wait_until(lambda: watching.said.read_text().rstrip().endswith("(Ctrl-C ends)"), "the last build")
    assert (tree / "generated.h").read_text() == "int other;\n"


def test_ctrl_c_while_it_waits_ends_it_with_130(watching: _Watching) -> None:
    watching.wait_builds(1)
    os.kill(watching.process.pid, signal.SIGINT)
    assert watching.process.wait(TIMEOUT) == 130


def test_a_first_build_that_cannot_begin_ends_it(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all:\n\t@echo made\n")
    (tmp_path / ".buildfarm").write_text("in the way of the state\n")
    done = subprocess.run(
        command("watch", "-C", str(tmp_path)), env=environment(), capture_output=True, check=False, timeout=TIMEOUT
    )
    assert done.returncode == 71
    assert b"can't keep buildfarm's state here" in done.stderr and b"waiting for a change" not in done.stderr


def test_what_cannot_begin_is_an_error_at_once(tmp_path: Path) -> None:
    done = subprocess.run(command("watch", "-C", str(tmp_path)), env=environment(), capture_output=True, check=False)
    assert done.returncode == 64
    assert b"no Makefile here" in done.stderr
