"""One build at a time, named; and never a lock that needs a hand to open it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from buildfarm.errors import TreeLocked
from buildfarm.state import identity
from buildfarm.state.identity import BOOT_ID_VARIABLE, ProcessIdentity
from buildfarm.state.lock import TreeLock, read_owner

HOLD = """
import sys
from pathlib import Path
from buildfarm.state.lock import TreeLock
lock = TreeLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def holder(state_dir: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(state_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def write_owner(state_dir: Path, pid: int, start: int, boot_id: str) -> None:
    (state_dir / "lock.owner").write_text(json.dumps({"pid": pid, "start": start, "boot_id": boot_id}))


def test_a_second_build_is_refused_and_told_the_firsts_pid(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        with pytest.raises(TreeLocked, match=rf"pid {process.pid}\b") as caught:
            TreeLock(tmp_path).acquire()
        assert caught.value.exit_code == 75
    finally:
        end(process)


def test_a_lock_whose_holder_was_killed_is_free_and_says_so(tmp_path: Path) -> None:
    process = holder(tmp_path)
    end(process)
    with TreeLock(tmp_path) as lock:
        assert lock.left_behind is not None
        assert lock.left_behind.pid == process.pid
        owner = read_owner(tmp_path)
        assert owner is not None and owner.pid == os.getpid()


def test_a_lock_let_go_leaves_nothing_behind(tmp_path: Path) -> None:
    with TreeLock(tmp_path):
        pass
    assert read_owner(tmp_path) is None
    with TreeLock(tmp_path) as lock:
        assert lock.left_behind is None


@pytest.mark.parametrize("text", ["", "garbage", "[]", '{"pid": 1}', '{"pid": "x", "start": 1, "boot_id": ""}'])
def test_a_spoilt_owner_file_locks_nobody_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock.owner").write_text(text)
    with TreeLock(tmp_path):
        pass


def test_where_the_file_system_has_no_locks_only_a_living_owner_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(self: object, *_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("buildfarm.state.lock.FileLock.acquire", no_locks)
    me = ProcessIdentity.current()
    dead = subprocess.Popen(["true"])
    dead.wait()
    for pid, start, boot in (
        (dead.pid, me.start, me.boot_id),
        (me.pid, me.start + 1, me.boot_id),  # this pid was another process's
        (me.pid, me.start, "another boot"),
    ):
        write_owner(tmp_path, pid, start, boot)
        with TreeLock(tmp_path):
            pass
    write_owner(tmp_path, me.pid, me.start, me.boot_id)
    with pytest.raises(TreeLocked, match=rf"pid {me.pid}\b"):
        TreeLock(tmp_path).acquire()


def test_a_process_is_known_by_boot_pid_and_start(monkeypatch: pytest.MonkeyPatch) -> None:
    me = ProcessIdentity.current()
    assert me.is_alive()
    assert not ProcessIdentity(me.pid, me.start + 1, me.boot_id).is_alive()
    assert not ProcessIdentity(2**22 + 1, me.start, me.boot_id).is_alive()
    monkeypatch.setenv(BOOT_ID_VARIABLE, "another boot")
    assert identity.boot_id() == "another boot"
    assert not me.is_alive()


def test_a_zombie_has_ended() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert identity.process_start(process.pid) is None
    process.wait()


def test_a_process_with_an_odd_name_has_its_start_time(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(program), "60"])
    try:
        assert (identity.process_start(process.pid) or 0) > (identity.process_start(1) or 0)
    finally:
        process.kill()
        process.wait()
