"""Runs buildfarm as its users do, in a process of its own; used by the end-to-end tests.

Every process is started in a session of its own, so that a test can kill all that belongs to a build at once.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TIMEOUT = 300.0  # seconds for any command: ends what hangs, at any load


def choose_make() -> str:
    """Put `$BUILDFARM_TEST_MAKE`, if set, first on PATH as `make` and `gmake`; the version of what is there."""
    chosen = os.environ.get("BUILDFARM_TEST_MAKE")
    if chosen:
        directory = tempfile.mkdtemp(prefix="bf-make-")
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        for name in ("make", "gmake"):
            Path(directory, name).symlink_to(os.path.abspath(chosen))
        os.environ["PATH"] = f"{directory}:{os.environ['PATH']}"
    try:
        said = subprocess.run(["make", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no make that works: {error}"
    return said.partition("\n")[0]


def environment(**extra: str) -> dict[str, str]:
    """The surroundings of a command: nobody's hosts, nobody's make flags, nobody's terminal."""
    foreign = ("DISTCC_", "BUILDFARM_", "MAKE", "MFLAGS", "GNUMAKEFLAGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "LC_ALL": "C", "DISTCC_DIR": "/nonexistent", **extra}


def command(*words: str) -> list[str]:
    """The command line of `buildfarm WORDS`."""
    return [sys.executable, "-m", "buildfarm", *words]


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


def buildfarm(*words: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> Result:
    """Run `buildfarm WORDS` to its end."""
    done = subprocess.run(
        command(*words),
        env=env or environment(),
        cwd=cwd,
        capture_output=True,
        timeout=TIMEOUT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        check=False,
    )
    return Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def status(directory: Path) -> dict[str, Any]:
    """The status document of a tree."""
    result = buildfarm("status", "-C", str(directory), "--json")
    document = json.loads(result.stdout)
    assert isinstance(document, dict)
    return document


@dataclass
class Running:
    """A build under way in a session of its own; use as a context manager."""

    words: tuple[str, ...]
    env: dict[str, str] = field(default_factory=environment)
    process: subprocess.Popen[bytes] = field(init=False)
    _said: bytes = field(init=False, default=b"")

    def __enter__(self) -> Running:
        self.process = subprocess.Popen(
            command(*self.words),
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_all()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def kill_all(self) -> None:
        """SIGKILL conductor, make, stubs and compilers at once."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(TIMEOUT)

    def wait_said(self, text: str) -> None:
        """Return once `text` stands in its stderr; fails when that does not come."""
        assert self.process.stderr is not None
        end = time.monotonic() + TIMEOUT
        while text.encode() not in self._said:
            readable, _, _ = select.select([self.process.stderr], [], [], max(0.0, end - time.monotonic()))
            more = os.read(self.process.stderr.fileno(), 65536) if readable else b""
            assert more, f"{text!r} was not said, but {self._said!r}"
            self._said += more

    def wait(self) -> Result:
        """Wait for its end."""
        stdout, stderr = self.process.communicate(timeout=TIMEOUT)
        stderr = self._said + stderr
        return Result(self.process.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace"))
