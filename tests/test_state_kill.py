"""A writer that is killed at any moment has everything in its journal that it was told is there."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildfarm.errors import MachineError
from buildfarm.model import BuildState
from buildfarm.state import durable, reader
from buildfarm.state.claims import read_rows
from buildfarm.state.identity import boot_id
from buildfarm.state.journal import Journal
from buildfarm.state.recovery import plan_sweep
from buildfarm.state.removal import perform
from tests import state_samples as sample

SEED = 20
ROUNDS = 12

WRITE = """
import sys
from pathlib import Path
from buildfarm.state.journal import Journal
from buildfarm.state.writer import JournalWriter
from tests import state_samples as sample

tree = Path(sys.argv[1])
journal = Journal.open(tree / ".buildfarm")
build = sample.begin(journal)
writer = JournalWriter(journal, tree, hold=0.01, barrier=lambda _: None)

def say(word, number):
    return lambda future: print(word, number, flush=True)

print("begun", build, flush=True)
number = 0
while True:
    outs = []
    for number in range(number + 1, number + 5):
        out = writer.submit(lambda j, n=number: j.check_out(build, [sample.check_out(n, tree / f"{n}.o")]))
        out.add_done_callback(say("out", number))
        outs.append((number, out))
    for n, out in outs:
        out.result()
        object = tree / f"{n}.o"
        object.write_bytes(b"half")
        object.write_bytes(b"object %d" % n)
        writer.check_in(build, sample.check_in(n, sample.record(object))).add_done_callback(say("in", n))
"""


def killed_after(tree: Path, lines: int) -> tuple[set[int], set[int]]:
    """Run a writer, kill it when it has acknowledged so much; the steps acknowledged as out and in."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(tree)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if len(said) > lines:
            break
    os.kill(process.pid, signal.SIGKILL)
    said += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    words = [line.split() for line in said if line.endswith("\n")]
    return {int(w[1]) for w in words if w[0] == "out"}, {int(w[1]) for w in words if w[0] == "in"}


def test_acknowledged_commits_survive_a_kill_at_any_moment_and_the_sweep_finds_the_rest(
    tmp_path: Path,
) -> None:
    dice = random.Random(SEED)
    for _ in range(ROUNDS):
        out, in_ = killed_after(tmp_path, dice.randrange(1, 120))
        assert reader.snapshot(tmp_path / ".buildfarm").state == "interrupted"
        with Journal.open(tmp_path / ".buildfarm") as journal:
            assert journal.healed is None
            build = journal.last_build()
            assert build is not None and build.state is BuildState.RUNNING
            known = {step.step: step.state for step in reader.steps(tmp_path / ".buildfarm")}
            assert out <= known.keys()
            assert in_ <= {number for number, state in known.items() if state == "done"}
            plan = plan_sweep(read_rows(journal), boot_id=boot_id(), clock_ns=durable.clock_offset_ns())
            perform(plan, journal, tmp_path)
            left = {int(path.stem) for path in tmp_path.glob("*.o")}
            assert in_ <= left, "the sweep took what was checked in"
            for number in left:
                assert (tmp_path / f"{number}.o").read_bytes() == b"object %d" % number


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """A file system of its own, full soon; skips where it can't be mounted."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small tmpfs needs root")
    with tempfile.TemporaryDirectory() as directory:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory],
            capture_output=True,
            check=False,
        )
        if mounted.returncode != 0:
            pytest.skip(f"mount: {mounted.stderr.decode().strip()}")
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", "-l", directory], check=True)


def test_a_disk_that_fills_up_in_a_commit_loses_nothing_that_was_committed() -> None:
    with small_disk("1m") as disk:
        with Journal.open(disk / ".buildfarm") as journal:
            build = sample.begin(journal)
            committed = 0
            with pytest.raises(Exception, match=r"full|disk I/O error"):
                for n in range(10_000):
                    journal.check_out(build, [sample.check_out(n, argv=("gcc", "x" * 5000, str(n)))])
                    committed += 1
            assert 0 < committed < 10_000
            (disk / ".buildfarm" / "clock").unlink()
        with Journal.open(disk / ".buildfarm") as journal:
            assert journal.healed is None
            assert len(reader.steps(disk / ".buildfarm")) == committed


def test_a_full_disk_at_the_start_is_a_clear_error() -> None:
    with small_disk("64k") as disk:
        with pytest.raises(OSError, match="No space"):
            (disk / "filler").write_bytes(b"x" * 100_000)
        with pytest.raises(MachineError, match=r"No space|full") as caught:
            Journal.open(disk / ".buildfarm")
        assert caught.value.hint is not None
        (disk / "filler").unlink()


def test_a_limit_on_file_size_is_no_reason_to_lose_commits(tmp_path: Path) -> None:
    state_dir = tmp_path / ".buildfarm"
    code = """
import resource, signal, sys
from pathlib import Path
from buildfarm.state.journal import Journal
from tests import state_samples as sample
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal.open(Path(sys.argv[1]))
build = sample.begin(journal)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
n = 0
try:
    while True:
        journal.check_out(build, [sample.check_out(n, argv=("gcc", "x" * 5000, str(n)))])
        n += 1
except Exception as error:
    print(n, error)
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)
    ran = subprocess.run(
        [sys.executable, "-c", code, str(state_dir)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    committed = int(ran.stdout.split()[0])
    assert committed > 0
    with Journal.open(state_dir) as journal:
        assert journal.healed is None
    assert len(reader.steps(state_dir)) == committed
