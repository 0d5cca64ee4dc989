"""Runs one command and measures all that it starts: wall clock, CPU, and the peak memory of the command itself.

Run as `python -m benchmarks.meter FD COMMAND...`; it writes one JSON object to the descriptor FD.  The command's
daemons count too (distcc's include server leaves its session), because this process is their subreaper
(prctl(2), PR_SET_CHILD_SUBREAPER) and getrusage(2) sums what was waited for.  Node daemons are started by others
and don't count.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
PATIENCE = 10.0  # seconds for daemons to end after the command
SAMPLE = 0.05  # seconds between looks at the command's memory


def main(words: list[str]) -> None:
    report, command = int(words[0]), words[1:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    begin = time.monotonic()
    process = subprocess.Popen(command)
    peak = _watch(process.pid)
    seconds = time.monotonic() - begin
    status = process.wait()
    _wait_for_daemons()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(report, "w") as out:
        json.dump(
            {
                "status": status,
                "seconds": seconds,
                "user": usage.ru_utime,
                "system": usage.ru_stime,
                "peak_kb": peak,
            },
            out,
        )


def _watch(pid: int) -> int:
    """Wait until `pid` has ended; its peak memory in KiB.

    Daemons that end meanwhile are reaped at once: distcc-pump waits until its include server is no zombie either.
    """
    descriptor = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    peak = 0
    while not poll.poll(SAMPLE * 1000):
        peak = max(peak, _peak_memory(pid))
        for child in _zombies():
            if child != pid:
                os.waitpid(child, os.WNOHANG)
    os.close(descriptor)
    return peak


def _zombies() -> list[int]:
    """Children of ours that wait to be reaped; the command itself may be among them."""
    found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return [found.si_pid] if found is not None else []


def _peak_memory(pid: int) -> int:
    """VmHWM in KiB (proc(5)); 0 once the process is gone."""
    try:
        with open(f"/proc/{pid}/status") as text:
            return next((int(line.split()[1]) for line in text if line.startswith("VmHWM")), 0)
    except OSError:
        return 0


def _wait_for_daemons() -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            time.sleep(0.005)
    sys.exit("the command left daemons behind")


if __name__ == "__main__":
    main(sys.argv[1:])
