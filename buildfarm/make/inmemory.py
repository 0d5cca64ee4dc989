"""Runs a confined command whose output goes to memory, and is heard piece by piece while the command still runs.

It knows nothing of make or of what is printed.  The output is never a pipe, by which the plan shell of `dryrun` tells
`$(shell ...)` from recipes; so it is looked at from time to time instead of waited for.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from buildfarm.make import confine, confining
from buildfarm.make.patience import Patience, processor_time

_LARGEST_OUTPUT = 1 << 30  # bytes
_LISTENING_SECONDS = 0.02  # between looks at what make has printed meanwhile
_LISTENING_BYTES = 1 << 16  # less is not worth a thread's start
_PIECE = 1 << 20  # bytes at once: large outputs are never held whole


async def run_in_memory(
    words: Sequence[str],
    confiner: Path | None,
    cwd: str,
    environment: Mapping[str, str],
    timeout: float,
    listen: Callable[[bytes], None],
) -> tuple[int | None, str, str]:
    """Status (None: timed out), stderr, confinement.  The output goes to memory, never to a pipe, and to `listen`.

    `timeout` is in seconds of the processors' time, as `Patience` counts them.
    `words` are `confine`'s, without the report's; `confiner` is `confining.prepare`'s.  `listen` is called in a thread,
    with pieces of whole lines, the last one aside.  Raises OSError.
    """
    directory, scratch, *rest = words
    os.makedirs(scratch)
    with ExitStack() as files:
        out, err, report = (_memory_file(name, files) for name in ("plan-stdout", "plan-stderr", "plan-report"))
        hearing = _Hearing(out, listen)
        process = _start(confiner, [directory, scratch, str(report), *rest], cwd, environment, (out, err, report))
        try:
            late = not await _ended(process.pid, hearing.more, timeout)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # before it is waited for: the number is still its own
            except ProcessLookupError:
                pass
            process.wait()
        await hearing.rest()
        status = None if late else process.returncode
        return status, os.fsdecode(_content(err)), _content(report).decode() or confining.NOT_AT_ALL


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


async def _ended(pid: int, meanwhile: Callable[[], Awaitable[bool]], timeout: float) -> bool:
    """Wait for the process's end; `meanwhile` is done again and again, at once if it says so.  False: too late."""
    loop = asyncio.get_running_loop()
    patience, began = Patience(timeout), loop.time()
    asked_at = began + timeout
    ended = asyncio.Event()
    handle = os.pidfd_open(pid)
    loop.add_reader(handle, ended.set)
    try:
        while not ended.is_set():
            if loop.time() >= asked_at:
                left = patience.left(loop.time() - began, processor_time(pid))
                if not left:
                    return False
                asked_at = loop.time() + left
            if await meanwhile():
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(_LISTENING_SECONDS):
                    await ended.wait()
        return True
    finally:
        loop.remove_reader(handle)
        os.close(handle)


class _Hearing:
    """What was printed so far, passed on in order."""

    def __init__(self, descriptor: int, listen: Callable[[bytes], None]) -> None:
        self._descriptor = descriptor
        self._listen = listen
        self._heard = 0  # bytes

    async def more(self) -> bool:
        """Pass on the whole lines of one piece, if there is enough of them; whether there is enough of others."""
        if self._waiting() < _LISTENING_BYTES:
            return False
        piece = os.pread(self._descriptor, _PIECE, self._heard)
        await self._pass_on(piece[: piece.rfind(b"\n") + 1] or piece)
        return self._waiting() >= _LISTENING_BYTES

    async def rest(self) -> None:
        """Pass on all that there is; nobody writes any more."""
        while self._waiting() >= _PIECE:
            await self.more()
        if piece := os.pread(self._descriptor, _PIECE, self._heard):
            await self._pass_on(piece)

    def _waiting(self) -> int:
        return min(os.fstat(self._descriptor).st_size, _LARGEST_OUTPUT) - self._heard

    async def _pass_on(self, piece: bytes) -> None:
        self._heard += len(piece)
        await asyncio.to_thread(self._listen, piece)


def _content(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
