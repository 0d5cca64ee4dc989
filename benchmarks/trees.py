"""Real projects as they were recorded (`recorded/trees/*.json`, by `record`), and trees for make of the same shape.

A written tree has the recorded directories, each an instance of make; the units of each, with sources and objects of
the recorded size; who waits for whom; and an archive for each directory.  What the units compute is made up: C
with 14 system headers; Fortran in the recorded unit's source form, with cpp where it has it, with as many modules as
it defines, which use those that it needs.

What the master spends on a unit of Fortran is no less than on the real one: gfortran 12 takes 0.85 s for `-E` of
ModelE's 143 sources and 5.7 for `-fsyntax-only`; for the made-up ones 0.80 and 5.8 (where a source neither defines
nor uses a module it is not run).  LAPACK's sources are plain `.f` but for 37, and two define modules.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.projects import C_HEADERS, Project

RECORDED = Path(__file__).parent / "recorded" / "trees"
DECLARING = 3  # one part in so many of a module's lines: `-fsyntax-only` then costs what it does in ModelE
SIZE_CLASS = 4096  # bytes; objects of about the same size are one file
_PART = """\
{variable} = {compiler}
.SUFFIXES:
lib.a: {objects}
\trm -f $@ && ar rcs $@ {objects}
"""
_RULE = """\
%.o: %{suffix}
\t$({variable}) {flags} -c $< -o $@
"""
_HEADER = """\
#define SCALE 2d0
#define WITH_SUM
#undef WITH_TRACERS
"""


@dataclass(frozen=True, slots=True)
class Unit:
    seconds: float  # of CPU, compiled alone
    source_bytes: int
    object_bytes: int
    needs: tuple[int, ...]  # units whose modules it uses
    suffix: str = ".c"
    flags: str = "-O2"  # of its directory, without directories
    modules: int = 0  # that it defines
    code_bytes: int = 0  # of the source, without comments and blank lines

    @property
    def free_form(self) -> bool:
        return "-ffree-form" in self.flags or (self.suffix.lower() == ".f90" and "-ffixed-form" not in self.flags)

    @property
    def cpp(self) -> bool:
        """Whether gfortran preprocesses it."""
        return "-cpp" in self.flags or self.suffix[1:2].isupper()

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
            count = len(found["seconds"])
            columns = (
                *(found[name] for name in ("seconds", "source_bytes", "object_bytes")),
                map(tuple, found.get("needs", [()] * count)),
                found.get("suffix", [".c"] * count),
                [found.get("flags", "-O2")] * count,
                found.get("modules", [0] * count),
                found.get("code_bytes", found["source_bytes"]),
            )
            units.extend(Unit(*figures) for figures in zip(*columns, strict=True))
        return cls(name, document["language"], tuple(map(tuple, document["stages"])), parts, tuple(units))

    @property
    def work(self) -> float:
        """Seconds of all units."""
        return sum(unit.seconds for unit in self.units)

    def bound(self, slots: int) -> float:
        """No schedule is shorter: the longest unit, or all of the work; code waits for modules, not for code."""
        return max(max(unit.seconds for unit in self.units), self.work / slots)

    def slower(self, times: float) -> Tree:
        """The same project where each compile takes `times` as long."""
        return replace(self, units=tuple(replace(unit, seconds=times * unit.seconds) for unit in self.units))

    def first(self, units: int) -> Tree:
        """A small tree of the same shape: up to `units` units of each part."""
        kept = [number for numbers in self.parts.values() for number in numbers[:units]]
        place = {number: new for new, number in enumerate(kept)}
        parts = {part: tuple(place[n] for n in numbers[:units]) for part, numbers in self.parts.items()}
        few = tuple(
            replace(u, needs=tuple(place[n] for n in u.needs if n in place))
            for u in (self.units[number] for number in kept)
        )
        return Tree(self.name, self.language, self.stages, parts, few)


def _all_inside(tree: Tree) -> bool:
    """Whether no unit uses a module of another directory."""
    return all(set(tree.units[n].needs) <= set(numbers) for numbers in tree.parts.values() for n in numbers)


def names() -> list[str]:
    return sorted(path.stem for path in RECORDED.glob("*.json"))


def write(tree: Tree, root: Path) -> Project:
    """The tree for make, below `root`."""
    root.mkdir(parents=True)
    fortran = tree.language == "Fortran"
    variable, compiler = ("FC", "gfortran") if fortran else ("CC", "gcc")
    directory = {part: f"p{number:02}" for number, part in enumerate(tree.parts)}
    directories = " -I.. -I../modules -J../modules" if fortran and not _all_inside(tree) else "" if fortran else " -I.."
    (root / "modules").mkdir()
    (root / "options.h").write_text(_HEADER)
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
        text = _PART.format(variable=variable, compiler=compiler, objects=objects)
        for suffix, flags in dict.fromkeys((unit.suffix, unit.flags) for unit in units.values()):
            text += _RULE.format(suffix=suffix, variable=variable, flags=f"{flags}{directories}")
        for number, unit in units.items():
            inside = [f"u{needed:04}.o" for needed in unit.needs if needed in units]
            text += f"{unit.name(number)}.o: {' '.join(inside)}\n" if inside else ""
            source = place / f"{unit.name(number)}{unit.suffix}"
            source.write_text(_fortran(number, unit) if fortran else _c(number, unit))
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
    margin = "" if unit.free_form else "      "
    uses = "".join(f"{margin}use m{needed:04}, only: v{needed:04}\n" for needed in unit.needs)
    scale = "SCALE" if unit.cpp else "2d0"
    size = unit.code_bytes - 250 * (1 + unit.modules)
    declaring = max(1, size // DECLARING) if unit.modules else 0
    lines = _lines(f"{margin}x=x*{scale}+x*x+x(:)-x/x+sum(x)\n", size - declaring)
    if unit.cpp:
        lines += f"#ifdef WITH_SUM\n{margin}x(2) = sum(x)\n#endif\n"
        lines += f"#ifdef WITH_TRACERS\n{margin}call tracers(x)\n#endif\n"
    sign = "!" if unit.free_form else "*"
    comments = unit.source_bytes - unit.code_bytes
    head = _lines(f"{sign}> The argument {{0}} is documented at length; use it.\n", comments) if comments else ""
    head += '#include "../options.h"\n' if unit.cpp else ""
    procedure = f"{margin}subroutine s{number:04}(x)\n{{uses}}{margin}real(8) :: x(64)\n{lines}{margin}end subroutine\n"
    if not unit.modules:
        return head + procedure.format(uses=uses)
    further = "".join(
        f"{margin}module m{number:04}_{other}\n{margin}integer, parameter :: n = {other}\n{margin}end module\n"
        for other in range(1, unit.modules)
    )
    state = "".join(f"{margin}real(8), public, allocatable :: a{n:05}(:,:,:)\n" for n in range(declaring // 48))
    return (
        f"{head}{further}{margin}module m{number:04}\n{uses}{margin}implicit none\n{margin}private\n"
        f"{margin}real(8), public :: v{number:04}(64)\n{margin}public :: s{number:04}\n{state}{margin}contains\n"
        f"{procedure.format(uses='')}{margin}end module\n"
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
