"""`python -m benchmarks NAME... [--quick] [--write]`: run benchmarks by name, or `all` of them.

It prints each table; with `--write` it also puts it into docs/performance.md.
"""

from __future__ import annotations

import argparse
from importlib import import_module

from benchmarks import frame

NAMES = ("null_build", "full_build", "barriers", "master_cpu", "resume", "status", "schedule")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="+", choices=(*NAMES, "all"), metavar="NAME", help=", ".join((*NAMES, "all")))
    parser.add_argument("--quick", action="store_true", help="small projects and two pairs: whether it works at all")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    given = parser.parse_args()
    for name in NAMES if "all" in given.names else given.names:
        module = import_module(f"benchmarks.{name}")
        text = f"{module.run(quick=given.quick)}\n{frame.machine()}.\n"
        print(f"{name}\n\n{text}", flush=True)
        if given.write:
            frame.publish(name, text)


if __name__ == "__main__":
    main()
