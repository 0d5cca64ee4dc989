"""`python -m tests.faults [--quick] [--list] [--record FILE] [-o PAGE] [ROW ...]`: stage faults, write the page.

With rows named, the page is not written unless `-o` says where.  `--record` appends each finding as a line of JSON;
`--from FILE ...` writes the page from such files, the latest finding of a row counts, and stages nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from tests.faults import answers, kills, machine, network, power, state
from tests.faults.matrix import ROWS, Finding, NotHere, Outcome, Row, page

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
    except subprocess.TimeoutExpired as late:
        finding = Finding("not compared", f"did not end within {late.timeout:.0f} s", False)
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
    parser.add_argument("--record", type=Path, help="append the findings here")
    parser.add_argument("--from", dest="recorded", type=Path, nargs="+", help="only write the page, from records")
    parser.add_argument("rows", nargs="*", help="only these")
    given = parser.parse_args()
    if given.recorded:
        (given.output or PAGE).write_text(page(list(recall(given.recorded)), machine_line()), encoding="utf-8")
        return 0
    unknown = set(given.rows) - {row.key for row in ROWS}
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}; --list names them")
    rows = [
        row
        for row in in_order()
        if row.key in given.rows or (not given.rows and (row.quick if given.quick else not row.sample))
    ]
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
        if given.record is not None:
            record(outcome, given.record)
        found = outcome.finding
        print(f"{outcome.word} ({outcome.seconds:.0f} s)", outcome.reason)
        if found is not None:
            print(f"    make: {found.make}\n    ours: {found.ours}", flush=True)
    output = given.output or (None if given.rows or given.quick else PAGE)
    if output is not None:
        output.write_text(page(outcomes, machine_line()), encoding="utf-8")
    return any(outcome.word in ("DOES NOT HOLD", "broken") for outcome in outcomes)


def in_order() -> list[Row]:
    """All rows in the order of the page."""
    order = [module.__name__ for module in MODULES]
    return sorted(ROWS, key=lambda row: order.index(row.stage.__module__))


def record(outcome: Outcome, file: Path) -> None:
    """Append one outcome as a line of JSON."""
    found = outcome.finding
    line = {"row": outcome.row.key, "reason": outcome.reason, "seconds": round(outcome.seconds, 1)}
    if found is not None:
        line.update(make=found.make, ours=found.ours, held=found.held)
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(line) + "\n")


def recall(files: list[Path]) -> Iterator[Outcome]:
    """The recorded outcomes of the rows of the full matrix, in the page's order; the latest of each row counts."""
    lines = {}
    for file in files:
        for text in file.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            lines[line["row"]] = line
    for row in in_order():
        line = lines.get(row.key)
        if line is None:
            if not row.sample:
                yield Outcome(row, None, "not staged in this run", 0.0)
            continue
        found = Finding(line["make"], line["ours"], line["held"]) if "make" in line else None
        yield Outcome(row, found, line["reason"], line["seconds"])


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
