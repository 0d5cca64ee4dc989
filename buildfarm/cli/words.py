"""Tells buildfarm's own options from make's words on the command line of `run` and its kin.

It only splits: click checks the values of ours, `make.arguments` reads make's.  An option of ours is known by
its whole long name; everything else is make's, in its order.  A word that belongs to one of make's options
(`-f FILE`, `--eval STRING`) is never ours, and nothing after `--` is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from buildfarm.errors import UsageError

SHORT_WITH_OPERAND = frozenset("CEfIoW")
"""GNU make 4.3 main.c, `switches`: short options that need an operand (make -h).  -j, -l and -O do not."""

LONG_WITH_OPERAND = frozenset(
    {
        "--assume-new",
        "--assume-old",
        "--directory",
        "--eval",
        "--file",
        "--include-dir",
        "--makefile",
        "--new-file",
        "--old-file",
        "--what-if",
    }
)


def split(words: Sequence[str], own: Mapping[str, bool]) -> tuple[list[str], list[str]]:
    """`(ours, makes)`.  `own` maps each option of ours to whether it takes a value.

    Raises UsageError when the value of one of ours is missing.
    """
    ours: list[str] = []
    makes: list[str] = []
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        name, equals, _ = word.partition("=")
        if word == "--":
            makes.extend(words[position - 1 :])
            break
        if name in own and (own[name] or not equals):
            ours.append(word)
            if own[name] and not equals:
                if position == len(words):
                    raise UsageError(f"{name} needs a value", hint=f"for example {name}=VALUE")
                ours.append(words[position])
                position += 1
            continue
        makes.append(word)
        if _awaits_operand(word) and position < len(words):
            makes.append(words[position])
            position += 1
    return ours, makes


def _awaits_operand(word: str) -> bool:
    """Whether make takes the next word as this one's operand, whatever it looks like."""
    if word.startswith("--"):
        return word in LONG_WITH_OPERAND
    if not word.startswith("-"):
        return False
    for index, letter in enumerate(word[1:], start=1):
        if letter in SHORT_WITH_OPERAND:
            return index == len(word) - 1
        if letter in "jlO":  # the rest of the cluster may be its number or word
            return False
    return False
