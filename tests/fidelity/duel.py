"""Builds cases by make and by buildfarm in the same place, one after the other, and tells every difference.

Many cases share one start of buildfarm: a Makefile above them calls make in each, with its words, free of the
outer make's flags; what each printed and its exit status are left in files and compared with the trees.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.fidelity.cases import Case
from tests.tool import environment

TIMEOUT = 600.0
_PID = re.compile(r"\bcc[A-Za-z0-9]{6}\b|/tmp/cc[A-Za-z0-9]{6}|/tmp/GMfifo\d+")  # make 4.4's job server has one
# make 4.2.1 keeps one line number for all targets of a pattern rule: that of the recipe which was last begun.
_LINE = re.compile(r"(?<=\[)([^\s:]+):\d+(?=: .*\] Error )")

FAULTY_COMPILER = """#!/bin/sh
case " $* " in *bf-probe*|*" -v "*|*-dump*|*--version*) exec {real} "$@";; esac
case $(( $$ % {odds} )) in
0) echo "gcc: internal compiler error: Killed (program cc1)" >&2; exit 1;;
1) exit 1;;
2) kill -9 $$;;
3) for last; do case $previous in -o) : > "$last"; exit 0;; esac; previous=$last; done; exit 0;;
4) for last; do case $previous in -o) echo junk > "$last"; exit 0;; esac; previous=$last; done; exit 0;;
esac
exec {real} "$@"
"""
"""A node's compiler that fails in every way that a node may fail, {odds} being 5 or more."""


@dataclass
class Outcome:
    """What one case left behind after one of its builds."""

    tree: dict[str, str] = field(default_factory=dict)
    status: str = ""
    stdout: str = ""
    stderr: str = ""
    left: str = ""  # what `make -n` would still do


def build_by_make(root: Path, stage: int, jobs: int = 3) -> None:
    """Build all cases of the batch by plain make."""
    _check(_run(["make", "-k", f"-j{jobs}", "-f", f"top{stage}.mk"], root), "make")


def build_by_buildfarm(root: Path, stage: int, hosts: str, *, jobs: int = 3, more: Sequence[str] = ()) -> str:
    """Build all cases of the batch by one `buildfarm run`; its own words."""
    command = [
        sys.executable,
        "-m",
        "buildfarm",
        "run",
        "-k",
        f"-j{jobs}",
        "-f",
        f"top{stage}.mk",
        "--hosts",
        hosts,
    ]
    done = _run([*command, *more], root)
    _check(done, "buildfarm")
    text = done.stderr.decode(errors="replace")
    assert "BUG" not in text, text
    return text


def _wait_for_the_next_second() -> None:
    """Between a build and what is edited then: `.LOW_RESOLUTION_TIME` counts all of a target's second as not newer."""
    time.sleep(1 - time.time() % 1)


def _run(command: Sequence[str], directory: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command,
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )


def _check(done: subprocess.CompletedProcess[bytes], who: str) -> None:
    assert done.returncode == 0, f"{who}: {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}"


def write(root: Path, batch: Sequence[tuple[str, Case]]) -> None:
    """Write all cases of a batch and the Makefiles above them."""
    for name, case in batch:
        case.write(root / name)
    for stage in (0, 1):
        text = f"all: {' '.join(name for name, _ in batch)}\n.PHONY: all {' '.join(name for name, _ in batch)}\n"
        for name, case in batch:
            words = shlex.join(case.options(stage)).replace("$", "$$")
            text += f"{name}:\n\t@cd $@ && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKE_TERMOUT -u MAKE_TERMERR "
            text += f"make {words} > ../$@.out 2> ../$@.err; echo $$? > ../$@.status\n"
        (root / f"top{stage}.mk").write_text(text)


