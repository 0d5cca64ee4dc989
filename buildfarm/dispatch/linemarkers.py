"""Reads the line markers of preprocessed text, and leads their absolute names through a node's temporary tree.

It runs no preprocessor (cpp manual, "Preprocessor Output").

*Theory of operation.*  Compilers open a file for a message's lines by the name that the text gives.  An absolute name
would lead out of the node's temporary tree; `@R/absolute/name` does not, where `@R` is a link in the working directory
to the tree's root.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from buildfarm.model import SentFile

_ROOT = "@R"
_PREFIX = os.fsencode(_ROOT) + b"/"
_ABSOLUTE_MARKER = re.compile(rb'^(# \d+ ")(/(?:[^"\\\n]|\\.)*)"', re.MULTILINE)

# A file is entered: `# 1 "name" 1`, and more flags for system headers.
_ENTERED = re.compile(rb'\n# 1 "([^"\\\n]*(?:\\.[^"\\\n]*)*)" 1')
_NAMED = re.compile(rb'\n# \d+ "([^"\\\n]*(?:\\.[^"\\\n]*)*)"')
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)")

_PREFIX_MAP = re.compile(r"(-f(?:file|macro)-prefix-map=)(/.*)")


def entered_files(text: bytes) -> list[bytes]:
    """The names of the files included by a preprocessed text, as the preprocessor spells them, each once."""
    return [_unescaped(name) for name in dict.fromkeys(_ENTERED.findall(text))]


def named_files(text: bytes) -> list[bytes]:
    """The names that a preprocessed text's lines are said to come from, those of `#line` too, each once."""
    return [_unescaped(name) for name in dict.fromkeys(_NAMED.findall(text))]


def told_files(text: bytes, messages: bytes) -> list[bytes]:
    """Those of them of which messages tell."""
    return [name for name in named_files(text) if name + b":" in messages]


def root_link(cwd: str) -> SentFile:
    """The link, for a compile in `cwd`; an absolute target starts at the root of the node's tree (srvrpc.c)."""
    return SentFile(os.path.join(cwd, _ROOT), link="/")


def rooted(text: bytes) -> bytes:
    """`text` with the absolute names in its line markers led through the link."""
    return _ABSOLUTE_MARKER.sub(_led, text)


def prefix_maps(arguments: Sequence[str]) -> tuple[str, ...]:
    """Options after which `__FILE__` in a rooted text is what `arguments` make of it in the text as it was.

    What fits and comes last counts, but -ffile-prefix-map comes after all others (opts-global.cc), so ours is none.
    """
    own = map(_PREFIX_MAP.fullmatch, arguments)
    return (f"-fmacro-prefix-map={_ROOT}/=/", *(f"{found[1]}{_ROOT}{found[2]}" for found in own if found))


def restored(messages: bytes) -> bytes:
    """The messages with the names as the user knows them."""
    return messages.replace(_PREFIX, b"/")


def _led(marker: re.Match[bytes]) -> bytes:
    if marker[2].endswith(b"//"):  # the working directory's marker names no file
        return marker[0]
    return b'%s%s%s"' % (marker[1], _PREFIX, marker[2][1:])


def _unescaped(name: bytes) -> bytes:
    if b"\\" not in name:
        return name
    return _ESCAPE.sub(lambda m: bytes([int(m[1], 8)]) if len(m[1]) == 3 else m[1], name)
