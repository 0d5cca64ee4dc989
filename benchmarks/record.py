"""Records a real project for `makespan`: what each compile of `make -j1` cost, where, and the sizes of its files.

`python -m benchmarks.record OUT.json DIRECTORY [WORDS OF MAKE...]` builds the tree that stands there, with compilers
that note what they do on the way.  It does not know what make would have done at once: who waits for whom between
directories (`stages`) is read from the project's Makefiles by a person and written into OUT.json by hand.

Of a unit of Fortran it notes the suffix, the options, how many modules it defines, whose modules it uses, and how
large its text is after cpp; and what `-E` and `-fsyntax-only` cost, for the made-up tree must not be cheaper there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.frame import environment

COMPILERS = ("gcc", "cc", "g++", "c++", "gfortran", "f77")
SOURCES = (".c", ".cc", ".cpp", ".f", ".F", ".f90", ".F90", ".f95")
_MODULE = re.compile(r"^\s*module\s+(\w+)\s*(?:!.*)?$", re.MULTILINE)
_USE = re.compile(r"^\s*use\s*(?:,[^:\n]*::|::)?\s*(\w+)", re.MULTILINE)
_DIRECTORIES_AND_FILES = ("-I", "-J", "-D", "-U", "-M", "-o")
_WRAPPER = """#!{python} -IS
import json, os, resource, sys
name = os.path.basename(sys.argv[0])
real = "/usr/bin/" + name  # gcc finds cc1 by the path that it is called by

def run(words, output=None):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    pid = os.fork()
    if not pid:
        if output is not None:
            os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.execv(real, [real, *words])
    _, status = os.waitpid(pid, 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return status, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

words = sys.argv[1:]
status, seconds = run(words)
extra = [0.0, 0.0, 0]
if name == "gfortran" and "-c" in words and not status:
    bare = [word for word, before in zip(words, ["", *words]) if word != "-o" and before != "-o"]
    text = "{notes}.text"
    _, extra[0] = run([*bare, "-E"], text)
    extra[2] = os.stat(text).st_size
    _, extra[1] = run([*words, "-fsyntax-only"], os.devnull)
with open("{notes}", "a") as notes:
    notes.write(json.dumps([os.getcwd(), words, seconds, *extra]) + "\\n")
sys.exit(os.waitstatus_to_exitcode(status))
"""


def main() -> None:
    out, root, words = Path(sys.argv[1]), Path(sys.argv[2]).resolve(), sys.argv[3:]
    with tempfile.TemporaryDirectory(prefix="bf-record-") as name:
        notes = Path(name) / "notes"
        notes.touch()
        for compiler in COMPILERS:
            path = Path(name) / compiler
            path.write_text(_WRAPPER.format(python=sys.executable, notes=notes))
            path.chmod(0o755)
        path_variable = f"{name}:{os.environ['PATH']}"
        subprocess.run(["make", "-j1", *words], cwd=root, env=environment(PATH=path_variable), check=False)
        units = [unit for line in notes.read_text().splitlines() if (unit := compile_of(*json.loads(line)))]
    out.write_text(json.dumps(document(root, units), separators=(",", ":")) + "\n")
    print(f"{len(units)} units, {sum(unit.seconds for unit in units):.1f} s")


@dataclass(frozen=True, slots=True)
class Compile:
    """What one compile was."""

    directory: str
    source: str
    seconds: float
    source_bytes: int
    object_bytes: int
    flags: tuple[str, ...] = ()  # without directories, macros and files
    preprocess: float = 0.0  # seconds of CPU of `-E`
    syntax: float = 0.0  # the same of `-fsyntax-only`
    text_bytes: int = 0  # after cpp

    @property
    def suffix(self) -> str:
        return os.path.splitext(self.source)[1]

    @property
    def cpp(self) -> bool:
        """Whether gfortran preprocesses it."""
        return "-cpp" in self.flags or self.suffix[1:2].isupper()


def document(root: Path, units: list[Compile]) -> dict[str, Any]:
    """What `trees.Tree.load` reads; units are counted through all directories, in the order of the document."""
    parts: dict[str, list[Compile]] = {}
    for unit in units:
        parts.setdefault(os.path.relpath(unit.directory, root), []).append(unit)
    ordered = [unit for found in parts.values() for unit in found]
    needs = modules_needed([os.path.join(unit.directory, unit.source) for unit in ordered])
    fortran = any(unit.source.lower().endswith((".f", ".f90", ".f95")) for unit in units)
    first, told = 0, {}
    for part, found in parts.items():
        told[part] = {
            "seconds": [round(unit.seconds, 3) for unit in found],
            "source_bytes": [unit.source_bytes for unit in found],
            "object_bytes": [unit.object_bytes for unit in found],
            **(_of_fortran(found, needs[first : first + len(found)]) if fortran else {}),
        }
        first += len(found)
    return {"language": "Fortran" if fortran else "C", "stages": [[part] for part in parts], "parts": told}


def _of_fortran(units: list[Compile], needs: list[list[int]]) -> dict[str, Any]:
    flags = [" ".join(unit.flags) for unit in units]
    return {
        "flags": max(set(flags), key=flags.count),
        "suffix": [unit.suffix for unit in units],
        "modules": [modules_defined(os.path.join(unit.directory, unit.source)) for unit in units],
        "needs": needs,
        "preprocess": round(sum(unit.preprocess for unit in units if unit.cpp), 3),
        "syntax": round(sum(unit.syntax for unit in units), 3),
        "text_bytes": [unit.text_bytes if unit.cpp else unit.source_bytes for unit in units],
        "code_bytes": [code_bytes(os.path.join(unit.directory, unit.source), unit.suffix) for unit in units],
    }


def code_bytes(path: str, suffix: str) -> int:
    """How much of a source is neither comment nor blank."""
    lines = Path(path).read_text(errors="replace").splitlines(keepends=True)
    comments = ("!",) if suffix.lower() == ".f90" else tuple("cC*!")
    return sum(
        len(line) for line in lines if line.strip() and not line.startswith(comments) and line.lstrip()[0] != "!"
    )


def modules_defined(path: str) -> int:
    """How many modules a source defines."""
    names = _MODULE.findall(Path(path).read_text(errors="replace").lower())
    return len(set(names) - {"procedure"})


def modules_needed(sources: list[str]) -> list[list[int]]:
    """For each source the numbers of those before it whose modules it uses."""
    makers: dict[str, int] = {}
    result: list[list[int]] = []
    for number, path in enumerate(sources):
        text = Path(path).read_text(errors="replace").lower()
        result.append(sorted({makers[name] for name in _USE.findall(text) if name in makers}))
        makers |= {name: number for name in _MODULE.findall(text) if name != "procedure"}
    return result


def compile_of(
    cwd: str, argv: list[str], seconds: float, preprocess: float = 0.0, syntax: float = 0.0, text_bytes: int = 0
) -> Compile | None:
    """A noted call, if it was a compile that left an object."""
    source = next((word for word in argv if word.endswith(SOURCES)), None)
    if "-c" not in argv or source is None:
        return None
    target = argv[argv.index("-o") + 1] if "-o" in argv else Path(source).stem + ".o"
    try:
        sizes = [os.stat(os.path.join(cwd, path)).st_size for path in (source, target)]
    except OSError:
        return None
    flags = tuple(
        word for word in argv if word[0] == "-" and word != "-c" and not word.startswith(_DIRECTORIES_AND_FILES)
    )
    return Compile(cwd, source, seconds, sizes[0], sizes[1], flags, preprocess, syntax, text_bytes)


if __name__ == "__main__":
    main()
