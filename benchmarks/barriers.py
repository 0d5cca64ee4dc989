"""make's barriers beside lookahead: wall clock on one node of 32 slots whose compilers wait 1.5 seconds a unit.

The peer is what make can do with the same slots: `make -j32` through distcc for C; for Fortran, which distcc does
not take, plain make with compilers that wait here, as if this machine had 32 cores; and `make -j1` where the
Makefile lacks every prerequisite, because `make -j` fails on it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from benchmarks.frame import (
    BenchmarkError,
    Measure,
    Spread,
    alternate,
    buildfarm,
    environment,
    measure,
    pairs_of,
    table,
)
from tests.farm import Farm
from tests.test_e2e_lookahead import module_chain, serial_directories, waiting

SLOTS = 32
SECONDS = 1.5
PAIRS = 3  # each takes more than a minute
MADE = (".o", ".mod")


def run(*, quick: bool) -> str:
    """Three projects, one row each."""
    seconds, pairs = (0.3, 1) if quick else (SECONDS, PAIRS)
    rows = []
    with tempfile.TemporaryDirectory(prefix="bf-bench-") as name:
        room = Path(name)
        tools = _tools(room / "tools", waiting(seconds))
        here = environment(PATH=f"{tools}:{environment()['PATH']}")
        compilers = waiting(seconds)
        # distcc asks for gcc by its full name (src/compile.c: dcc_rewrite_generic_compiler).
        full_name = measure(["gcc", "-dumpmachine"], cwd=room).output.strip() + "-gcc"
        with Farm(count=1, jobs=SLOTS, compilers={**compilers, full_name: compilers["gcc"]}) as farm:
            (room / "distcc").mkdir()
            far = environment(DISTCC_HOSTS=farm.hosts, DISTCC_FALLBACK="0", DISTCC_DIR=str(room / "distcc"))
            serial = serial_directories(room / "serial")
            chain = module_chain(room / "chain", prerequisites=True)
            bare = module_chain(room / "bare", prerequisites=False)
            cases: list[tuple[str, Path, list[str], list[str], Mapping[str, str]]] = [
                (
                    "C: 8 directories of 4 units in a serial shell loop",
                    serial,
                    [],
                    [f"-j{SLOTS}", "-f", "Makefile.distcc"],
                    far,
                ),
                ("Fortran: a chain of 10 modules and 6 users", chain, [], [f"-j{SLOTS}"], here),
                ("the same without any prerequisite, `-j1`", bare, ["-j1"], ["-j1"], here),
            ]
            (serial / "Makefile.distcc").write_text(
                (serial / "Makefile").read_text().replace("$(MAKE) -C", '$(MAKE) CC="distcc gcc" -C')
            )
            for makefile in serial.glob("*/Makefile"):
                makefile.write_text(makefile.read_text().replace("\tcc ", "\t$(CC) "))
            for what, tree, ours, peer, env in cases:
                runs = alternate(
                    _clean(tree, partial(_ours, tree, farm, ours)),
                    _clean(
                        tree,
                        partial(measure, ["make", *peer], cwd=tree, env=env),
                    ),
                    pairs,
                )
                found = pairs_of(runs, lambda m: m.seconds)
                rows.append([what, Spread.of(found.peer).text(1), Spread.of(found.ours).text(1), found.ratio.text()])
    return table(["project", "make, s", "buildfarm run, s", "ratio, median (spread)"], rows)


def _ours(tree: Path, farm: Farm, words: list[str]) -> Measure:
    taken = measure(buildfarm("run", "-C", str(tree), "--verify", "0", "--hosts", farm.hosts, *words), cwd=tree)
    if "ahead of make" not in taken.output:
        raise BenchmarkError(f"nothing was made ahead of make:\n{taken.output[-1000:]}")
    return taken


def _clean(tree: Path, build: Callable[[], Measure]) -> Callable[[], Measure]:
    """`build` from the sources alone, and with no memory of an earlier build."""

    def cleaned() -> Measure:
        for path in [*tree.rglob("*")]:
            if path.suffix in MADE or path.name in ("prog",):
                path.unlink()
        shutil.rmtree(tree / ".buildfarm", ignore_errors=True)
        return build()

    return cleaned


def _tools(directory: Path, scripts: Mapping[str, str]) -> Path:
    directory.mkdir()
    for name, script in scripts.items():
        (directory / name).write_text(script)
        (directory / name).chmod(0o755)
    return directory
