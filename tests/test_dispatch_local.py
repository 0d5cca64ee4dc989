"""Local tools are run without leaving anything behind, whatever happens."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from buildfarm.dispatch import local
from tests.farm import wait_until

SHELL = "/bin/sh"


def run(script: str, cwd: Path, **env: str) -> local.Finished:
    return asyncio.run(local.run([SHELL, "-c", script], cwd=str(cwd), env={"PATH": os.defpath, **env}))


def test_output_status_directory_and_environment_are_the_tools(tmp_path: Path) -> None:
    finished = run('pwd; echo "$WORD" >&2; exit 3', tmp_path, WORD="spoken")
    assert (finished.stdout, finished.stderr) == (os.fsencode(tmp_path) + b"\n", b"spoken\n")
    assert finished.status == 3 << 8 and not finished.succeeded


def test_a_signal_is_in_the_wait_status(tmp_path: Path) -> None:
    assert run("kill -9 $$", tmp_path).status == 9


def test_much_output_on_both_streams_blocks_nobody(tmp_path: Path) -> None:
    finished = run("head -c 3000000 /dev/zero; head -c 2000000 /dev/zero >&2", tmp_path)
    assert (len(finished.stdout), len(finished.stderr)) == (3_000_000, 2_000_000)


def test_input_is_empty(tmp_path: Path) -> None:
    assert run("cat", tmp_path).stdout == b""


def test_a_tool_that_is_not_there_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        asyncio.run(local.run(["/nowhere/tool"], cwd=str(tmp_path), env={}))


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    run("true", tmp_path)
    before = sorted(os.listdir("/proc/self/fd"))
    run("true", tmp_path)
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("stubborn", [False, True])
def test_cancelled_the_whole_process_group_is_gone(
    tmp_path: Path, stubborn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "KILL_AFTER", 0.05)
    pids = tmp_path / "pids"
    trap = "trap '' TERM; " if stubborn else ""
    script = f"{trap}sleep 100 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait; sleep 100"

    async def cancel() -> None:
        task = asyncio.create_task(local.run([SHELL, "-c", script], cwd=str(tmp_path), env={"PATH": os.defpath}))
        await asyncio.to_thread(wait_until, pids.exists, "the tool's child")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    leader, child = map(int, pids.read_text().split())
    assert not Path(f"/proc/{leader}").exists()
    wait_until(lambda: _gone(child), "the end of the tool's child")


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
