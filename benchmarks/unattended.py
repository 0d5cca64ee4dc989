"""Runs a command with a bound of time and leaves nothing of it behind, whatever it started.

It knows no benchmark.  Sessions and process groups don't hold what a build starts (stubs and compilers have groups
of their own), so this process is the subreaper (prctl(2)) of all descendants and finds them by their parents.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
GRACE = 20.0  # seconds in which a command that was interrupted may clean up


def run(command: Sequence[str], seconds: float) -> str | None:
    """Run `command` with our standard streams.  What went wrong, if anything did; afterwards no descendant lives."""
    _take_orphans(True)
    before = set(descendants(os.getpid()))
    process = subprocess.Popen(command)
    trouble = None
    try:
        status = process.wait(seconds)
        trouble = f"exit status {status}" if status else None
    except subprocess.TimeoutExpired:
        trouble = f"given up after {seconds:g} seconds"
        process.send_signal(signal.SIGINT)
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    finally:
        _end(before)
        _take_orphans(False)
    return trouble


def _take_orphans(whether: bool) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, whether, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def descendants(pid: int) -> list[int]:
    """Every living process below `pid`, the nearest first."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path("/proc", entry, "stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry))
    found = [*children.get(pid, ())]
    for one in found:
        found.extend(children.get(one, ()))
    return found


def _end(spared: set[int]) -> None:
    """Kill and reap all descendants but those."""
    while left := [pid for pid in descendants(os.getpid()) if pid not in spared]:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for pid in left:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        time.sleep(0.01)
