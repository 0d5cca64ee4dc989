"""Finds and ends what a dead build left running: processes whose environment holds the build's token.

It does not know why they should go.  A process that dropped its environment is found as the descendant of
one that did not.

Theory of operation.  A pid may be reused between looking and signalling.  So a process is identified by pid and
start time (proc(5), `stat` field 22, clock ticks since boot); signals go through a pidfd, and after opening it the
start time is compared again.  Waiting is `poll` on the pidfds: bounded, and without a loop of `kill(pid, 0)`.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import ExitStack
from pathlib import Path

_PROC = Path("/proc")
TOKEN_VARIABLE = "BUILDFARM_TOKEN"


def start_time(pid: int) -> int | None:
    """Clock ticks between boot and the start of `pid`; None if there is no such process, or only its corpse."""
    fields = _stat_fields(pid)
    return None if fields is None else fields[1]


def find(token: str) -> list[int]:
    """Pids of the living processes of the build `token`, descendants included; never ourselves or an ancestor."""
    return sorted(_find(token))


def end(token: str, timeout: float) -> list[int]:
    """End the processes of the build `token`: SIGTERM, and for the second half of `timeout` seconds SIGKILL.

    Blocks for at most about `timeout`.  Returns the pids that are still there (in an uninterruptible wait, or
    another user's); usually none.
    """
    begin = time.monotonic()
    hard = False
    while processes := _find(token):
        left = begin + timeout - time.monotonic()
        if left <= 0 and hard:
            return sorted(processes)
        hard = hard or left <= timeout / 2
        patience = max(left, 0.05) if hard else left - timeout / 2
        _signal_and_wait(processes, signal.SIGKILL if hard else signal.SIGTERM, patience)
    return []


def _signal_and_wait(processes: dict[int, int], number: signal.Signals, seconds: float) -> None:
    """Send `number` to processes (pid to start time) and wait until all have ended, at most `seconds`."""
    with ExitStack() as stack:
        poll = select.poll()
        waiting: set[int] = set()
        for pid, started in processes.items():
            try:
                descriptor = os.pidfd_open(pid)
            except OSError:
                continue
            stack.callback(os.close, descriptor)
            if start_time(pid) != started:
                continue
            try:
                signal.pidfd_send_signal(descriptor, number)
                signal.pidfd_send_signal(descriptor, signal.SIGCONT)  # a stopped one would not notice
            except OSError:
                continue
            poll.register(descriptor, select.POLLIN)
            waiting.add(descriptor)
        deadline = time.monotonic() + seconds
        while waiting and (left := deadline - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(left * 1000):
                poll.unregister(descriptor)
                waiting.discard(descriptor)


def _find(token: str) -> dict[int, int]:
    """Living processes of the build, pid to start time."""
    definition = f"{TOKEN_VARIABLE}={token}".encode()
    parents: dict[int, int] = {}
    starts: dict[int, int] = {}
    found: set[int] = set()
    for entry in os.listdir(_PROC):
        if not entry.isdigit():
            continue
        pid = int(entry)
        fields = _stat_fields(pid)
        if fields is None:
            continue
        parents[pid], starts[pid] = fields
        try:
            environment = (_PROC / entry / "environ").read_bytes()
        except OSError:
            continue
        if definition in environment.split(b"\0"):
            found.add(pid)
    relatives = {os.getpid()}
    ancestor = parents.get(os.getpid(), 0)
    while ancestor and ancestor not in relatives:
        relatives.add(ancestor)
        ancestor = parents.get(ancestor, 0)
    return {pid: starts[pid] for pid in _with_descendants(found - relatives, parents) - relatives}


def _with_descendants(roots: set[int], parents: dict[int, int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    family = set(roots)
    queue = list(roots)
    while queue:
        for child in children.get(queue.pop(), ()):
            if child not in family:
                family.add(child)
                queue.append(child)
    return family


def _stat_fields(pid: int) -> tuple[int, int] | None:
    """Parent and start time of a living process (proc(5): the name in parentheses may hold anything)."""
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X", b"x"):
        return None
    return int(fields[1]), int(fields[19])
