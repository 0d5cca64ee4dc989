"""Where the state goes, what is made durable, and what is known of running recipes."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from buildfarm.state import durable, place, reader, recipes
from buildfarm.state.journal import Journal
from tests import state_samples as sample

MOUNTS = b"""\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:30 / /home rw - nfs4 server:/home rw
31 30 0:31 / /home/local\\040disk rw - xfs /dev/sdb rw
32 22 0:32 / /mnt rw - ext4 /dev/sdc rw
33 22 0:33 / /mnt rw master:1 propagate_from:2 - fuse.sshfs host: rw
junk
"""


@pytest.mark.parametrize(
    ("path", "kind", "suits"),
    [
        ("/tmp/x", "ext4", True),
        ("/home/pi/tree", "nfs4", False),
        ("/homely", "ext4", True),
        ("/home/local disk/tree", "xfs", True),
        ("/mnt/tree", "fuse.sshfs", False),
    ],
)
def test_the_file_system_of_a_path_is_its_deepest_mount(tmp_path: Path, path: str, kind: str, suits: bool) -> None:
    (tmp_path / "mountinfo").write_bytes(MOUNTS)
    assert durable.filesystem_type(path, tmp_path / "mountinfo") == kind
    assert durable.suits_wal(kind) is suits


def test_an_unknown_file_system_is_given_the_benefit_of_the_doubt(tmp_path: Path) -> None:
    assert durable.filesystem_type("/", tmp_path / "none") == ""
    assert durable.suits_wal("")


def test_the_real_file_system_takes_every_kind_of_barrier(tmp_path: Path) -> None:
    durable.fsync(tmp_path)
    (tmp_path / "file").touch()
    durable.fsync(tmp_path / "file")
    durable.syncfs(tmp_path)
    with pytest.raises(OSError, match="none"):
        durable.syncfs(tmp_path / "none")
    assert durable.filesystem_type(tmp_path)


def test_a_new_database_is_on_the_disk_before_it_has_its_name_and_the_disk_is_waited_for_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[tuple[str, bool]] = []
    fsync = durable.fsync

    def recorded(path: str | Path) -> None:
        waits.append((Path(path).name, (tmp_path / ".buildfarm" / "state.db").exists()))
        fsync(path)

    monkeypatch.setattr(durable, "fsync", recorded)
    with Journal.open(tmp_path / ".buildfarm"):
        pass
    assert waits == [("state.db.new", False), (".buildfarm", True)]
    # bytes 18 and 19: the log is a property of the file, so nobody has to make it one (fileformat2.html, section 1.3)
    assert (tmp_path / ".buildfarm" / "state.db").read_bytes()[18:20] == b"\2\2"
    assert not list((tmp_path / ".buildfarm").glob("state.db.new*"))


def pretend(monkeypatch: pytest.MonkeyPatch, *remote: Path) -> None:
    def kind(path: str | Path) -> str:
        return "nfs4" if any(Path(path).is_relative_to(prefix) for prefix in remote) else "ext4"

    monkeypatch.setattr(durable, "filesystem_type", kind)


def test_a_tree_on_nfs_keeps_its_state_on_a_local_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state_dir = tmp_path / "nfs" / "tree" / ".buildfarm"
    local = tmp_path / "local"
    monkeypatch.setenv("XDG_STATE_HOME", str(local))
    pretend(monkeypatch, tmp_path / "nfs")
    with Journal.open(state_dir) as journal:
        assert journal.notice is not None and "nfs4" in journal.notice
        assert journal.path.is_relative_to(local)
        assert journal.select("PRAGMA journal_mode").fetchone() == ("wal",)
        sample.begin(journal)
        first = journal.path
    assert reader.snapshot(state_dir).state == "running"
    with Journal.open(state_dir) as journal:
        assert journal.path == first
        assert journal.last_build() is not None
    assert not (state_dir / "state.db").exists()


def test_without_any_local_disk_the_state_stays_beside_the_tree_without_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    pretend(monkeypatch, tmp_path)
    with Journal.open(tmp_path / ".buildfarm") as journal:
        assert journal.notice is not None and "XDG_STATE_HOME" in journal.notice
        assert journal.path == tmp_path / ".buildfarm" / "state.db"
        assert journal.select("PRAGMA journal_mode").fetchone() == ("truncate",)
        build = sample.begin(journal)
        journal.check_out(build, [sample.check_out(1)])
        assert reader.snapshot(tmp_path / ".buildfarm").counters.checked_out == 1


def test_two_trees_never_share_a_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "local"))
    pretend(monkeypatch, tmp_path / "nfs")
    places = set()
    for tree in ("a", "b"):
        place.prepare_directory(tmp_path / "nfs" / tree / ".buildfarm")
        places.add(place.find_place(tmp_path / "nfs" / tree / ".buildfarm").database)
    assert len(places) == 2


def test_the_oldest_recipe_bounds_what_may_be_half_written(tmp_path: Path) -> None:
    makefile = tmp_path / "Makefile"
    makefile.write_text("all:\n\t@read line < one; : done\n\t@$(MAKE) sub\nsub:\n\t@read line < two; : done\n")
    for name in ("one", "two"):
        os.mkfifo(tmp_path / name)
    clock = tmp_path / "clock"
    before = durable.touch(clock)
    make = subprocess.Popen(["make", "-s"], cwd=tmp_path)
    try:
        for name in ("one", "two"):  # a recipe of make's own, then one of a sub-make's
            fifo = os.open(tmp_path / name, os.O_WRONLY)  # the recipe runs: it has opened the other end
            now, asked = durable.touch(clock), time.monotonic_ns()
            bound = recipes.oldest_start(make.pid, clock)
            took = time.monotonic_ns() - asked  # what the disk is waited for makes it earlier
            assert bound is not None
            assert before - 3 * recipes.GRAIN_NS - took <= bound <= now
            os.close(fifo)
            before = now - recipes.GRAIN_NS
    finally:
        make.terminate()
        make.wait()
    assert recipes.oldest_start(make.pid, clock) is None


def test_a_shell_whose_child_ends_while_it_is_looked_at_is_a_recipe_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`while test -e wait; do sleep 0.05; done`: taken for a shell that waits for a make, its recipe was over."""
    ended = 2**22 + 1
    real = recipes._children
    with subprocess.Popen(["sh", "-c", "echo; read _"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        shell.stdout.readline()
        found = {os.getpid(): [shell.pid], shell.pid: [ended]}
        monkeypatch.setattr(recipes, "_children", lambda pid: iter(found[pid]) if pid in found else real(pid))
        before = durable.touch(tmp_path / "clock")
        bound = recipes.oldest_start(os.getpid(), tmp_path / "clock")
        assert bound is not None and bound < before
        assert shell.pid in recipes._recipes(os.getpid(), "python")
        shell.communicate()


@pytest.mark.parametrize("begins", ["before", "meanwhile"])
def test_a_recipe_counts_from_its_start_however_long_the_disk_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begins: str
) -> None:
    touch, clock = durable.touch, tmp_path / "clock"
    shells: list[subprocess.Popen[bytes]] = []
    started: list[int] = []

    def begin() -> None:
        shells.append(subprocess.Popen(["sh", "-c", "echo; read _"], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert shells[0].stdout is not None
        shells[0].stdout.readline()
        started.append(touch(clock))

    def slowly(path: Path) -> int:
        if not shells:
            begin()
        time.sleep(3 * recipes.GRAIN_NS / 1e9)
        return touch(path)

    monkeypatch.setattr(durable, "touch", slowly)
    monkeypatch.setattr(recipes, "_children", lambda pid: (s.pid for s in shells if pid == os.getpid()))
    if begins == "before":
        begin()
    bound = recipes.oldest_start(os.getpid(), clock)
    assert bound is not None and bound <= started[0]
    shells[0].communicate()


def test_without_a_recipe_the_bound_is_now(tmp_path: Path) -> None:
    process = subprocess.Popen(["sleep", "60"])
    try:
        bound = recipes.oldest_start(process.pid, tmp_path / "clock")
        assert bound is not None and time.time_ns() - bound < 60_000_000_000
    finally:
        process.kill()
        process.wait()
