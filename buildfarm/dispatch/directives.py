"""Finds the names that a C or C++ text may look up, without preprocessing it.

It opens no file.  Every directive counts, also those of branches that are not taken, and forms that this does not see
through are told.  A directive whose name is a macro (`#include LUA_USER_H`) matters only where somebody defines that.
"""

from __future__ import annotations

import os
import re
from enum import IntEnum
from functools import lru_cache

from buildfarm.value import dataclass

OPERANDS_KEPT = 2048  # of directives: sources of a project ask for mostly the same

_BLANK = rb"(?:[ \t\v\f]|/\*[^*\n]*\*/|\\\r?\n)*+"  # comments and continued lines too

# Each begins with a literal, which is searched for fast.
_DIRECTIVE = re.compile(rb"#" + _BLANK + rb"(include_next|include|import)\b" + _BLANK + rb"(?=([^\r\n]*))")
_HAS_INCLUDE = re.compile(rb"__has_include(_next)?[ \t]*\([ \t]*([^\r\n]*)")
_MACRO = re.compile(rb"([A-Za-z]\w*)[ \t]*(?:/[*/].*)?")  # not one of the compiler's own, which begin with `_`
_NAME = re.compile(rb'<([^>\n]+)>|"([^"\n]+)"')
_DEFINE = re.compile(rb"[ \t]*#[ \t]*define[ \t]+")
_OPERAND_MACRO = re.compile(rb"([A-Za-z_]\w*)[ \t]*\)")
_ODD_DIRECTIVES = (
    re.compile(rb"#" + _BLANK + rb"(?:\\|/\*|embed\b|pragma[ \t]+GCC[ \t]+(?:dependency|pch_preprocess))"),
    re.compile(rb"%:" + _BLANK + rb"(?:\\|/\*|include|import\b|embed\b|pragma\b)"),  # `%:` is `#`
)
_ASSEMBLER = re.compile(rb"\.inc(?:bin\b|lude(?!\w))")  # it would read a file of the node
_PASTED = re.compile(rb"__\s*##\s*\w+\s*##\s*__\b")  # `__DATE__` and its like may be put together so
# By a part that they share: one search for that ends it, mostly.
_ODD_WORDS = (
    (b"E__", (b"__DATE__", b"__TIME__", b"__BASE_FILE__")),  # not this machine's there
    (b"P__", (b"__TIMESTAMP__",)),
    (b"??", (b"??=", b"??/")),  # other spellings of what is searched for
)


class How(IntEnum):
    """How a directive's name is looked up."""

    QUOTE = 0
    ANGLE = 1
    __hash__ = int.__hash__  # Enum's own is Python's, and sources are looked up by the names that they ask for
    NEXT = 2  # anywhere: behind the directory where the asking file was found, which may be any


@dataclass(frozen=True, slots=True)
class Asked:
    """A name that a file may look up."""

    how: How
    name: str
    probe: bool = False  # by `__has_include`: that nothing is found may be all that the asking file wants to know


@dataclass(frozen=True, slots=True)
class Directives:
    """The names that a text may look up."""

    asks: tuple[Asked, ...]
    computed: frozenset[str] = frozenset()  # macros of the user's that stand for a name, if anyone defines them
    unclear: str | None = None  # why this may not be all


def read(content: bytes) -> Directives:
    """What a text may look up, whichever of its branches are taken."""
    for part, words in _ODD_WORDS:
        if part in content:
            for word in words:
                if word in content:
                    return Directives((), unclear=f"`{word.decode()}`")
    if b"##" in content and (odd := _PASTED.search(content)) is not None:
        return Directives((), unclear=f"`{os.fsdecode(odd[0])}`")
    if (odd := _ASSEMBLER.search(content)) is not None:
        return Directives((), unclear=f"`{os.fsdecode(odd[0])}`")
    for pattern in _ODD_DIRECTIVES:
        for odd in pattern.finditer(content):
            if _begins_line(content, odd.start()):
                return Directives((), unclear=f"`{os.fsdecode(odd[0])}`")
    found: dict[Asked, None] = {}
    computed: set[str] = set()
    for match in _DIRECTIVE.finditer(content):
        if not _begins_line(content, match.start()):
            continue  # within a comment or a string
        if _ask(found, match[2], match[1] == b"include_next") or _in_comment(content, match.start()):
            continue
        macro = _MACRO.fullmatch(match[2])
        if macro is None:
            return Directives((), unclear=f"`#include {os.fsdecode(match[2][:40])}`")
        computed.add(os.fsdecode(macro[1]))
    for match in _HAS_INCLUDE.finditer(content):
        if not _ask(found, match[2], match[1] is not None, probe=True):
            return Directives((), unclear=f"`__has_include({os.fsdecode(match[2][:40])}`")
    return Directives(tuple(found), frozenset(computed))


