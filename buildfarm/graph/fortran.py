"""Scans Fortran source for the modules it defines and uses and for the files it includes.

It does not preprocess, follow includes or look for files.  Before cpp it sees both branches of an `#if` (and takes
C comments for code); after cpp it sees what the compiler sees.

Theory of operation: `lines` of a form become statements (comments, continuations, labels and `;` resolved, strings
kept whole), and only statements that begin like one of interest are matched.  In fixed form blanks mean nothing, so
they go before the match.  Statements are matched from their first to their last character: `module = 3` and
`use(1) = 2` can't be mistaken.  Source: Fortran 2018, clause 6.3, and trials with gfortran 12, which also takes
`modulex` for `module x` in free form, and a tab and a digit for a continuation in fixed form.

Which files gfortran 12 writes: `NAME.mod` for a module; `NAME.smod` too if any symbol in it is a separate module
procedure, its own or one that came in by `use`; `ANCESTOR@NAME.smod` for every submodule, whatever its parent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from buildfarm.graph.fortranglance import may_tell
from buildfarm.graph.fortranlines import DEFAULT_RULES, LineRules, fixed_statements, free_statements
from buildfarm.model import Unit
from buildfarm.value import dataclass

__all__ = ["FortranScan", "LineRules", "Submodule", "line_rules", "scan"]


@dataclass(frozen=True, slots=True)
class Submodule:
    """`submodule (ancestor:parent) name`; `parent` is None where the ancestor module itself is the parent."""

    ancestor: str
    parent: str | None
    name: str

    @property
    def file(self) -> str:
        """What compiling it writes."""
        return f"{self.ancestor}@{self.name}.smod"

    @property
    def parent_file(self) -> str:
        """What compiling it reads."""
        return f"{self.ancestor}.smod" if self.parent is None else f"{self.ancestor}@{self.parent}.smod"


@dataclass(frozen=True, slots=True)
class FortranScan:
    """What a source text defines and needs: names in lower case, each once, in order of appearance."""

    defines: tuple[str, ...]  # modules
    uses: tuple[str, ...]  # modules used, `use, intrinsic ::` excepted; those defined here included
    submodules: tuple[Submodule, ...]
    includes: tuple[str, ...]  # of `include 'x'`, as typed
    cpp_includes: tuple[str, ...]  # of `#include "x"` and `#include <x>`, as typed
    intrinsic_uses: tuple[str, ...]  # of `use, intrinsic ::`
    separate_procedures: tuple[str, ...]  # modules that declare separate module procedures

    @property
    def module_files(self) -> tuple[str, ...]:
        """Names of the .mod and .smod files that compiling this text certainly writes."""
        files: list[str] = []
        for name in self.defines:
            files.append(f"{name}.mod")
            if name in self.separate_procedures:
                files.append(f"{name}.smod")
        files.extend(submodule.file for submodule in self.submodules)
        return tuple(files)

    @property
    def possible_module_files(self) -> tuple[str, ...]:
        """`module_files`, and the .smod files that depend on what the used modules hold."""
        certain = self.module_files
        if not self.uses:
            return certain
        return certain + tuple(f"{name}.smod" for name in self.defines if name not in self.separate_procedures)

    @property
    def needed_modules(self) -> tuple[str, ...]:
        """Modules used that this text doesn't define itself."""
        return tuple(name for name in self.uses if name not in self.defines)

    @property
    def needed_submodule_files(self) -> tuple[str, ...]:
        """.smod files of parents that this text doesn't define itself."""
        own = set(self.possible_module_files)
        files = dict.fromkeys(submodule.parent_file for submodule in self.submodules)
        return tuple(file for file in files if file not in own)


NOTHING: Final = FortranScan((), (), (), (), (), (), ())


def scan(text: str, *, free_form: bool, rules: LineRules = DEFAULT_RULES) -> FortranScan:
    """Scans `text`.  Never raises: what is not Fortran is passed over.  Takes time linear in the text's length.

    `rules`: what compile options say about its lines, as `line_rules` reads them.
    """
    text = text.removeprefix("\ufeff")
    if not may_tell(text, free_form=free_form, line_length=rules.line_length):
        return NOTHING
    cpp_includes: dict[str, None] = {}
    scanner = _Scanner(free_form)
    statements: Iterator[str]
    if free_form:
        statements = free_statements(text, cpp_includes, rules)
    else:
        statements = fixed_statements(text, cpp_includes, rules)
    for statement in statements:
        scanner.statement(statement)
    return FortranScan(
        defines=tuple(scanner.defines),
        uses=tuple(scanner.uses),
        submodules=tuple(scanner.submodules),
        includes=tuple(scanner.includes),
        cpp_includes=tuple(cpp_includes),
        intrinsic_uses=tuple(scanner.intrinsic_uses),
        separate_procedures=tuple(scanner.separate_procedures),
    )


def scan_unit(text: str, unit: Unit) -> FortranScan:
    """Scan a Fortran unit's text by the rules of its options."""
    assert unit.fortran is not None, "BUG: a scan of a unit that is not Fortran"
    return scan(text, free_form=unit.fortran.free_form, rules=line_rules(unit.compile_arguments))


