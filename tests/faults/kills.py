"""Processes that die: at every n-th system call, and at random moments."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

from tests.farm import Farm
from tests.faults import room
from tests.faults.matrix import Finding, fault
from tests.tool import Running, command, environment

GROUP = "Killed"
SEED = 5
MOMENTS = int(os.environ.get("FAULTS_MOMENTS", "200"))
CUTS = int(os.environ.get("FAULTS_CUTS", "24"))  # how many of the n that a victim lives through are tried
PLAIN_MOMENTS = 40

_KILL_ONE = """\
#!/bin/sh
# Becomes its arguments; the first call of all is killed at its n-th system call.
if mkdir "{mark}" 2>/dev/null; then
  exec strace -qqq -D {options} -o /dev/null -e trace={calls} -e inject={calls}:signal=SIGKILL:when={n} "$@"
fi
exec "$@"
"""


def kill_one(script: Path, n: int, *, calls: str = "all", options: str = "") -> Path:
    """A script that kills the first call that is made through it; `mark` goes so that it may kill again."""
    mark = script.with_suffix(".killed")
    if mark.exists():
        mark.rmdir()
    script.write_text(_KILL_ONE.format(mark=mark, n=n, calls=calls, options=options))
    script.chmod(0o755)
    return script


def _steps(most: int, count: int) -> list[int]:
    """About `count` numbers from 1 to `most`, denser at the small ones where little is done in a call."""
    return sorted({1 + round((most - 1) * (i / max(1, count - 1)) ** 1.5) for i in range(count)})


def _calls_of(words: list[str], tree: Path, env: dict[str, str], options: list[str]) -> int:
    """How many system calls an undisturbed run makes."""
    trace = tree.parent / "calls"
    subprocess.run(
        ["strace", "-qqq", *options, "-o", str(trace), *words], cwd=tree, env=env, capture_output=True, check=False
    )
    return len(trace.read_bytes().splitlines())


def _conductor(directory: Path, options: list[str], calls: str, cuts: int) -> Finding:
    kept = 0
    with Farm(count=1, jobs=4) as farm:
        words = command("run", "-C", str(directory / "p"), "--hosts", farm.hosts)
        most = _calls_of(words, room.fresh(directory, "p"), environment(), [*options, "-e", f"trace={calls}"])
        for n in _steps(most, cuts):
            tree = room.fresh(directory, "p")
            inject = ["-e", f"trace={calls}", "-e", f"inject={calls}:signal=SIGKILL:when={n}"]
            traced = ["strace", "-qqq", *options, "-o", "/dev/null", *inject, *words]
            subprocess.run(traced, env=environment(), capture_output=True, check=False, start_new_session=True)
            before = room.checked_in(tree)
            held, said = room.finish(tree, farm.hosts)
            kept += len(before)
            if not held:
                return Finding("has no such process", f"killed at call {n} of {most}: {said}", False)
    return Finding(
        "has no such process",
        f"{cuts} kills over {most} calls: each time make's bytes after resume;"
        f" {kept} checked-in units, none made again",
        True,
    )


@fault(GROUP, "conductor, at every n-th system call", "`strace -e inject=all:signal=SIGKILL:when=n`", needs=("strace",))
def conductor_at_calls(directory: Path) -> Finding:
    return _conductor(directory, [], "all", CUTS)


@fault(
    GROUP,
    "conductor, at every n-th call to the disk",
    "the same with `-f` on `pwrite64, fdatasync, fsync, syncfs, rename`: the journal's threads",
    needs=("strace",),
)
def conductor_at_disk_calls(directory: Path) -> Finding:
    return _conductor(directory, ["-f"], "pwrite64,fdatasync,fsync,syncfs,rename", CUTS)


@fault(GROUP, "conductor, at three of its system calls", "as above", needs=("strace",), sample=True)
def conductor_at_few_calls(directory: Path) -> Finding:
    return _conductor(directory, [], "all", 3)


@fault(
    GROUP,
    "stub (distcc's client), at every n-th system call",
    '`CC="killer gcc"`: one call of the compiler becomes `strace -e inject=all:signal=SIGKILL:when=n`',
    needs=("strace", "distcc"),
)
def stub_at_calls(directory: Path) -> Finding:
    script = directory / "killer"
    wrong: dict[str, int] = {}
    with Farm(count=1, jobs=4) as farm:
        for n in (steps := _steps(220, CUTS)):
            tree = room.fresh(directory, "p")
            kill_one(script, n)
            room.plain(tree, farm.hosts, compiler=f"{script} distcc gcc")
            words = room.aftermath(tree)
            wrong[words] = wrong.get(words, 0) + 1
        for n in (mine := _steps(70, CUTS)):
            tree = room.fresh(directory, "p")
            kill_one(script, n)
            room.run(tree, farm.hosts, f"CC={script} gcc")
            held, said = room.finish(tree, farm.hosts)
            if not held:
                return Finding(_tally(wrong), f"killed at call {n}: {said}", False)
    return Finding(
        f"{len(steps)} kills: {_tally(wrong)}", f"{len(mine)} kills: each time make's bytes after the next run", True
    )


@fault(
    GROUP,
    "local compiler, at every n-th write",
    "`gcc` on PATH is a script: one call becomes `strace -f -e inject=write:signal=SIGKILL:when=n`, on the driver"
    " and all of its children",
    needs=("strace",),
)
def compiler_at_writes(directory: Path) -> Finding:
    tools = directory / "tools"
    tools.mkdir()
    wrong: dict[str, int] = {}
    path = f"{tools}:{os.environ['PATH']}"
    flags = "CFLAGS=-O1 -Wall -pipe"
    for n in (steps := _steps(14, min(CUTS, 14))):
        for ours in (False, True):
            tree = room.fresh(directory, "p")
            kill_one(tools / "gcc", n, calls="write", options="-f")
            text = (tools / "gcc").read_text().replace('"$@"', '/usr/bin/gcc "$@"')
            (tools / "gcc").write_text(text)
            if not ours:
                room.plain(tree, "localhost", flags, compiler="gcc", PATH=path)
                words = room.aftermath(tree)
                wrong[words] = wrong.get(words, 0) + 1
                continue
            room.run(tree, "", "CC=gcc", flags, PATH=path)
            held, said = room.finish(tree, "")
            if not held:
                return Finding(_tally(wrong), f"killed at write {n}: {said}", False)
    return Finding(f"{len(steps)} kills: {_tally(wrong)}", f"{len(steps)} kills: each time make's bytes", True)


@fault(
    GROUP,
    "make, at every n-th system call",
    "`make` on PATH is a script that becomes `strace -e inject=all:signal=SIGKILL:when=n make`",
    needs=("strace",),
)
def make_at_calls(directory: Path) -> Finding:
    tools = directory / "tools"
    tools.mkdir()
    path = f"{tools}:{os.environ['PATH']}"
    wrong: dict[str, int] = {}
    with Farm(count=1, jobs=4) as farm:
        most = _calls_of(["/usr/bin/make", "-j4"], room.fresh(directory, "p"), environment(), [])
        for n in (steps := _steps(most, CUTS)):
            for ours in (False, True):
                tree = room.fresh(directory, "p")
                script = kill_one(tools / "make", n)
                text = script.read_text().replace('"$@"', '/usr/bin/make "$@"')
                text = text.replace("if mkdir", 'test "$1" = --version && exec /usr/bin/make "$@"\nif mkdir')
                script.write_text(text)
                if not ours:
                    room.plain(tree, farm.hosts, PATH=path)
                    _quiet(tree)
                    words = room.aftermath(tree)
                    wrong[words] = wrong.get(words, 0) + 1
                    continue
                room.run(tree, farm.hosts, PATH=path)
                held, said = room.finish(tree, farm.hosts, PATH=path)
                if not held:
                    return Finding(_tally(wrong), f"killed at call {n} of {most}: {said}", False)
    return Finding(f"{len(steps)} kills: {_tally(wrong)}", f"{len(steps)} kills: each time make's bytes", True)


def _quiet(tree: Path) -> None:
    """Wait until no process works in the tree."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if not any(_cwd(pid) == str(tree) for pid in os.listdir("/proc") if pid.isdigit()):
            return
        time.sleep(0.02)


