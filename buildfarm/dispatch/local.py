"""Runs a local tool for a unit: a preprocessor, `gfortran -fsyntax-only`, a wrapper's `-show`.

It does not decide what to run, does not limit how many run at once, and gives the environment no thought: the
caller passes one whose PATH lacks the masquerade directory.

*Theory of operation.*  Output goes to memory files (memfd_create(2)), not to pipes: the event loop is woken once
a tool, when it has ended, and the text is read into one `bytes` of the right size.  The end is seen through a
pidfd, so there is no thread and no signal handler.  `subprocess.Popen` with its vfork costs the master 0.15 ms
of CPU; `os.posix_spawn` costs 0.08 but can't change the directory (an `env -C` in between makes it 1.6 ms of
the machine's).  The tool leads a process group of its own, because `gcc` is a driver and the work is its child's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

from buildfarm.value import dataclass

KILL_AFTER = 2.0  # seconds between SIGTERM and SIGKILL for a tool that is no longer wanted


@dataclass(frozen=True, slots=True)
class Finished:
    """How a tool ended: its wait status as in wait(2), and all that it wrote."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def succeeded(self) -> bool:
        return self.status == 0


async def run(argv: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> Finished:
    """Run `argv[0]` (an absolute path) with empty input and return when it has ended.

    Cancelled: the whole process group gets SIGTERM, after `KILL_AFTER` seconds SIGKILL, and is gone when the
    CancelledError leaves.  Raises OSError when the tool can't be started.
    """
    out = os.memfd_create("stdout")
    try:
        err = os.memfd_create("stderr")
        try:
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                process_group=0,
            )
            await _ended(process)
            status = process.returncode
            wait_status = -status if status < 0 else status << 8
            return Finished(wait_status, _content(out), _content(err))
        finally:
            os.close(err)
    finally:
        os.close(out)


def _content(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    data = os.pread(fd, size, 0) if size else b""
    assert len(data) == size, "BUG: a memory file was read short"
    return data


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """Wait for the process; if cancelled, end its group first."""
    pidfd = os.pidfd_open(process.pid)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def notice() -> None:
        loop.remove_reader(pidfd)
        ended.set()

    loop.add_reader(pidfd, notice)
    try:
        await ended.wait()
    except asyncio.CancelledError:
        await _end_group(process, ended)
        raise
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        process.wait()


async def _end_group(process: subprocess.Popen[bytes], ended: asyncio.Event) -> None:
    # The leader is not reaped before the group is gone: its pid, the group's id, can't be anyone else's yet.
    _signal_group(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(KILL_AFTER):
            await ended.wait()
    except (TimeoutError, asyncio.CancelledError):
        pass
    _signal_group(process, signal.SIGKILL)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass
