"""Gives the debug information of a unit that a node preprocessed the directory where the user compiles.

It changes nothing but strings: of `.debug_str` and `.debug_line_str`, or of assembler text.

*Theory of operation.*  A compiler writes down its working directory (`DW_AT_comp_dir`, and the first entry of the line
table), on a node that is `TMPDIR/distccd_XXXX/home/...`.  Both are references to strings in the two sections that hold
nothing else (DWARF 5, sections 7.5.5 and 6.2.4), so a shorter string in the same place, filled up with empty ones, says
it right.  A stock `distccd` knows debug information before DWARF 5 and puts slashes in the place of its directory
(`src/fix_debug_info.c`); they go too.  Where a directory of the node's stands anywhere else the object is not to be
used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping

from buildfarm.dispatch import elf

MARK = b"distccd_"  # how distccd's temporary directories are called
_STRINGS = (b".debug_str", b".debug_line_str")
_SPELLED_AS_IT_IS = re.compile(rb"[ !#-\[\]-~]*")
_NUMBERED = re.compile(rb'^\t\.file [0-9]+ (".*)$', re.MULTILINE)
_JOINT = re.compile(rb'"\n\t\.(?:ascii|string)\t"')
_PIECES = re.compile(rb'"[^"\n]*"(?:\n\t\.(?:ascii|string)\t"[^"\n]*")*')
_SLASHES = b"/" * 8
_ON_NODE = re.compile(rb".*/distccd_[^/]*/|/{8,}")


def working_directory(cwd: str, environment: Mapping[str, str]) -> str:
    """`cwd` as a compiler there would write it: $PWD, if that is another name of it (libiberty `getpwd.c`)."""
    named = environment.get("PWD", "")
    try:
        return named if named.startswith("/") and os.path.samefile(named, cwd) else cwd
    except OSError:
        return cwd


def restored(content: bytes, sent: str, named: str) -> bytes | None:
    """The object with `named` for the directory that the node was told to be `sent`.

    None: this is no object, or it tells of the node's directories in another way.
    """
    if elf.inspect(content, None) is not None:
        return None
    there, here = os.fsencode(sent), os.fsencode(named)
    changed = bytearray(content)
    for section in elf.sections(content):
        if section.name.startswith(b".zdebug") or (section.compressed and section.name.startswith(b".debug")):
            return None  # who knows what they say
        if section.name not in _STRINGS:
            continue
        for begin, end in _strings(content, section):
            path = _ON_NODE.sub(b"/", content[begin:end], count=1)
            if path != there and not path.startswith(there + b"/"):
                continue  # if it is one of the node's, it is found below
            string = here + path[len(there) :]
            if len(string) > end - begin:
                return None
            changed[begin:end] = string.ljust(end - begin, b"\0")
    return None if MARK in changed else bytes(changed)


def restored_text(text: bytes, sent: str, named: str) -> bytes | None:
    """The same of assembler text, where such strings stand between quotes, with escapes (gcc: output_quoted_string).

    Long ones are in pieces (`ELF_STRING_LIMIT`; ARM's of 50 characters), of which one that is restored is made whole.
    None as well where a file has two numbers: before DWARF 5 gcc counts one whose name is mapped with and without it.
    """
    there, here = os.fsencode(sent), os.fsencode(named)
    numbered = _NUMBERED.findall(text)
    if not _SPELLED_AS_IT_IS.fullmatch(here) or len(set(numbered)) != len(numbered):
        return None
    on_node = re.compile(rb'"[^"\n]*/distccd_[^/"\n]*%s(?=["/]|\\000)' % re.escape(there))

    def whole(pieces: re.Match[bytes]) -> bytes:
        string = _JOINT.sub(b"", pieces[0])
        return on_node.sub(lambda _: b'"' + here, string) if MARK in string else pieces[0]

    changed = _PIECES.sub(whole, text)
    return None if MARK in _JOINT.sub(b"", changed) else changed


def _strings(content: bytes, section: elf.Section) -> Iterator[tuple[int, int]]:
    """Where the strings are that may name a directory of the node's."""
    for mark in (MARK, _SLASHES):
        at = content.find(mark, section.begin, section.end)
        while at >= 0:
            begin = content.rfind(b"\0", section.begin, at) + 1 or section.begin
            end = content.find(b"\0", at, section.end)
            if end < 0:
                return
            yield begin, end
            at = content.find(mark, end, section.end)
