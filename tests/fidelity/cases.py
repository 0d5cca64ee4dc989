"""Joins pieces to whole projects and to histories: a first build, changes, a second build.

A case is told by its seed and its pieces' numbers alone, so that a failing one can be shrunk by leaving pieces out and
written down in one line.  It builds nothing.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.fidelity import fortran_pieces as fortran_pieces  # they register themselves
from tests.fidelity import further_pieces as further_pieces
from tests.fidelity import habit_pieces as habit_pieces
from tests.fidelity import later_pieces as later_pieces
from tests.fidelity import more_pieces as more_pieces
from tests.fidelity import project_pieces as project_pieces
from tests.fidelity import setting_pieces as setting_pieces
from tests.fidelity.pieces import WRITERS, Piece

EPOCH = 1_600_000_000  # sources are old, and each has its own second
_MEMBER = re.compile(r"\.a\(")  # an archive member as a target
_OWN_JOBS = re.compile(r"-j *[2-9]")  # a recursive make that is parallel whatever the first one is


@dataclass(frozen=True)
class Case:
    """`kinds` are (number, writer's name); numbers stay when pieces go, so that what is left does not change."""

    seed: int
    kinds: tuple[tuple[int, str], ...]

    @property
    def name(self) -> str:
        return f"{self.seed}:" + ",".join(f"{number}.{kind}" for number, kind in self.kinds)

    @classmethod
    def parse(cls, text: str) -> Case:
        """The case of a name."""
        seed, _, rest = text.partition(":")
        pairs = (part.partition(".") for part in rest.split(","))
        return cls(int(seed), tuple((int(number), kind) for number, _, kind in pairs))

    @classmethod
    def random(cls, seed: int) -> Case:
        rng = random.Random(seed)
        kinds = rng.choices(sorted(WRITERS), k=rng.randint(1, 4))
        return cls(seed, tuple(enumerate(kinds)))

    def without(self, index: int) -> Case:
        return replace(self, kinds=self.kinds[:index] + self.kinds[index + 1 :])

    def pieces(self) -> list[Piece]:
        return [WRITERS[kind](f"p{number}_", random.Random(f"{self.seed} {number}")) for number, kind in self.kinds]

    def options(self, stage: int) -> tuple[str, ...]:
        """make's words for the first or second build: its parallelism, its flags, now and then a variable.

        A failing build is comparable only where make itself is: in serial order, or when it keeps going.
        """
        rng = random.Random(f"{self.seed} options {stage}")
        fails = any(piece.fails for piece in self.pieces()) or (stage == 1 and self.breaks is not None)
        words = []
        serial = rng.random() < 0.4
        if fails and not serial:
            words.append("-k")
        words.append("-j1" if serial else f"-j{rng.choice((2, 3, 8))}")
        for word, likelihood in (
            ("-k", 0.1),
            ("-i", 0.05),
            ("-s", 0.1),
            ("-w", 0.05),
            ("-r", 0.03),
            ("-B", 0.1 if stage else 0.02),
            ("-Otarget", 0.05),
            ("--trace", 0.05),
            ("-e", 0.05),
            ("-n", 0.03),
            ("-q", 0.03),
            ("-t", 0.03),
            ("CFLAGS=-O1 -Wall", 0.3),
            ("CC=gcc", 0.2),
            ("CC=gcc-12", 0.05),
        ):
            if rng.random() < likelihood:
                words.append(word)
        if "-t" in words and any(_MEMBER.search(text) for text in self._texts()):
            words.remove("-t")  # which second it writes there is chance, and whether that is after the object's time
        return tuple(words)

    def _texts(self) -> Iterator[str]:
        for piece in self.pieces():
            yield from (piece.makefile, *piece.files.values())

    @property
    def breaks(self) -> str | None:
        """The source that does not compile any more in the second build, if one is to be broken."""
        rng = random.Random(f"{self.seed} break")
        sources = [name for piece in self.pieces() for name in piece.sources if name.endswith((".c", ".cpp"))]
        return rng.choice(sources) if sources and rng.random() < 0.15 else None

    def stops_by_chance(self, stage: int) -> bool:
        """Whether a build that fails has done more or less by then: in parallel, and without -k or -i."""
        return not self.serial[stage] and not {"-k", "-i"} & set(self.options(stage))

    @property
    def serial(self) -> tuple[bool, bool]:
        """Whether the first and the second build do one thing after the other, recursive makes included."""
        alone = not any(_OWN_JOBS.search(text) for text in self._texts())
        return alone and "-j1" in self.options(0), alone and "-j1" in self.options(1)

    def write(self, root: Path) -> None:
        """Write the project; every file has its own old time."""
        pieces = self.pieces()
        goals = " ".join(goal for piece in pieces for goal in piece.goals)
        text = f"all: {goals}\n.PHONY: all\nCFLAGS ?= -O0\n" + "".join(piece.makefile for piece in pieces)
        files = {name: content for piece in pieces for name, content in piece.files.items()}
        for number, (name, content) in enumerate(sorted({**files, "Makefile": text}.items())):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.fsencode(content))  # names need not be UTF-8
            if name.endswith("/wrap"):
                path.chmod(0o755)
            os.utime(path, (EPOCH + number, EPOCH + number))

    def change(self, root: Path) -> None:
        """What happens between the builds: sources touched, edited or made broken, outputs gone or truncated."""
        rng = random.Random(f"{self.seed} change")
        for number, piece in enumerate(self.pieces()):
            at = EPOCH + 10_000 + number
            for name in piece.sources:
                path = root / name
                event = rng.randrange(6)
                if path.exists() and b"__TIMESTAMP__" in path.read_bytes():
                    continue  # its object tells when it was touched, which differs from build to build
                match event:
                    case 0 if path.exists():
                        os.utime(path)
                    case 1 if path.suffix in (".c", ".cpp", ".h") and path.exists():
                        word = re.sub(r"\W", "_", path.name, flags=re.ASCII)
                        path.write_bytes(path.read_bytes() + f"int added_{word}_{number};\n".encode())
                    case 2 if path.suffix == ".c" and path.exists():
                        path.write_bytes(path.read_bytes() + b"\n")
                        os.utime(path, (at, at))  # changed, but not in make's eyes
            for name in piece.outputs:
                path = root / name
                if path.is_file() and rng.random() < 0.4:
                    path.unlink()
        if self.breaks is not None:
            path = root / self.breaks
            path.write_bytes(path.read_bytes() + b"int broken( {\n")
