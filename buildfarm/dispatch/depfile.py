"""Writes depfiles as the compiler itself would have written them: with other names, or from a list of files.

It knows make's syntax only as far as gcc writes it (libcpp `mkdeps.cc: make_write`): a rule, folded before
column 72, and the phony rules of -MP.

A node's depfile is text for make, which may hold `$(shell ...)`: it is never installed.  `read` takes a list of names
from it, of which the caller believes only those that it has sent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from buildfarm.value import dataclass

_COLUMNS = 72
_PLAIN = re.compile(rb"[^\s\\$#%:;|*?'\"]+")  # a name that gcc need not quote and nobody takes for anything else
_NAME = re.compile(rb"(?:\\[^\n]|[^\s\\])+")  # quoted blanks belong to the name


def renamed(depfile: bytes, old: bytes, new: bytes) -> bytes:
    """`depfile` with the prefix `old` of names replaced by `new`, folded anew.  Both prefixes need no quoting."""
    if old not in depfile:
        return depfile
    rule, newline, phony = _split_rule(depfile)
    colon = rule.rindex(b":", 0, _end_of_targets(rule))
    column, targets = _folded(_names(rule[:colon], old, new), 0)
    _, prerequisites = _folded(_names(rule[colon + 1 :], old, new), column + 1)
    return b"".join((targets, b":", prerequisites, newline, re.sub(rb"(?m)^" + re.escape(old), lambda _: new, phony)))


def _split_rule(depfile: bytes) -> tuple[bytes, bytes, bytes]:
    """The first rule with its folded lines, the newline that ends it, and the rest."""
    end = re.search(rb"(?<!\\)\n", depfile)
    if end is None:
        return depfile, b"", b""
    return depfile[: end.start()], b"\n", depfile[end.end() :]


def _end_of_targets(rule: bytes) -> int:
    """Just past the colon of the rule: the first that is followed by a blank or the end."""
    match = re.search(rb":(?=\s|\Z)", rule)
    assert match is not None, "BUG: a depfile without a rule"
    return match.end()


def _names(part: bytes, old: bytes, new: bytes) -> list[bytes]:
    names = _NAME.findall(part.replace(b"\\\n", b" "))
    return [new + name.removeprefix(old) if name.startswith(old) else name for name in names]


def _folded(names: list[bytes], column: int) -> tuple[int, bytes]:
    out: list[bytes] = []
    for name in names:
        if column:
            if column + len(name) > _COLUMNS:
                out.append(b" \\\n")
                column = 0
            out.append(b" ")
            column += 1
        out.append(name)
        column += len(name)
    return column, b"".join(out)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a unit's -M options ask for."""

    targets: tuple[bytes, ...]  # as they are written
    phony: bool  # -MP
    system: bool  # -MD rather than -MMD


def wanted(arguments: Sequence[str], source: str) -> Wanted | None:
    """What `Depfile.arguments` ask for; None: more than is understood here.

    From gcc 10 on targets of -MT come before those of -MQ, some in another order (mkdeps.cc, deps_add_target).
    """
    targets: list[bytes] = []
    named_by: set[str] = set()
    phony = False
    options = [*_unwrapped(arguments)]
    for argument in options:
        if argument in ("-MD", "-MMD"):
            pass
        elif argument == "-MP":
            phony = True
        elif argument.startswith(("-MT", "-MQ")) and len(argument) > 3:
            name = os.fsencode(argument[3:])
            if argument.startswith("-MQ") and not _PLAIN.fullmatch(name):
                return None
            targets.append(name)
            named_by.add(argument[:3])
        elif not argument.startswith("-MF") or argument == "-MF":
            return None
    if len(named_by) > 1 or ("-MD" not in options and "-MMD" not in options):
        return None
    if not targets:  # with -Wp,-MD alone the driver names none (c-opts.cc: deps_add_default_target)
        targets.append(os.fsencode(os.path.splitext(os.path.basename(source))[0]) + b".o")
    return Wanted(tuple(targets), phony, system="-MMD" not in options)  # which the driver puts behind -MD


def _unwrapped(arguments: Sequence[str]) -> Iterator[str]:
    """The options without `-Wp,`, joined with their operands, in cc1's order: what is wrapped comes last."""
    wrapped: list[str] = []
    for argument in arguments:
        if argument.startswith("-Wp,"):
            wrapped += argument.split(",")[1:]
        else:
            yield argument
    words = iter(wrapped)
    for word in words:
        if word in ("-MD", "-MMD"):
            next(words, None)  # the depfile's name
        yield word + next(words, "") if word in ("-MT", "-MQ") else word


def read(text: bytes) -> list[str] | None:
    """The prerequisites of a depfile with one rule, in order; None: it is no such file, or a name needs quoting."""
    rule, newline, rest = _split_rule(text)
    _, colon, names = rule.replace(b"\\\n", b" ").partition(b": ")
    found = names.split()
    if not newline or not colon or rest.strip() or not all(_PLAIN.fullmatch(name) for name in found):
        return None
    return [os.fsdecode(name) for name in found]


def write(wanted: Wanted, names: Sequence[str]) -> bytes:
    """The depfile that lists these files, the source first."""
    prerequisites = [os.fsencode(name) for name in names]
    column, targets = _folded(list(wanted.targets), 0)
    _, listed = _folded(prerequisites, column + 1)
    phony = b"".join(name + b":\n" for name in prerequisites[1:]) if wanted.phony else b""
    return b"".join((targets, b":", listed, b"\n", phony))
