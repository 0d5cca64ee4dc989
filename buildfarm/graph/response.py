"""Expands the `@file` arguments of gcc by gcc's own quoting rules.

It reads no file: the caller reads those that `response_files` names and hands their texts to `expand_response`.

Source of the rules: libiberty's `expandargv` and `buildargv` (argv.c): white space separates words; single and
double quotes group, a backslash takes the next character as it is, inside quotes too; an `@file` that can't be
read stays as it is; files may name files; 2000 expansions at the most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

_SPACE: Final = " \t\n\v\f\r"
_LIMIT: Final = 2000


def response_files(argv: Sequence[str]) -> tuple[str, ...]:
    """The files that `argv` names as `@file`, as typed; `argv[0]` is never one."""
    return tuple(arg[1:] for arg in argv[1:] if arg[:1] == "@" and len(arg) > 1)


def split_words(text: str) -> tuple[str, ...]:
    """The words of a response file, unquoted."""
    words: list[str] = []
    position, end = 0, len(text)
    while True:
        while position < end and text[position] in _SPACE:
            position += 1
        if position == end:
            return tuple(words)
        word: list[str] = []
        quote = ""
        while position < end:
            char = text[position]
            position += 1
            if char == "\\":
                if position < end:
                    word.append(text[position])
                position += 1
            elif quote:
                if char == quote:
                    quote = ""
                else:
                    word.append(char)
            elif char in "'\"":
                quote = char
            elif char in _SPACE:
                break
            else:
                word.append(char)
        words.append("".join(word))
        position = min(position, end)


def expand_response(argv: Sequence[str], texts: Mapping[str, str]) -> tuple[str, ...]:
    """`argv` with every `@file` whose text is known replaced by its words, nested ones too.

    `texts` maps names as typed to contents.  The caller repeats `response_files` and this until no name is new:
    a name whose text is unknown stays, as gcc leaves it when it can't read the file.
    """
    if not argv:
        return ()
    done = [argv[0]]
    waiting = list(reversed(argv[1:]))
    left = _LIMIT
    while waiting:
        arg = waiting.pop()
        if arg[:1] == "@" and left and (text := texts.get(arg[1:])) is not None:
            left -= 1
            waiting.extend(reversed(split_words(text)))
        else:
            done.append(arg)
    return tuple(done)
