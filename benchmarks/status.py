"""`buildfarm status` beside an interpreter that imports click and sqlite3 and does nothing."""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import interrupted
from benchmarks.frame import PAIRS, alternate, buildfarm, measure, pairs_of, table

INTERRUPTED = 4


def run(*, quick: bool) -> str:
    """The tree has a build of 20,000 units, half of them done."""
    rows = []
    bare = [sys.executable, "-c", "import click, sqlite3"]
    with tempfile.TemporaryDirectory(prefix="bf-bench-") as name:
        root = interrupted.tree(Path(name) / "tree", 200 if quick else 20_000, "127.0.0.1:3632/4").root
        for words in (["status"], ["status", "--json"]):
            ours = buildfarm(*words, "-C", str(root))
            runs = alternate(
                partial(measure, ours, cwd=root, expect=INTERRUPTED),
                lambda: measure(bare, cwd=root),
                2 if quick else 4 * PAIRS + 1,
            )
            for figure, of in (("seconds", lambda m: m.seconds), ("CPU seconds", lambda m: m.cpu)):
                found = pairs_of(runs, of)
                own, peer = sorted(found.ours)[len(found.ours) // 2], sorted(found.peer)[len(found.peer) // 2]
                rows.append([" ".join(words), figure, f"{peer:.3f}", f"{own:.3f}", found.extra.text(3)])
    return table(["command", "figure", "bare interpreter", "buildfarm", "extra, median (spread)"], rows)
