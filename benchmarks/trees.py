"""Real projects as they were recorded (`recorded/trees/*.json`, by `record`), and trees for make of the same shape.

A written tree has the recorded directories, each an instance of make; the units of each, with sources and objects of
the recorded size; who waits for whom; and an archive for each directory.  What the units compute is made up: C
with 14 system headers, Fortran whose modules use those that the recorded unit needs.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.projects import C_HEADERS, Project

RECORDED = Path(__file__).parent / "recorded" / "trees"
SIZE_CLASS = 4096  # bytes; objects of about the same size are one file
_PART = """\
{variable} = {compiler}
lib.a: {objects}
\trm -f $@ && ar rcs $@ {objects}
%.o: %{suffix}
\t$({variable}) {flags} -c $< -o $@
"""


@dataclass(frozen=True, slots=True)
class Unit:
    seconds: float  # of CPU, compiled alone
    source_bytes: int
    object_bytes: int
    needs: tuple[int, ...]  # units whose modules it uses

    def name(self, number: int) -> str:
        return f"u{number:04}"


@dataclass(frozen=True, slots=True)
class Tree:
    """One project; units are counted through all parts."""

    name: str
    language: str  # C, or Fortran
    stages: tuple[tuple[str, ...], ...]  # make builds the directories of one at once, and the stages in turn
    parts: dict[str, tuple[int, ...]]
    units: tuple[Unit, ...]

    @classmethod
    def load(cls, name: str) -> Tree:
        document = json.loads((RECORDED / f"{name}.json").read_text())
        units: list[Unit] = []
        parts = {}
        for part, found in document["parts"].items():
            parts[part] = tuple(range(len(units), len(units) + len(found["seconds"])))
            needs = found.get("needs") or [()] * len(found["seconds"])
            figures = zip(found["seconds"], found["source_bytes"], found["object_bytes"], needs, strict=True)
            units.extend(Unit(a, b, c, tuple(d)) for a, b, c, d in figures)
        return cls(name, document["language"], tuple(map(tuple, document["stages"])), parts, tuple(units))

    @property
    def work(self) -> float:
        """Seconds of all units."""
        return sum(unit.seconds for unit in self.units)

    def bound(self, slots: int) -> float:
        """No schedule is shorter: the longest unit, or all of the work; code waits for modules, not for code."""
        return max(max(unit.seconds for unit in self.units), self.work / slots)

    def first(self, units: int) -> Tree:
        """A small tree of the same shape: up to `units` units of each part."""
        kept = [number for numbers in self.parts.values() for number in numbers[:units]]
        place = {number: new for new, number in enumerate(kept)}
        parts = {part: tuple(place[n] for n in numbers[:units]) for part, numbers in self.parts.items()}
        few = tuple(
            Unit(u.seconds, u.source_bytes, u.object_bytes, tuple(place[n] for n in u.needs if n in place))
            for u in (self.units[number] for number in kept)
        )
        return Tree(self.name, self.language, self.stages, parts, few)


def names() -> list[str]:
    return sorted(path.stem for path in RECORDED.glob("*.json"))


def write(tree: Tree, root: Path) -> Project:
    """The tree for make, below `root`."""
    root.mkdir(parents=True)
    fortran = tree.language == "Fortran"
    variable, compiler, suffix = ("FC", "gfortran", ".F90") if fortran else ("CC", "gcc", ".c")
    directory = {part: f"p{number:02}" for number, part in enumerate(tree.parts)}
    flags = "-O2 -I../modules -J../modules" if fortran else "-O2 -I.."
    (root / "modules").mkdir()
    rules = [f"all: {' '.join(directory.values())}"]
    for before, stage in zip(((), *tree.stages), tree.stages, strict=False):
        for part in stage:
            rules.append(f"{directory[part]}: {' '.join(directory[other] for other in before)}\n\t$(MAKE) -C $@")
    (root / "Makefile").write_text("\n".join(rules) + f"\n.PHONY: all {' '.join(directory.values())}\n")
    for part, numbers in tree.parts.items():
        place = root / directory[part]
        place.mkdir()
        units = {number: tree.units[number] for number in numbers}
        objects = " ".join(f"{unit.name(number)}.o" for number, unit in units.items())
        text = _PART.format(variable=variable, compiler=compiler, objects=objects, suffix=suffix, flags=flags)
        for number, unit in units.items():
            inside = [f"u{needed:04}.o" for needed in unit.needs if needed in units]
            text += f"{unit.name(number)}.o: {' '.join(inside)}\n" if inside else ""
            (place / f"{unit.name(number)}{suffix}").write_text(_fortran(number, unit) if fortran else _c(number, unit))
        (place / "Makefile").write_text(text)
    return Project(root, len(tree.units), variable, compiler)


def write_objects(tree: Tree, into: Path) -> None:
    """What a replaying compiler answers: NAME.o of about the recorded size, half of it compressible, and NAME.us."""
    into.mkdir(mode=0o755)
    classes: dict[int, Path] = {}
    for number, unit in enumerate(tree.units):
        size = max(1, unit.object_bytes // SIZE_CLASS)
        if size not in classes:
            classes[size] = into / f"class{size}.o"
            _assemble(size * SIZE_CLASS, classes[size])
        (into / f"{unit.name(number)}.o").hardlink_to(classes[size])
        (into / f"{unit.name(number)}.us").write_text(str(int(unit.seconds * 1e6)))


def _assemble(size: int, path: Path) -> None:
    data = path.with_suffix(".bin")
    data.write_bytes(random.Random(size).randbytes(size // 2) + bytes(size - size // 2))
    source = f'.section .rodata\n.incbin "{data}"\n.section .note.GNU-stack,"",@progbits\n'
    subprocess.run(["as", "-o", str(path), "-"], input=source.encode(), check=True)
    path.chmod(0o644)


def _c(number: int, unit: Unit) -> str:
    head = "".join(f"#include <{name}.h>\n" for name in C_HEADERS)
    lines = _lines("    x = x * {0} + {0};\n", unit.source_bytes - len(head))
    return f"{head}int u{number:04}(int x);\nint u{number:04}(int x)\n{{\n{lines}    return x;\n}}\n"


def _fortran(number: int, unit: Unit) -> str:
    uses = "".join(f"  use m{needed:04}, only: v{needed:04}\n" for needed in unit.needs)
    lines = _lines("    x({0}:) = x({0}:) * 2d0 + x(1)\n", unit.source_bytes)
    return (
        f"module m{number:04}\n{uses}  implicit none\n  private\n  real(8), public :: v{number:04}(64)\n"
        f"  public :: s{number:04}\ncontains\n  subroutine s{number:04}(x)\n    real(8) :: x(64)\n{lines}"
        f"  end subroutine\nend module\n"
    )


def _lines(form: str, size: int) -> str:
    count = max(1, size // len(form))
    return "".join(form.format(1 + line % 60) for line in range(count))


def clean(root: Path, made: Sequence[str] = (".o", ".a", ".mod")) -> None:
    """Take away what a build made, buildfarm's memory of it too."""
    subprocess.run(["rm", "-rf", str(root / ".buildfarm")], check=True)
    for path in root.glob("*/*"):
        if path.suffix in made:
            path.unlink()
