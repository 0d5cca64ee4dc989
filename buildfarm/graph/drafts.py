"""Tells how a recipe writes the source that it then compiles (`cpp a.F >a.f90`), as a script that prints that source.

It runs nothing; `conductor/drafting.py` does, confined.  Only filters and preprocessors are in a script: what else a
recipe does before it compiles is left out, and where that mattered the text differs from the one that make's own
recipe writes, which costs lookahead and nothing else.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from buildfarm.graph import shell
from buildfarm.model import Unit

_PREPROCESSORS = (
    "cpp fpp fypp m4 sed awk gawk mawk grep egrep fgrep tr cut cat head tail sort uniq expand fold echo printf"
)
_OF_FILES = "rm cp mv ln touch mkdir chmod test [ true false : expr basename dirname"
FILTERS = frozenset((*_PREPROCESSORS.split(), *_OF_FILES.split()))
_UP_TO_COMPILE = """\
{name}() {{ case " $* " in *" -E "*) command {name} "$@" ;; *) exit ;; esac; }}
{line}"""
_WRITING = re.compile(r">|\s-o|\b(?:cp|mv|cpp|fpp|fypp)\s")
_FUNCTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def writes(lines: Sequence[str], source: str) -> bool:
    """Whether one of these recipe lines seems to write `source`."""
    if not any(source in line and _WRITING.search(line) for line in lines[:-1]) and ">" not in lines[-1]:
        return False  # nearly always: to compile the rest takes longer than all else that is asked of a line
    name = rf"{re.escape(source)}(?![\w./-])"
    last_of_two = rf"\b(?:cp|mv|cpp|fpp|fypp)\s(?:[^;&|\n]*\s)?[^-;&|<>\s][^;&|<>\s]*\s+{name}(?!\s+[^-;&|<>\s])"
    written = re.compile(rf"(?:>|\s-o)\s*{name}|{last_of_two}")
    return any(map(written.search, lines))


def script(
    lines: Sequence[str], argv: Sequence[str], unit: Unit, directory: str, environment: Mapping[str, str]
) -> str | None:
    """What prints the source of `unit`, compiled by `argv` in the last of these lines; None: not to be had so.

    A shell is to run it where the compile runs, its changes thrown away; `directory` is the recipe's.
    """
    if unit.fortran is None or unit.fortran.cpp or unit.depfile is not None:
        return None  # these are read by their names, in the tree
    *before, last = lines
    parts = [line for line in before if _filters(shell.parse(line, directory, environment), None)]
    if shell.plain(last) is None:
        name = argv[0]
        if _FUNCTION.fullmatch(name) is None or not _filters(shell.parse(last, directory, environment), tuple(argv)):
            return None
        parts.append(_UP_TO_COMPILE.format(name=name, line=last))
    if not writes([*parts, ""], unit.source):
        return None
    commands = "".join(f"(cd {shlex.quote(directory)}\n{part}\n) >&2 </dev/null\n" for part in parts)
    return f"{commands}exec cat {shlex.quote(unit.source)}\n"


def _filters(parsed: shell.Script, until: tuple[str, ...] | None) -> bool:
    """Whether all commands, those before `until` if it is given, only read and write files; and are understood."""
    for command in parsed.commands:
        if command.argv == until:
            return True
        if command.argv[0].rpartition("/")[2] not in FILTERS and "-E" not in command.argv:
            return False
    return until is None and not parsed.opaque
