"""Rewrites names in a depfile as the compiler itself would have written them.

It knows make's syntax only as far as gcc writes it (libcpp `mkdeps.cc: make_write`): a rule, folded before
column 72, and the phony rules of -MP.
"""

from __future__ import annotations

import re

_COLUMNS = 72
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
