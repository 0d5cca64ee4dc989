"""From `buildfarm resume` to the first unit that leaves, half of the units being done.

Beside it, what make alone needs to start its first compiler in the same tree: parsing and looking at every file.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks import interrupted
from benchmarks.frame import PAIRS, BenchmarkError, Pairs, Spread, buildfarm, environment, table
from tests.farm import Farm

PATIENCE = 120.0


def run(*, quick: bool) -> str:
    rows = []
    with tempfile.TemporaryDirectory(prefix="bf-bench-") as name, Farm(2, 4) as farm:
        for units in (200,) if quick else (200, 2_000, 20_000):
            root = Path(name) / str(units)
            project = interrupted.tree(root, units, farm.hosts)
            done = sorted(root.glob("*.o"))
            ours, peer = [], []
            for number in range(3 if quick else PAIRS + 1):
                peer_seconds = _first_recipe(root)
                our_seconds = _first_dispatch(root)
                for path in set(root.glob("*.o")) - set(done):
                    path.unlink()
                interrupted.interrupt(project, done, farm.hosts)
                if number:
                    ours.append(our_seconds)
                    peer.append(peer_seconds)
            found = Pairs(tuple(ours), tuple(peer))
            rows.append([f"{units:,}", Spread.of(found.peer).text(), Spread.of(found.ours).text(), found.extra.text()])
    return table(
        ["units", "make to its first recipe, s", "resume to first dispatch, s", "extra, median (spread)"],
        rows,
    )


def _first_dispatch(root: Path) -> float:
    events = root.parent / "events.jsonl"
    events.unlink(missing_ok=True)
    begin = time.time()
    process = subprocess.Popen(
        buildfarm("resume", "-C", str(root), "--events", str(events)),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        while not (sent := _sent(events)):
            if process.poll() is not None:
                assert process.stderr is not None
                raise BenchmarkError(f"resume ended at once: {process.stderr.read().decode()[-2000:]}")
            if time.time() > begin + PATIENCE:
                raise BenchmarkError("nothing was dispatched")
            time.sleep(0.01)
        return sent - begin
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def _sent(events: Path) -> float:
    """When the first unit left for a node, in seconds since the epoch; 0: none has."""
    if not events.exists():
        return 0.0
    for line in events.read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "check_out" and event["node"]:
            return os.stat(events).st_mtime if "time" not in event else _seconds(event["time"])
    return 0.0


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def _first_recipe(root: Path) -> float:
    """make's own time until a compiler of ours, which fails at once, is started."""
    stamp = root.parent / "stamp"
    stamp.unlink(missing_ok=True)
    compiler = root.parent / "compiler"
    compiler.write_text(f'#!/bin/sh\n: >"{stamp}"\nexit 1\n')
    compiler.chmod(0o755)
    begin = time.time()
    subprocess.run(["make", f"CC={compiler}"], cwd=root, env=environment(), capture_output=True, check=False)
    return os.stat(stamp).st_mtime - begin
