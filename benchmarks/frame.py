"""What every benchmark shares: measured commands, paired runs, ratios with their spread, tables, the document.

It knows no benchmark.  Runs are paired because a shared machine drifts: ours and the peer's alternate, the ratio is
taken within each pair, and what is told is the median ratio with the smallest and largest.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "performance.md"
PAIRS = 5
TIMEOUT = 900.0  # seconds for any command


class BenchmarkError(Exception):
    """A run did not do what it should have; its figures would be worthless."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What one command took, with everything that it started on this machine."""

    seconds: float
    user: float
    system: float
    peak_kb: int  # of the command's own process
    output: str
    nodes: float = 0.0  # seconds of CPU on the nodes' side, where a benchmark asks for it

    @property
    def cpu(self) -> float:
        """Seconds of user and system time."""
        return self.user + self.system


def environment(**extra: str) -> dict[str, str]:
    """Surroundings that no user's settings reach."""
    foreign = ("DISTCC_", "BUILDFARM_", "MAKE", "MFLAGS", "GNUMAKEFLAGS", "CCACHE_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "LC_ALL": "C", "PYTHONPATH": str(ROOT), **extra}


def measure(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None, expect: int | None = 0
) -> Measure:
    """Run `command` to its end.  Raises BenchmarkError when its exit status is not `expect` (None: any)."""
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as output, open(reader) as report:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.meter", str(writer), *command],
                cwd=cwd,
                env=dict(env or environment()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(writer,),
                timeout=TIMEOUT,
                check=False,
            )
        finally:
            os.close(writer)
        output.seek(0)
        text = output.read().decode(errors="replace")
        if done.returncode:
            raise BenchmarkError(f"{' '.join(command)}: {text[-2000:]}")
        told = json.loads(report.read())
    if expect is not None and told["status"] != expect:
        raise BenchmarkError(f"{' '.join(command)}: exit status {told['status']}\n{text[-2000:]}")
    return Measure(told["seconds"], told["user"], told["system"], told["peak_kb"], text)


def buildfarm(*words: str) -> list[str]:
    """The command line of `buildfarm WORDS`."""
    return [sys.executable, "-m", "buildfarm", *words]


# --- pairs ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, smallest and largest of some figures."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        return cls(statistics.median(figures), min(figures), max(figures))

    def text(self, digits: int = 2) -> str:
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


@dataclass(frozen=True, slots=True)
class Pairs:
    """Figures of paired runs, in the runs' order."""

    ours: tuple[float, ...]
    peer: tuple[float, ...]

    @property
    def ratio(self) -> Spread:
        """Ours by the peer's, within each pair."""
        return Spread.of([mine / other for mine, other in zip(self.ours, self.peer, strict=True)])

    @property
    def extra(self) -> Spread:
        """Ours less the peer's, within each pair."""
        return Spread.of([mine - other for mine, other in zip(self.ours, self.peer, strict=True)])


def alternate(
    ours: Callable[[], Measure], peer: Callable[[], Measure], pairs: int, *, warm: bool = True
) -> list[tuple[Measure, Measure]]:
    """Run both `pairs` times; who goes first changes with every pair.  `warm`: after one round that does not count."""
    if warm:
        ours()
        peer()
    found = []
    for number in range(pairs):
        if number % 2:
            other = peer()
            found.append((ours(), other))
        else:
            mine = ours()
            found.append((mine, peer()))
    return found


def pairs_of(runs: Sequence[tuple[Measure, Measure]], figure: Callable[[Measure], float]) -> Pairs:
    """One figure of each run."""
    return Pairs(tuple(figure(mine) for mine, _ in runs), tuple(figure(other) for _, other in runs))


# --- telling -------------------------------------------------------------------------------------------------


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def machine() -> str:
    """This machine in one line."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    tools = ", ".join(
        _first_line(words) for words in (["gcc", "--version"], ["make", "--version"], ["distcc", "--version"])
    )
    load = os.getloadavg()[0]
    return (
        f"{len(os.sched_getaffinity(0))} cores of {model}, {memory / 2**20:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}; {tools}; load average {load:.1f} at the end"
    )


def publish(name: str, text: str) -> None:
    """Replace the section `name` of docs/performance.md, which is between two markers, or append it."""
    begin, end = f"<!-- benchmark {name} -->", f"<!-- end {name} -->"
    section = f"{begin}\n{text.rstrip()}\n{end}"
    known = DOCUMENT.read_text() if DOCUMENT.exists() else "# Performance\n"
    if begin in known and end in known:
        before, _, rest = known.partition(begin)
        _, _, after = rest.partition(end)
        known = before + section + after
    else:
        known = known.rstrip() + "\n\n" + section + "\n"
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(known)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _first_line(words: Sequence[str]) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return f"no {words[0]}"
    return (done.stdout.splitlines() or [words[0]])[0]
