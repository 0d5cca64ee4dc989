"""Runs a confined command whose output goes to memory, and lets it be heard while the command still runs.

It knows nothing of make or of what is printed.  The output is never a pipe, by which the plan shell of `dryrun` tells
`$(shell ...)` from recipes; so it is looked at from time to time instead of waited for.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from buildfarm.make import confine

_LARGEST_OUTPUT = 1 << 30  # bytes
_LISTENING_SECONDS = 0.02  # between looks at what make has printed meanwhile
_LISTENING_BYTES = 1 << 16  # less is not worth a thread's start


async def run_in_memory(
    words: Sequence[str],
    confiner: Path | None,
    cwd: str,
    environment: Mapping[str, str],
    timeout: float,
    listen: Callable[[bytes], None] | None,
) -> tuple[int | None, bytes, str, str]:
    """Status (None: timed out), stdout, stderr, confinement.  The output goes to memory, never to a pipe.

    `words` are `confine`'s, without the report's; `confiner` is `confining.prepare`'s.  Raises OSError.
    """
    directory, scratch, *rest = words
    os.makedirs(scratch)
    with ExitStack() as files:
        out, err, report = (_memory_file(name, files) for name in ("plan-stdout", "plan-stderr", "plan-report"))
        process = _start(confiner, [directory, scratch, str(report), *rest], cwd, environment, (out, err, report))
        try:
            async with asyncio.timeout(timeout):
                await _ended(process.pid, functools.partial(_hear, out, listen) if listen is not None else None)
            late = False
        except TimeoutError:
            late = True
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # before it is waited for: the number is still its own
            except ProcessLookupError:
                pass
            process.wait()
        status = None if late else process.returncode
        return status, _content(out), os.fsdecode(_content(err)), _content(report).decode() or "free"


def _start(
    confiner: Path | None, words: list[str], cwd: str, environment: Mapping[str, str], files: tuple[int, int, int]
) -> subprocess.Popen[bytes]:
    """Start the program, or the script where there is no program, or none that may be executed any more."""
    out, err, report = files
    script = [sys.executable, "-I", "-S", confine.__file__]
    for command in ([str(confiner)], script) if confiner is not None else (script,):
        try:
            return subprocess.Popen(
                [*command, *words],
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                pass_fds=(report,),
                start_new_session=True,
            )
        except OSError:
            if command is script:
                raise
    raise AssertionError("BUG: no command")


def _memory_file(name: str, files: ExitStack) -> int:
    """Its descriptor, closed with `files`.  Raises OSError."""
    descriptor = os.memfd_create(name)
    files.callback(os.close, descriptor)
    return descriptor


async def _ended(pid: int, meanwhile: Callable[[int], Awaitable[int]] | None) -> None:
    """Wait for the process's end; `meanwhile` is done again and again, with what it gave the last time."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    handle = os.pidfd_open(pid)
    loop.add_reader(handle, ended.set)
    done = 0
    try:
        while meanwhile is not None and not ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_LISTENING_SECONDS):
                    await ended.wait()
            done = await meanwhile(done)
        await ended.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


async def _hear(fd: int, listen: Callable[[bytes], None], start: int) -> int:
    """Pass on the whole lines of one piece from `start` on, if there is enough of them; where the next piece starts."""
    if os.fstat(fd).st_size < start + _LISTENING_BYTES:
        return start
    piece = os.pread(fd, 16 * _LISTENING_BYTES, start)
    end = piece.rfind(b"\n") + 1
    if end:
        await asyncio.to_thread(listen, piece[:end])
    return start + (end or len(piece))


def _content(fd: int) -> bytes:
    size = min(os.fstat(fd).st_size, _LARGEST_OUTPUT)
    parts = []
    offset = 0
    while offset < size and (part := os.pread(fd, size - offset, offset)):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)
