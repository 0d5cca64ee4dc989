"""A build that goes on while something about it is measured, and is killed at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.frame import BenchmarkError, buildfarm, environment

Document = dict[str, Any]
"""What `status --json` says."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """The build."""

    words: Sequence[str]  # of `buildfarm`
    process: subprocess.Popen[bytes]
    patience: float  # seconds

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_for(self, root: Path, stands: Callable[[Document], bool], lack: str) -> None:
        """Until its status is as wanted.  Raises BenchmarkError if it ends before, or that takes too long."""
        end = time.monotonic() + self.patience
        while not stands(_status(root)):
            if self.process.poll() is not None or time.monotonic() > end:
                raise BenchmarkError(f"buildfarm {' '.join(self.words)}: {lack}")
            time.sleep(0.2)


@contextmanager
def going_on(words: Sequence[str], patience: float) -> Iterator[UnderWay]:
    """`buildfarm WORDS`, with all that it starts, until the end of the block."""
    process = subprocess.Popen(
        buildfarm(*words),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield UnderWay(words, process, patience)
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def _status(root: Path) -> Document:
    words = buildfarm("status", "--json", "-C", str(root))
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False)
    found: Document = json.loads(done.stdout)
    return found
