"""`buildfarm status` beside an interpreter that imports click and sqlite3 and does nothing, while a build runs."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks import interrupted
from benchmarks.frame import PAIRS, alternate, buildfarm, measure, pairs_of, table
from benchmarks.under_way import Document, going_on
from tests.farm import Farm
from tests.test_e2e_lookahead import waiting

RUNNING = 3  # status's exit status
PATIENCE = 120.0  # seconds until the build has units under way
SECONDS = 1.0  # that the nodes take for a unit, so that the build goes on for long enough


def run(*, quick: bool) -> str:
    """A build of 20,000 units, half of them done, has been resumed and goes on, eight units a second."""
    rows = []
    bare = [sys.executable, "-c", "import click, sqlite3"]
    with tempfile.TemporaryDirectory(prefix="bf-bench-") as name, Farm(2, 4, compilers=waiting(SECONDS)) as farm:
        root = interrupted.tree(Path(name) / "tree", 2_000 if quick else 20_000, farm.hosts).root
        with _resumed(root):
            for words in (["status"], ["status", "--json"]):
                ours = buildfarm(*words, "-C", str(root))
                runs = alternate(
                    partial(measure, ours, cwd=root, expect=RUNNING),
                    lambda: measure(bare, cwd=root),
                    2 if quick else 4 * PAIRS + 1,
                )
                for figure, of in (("seconds", lambda m: m.seconds), ("CPU seconds", lambda m: m.cpu)):
                    found = pairs_of(runs, of)
                    own, peer = sorted(found.ours)[len(found.ours) // 2], sorted(found.peer)[len(found.peer) // 2]
                    rows.append([" ".join(words), figure, f"{peer:.3f}", f"{own:.3f}", found.extra.text(3)])
    return table(["command", "figure", "bare interpreter", "buildfarm", "extra, median (spread)"], rows)


@contextmanager
def _resumed(root: Path) -> Iterator[None]:
    """The interrupted build of `root` goes on, units of it under way; it is killed at the end."""
    with going_on(["resume", "-C", str(root)], PATIENCE) as build:
        build.wait_for(root, _has_units_under_way, "it has no units under way")
        yield


def _has_units_under_way(found: Document) -> bool:
    return found["state"] == "running" and bool(found["units"]["checked_out"])
