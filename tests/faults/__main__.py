"""`python -m tests.faults [--quick] [-o PAGE] [--list] [ROW ...]`: stage faults, tell how they went, write the page.

With rows named, the page is not written unless `-o` says where.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.faults import answers, kills, machine, network, power, state
from tests.faults.matrix import ROWS, NotHere, Outcome, Row, page

MODULES = (kills, power, network, answers, machine, state)
PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def stage(row: Row) -> Outcome:
    """One row, in a directory of its own."""
    begun = time.monotonic()
    lacks = row.lacks()
    if lacks is not None:
        return Outcome(row, None, f"needs {lacks}, which is not here", 0.0)
    directory = Path(tempfile.mkdtemp(prefix="bf-fault-"))
    directory.chmod(0o755)
    try:
        finding = row.stage(directory)
    except NotHere as lack:
        return Outcome(row, None, str(lack), time.monotonic() - begun)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return Outcome(row, finding, "", time.monotonic() - begun)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--quick", action="store_true", help="only the rows that `make check` stages")
    parser.add_argument("--list", action="store_true", help="only name the rows")
    parser.add_argument("-o", "--output", type=Path, help="where the page goes")
    parser.add_argument("rows", nargs="*", help="only these")
    given = parser.parse_args()
    unknown = set(given.rows) - {row.key for row in ROWS}
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}; --list names them")
    order = [module.__name__ for module in MODULES]
    rows = sorted(ROWS, key=lambda row: order.index(row.stage.__module__))
    rows = [row for row in rows if row.key in given.rows or (not given.rows and row.quick == given.quick)]
    if given.list:
        print("\n".join(f"{row.key:28} {row.group}: {row.name}" for row in rows))
        return 0
    outcomes = []
    for row in rows:
        print(f"{row.key} ...", end=" ", flush=True)
        try:
            outcome = stage(row)
        except Exception:
            traceback.print_exc()
            outcome = Outcome(row, None, "", 0.0)
        outcomes.append(outcome)
        found = outcome.finding
        print(f"{outcome.word} ({outcome.seconds:.0f} s)", outcome.reason)
        if found is not None:
            print(f"    make: {found.make}\n    ours: {found.ours}", flush=True)
    output = given.output or (None if given.rows or given.quick else PAGE)
    if output is not None:
        output.write_text(page(outcomes, machine_line()), encoding="utf-8")
    return any(outcome.word in ("DOES NOT HOLD", "broken") for outcome in outcomes)


def machine_line() -> str:
    """What the page was made with."""
    tools = {"gcc": ("-dumpfullversion", 0), "make": ("--version", 2), "distccd": ("--version", 1)}
    versions = []
    for tool, (option, word) in tools.items():
        if shutil.which(tool):
            text = subprocess.run([tool, option], capture_output=True, text=True, check=False).stdout
            versions.append(f"{tool} {text.split()[word]}")
    cores = os.cpu_count()
    return (
        f"Made on Linux {platform.release()}, {cores} cores, Python {platform.python_version()}, {', '.join(versions)}."
    )


if __name__ == "__main__":
    sys.exit(main())
