"""Says which file a call of `ar`, `ranlib` or `ld` writes.

It does not know what goes into the archive or program.  Source: the binutils manual, "ar", "ranlib", "ld".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from buildfarm.graph.names import is_device
from buildfarm.model import Kind, ToolCall

# Options of ld whose value is a word of its own, and no input; most are written with one dash or with two.  Not -T and
# -c, whose scripts may name inputs, and -G, which takes a number only (lexsup.c).
_WITH_VALUE = re.compile(
    r"""--? (?: [aAbefFhILmOPRuyYz] | architecture | format | dependency-file | entry | auxiliary | filter | gpsize
    | soname | dynamic-linker | library-path | plugin | plugin-opt | just-symbols | undefined | require-defined
    | trace-symbol | defsym | fini | init | oformat | retain-symbols-file | rpath | rpath-link | section-start
    | T(?:bss|data|text|text-segment|rodata-segment|ldata-segment) | version-script | dynamic-list | wrap )""",
    re.VERBOSE,
)


def archiver(name: str, argv: Sequence[str]) -> ToolCall:
    """`ar`: binutils manual, "ar"; the operation may stand with or without its dash."""
    words: list[str] = []
    arguments = iter(argv[1:])
    operation = ""
    for arg in arguments:
        if arg in ("--plugin", "--target", "--output", "--record-libdeps"):
            next(arguments, None)
        elif arg in ("--version", "--help", "-V", "-h", "-H"):
            return ToolCall(Kind.QUERY, name, ())
        elif arg == "-M":
            return ToolCall(Kind.OTHER, name, (), reason="ar -M: a script on standard input")
        elif arg.startswith("--") or arg.startswith("-X"):
            continue
        elif arg.startswith("-") and len(arg) > 1:
            operation += arg[1:]
        elif not operation and not words:
            operation = arg
        else:
            words.append(arg)
    skip = any(letter in operation for letter in "abi") + ("N" in operation) + ("l" in operation)
    archive = words[skip : skip + 1]
    if any(letter in operation for letter in "tp"):
        return ToolCall(Kind.QUERY, name, ())
    if "x" in operation:
        return ToolCall(Kind.OTHER, name, (), reason="ar x: writes the archive's members")
    if not any(archive) or not any(letter in operation for letter in "dmqrs"):
        return ToolCall(Kind.OTHER, name, (), reason="an ar command that names no archive")
    return ToolCall(Kind.ARCHIVE, name, tuple(path for path in archive if not is_device(path)))


def ranlib(name: str, argv: Sequence[str]) -> ToolCall:
    archives: list[str] = []
    arguments = iter(argv[1:])
    for arg in arguments:
        if arg == "--plugin":
            next(arguments, None)
        elif arg.startswith("-"):
            if arg in ("--version", "--help") or (not arg.startswith("--") and set(arg) & set("vVhH")):
                return ToolCall(Kind.QUERY, name, ())
        else:
            archives.append(arg)
    outputs = tuple(path for path in archives if path and not is_device(path))
    return ToolCall(Kind.ARCHIVE if outputs else Kind.QUERY, name, outputs)


def linker(name: str, argv: Sequence[str]) -> ToolCall:
    output = "a.out"
    link_outputs: list[str] = []
    inputs = False
    arguments = iter(argv[1:])
    for arg in arguments:
        if arg in ("-o", "--output"):
            output = next(arguments, output)
        elif arg.startswith("--output="):
            output = arg.partition("=")[2]
        elif arg in ("-Map", "--Map"):
            link_outputs.append(next(arguments, ""))
        elif arg.startswith(("-Map=", "--Map=")):
            link_outputs.append(arg.partition("=")[2])
        elif arg == "--help":
            return ToolCall(Kind.QUERY, name, ())
        elif arg.startswith("-o"):  # -omagic too: options with more letters that begin with o have two dashes
            output = arg[2:]
        elif _WITH_VALUE.fullmatch(arg):
            next(arguments, None)
        elif not arg.startswith("-") or arg.startswith("-l"):
            inputs = True
    if not inputs:
        return ToolCall(Kind.QUERY, name, ())
    outputs = tuple(path for path in (output, *link_outputs) if path and not is_device(path))
    return ToolCall(Kind.LINK, name, outputs)
