"""The real make: finds it beyond the masquerade, starts it, signals it, waits for it without polling.

It does not know what make does; its calls come through the server.  make gets our stdin, stdout, stderr, process
group and inherited descriptors (an outer make's jobserver), so a terminal's Ctrl-C reaches it as if we were not there.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence

from buildfarm.errors import MachineError
from buildfarm.make.masquerade import MARKER
from buildfarm.value import dataclass

_NAMES = ("make", "gmake")
_VERSION = re.compile(rb"GNU Make (\d+)\.(\d+)")
_OLDEST = (3, 81)


@dataclass(frozen=True, slots=True)
class RealMake:
    """GNU make's executable and its version, e.g. (4, 3)."""

    path: str
    version: tuple[int, int]


def find_make(environment: Mapping[str, str]) -> RealMake:
    """The first GNU make on PATH that is not ours.  Raises MachineError if there is none."""
    others: list[str] = []
    for name in _NAMES:
        for directory in environment.get("PATH", os.defpath).split(os.pathsep):
            file = os.path.join(directory or ".", name)
            if not os.path.isfile(file) or not os.access(file, os.X_OK):
                continue
            if os.path.lexists(os.path.join(directory or ".", MARKER)):
                continue
            version = _version(file, environment)
            if version is not None and version >= _OLDEST:
                return RealMake(file, version)
            others.append(file)
            break  # what the user's `make` is, is this one
    if others:
        raise MachineError(
            f"{others[0]} is not GNU make {_OLDEST[0]}.{_OLDEST[1]} or newer",
            hint="buildfarm drives GNU make only: install it (Debian: apt install make), or put it first on PATH",
        )
    raise MachineError("no make on PATH", hint="install GNU make (Debian: apt install make)")


def _version(file: str, environment: Mapping[str, str]) -> tuple[int, int] | None:
    # An outer make's flags would be obeyed even here, BUILDFARM_SOCKET would be asked.
    plain = {
        name: value
        for name, value in environment.items()
        if name not in ("MAKEFLAGS", "MFLAGS", "GNUMAKEFLAGS", "BUILDFARM_SOCKET")
    }
    try:
        result = subprocess.run(
            [file, "--version"], env=plain, stdin=subprocess.DEVNULL, capture_output=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.match(result.stdout)
    return (int(match[1]), int(match[2])) if match else None


class MakeProcess:
    """One run of the real make with `arguments` (without argv[0]) in `directory`."""

    def __init__(
        self,
        make: RealMake,
        arguments: Sequence[str],
        *,
        directory: str,
        environment: Mapping[str, str],
        stdout: int | None = None,
        stderr: int | None = None,
        open_files: tuple[int, int] | None = None,
    ) -> None:
        self._make = make
        self._arguments = tuple(arguments)
        self._directory = directory
        self._environment = dict(environment)
        self._stdout = stdout  # a descriptor instead of ours, e.g. the live view's terminal
        self._stderr = stderr
        self._open_files = open_files  # RLIMIT_NOFILE (soft, hard) that it is to have, if not ours
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._started().pid

    @property
    def was_started(self) -> bool:
        return self._process is not None

    def again(self, arguments: Sequence[str]) -> MakeProcess:
        """The same make, not started, with other arguments."""
        return MakeProcess(
            self._make,
            arguments,
            directory=self._directory,
            environment=self._environment,
            stdout=self._stdout,
            stderr=self._stderr,
            open_files=self._open_files,
        )

    def start(self) -> None:
        """Raises MachineError if make can't be started, e.g. because the directory is not there."""
        try:
            self._process = subprocess.Popen(
                [
                    os.path.basename(self._make.path),
                    *self._arguments,
                ],  # $(MAKE): `make`, or `gmake` where that is GNU's
                executable=self._make.path,
                cwd=self._directory,
                env=self._environment,
                stdout=self._stdout,
                stderr=self._stderr,
                close_fds=False,  # Python's own are close-on-exec, an outer jobserver's must go on
            )
        except OSError as error:
            raise MachineError(f"{error.filename or self._make.path}: can't start make: {error.strerror}") from error
        if self._open_files is not None:
            resource.prlimit(self._process.pid, resource.RLIMIT_NOFILE, self._open_files)

    def reap(self) -> int:
        """As `wait`, for one that is known to have ended, without an event loop."""
        return self._started().wait()

    def poll(self) -> int | None:
        """The same, or None while it runs."""
        return self._started().poll()

    async def wait(self) -> int:
        """make's exit status, or the negative number of the signal that killed it."""
        import asyncio  # a make with nothing to do has ended before there is a loop

        process = self._started()
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        try:
            descriptor = os.pidfd_open(process.pid)
        except (AttributeError, OSError):  # Linux before 5.3: a thread waits
            return await asyncio.to_thread(process.wait)
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        return process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to make alone; one that has ended is no error."""
        self._started().send_signal(number)

    def _started(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "BUG: make was not started"
        return self._process