@dataclass(frozen=True, slots=True)
class Probed:
    """What a text asks `__has_include` for."""

    names: tuple[str, ...] = ()
    macros: frozenset[str] = frozenset()  # that stand for further names
    is_clear: bool = True  # nothing else is asked for


NOTHING_PROBED = Probed()


def probed(content: bytes) -> Probed:
    """The names that a text asks `__has_include` for, whichever of its branches are taken."""
    if b"__has_include" not in content:
        return NOTHING_PROBED
    names: dict[str, None] = {}
    macros: set[str] = set()
    for match in _HAS_INCLUDE.finditer(content):
        if (name := _NAME.match(match[2])) is not None:
            names[os.fsdecode(name[1] or name[2])] = None
            continue
        before = content[content.rfind(b"\n", 0, match.start()) + 1 : match.start()]
        if _DEFINE.fullmatch(before):
            continue  # `#define __has_include(x) 0`, for compilers that have none
        macro = _OPERAND_MACRO.match(match[2])
        if macro is None or b"define" in before:  # a macro's own parameter
            return Probed(is_clear=False)
        macros.add(os.fsdecode(macro[1]))
    return Probed(tuple(names), frozenset(macros))


def values(content: bytes, macro: str) -> tuple[str, ...] | None:
    """The header names that the text defines a macro as; None: it defines it as something else."""
    found = []
    word = os.fsencode(macro)
    if word in content:
        for match in re.finditer(rb"define[ \t]+" + re.escape(word) + rb"\b[ \t]*([^\r\n]*)", content):
            name = _NAME.match(match[1])
            if name is None:
                return None
            found.append(os.fsdecode(name[1] or name[2]))
    return tuple(found)


def defined(content: bytes, names: frozenset[str]) -> frozenset[str]:
    """Those of the names that the text may define as macros."""
    there = ((name, os.fsencode(name)) for name in names)
    return frozenset(
        name for name, word in there if word in content and re.search(rb"define\b(?:[^\n]|\\\r?\n)*\b" + word, content)
    )


def _begins_line(content: bytes, at: int) -> bool:
    """Whether nothing stands before it in its line, save what may be the end of a comment."""
    before = content[content.rfind(b"\n", 0, at) + 1 : at]
    return not before[before.rfind(b"*/") + 2 if b"*/" in before else 0 :].strip()


def _in_comment(content: bytes, at: int) -> bool:
    """Whether what stands there is certainly in a comment: one is open that was not begun within other words."""
    begun = content.rfind(b"/*", 0, at)
    if begun <= content.rfind(b"*/", 0, at):
        return False
    return not content[content.rfind(b"\n", 0, begun) + 1 : begun].strip()


def _ask(found: dict[Asked, None], operand: bytes, beyond: bool, *, probe: bool = False) -> bool:
    """Note the name that a directive's operand is; False: it is none."""
    asked = _asked(operand, beyond, probe)
    if asked is None:
        return False
    found[asked] = None
    return True


@lru_cache(maxsize=OPERANDS_KEPT)
def _asked(operand: bytes, beyond: bool, probe: bool) -> Asked | None:
    name = _NAME.match(operand)
    if name is None:
        return None
    text = os.fsdecode(name[1] or name[2])
    if text.startswith("/"):
        return None  # it would lead out of the node's tree
    how = How.NEXT if beyond else How.ANGLE if name[1] is not None else How.QUOTE
    return Asked(how, text, probe)
