"""A machine whose inotify instances are used up builds as ever, and `watch` looks for itself."""

from __future__ import annotations

import os
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.farm import wait_until
from tests.namespaces import within
from tests.tool import TIMEOUT, command, environment


def scarce(instances: int, *words: str) -> list[str]:
    """The command line of `buildfarm WORDS` where there are so few inotify instances."""
    return within(f"echo {instances} > /proc/sys/user/max_inotify_instances", *command(*words))


@pytest.mark.parametrize("instances", [0, 2])
def test_a_build_goes_on_without_inotify(tmp_path: Path, instances: int) -> None:
    tree, home = tmp_path / "p", tmp_path / "home"
    tree.mkdir()
    home.mkdir()
    (home / "hosts").write_text("localhost/2\n")
    (tree / "a.c").write_text("int a;\n")
    (tree / "Makefile").write_text("a.o: a.c\n\tsleep 2.5\n\tcc -c a.c\n")
    result = subprocess.run(
        scarce(instances, "run", "-C", str(tree)),
        env=environment(DISTCC_DIR=str(home)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert result.returncode == 0 and (tree / "a.o").exists(), result.stderr.decode()
    assert b"inotify" not in result.stderr, "who watches the host list for itself needs to tell nobody"


def test_watch_looks_once_a_second_where_nobody_tells_it(tmp_path: Path) -> None:
    tree, said = tmp_path / "p", tmp_path / "said"
    (tree / "part").mkdir(parents=True)
    (tree / "part" / "a.c").write_text("int a;\n")
    (tree / "Makefile").write_text("a.o: part/a.c\n\t$(CC) -c $< -o $@\n\t@echo built >> log\n")
    with said.open("wb") as stream:
        process = subprocess.Popen(
            scarce(0, "watch", "-C", str(tree), "--hosts", "", "--quiet-seconds", "0.2"),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stream,
            start_new_session=True,
        )

    def has_built(times: int) -> bool:
        return said.read_text().count("waiting for a change") >= times or process.poll() is not None

    try:
        for number in (1, 2):
            wait_until(partial(has_built, number), f"{number} builds")
            assert process.poll() is None, said.read_text()
            (tree / "part" / "a.c").write_text(f"int a, b{number};\n")
        wait_until(partial(has_built, 3), "3 builds")
        assert said.read_text().count("changed: part/a.c\n") == 2, "the build's own products are no changes"
        assert said.read_text().count("inotify instance limit reached: looking at the tree once a second") == 1
        assert (tree / "log").read_text().count("built") == 3
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(TIMEOUT) == 130
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