def _cwd(pid: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def _tally(words: dict[str, int]) -> str:
    return "; ".join(f"{count} times {text}" for text, count in sorted(words.items(), key=lambda item: -item[1])[:4])


# --- at random moments ---------------------------------------------------------------------------------------------


def _kill(build: Running, victim: str, dice: random.Random) -> None:
    if victim == "all":
        build.kill_all()
        return
    pids = room.session(build.process.pid)
    chosen = build.process.pid
    if victim == "make":
        chosen = next((pid for pid in pids if _name(pid) == "make"), chosen)
    elif victim == "any":
        chosen = dice.choice([pid for pid in pids if pid != build.process.pid] or [chosen])
    try:
        os.kill(chosen, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if victim != "conductor":
        build.process.wait(100)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _moments(directory: Path, moments: int, plain: int) -> Finding:
    dice = random.Random(SEED)
    wrong: dict[str, int] = {}
    kept = 0
    with Farm(count=2, jobs=2) as farm:
        begun = time.monotonic()
        assert room.run(room.fresh(directory, "p"), farm.hosts).code == 0
        seconds = time.monotonic() - begun
        for _ in range(plain):
            tree = room.fresh(directory, "p")
            _plain_killed(tree, farm.hosts, dice.uniform(0.05, 1.0))
            words = room.aftermath(tree)
            wrong[words] = wrong.get(words, 0) + 1
        for number in range(moments):
            tree = room.fresh(directory, "p")
            victim = dice.choice(("all", "all", "conductor", "make", "any"))
            with room.starting(tree, farm.hosts) as build:
                time.sleep(dice.uniform(0.15, 1.0) * seconds)
                _kill(build, victim, dice)
                if victim == "conductor":
                    build.process.wait()
                    held, said = room.finish(tree, farm.hosts)
                else:
                    kept += len(room.checked_in(tree))
                    held, said = room.finish(tree, farm.hosts)
            if not held:
                return Finding(_tally(wrong), f"moment {number} (seed {SEED}), {victim} killed: {said}", False)
    return Finding(
        f"{plain} kills of all: {_tally(wrong)}",
        f"{moments} kills: each time make's bytes after resume; {kept} checked-in units, none made again",
        True,
    )


def _plain_killed(tree: Path, hosts: str, share: float) -> None:
    process = subprocess.Popen(
        ["make", "-j6", "CC=distcc gcc"],
        cwd=tree,
        env=room.plain_environment(tree.parent, hosts),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(share)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    _quiet(tree)


@fault(
    GROUP,
    f"at {MOMENTS} random moments (seeded)",
    "`kill -9` of everything, of the conductor, of make, or of any one process of the build",
    needs=("distcc",),
)
def random_moments(directory: Path) -> Finding:
    return _moments(directory, MOMENTS, PLAIN_MOMENTS)


@fault(GROUP, "at three random moments (seeded)", "as above", needs=("distcc",), sample=True)
def few_moments(directory: Path) -> Finding:
    return _moments(directory, 3, 3)
