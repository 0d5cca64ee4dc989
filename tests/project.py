"""Writes C projects of a known size for the end-to-end tests, and compares the trees that come out.

It builds nothing itself; `buildfarm.py` drives the tool, `farm.py` the nodes.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from tests.farm import PATIENCE

DIRECTORIES = ("alpha", "beta", "gamma", "delta")
UNITS_EACH = 6
UNITS = len(DIRECTORIES) * UNITS_EACH + 1  # and main.c

_TOP = """\
DIRS := {directories}
CFLAGS := {cflags}
export CFLAGS

program: main.o $(DIRS:%=%/lib.a)
\t$(CC) -o $@ main.o $(DIRS:%=%/lib.a)

main.o: main.c common.h
\t$(CC) $(CFLAGS) -c main.c -o main.o

$(DIRS:%=%/lib.a): FORCE
\t+$(MAKE) -C $(@D) lib.a

FORCE:

clean:
\trm -f main.o program */*.o */lib.a
.PHONY: FORCE clean
"""

_SUB = """\
OBJECTS := {objects}

lib.a: $(OBJECTS)
\trm -f $@
\t$(AR) rcs $@ $(OBJECTS)

%.o: %.c ../common.h
\t$(CC) $(CFLAGS) -I.. -c $< -o $@
"""


_BARE = ("--strip-debug", "--remove-section=.note.gnu.build-id", "--enable-deterministic-archives")


def write(root: Path, *, cflags: str = "-O1 -Wall") -> Path:
    """A project of `UNITS` units over four directories, made by recursive make; its program prints a number."""
    root.mkdir(parents=True)
    names = [f"{directory}_{i}" for directory in DIRECTORIES for i in range(UNITS_EACH)]
    (root / "common.h").write_text("".join(f"int {name}(int x);\n" for name in names))
    (root / "Makefile").write_text(_TOP.format(directories=" ".join(DIRECTORIES), cflags=cflags))
    calls = "\n".join(f"    x = {name}(x);" for name in names)
    (root / "main.c").write_text(
        f'#include <stdio.h>\n#include "common.h"\nint main(void) {{\n    int x = 1;\n{calls}\n'
        '    printf("%d\\n", x);\n    return 0;\n}\n'
    )
    for directory in DIRECTORIES:
        (root / directory).mkdir()
        objects = " ".join(f"{directory}_{i}.o" for i in range(UNITS_EACH))
        (root / directory / "Makefile").write_text(_SUB.format(objects=objects))
        for i in range(UNITS_EACH):
            (root / directory / f"{directory}_{i}.c").write_text(
                f'#include "common.h"\n#define STEP {i + 1}\n'
                f"int {directory}_{i}(int x) {{\n    for (int k = 0; k < STEP; k++) x = x * 3 + k;\n    return x;\n}}\n"
            )
    return root


def digests(root: Path, *, stripped: bool = False) -> dict[str, str]:
    """SHA-256 of every file below `root` by its relative name; `.buildfarm` is left out.

    `stripped`: ELF files are compared after `objcopy --strip-debug`, and without the linker's build id, which is a
    hash that covers the debug information too (ld(1), --build-id).
    """
    result = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if not path.is_file() or name.parts[0] == ".buildfarm":
            continue
        content = path.read_bytes()
        if stripped and (content.startswith((b"\x7fELF", b"!<arch>"))):
            bare = root.parent / "stripped.tmp"
            subprocess.run(["objcopy", *_BARE, path, bare], check=True)
            content = bare.read_bytes()
            bare.unlink()
        result[str(name)] = hashlib.sha256(content).hexdigest()
    return result


def made_by_make(root: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Build `root` by plain make, without a word from the surroundings."""
    return subprocess.run(["make", "-j2", *words], cwd=root, capture_output=True, timeout=PATIENCE, check=False)
