"""The master's own troubles: full and failing disks, limits, the clock, two runs, sources edited under a unit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.farm import PATIENCE, Farm, wait_until
from tests.faults import room
from tests.faults.matrix import Finding, NotHere, fault
from tests.tool import TIMEOUT, buildfarm, command, environment, status

GROUP = "This machine"
# A clock that is set back leaves CLOCK_MONOTONIC alone (clock_settime(2)); with one that libfaketime sets back too, no
# Python's `Condition.wait(timeout)` ever ends (sem_clockwait).
CALENDAR_ALONE = {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def _mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotHere(f"mount {' '.join(words)}: {done.stderr.strip()[:80]}")


@contextmanager
def _mounted(point: Path, *words: str) -> Iterator[None]:
    _mount(*words, str(point))
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(point)], check=False)


def _fill(directory: Path, leave: int) -> None:
    """Fill the file system up to `leave` bytes."""
    found = os.statvfs(directory)
    left = found.f_bavail * found.f_frsize - leave
    with suppress(OSError), open(directory / "filler", "wb", buffering=0) as file:
        while left > 0:
            left -= file.write(bytes(min(left, 1 << 16)))


@fault(
    GROUP,
    "disk full in the middle of the build",
    "the tree is on a tmpfs; it is filled up once three objects are there, and freed after the build has stopped",
    needs=("root", "distcc"),
)
def disk_full(directory: Path) -> Finding:
    point = directory / "small"
    point.mkdir()
    words: list[str] = []
    with Farm(count=1, jobs=2) as farm, _mounted(point, "-t", "tmpfs", "-o", "size=24m", "tmpfs"):
        for ours in (False, True):
            tree = room.fresh(point, "p")
            stop = threading.Event()

            def fill(tree: Path = tree, stop: threading.Event = stop) -> None:
                while not stop.is_set() and len(list(tree.glob("*.o"))) < 3:
                    time.sleep(0.002)
                _fill(point, 4096)

            actor = threading.Thread(target=fill, daemon=True)
            actor.start()
            if not ours:
                code, _ = room.plain(tree, farm.hosts, TMPDIR=str(point))
                stop.set()
                actor.join()
                (point / "filler").unlink(missing_ok=True)
                words.append(f"{room.said(code)}; space freed, {room.aftermath(tree)}")
                shutil.rmtree(tree)
                continue
            result = room.run(tree, farm.hosts, TMPDIR=str(point))
            stop.set()
            actor.join()
            (point / "filler").unlink(missing_ok=True)
            held, said = room.finish(tree, farm.hosts)
            honest = result.code != 0 and "Traceback" not in result.stderr
            if not honest:
                said = f"exit {result.code}: {result.stderr[-300:]}"
    return Finding(words[0], f"exit {result.code}; space freed, resume: {said}", held and honest)


@fault(
    GROUP,
    "EIO on fsync",
    "`strace -f -e inject=fsync,fdatasync,syncfs:error=EIO:when=N+` on the conductor, for several N",
    needs=("strace",),
)
def eio(directory: Path) -> Finding:
    said = ""
    with Farm(count=1, jobs=2) as farm:
        for first in (1, 4, 9, 20):
            tree = room.fresh(directory, "p")
            inject = [
                "-e",
                "trace=fsync,fdatasync,syncfs",
                "-e",
                f"inject=fsync,fdatasync,syncfs:error=EIO:when={first}+",
            ]
            words = ["strace", "-f", "-qqq", "-o", "/dev/null", *inject]
            words += command("run", "-C", str(tree), "--hosts", farm.hosts)
            done = subprocess.run(words, env=environment(), capture_output=True, check=False, timeout=200)
            text = done.stderr.decode(errors="replace")
            held, said = room.finish(tree, farm.hosts)
            if "Traceback" in text or not held:
                return Finding(
                    "fsyncs nothing", f"from call {first} on: exit {done.returncode}, {text[-200:]}; {said}", False
                )
    return Finding("fsyncs nothing, so it sees nothing", f"told; the results count as not yet safe; then {said}", True)


@fault(
    GROUP,
    "a directory of the tree can't be written",
    "`chattr +i` on it once two objects are there, which binds root too; taken back when the build has stopped",
    needs=("root", "chattr", "distcc"),
)
def read_only(directory: Path) -> Finding:
    words: list[str] = []
    with Farm(count=1, jobs=2) as farm:
        for ours in (False, True):
            tree = room.fresh(directory, "ours" if ours else "plain")
            stop = threading.Event()

            def freeze(tree: Path = tree, stop: threading.Event = stop) -> None:
                while not stop.is_set() and len(list(tree.glob("*.o"))) < 2:
                    time.sleep(0.002)
                subprocess.run(["chattr", "+i", str(tree)], check=False, capture_output=True)

            actor = threading.Thread(target=freeze, daemon=True)
            actor.start()
            code: int | None
            if ours:
                result = room.run(tree, farm.hosts)
                code = result.code
            else:
                code, _ = room.plain(tree, farm.hosts)
            stop.set()
            actor.join()
            locked = (
                "i"
                in subprocess.run(["lsattr", "-d", str(tree)], capture_output=True, text=True, check=False).stdout[:20]
            )
            subprocess.run(["chattr", "-i", str(tree)], check=False, capture_output=True)
            if not locked:
                raise NotHere("this file system has no immutable directories")
            if not ours:
                words.append(f"{room.said(code)}; {room.aftermath(tree)}")
        held, said = room.finish(tree, farm.hosts)
    return Finding(words[0], f"exit {result.code}; writable again, {said}", held and "Traceback" not in result.stderr)


@fault(GROUP, "few file descriptors", "`ulimit -n` 20, 24, 32, 64", needs=("distcc",), quick=True)
def few_descriptors(directory: Path) -> Finding:
    plain, mine = [], []
    with Farm(count=1, jobs=4) as farm:
        for limit in (20, 24, 32, 64):
            tree = room.fresh(directory, "plain")
            script = f'ulimit -n {limit}; exec "$@"'
            words = ["sh", "-c", script, "sh", "make", "-j6", "CC=distcc gcc"]
            done = subprocess.run(
                words, cwd=tree, env=room.plain_environment(directory, farm.hosts), capture_output=True, check=False
            )
            plain.append(f"{limit}: {room.said(done.returncode)}")
            tree = room.fresh(directory, "ours")
            words = ["sh", "-c", script, "sh", *command("run", "-C", str(tree), "--hosts", farm.hosts)]
            done = subprocess.run(words, env=environment(), capture_output=True, check=False, timeout=TIMEOUT)
            text = done.stderr.decode(errors="replace")
            held, said = (
                room.finish(tree, farm.hosts) if done.returncode else room.judged(tree, room.run(tree, farm.hosts), {})
            )
            mine.append(f"{limit}: {room.said(done.returncode)}")
            if "Traceback" in text or not held:
                return Finding("; ".join(plain), f"{'; '.join(mine)}: {text[-300:]}; {said}", False)
    return Finding(
        "; ".join(plain),
        f"{'; '.join(mine)}; below 48 make ran alone, and a line said so; the next run ended well",
        True,
    )


CGROUP = Path("/sys/fs/cgroup/memory")


@fault(
    GROUP,
    "out of memory",
    "a memory cgroup of 40, 60 and 90 MB around the whole build: the kernel kills what it likes",
    needs=("root", "distcc", "/sys/fs/cgroup"),
)
def out_of_memory(directory: Path) -> Finding:
    plain, mine = [], []
    with Farm(count=1, jobs=2) as farm:
        for megabytes in (40, 60, 90):
            for ours in (False, True):
                tree = room.fresh(directory, "p")
                words = (
                    command("run", "-C", str(tree), "--hosts", farm.hosts) if ours else ["make", "-j6", "CC=distcc gcc"]
                )
                env = environment() if ours else room.plain_environment(directory, farm.hosts)
                code = _limited(words, tree, env, megabytes << 20)
                if not ours:
                    plain.append(f"{megabytes} MB: {room.said(code)}, {room.aftermath(tree)}")
                    continue
                held, said = room.finish(tree, farm.hosts)
                mine.append(f"{megabytes} MB: {room.said(code)}")
                if not held:
                    return Finding("; ".join(plain), f"{'; '.join(mine)}: {said}", False)
    return Finding("; ".join(plain), f"{'; '.join(mine)}; each time make's bytes after resume", True)


def _limited(words: list[str], tree: Path, env: dict[str, str], limit: int) -> int | None:
    if (CGROUP / "memory.limit_in_bytes").exists():
        group, file = CGROUP / f"bf{os.getpid()}", "memory.limit_in_bytes"
    elif (Path("/sys/fs/cgroup/cgroup.controllers")).exists():
        group, file = Path(f"/sys/fs/cgroup/bf{os.getpid()}"), "memory.max"
    else:
        raise NotHere("needs a memory cgroup, which is not mounted here")
    try:
        group.mkdir(exist_ok=True)
        (group / file).write_text(str(limit))
    except OSError as error:
        raise NotHere(f"needs a memory cgroup: {error.strerror}") from error
    try:
        script = f'echo $$ > {group}/cgroup.procs && exec "$@"'
        process = subprocess.Popen(
            ["sh", "-c", script, "sh", *words],
            cwd=tree,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(60)
        except subprocess.TimeoutExpired:
            return None
        finally:
            for pid in room.session(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.wait()
    finally:
        for _ in range(100):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.05)


@fault(
    GROUP,
    "clock set back by two hours",
    "killed in the middle, then `faketime -2h` around what follows",
    needs=("faketime", "distcc"),
)
def clock_back(directory: Path) -> Finding:
    with Farm(count=1, jobs=2) as farm:
        tree = room.fresh(directory, "plain")
        done = subprocess.run(
            ["faketime", "-f", "-2h", "make", "-j6", "CC=distcc gcc"],
            cwd=tree,
            env=room.plain_environment(directory, farm.hosts) | CALENDAR_ALONE,
            capture_output=True,
            check=False,
        )
        words = done.stderr.decode(errors="replace")
        skew = ", warns of clock skew" if "skew" in words or "future" in words else ""
        plain = f"{room.said(done.returncode)}{skew}; {room.aftermath(tree)}"
        tree = room.fresh(directory, "ours")
        with room.starting(tree, farm.hosts) as build:
            wait_until(lambda: len(room.checked_in(tree)) >= 3, "three check-ins", 60)
            build.kill_all()
        before = room.checked_in(tree)
        words_ = ["faketime", "-f", "-2h", *command("resume", "-C", str(tree), "--hosts", farm.hosts)]
        ours = subprocess.run(
            words_, env=environment(**CALENDAR_ALONE), capture_output=True, text=True, check=False, timeout=100
        )
        wrong, again = room.difference(tree), room.made_again(before)
    held = ours.returncode == 0 and not wrong and not again
    said = (
        f"{len(before)} checked-in units kept" if held else f"{wrong} differ, {again} made again: {ours.stderr[-200:]}"
    )
    return Finding(plain, f"{room.said(ours.returncode)}, {said}", held)


@fault(GROUP, "two runs at once", "ten pairs of builds of one tree, started in the same moment", needs=("distcc",))
def two_at_once(directory: Path) -> Finding:
    wrong: dict[str, int] = {}
    codes: dict[str, int] = {}
    with Farm(count=1, jobs=4) as farm:
        for _ in range(10):
            tree = room.fresh(directory, "plain")
            env = room.plain_environment(directory, farm.hosts)
            words = ["make", "-j4", "CC=distcc gcc"]
            null = subprocess.DEVNULL
            pair = [subprocess.Popen(words, cwd=tree, env=env, stdout=null, stderr=null) for _ in range(2)]
            ends = sorted(process.wait() for process in pair)
            text = f"exits {ends[0]} and {ends[1]}, {room.aftermath(tree)}"
            wrong[text] = wrong.get(text, 0) + 1
            tree = room.fresh(directory, "ours")
            words = command("run", "-C", str(tree), "--hosts", farm.hosts)
            pair = [subprocess.Popen(words, env=environment(), stdout=null, stderr=null) for _ in range(2)]
            ends = sorted(process.wait() for process in pair)
            text = f"exits {ends[0]} and {ends[1]}"
            codes[text] = codes.get(text, 0) + 1
            if ends not in ([0, 75], [0, 0]) or room.difference(tree):
                return Finding(str(wrong), f"{text}; {room.difference(tree)} differ", False)
    tally = "; ".join(f"{n} times {t}" for t, n in wrong.items())
    return Finding(tally, "; ".join(f"{n} times {t}" for t, n in codes.items()) + "; make's bytes", True)


def _wait_for(farm: Farm, compiles: int) -> None:
    wait_until(lambda: len(farm.compiles()) >= compiles, f"{compiles} compiles")


def _edit(tree: Path, pattern: str, old: str, new: str) -> None:
    for path in tree.glob(pattern):
        path.write_text(path.read_text().replace(old, new))


def _edited(directory: Path, pattern: str, old: str, new: str) -> Finding:
    """Files are edited while units that read them are at the gate of the node."""
    found = []
    for ours in (False, True):
        tree = room.fresh(directory, "ours" if ours else "plain")
        right = room.fresh(directory, "right")
        _edit(right, pattern, old, new)
        subprocess.run(["make", "-j2"], cwd=right, env=environment(), capture_output=True, check=True)
        with Farm(count=1, jobs=4, gated=True, options="") as farm:

            def edit(tree: Path = tree, farm: Farm = farm) -> None:
                wait_until(lambda: farm.waiting() >= 3, "three units at the gate")
                _edit(tree, pattern, old, new)
                time.sleep(0.1)
                farm.open_gate()

            farm.close_gate(after=1)
            actor = threading.Thread(target=edit, daemon=True)
            actor.start()
            if ours:
                code: int | None = room.run(tree, farm.hosts, "-j4", "--no-lookahead").code
            else:
                code, _ = room.plain(tree, farm.hosts)
            actor.join(40)
        subprocess.run(["make", "-j2"], cwd=tree, env=environment(), capture_output=True, check=False)
        stale = [
            path.name
            for path in sorted(right.glob("*.o"))
            if not (tree / path.name).exists() or (tree / path.name).read_bytes() != path.read_bytes()
        ]
        text = (
            f"{', '.join(stale[:3])} of the old text, and the next make calls it up to date"
            if stale
            else "all of the new text"
        )
        found.append((f"{room.said(code)}; {text}", stale))
    return Finding(found[0][0], found[1][0], not found[1][1])


@fault(
    GROUP,
    "source edited while its unit is away",
    "the node's compiler waits at a gate meanwhile",
    needs=("distcc",),
    quick=True,
)
def source_edited(directory: Path) -> Finding:
    return _edited(directory, "*.c", "x * SCALE", "x - SCALE")


@fault(GROUP, "header edited while units are away", "the node's compilers wait at a gate meanwhile", needs=("distcc",))
def header_edited(directory: Path) -> Finding:
    return _edited(directory, "common.h", "SCALE 3", "SCALE 5")


@fault(
    GROUP,
    "node list edited to nonsense",
    "`buildfarm.toml` (for distcc: `~/.distcc/hosts`) becomes rubbish while compilers wait at a gate",
    needs=("distcc",),
)
def nonsense_hosts(directory: Path) -> Finding:
    words = []
    for ours in (False, True):
        tree = room.fresh(directory, "ours" if ours else "plain")
        with Farm(count=1, jobs=2, gated=True, options="") as farm:
            distcc = directory / "distcc"
            distcc.mkdir(exist_ok=True)
            list_ = tree / "buildfarm.toml" if ours else distcc / "hosts"
            list_.write_text(f'[nodes]\nhosts = "{farm.hosts}"\n' if ours else farm.hosts)

            def edit(farm: Farm = farm, list_: Path = list_) -> None:
                wait_until(lambda: len(farm.compiles()) >= 2, "two compiles", 60)
                farm.close_gate()
                wait_until(lambda: farm.waiting() > 0, "a unit at the gate", 30)
                list_.write_text('[nodes\nhosts = "pi1/x/y:::: \x01" 12\n')
                time.sleep(1.0)
                farm.open_gate()

            actor = threading.Thread(target=edit, daemon=True)
            actor.start()
            if ours:
                result = buildfarm("run", "-C", str(tree), env=environment())
                held, said = room.judged(tree, result, {}, ignore=("buildfarm.toml",))
                words.append(f"{said}; {len(farm.compiles())} of {room.UNITS} on the node")
            else:
                env = environment(DISTCC_DIR=str(distcc))
                done = subprocess.run(
                    ["make", "-j6", "CC=distcc gcc"], cwd=tree, env=env, capture_output=True, check=False
                )
                words.append(f"{room.said(done.returncode)}, {len(farm.compiles())} of {room.UNITS} on the node")
            actor.join(40)
    return Finding(words[0], words[1], held)


@fault(
    GROUP,
    "an odd path",
    "all of the oddities of the full row in one name",
    needs=("distcc",),
    sample=True,
)
def few_odd_paths(directory: Path) -> Finding:
    return _odd_paths(directory, [b"a 'b\"\xff$(x)\n\xc3\xbc"])


@fault(
    GROUP,
    "odd paths",
    "the tree is in directories with blanks, quotes, UTF-8, bytes that are not UTF-8, `$(...)`, a newline",
    needs=("distcc",),
)
def odd_paths(directory: Path) -> Finding:
    names = [
        b"a b",
        b'it\'s "quoted"',
        "\u00fcber-\u6a21\u578b".encode(),
        b"not\xffutf8",
        b"$(touch x);&|",
        b"line\nbreak",
        b"-dash",
    ]
    return _odd_paths(directory, names)


def _odd_paths(directory: Path, names: list[bytes]) -> Finding:
    plain, mine, held = [], [], True
    with Farm(count=1, jobs=4) as farm:
        for name in names:
            parent = Path(os.fsdecode(os.path.join(os.fsencode(directory), name)))
            tree = room.fresh(parent, "p")
            (parent / "distcc").mkdir()
            env = environment(DISTCC_HOSTS=farm.hosts, DISTCC_DIR=str(directory))
            done = subprocess.run(["make", "-j6", "CC=distcc gcc"], cwd=tree, env=env, capture_output=True, check=False)
            plain.append(done.returncode == 0 and not room.difference(tree))
            tree = room.fresh(parent, "p")
            result = room.run(tree, farm.hosts)
            good, said = room.judged(tree, result, {})
            again = room.run(tree, farm.hosts)
            document = status(tree)
            good = good and again.code == 0 and document["state"] == "complete"
            held = held and good
            mine.append("ends well" if good else f"{name!r}: {said}")
    return Finding(
        f"{sum(plain)} of {len(names)} end well",
        f"{mine.count('ends well')} of {len(names)} end well"
        + "".join(f"; {text}" for text in mine if text != "ends well"),
        held,
    )


@fault(
    GROUP,
    "Ctrl-C through a pipe whose reader has died",
    "`buildfarm run | true`, then SIGINT to the whole group, as a terminal sends it",
    needs=("distcc",),
    quick=True,
)
def dead_pipe(directory: Path) -> Finding:
    words = []
    with Farm(count=1, jobs=2, gated=True) as farm:
        for ours in (False, True):
            tree = room.fresh(directory, "ours" if ours else "plain")
            before = len(farm.compiles())
            farm.close_gate(after=2)  # it is not over before the signal
            reading, writing = os.pipe()
            line = command("run", "-C", str(tree), "--hosts", farm.hosts) if ours else ["make", "-j6", "CC=distcc gcc"]
            env = environment() if ours else room.plain_environment(directory, farm.hosts)
            process = subprocess.Popen(
                line,
                cwd=tree,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                start_new_session=True,
            )
            os.close(writing)
            _wait_for(farm, before + 2)
            os.close(reading)
            time.sleep(0.3)
            try:
                os.killpg(process.pid, signal.SIGINT)
            except ProcessLookupError:
                pass
            try:
                code: int | None = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                code = None
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            farm.open_gate()
            if not ours:
                words.append(f"{room.said(code)}; {room.aftermath(tree)}")
        state = status(tree)["state"]
        held, said = room.finish(tree, farm.hosts)
    return Finding(
        words[0], f"{room.said(code)}, {state}; {said}", held and code in (130, 2, 141) and state != "running"
    )