def look(root: Path, batch: Sequence[tuple[str, Case]], stage: int) -> dict[str, Outcome]:
    """What each case left behind."""
    found = {}
    for name, case in batch:
        lines = {kind: (root / f"{name}.{kind}").read_text(errors="replace") for kind in ("out", "err")}
        if not case.serial[stage]:
            lines = {kind: _LINE.sub(r"\1", text) for kind, text in lines.items()}
            lines = {kind: "".join(sorted(text.splitlines(keepends=True))) for kind, text in lines.items()}
        still = _run(["make", "-n"], root / name)
        found[name] = Outcome(
            tree=dict(_tree(root / name)),
            status=(root / f"{name}.status").read_text(),
            stdout=_PID.sub("ccXXXXXX", lines["out"]),
            stderr=_PID.sub("ccXXXXXX", lines["err"]),
            left=still.stdout.decode(errors="replace"),
        )
    return found


def _tree(root: Path) -> Iterable[tuple[str, str]]:
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        what = f"{stat.filemode(status.st_mode)} links {status.st_nlink if path.is_file() else 0} "
        if path.is_symlink():
            what += os.readlink(path)
        elif path.is_file():
            what += hashlib.sha256(_content(path)).hexdigest()[:16]
        yield str(path.relative_to(root)), what


def _content(path: Path) -> bytes:
    """A file's bytes; of an object with debug information (`.dbg.o`) without it, which names another producer.

    Of a precompiled header none: gcc writes out its memory, addresses and all.
    """
    if path.name.endswith(".gch"):
        return b""
    if not path.name.endswith(".dbg.o"):
        return path.read_bytes()
    with tempfile.NamedTemporaryFile() as bare:
        subprocess.run(["objcopy", "--strip-debug", path, bare.name], check=True)
        return Path(bare.name).read_bytes()


def differences(expected: Outcome, found: Outcome, *, status_alone: bool = False) -> list[str]:
    """Every difference in a line or a few."""
    told = []
    for name in () if status_alone else sorted(expected.tree.keys() | found.tree.keys()):
        if expected.tree.get(name) != found.tree.get(name):
            told.append(f"{name}: make {expected.tree.get(name, 'none')}; buildfarm {found.tree.get(name, 'none')}")
    for what in ("status", "stdout", "stderr", "left")[: 1 if status_alone else None]:
        one, other = getattr(expected, what), getattr(found, what)
        if one != other:
            told.append(f"{what}: make\n{_indented(one)}\n  buildfarm\n{_indented(other)}")
    return told


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def fight(
    root: Path, cases: Sequence[Case], hosts: str, *, more: Sequence[str] = (), rehearse: bool = False
) -> dict[Case, list[str]]:
    """Build the cases twice by make and twice by buildfarm; the differences of those that differ.

    `rehearse`: by make again in buildfarm's stead; what differs then, the generator or the judge is to blame for.
    """
    batch = [(f"c{number}", case) for number, case in enumerate(cases)]
    expected: list[dict[str, Outcome]] = []
    found: list[dict[str, Outcome]] = []
    for outcomes, by_make in ((expected, True), (found, False)):
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        write(root, batch)
        for stage in (0, 1):
            if by_make or rehearse:
                build_by_make(root, stage)
            else:
                build_by_buildfarm(root, stage, hosts, more=more)
            outcomes.append(look(root, batch, stage))
            if stage == 0:
                _wait_for_the_next_second()
                for name, case in batch:
                    case.change(root / name)
    told: dict[Case, list[str]] = {}
    for name, case in batch:
        for stage in (0, 1):
            one, other = expected[stage][name], found[stage][name]
            chance = one.status != "0\n" and case.stops_by_chance(stage)
            lines = differences(one, other, status_alone=chance)
            if lines:
                told[case] = [f"build {stage + 1}: make {shlex.join(case.options(stage))}", *lines]
            if lines or chance:
                break
    return told


def shrink(root: Path, case: Case, hosts: str) -> Case:
    """The case with every piece left out that it does not take to fail, each candidate tried twice."""
    index = 0
    while index < len(case.kinds) and len(case.kinds) > 1:
        smaller = case.without(index)
        if any(fight(root, [smaller], hosts) for _ in range(2)):
            case = smaller
        else:
            index += 1
    return case
