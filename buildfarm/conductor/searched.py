"""Where a unit's compiler may look for the files that it reads: always a superset.

It looks at no file.  More than the compiler would search throws a good result away; less would keep a wrong one.

The user's directories come by options and by the environment (GCC manual, "Environment Variables Affecting GCC"); of
the compiler's own only `/usr/local/include` comes before others and is not packages' alone: builds install there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence

from buildfarm.dispatch.stamps import SYSTEM
from buildfarm.model import Unit

_OPTIONS = ("-isystem", "-iquote", "-idirafter", "--include-directory=", "-I")
_ENVIRONMENT = ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH")
_SYSROOT = ("--sysroot=", "-isysroot")
_LOCAL = "usr/local/include"
_VAGUE = ("-iprefix", "-iwithprefix", "-imultilib", "-imultiarch", "-I=", "-isystem=", "-iquote=", "-idirafter=")
_COMPILERS_OWN = re.compile(r"c\+\+|[\d.]+|[^-]+-.+-.+")
_MULTIARCH = re.compile(r"/usr/include/([^-/]+-[^/]+-[^/]+)/")


def is_vague(unit: Unit) -> bool:
    """Whether options of this unit put directories together in ways that are not followed here."""
    return any(word.startswith(_VAGUE) or "$SYSROOT" in word for word in unit.preprocess_arguments)


def directories(unit: Unit, cwd: str, environment: Mapping[str, str], inputs: Sequence[str]) -> set[str]:
    """Where the unit's inputs were searched; what only packages change is left out."""
    searched = {os.path.normpath(os.path.join(cwd, name)) for name in named(unit, environment)}
    searched.update(os.path.dirname(os.path.normpath(path)) for path in inputs if not path.startswith(SYSTEM))
    for root in ("/", *_operands(unit, _SYSROOT)):
        local = os.path.normpath(os.path.join(cwd, root, _LOCAL))
        searched.add(local)
        multiarch = next((found[1] for found in map(_MULTIARCH.match, inputs) if found), None)
        if multiarch is not None:
            searched.add(f"{local}/{multiarch}")
    return searched


def named(unit: Unit, environment: Mapping[str, str]) -> list[str]:
    """The directories that options and environment name for searching, as typed; system ones are left out."""
    found = [name for name in _operands(unit, _OPTIONS) if not f"{name}/".startswith(SYSTEM)]
    for variable in _ENVIRONMENT:
        if value := environment.get(variable):
            found += [name or "." for name in value.split(os.pathsep)]  # an empty element is the working directory
    if unit.fortran is not None:
        module = unit.fortran.module_directory
        found += [*unit.fortran.include_directories, *([module] if module else []), "."]
    return found


def _operands(unit: Unit, options: tuple[str, ...]) -> Iterable[str]:
    arguments = iter(unit.preprocess_arguments)
    for argument in arguments:
        for option in options:
            if argument.startswith(option):
                if name := argument[len(option) :] or next(arguments, ""):
                    yield name
                break


def spellings(path: str, searched: Iterable[str]) -> list[str]:
    """The names by which `path` could have been asked for: its tails below the searched and system directories.

    gcc searches `include/TARGET`, `include/c++/VERSION` and `include/c++/VERSION/TARGET` too (cpp -v).
    """
    names = [path[len(directory) + 1 :] for directory in searched if path.startswith(directory + "/")]
    if path.startswith(SYSTEM):
        parts = path.rpartition("/include/")[2].split("/")
        names.append("/".join(parts))
        while len(parts) > 1 and _COMPILERS_OWN.fullmatch(parts[0]):
            parts = parts[1:]
            names.append("/".join(parts))
    return list(dict.fromkeys(names)) or [os.path.basename(path)]
