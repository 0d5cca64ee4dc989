"""`python -m benchmarks NAME... [--quick] [--write]`: run benchmarks by name, or `all` of them.

It prints each table; with `--write` it also puts it into docs/performance.md.  Several run unattended: each in a
process of its own with a bound of time, and what fails or hangs is told at the end and spoils none of the others.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module

from benchmarks import frame, unattended

LIMITS = {
    "null_build": 180,
    "scale": 600,
    "memory": 300,
    "resume": 450,
    "status": 120,
    "full_build": 240,
    "barriers": 400,
    "master_cpu": 900,
    "makespan": 5400,
    "slow_nodes": 1800,
    "network": 400,
    "peers": 240,
    "schedule": 120,
    "goals": 30,
}
"""Every benchmark, in the order of running, and the seconds after which it is given up; a quiet machine needs half."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="+", choices=(*LIMITS, "all"), metavar="NAME", help=", ".join((*LIMITS, "all")))
    parser.add_argument("--quick", action="store_true", help="small projects and two pairs: whether it works at all")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    given = parser.parse_args()
    names = list(LIMITS) if "all" in given.names else given.names
    if len(names) == 1:
        _run(names[0], quick=given.quick, write=given.write)
        return 0
    options = [option for option, set_ in (("--quick", given.quick), ("--write", given.write)) if set_]
    failed = []
    begin = time.monotonic()
    for name in names:
        begun = time.monotonic()
        trouble = unattended.run([sys.executable, "-m", "benchmarks", name, *options], LIMITS[name])
        print(f"({name}: {trouble or 'done'}, {time.monotonic() - begun:.0f} s)\n", flush=True)
        failed += [f"{name}: {trouble}"] if trouble else []
    print(f"{len(names) - len(failed)} of {len(names)} benchmarks in {(time.monotonic() - begin) / 60:.0f} minutes")
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


def _run(name: str, *, quick: bool, write: bool) -> None:
    module = import_module(f"benchmarks.{name}")
    text = f"{module.run(quick=quick)}\n{frame.machine()}.\n"
    print(f"{name}\n\n{text}", flush=True)
    if write:
        frame.publish(name, text)


if __name__ == "__main__":
    sys.exit(main())
