"""`python -m tests.fidelity`: thousands of random projects, make beside buildfarm; ends with 1 if any differ."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.farm import Farm
from tests.fidelity.cases import Case
from tests.fidelity.duel import FAULTY_COMPILER, fight, shrink
from tests.tool import choose_make

BATCH = 25


def main() -> int:
    """Parse, fight, tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.fidelity", description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="the first case's seed; the others follow")
    parser.add_argument("--case", action="append", help="fight just this case (its name, as printed)")
    parser.add_argument("--good", action="store_true", help="no node fails")
    parser.add_argument("--rehearse", action="store_true", help="make against make: nothing may differ")
    parser.add_argument("--shrink", action="store_true", help="leave out of a failing case what it does not need")
    arguments = parser.parse_args()
    cases = [Case.parse(text) for text in arguments.case or ()]
    cases = cases or [Case.random(seed) for seed in range(arguments.seed, arguments.seed + arguments.cases)]
    make = choose_make()
    begin, bad = time.monotonic(), 0
    os.environ["LC_ALL"] = "C"  # the nodes' compilers quote as those of tests.tool.environment
    with Farm(count=2, jobs=3) as farm, tempfile.TemporaryDirectory(prefix="bf-fidelity-") as scratch:
        if not arguments.good:
            for name, real in (("gcc", "/usr/bin/gcc"), ("g++", "/usr/bin/g++")):
                farm.nodes[1].install(name, FAULTY_COMPILER.format(real=real, odds=20))
        root = Path(scratch, "t")
        for at in range(0, len(cases), BATCH):
            for case, lines in fight(root, cases[at : at + BATCH], farm.hosts, rehearse=arguments.rehearse).items():
                bad += 1
                small = shrink(root, case, farm.hosts) if arguments.shrink and not arguments.rehearse else case
                print(f"--- {small.name}", *lines, sep="\n", flush=True)
        remote = sum(compile.outcome == "COMPILE_OK" for compile in farm.compiles())
    seconds = time.monotonic() - begin
    print(f"{len(cases)} cases, {bad} differ, {remote} compiles on nodes, {seconds:.0f} s, {make}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