def line_rules(arguments: Iterable[str]) -> LineRules:
    """What the options of a compile say about the lines of its source."""
    rules = DEFAULT_RULES
    for arg in arguments:
        if arg in ("-fopenmp", "-fno-openmp"):
            rules = replace(rules, openmp=arg == "-fopenmp")
        elif arg.startswith("-ffixed-line-length-"):
            length = arg.removeprefix("-ffixed-line-length-")
            rules = replace(rules, line_length=int(length) if length.isdecimal() else 0)
        elif arg == "-fno-fixed-line-length":
            rules = replace(rules, line_length=0)
        elif arg == "-fd-lines-as-code":
            rules = replace(rules, d_lines=True)
    return rules


_FLAGS: Final = re.ASCII | re.IGNORECASE

_MODULE: Final = re.compile(r"module(\s*)([a-z]\w*)$", _FLAGS)
_SUBMODULE: Final = re.compile(r"submodule\s*\(\s*(\w+)\s*(?::\s*(\w+)\s*)?\)\s*(\w+)$", _FLAGS)
_INCLUDE: Final = re.compile(r"include\s*(?:'([^']+)'|\"([^\"]+)\")$", _FLAGS)
_END: Final = re.compile(r"end(?:\s*(interface|module|submodule)\b.*)?$", _FLAGS)
_END_FIXED: Final = re.compile(r"end(?:(interface|module|submodule).*)?$", _FLAGS)
_INTERFACE: Final = re.compile(
    r"(?:abstract\s*interface|interface(?:\s*operator\s*\(.*\)|\s*assignment\s*\(\s*=\s*\)"
    r"|\s*(?:read|write)\s*\(\s*\w+\s*\)|\s*[a-z]\w*)?)$",
    _FLAGS,
)
_NATURE: Final = r"\s*,\s*(intrinsic|non_intrinsic)\s*::\s*"
_USE: Final = re.compile(rf"use(?:{_NATURE}|\s*::\s*|\s+)([a-z]\w*)\s*(?:,|$)", _FLAGS)
_USE_FIXED: Final = re.compile(rf"use(?:{_NATURE}|::)?([a-z]\w*)(?:,|$)", _FLAGS)
_SEPARATE: Final = re.compile(r"\bmodule\s+(?:[\w(),=*:]+\s+)*?(?:function|subroutine)\s+[a-z]", _FLAGS)
_SEPARATE_FIXED: Final = re.compile(r"module[\w(),=*:]*(?:function|subroutine)[a-z]", _FLAGS)
_LONGEST_PREFIX: Final = 1000  # characters: keeps the search linear whatever the statement
_PROCEDURE_WORDS: Final = ("procedure", "function", "subroutine")


class _Scanner:
    """Takes statements in order and collects what they tell."""

    def __init__(self, free_form: bool) -> None:
        self.free_form = free_form
        self.use = _USE if free_form else _USE_FIXED
        self.end = _END if free_form else _END_FIXED
        self.separate = _SEPARATE if free_form else _SEPARATE_FIXED
        self.defines: dict[str, None] = {}
        self.uses: dict[str, None] = {}
        self.intrinsic_uses: dict[str, None] = {}
        self.submodules: dict[Submodule, None] = {}
        self.includes: dict[str, None] = {}
        self.separate_procedures: dict[str, None] = {}
        self._module: str | None = None  # the module whose specification part is being read
        self._implements = False  # a submodule, or a module with separate procedures
        self._contained = False  # behind a `contains`
        self._in_interface = False

    def statement(self, text: str) -> None:
        """`text` has neither label nor blanks at its ends; in fixed form it has no blanks but in strings."""
        first = text[0].lower()
        if first == "u":
            if match := self.use.match(text):
                intrinsic = (match[1] or "").lower() == "intrinsic"
                (self.intrinsic_uses if intrinsic else self.uses)[match[2].lower()] = None
        elif first == "m":
            if match := _MODULE.match(text):
                self._define(match[2].lower(), spaced=bool(match[1]))
        elif first == "s":
            if match := _SUBMODULE.match(text):
                parent = match[2].lower() if match[2] else None
                self.submodules[Submodule(match[1].lower(), parent, match[3].lower())] = None
                self._enter(None, implements=True)
        elif first == "c":
            self._contained = self._contained or text.lower() == "contains"
        elif first == "e":
            if match := self.end.match(text):
                self._leave((match[1] or "").lower())
        elif first == "i" or first == "a":
            if match := _INCLUDE.match(text):
                self.includes[match[1] or match[2]] = None
            elif _INTERFACE.match(text):
                self._in_interface = True
        if self._in_interface and self._module is not None and self.separate.search(text, 0, _LONGEST_PREFIX):
            self.separate_procedures[self._module] = None
            self._implements = True

    def _define(self, name: str, *, spaced: bool) -> None:
        """`module NAME`; without a blank in it `moduleprocedures` may be `module procedure s`.

        The one doubt left: such a name in fixed form behind a module or submodule that implements separate
        procedures and ends in a plain `end`.
        """
        implementing = self._contained and self._implements
        if (self._in_interface or implementing) and not spaced and name.startswith(_PROCEDURE_WORDS):
            return
        self.defines[name] = None
        self._enter(name, implements=False)

    def _enter(self, module: str | None, *, implements: bool) -> None:
        """A program unit begins, or the last has ended."""
        self._module = module
        self._implements = implements
        self._contained = self._in_interface = False

    def _leave(self, what: str) -> None:
        """An `end`, plain or of an interface or module."""
        if what == "interface":
            self._in_interface = False
        elif what or not (self._contained or self._in_interface):
            self._enter(None, implements=False)
