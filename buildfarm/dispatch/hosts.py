"""Parses distcc's host lists.  Where the text comes from is `sources`' affair, and no name is looked up here.

The grammar is that of distcc(1), section HOST SPECIFICATIONS, as `src/hosts.c` reads it:

    HOSTS     = { HOST | --localslots=N | --localslots_cpp=N | --randomize | +zeroconf | # comment }
    HOST      = localhost[/N] | [USER]@NAME[/N][:COMMAND][,OPTION...] | ADDRESS[:PORT][/N][,OPTION...]
    ADDRESS   = a name, an IPv4 address, or an IPv6 address in brackets
    OPTION    = lzo | cpp | down

What distcc lets pass in silence is an error here: `/4x`, `:99999`, a name with strange letters, an option it does
not know.  Every error names the source, the line, the column, and what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from buildfarm.errors import ConfigError
from buildfarm.model import Node
from buildfarm.value import dataclass

DEFAULT_PORT = 3632
DEFAULT_SLOTS = 4  # of a node, hosts.c: dcc_parse_hosts
DEFAULT_LOCALHOST_SLOTS = 2  # hosts.c: dcc_parse_localhost
MOST_SLOTS = 1024

_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9_.-]+)?")
_USER = re.compile(r"[A-Za-z0-9_.+$-]*")
_SYNTAX = "HOST[:PORT][/SLOTS][,lzo][,cpp]"


@dataclass(frozen=True, slots=True)
class HostList:
    """What a host list says.  `local_slots`: how many units may compile on this machine at once."""

    nodes: tuple[Node, ...] = ()
    local_slots: int | None = None  # `localhost/N`, else --localslots; None: not said
    local_cpp_slots: int | None = None  # preprocessors at once
    randomize: bool = False
    zeroconf: bool = False
    notes: tuple[str, ...] = ()  # what is no error, but may not be what was meant


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    source: str
    line: int
    column: int  # of the word's first letter, from 1

    def error(self, expected: str, at: int = 0, hint: str | None = None) -> ConfigError:
        place = f"{self.source}, line {self.line}, column {self.column + at}"
        return ConfigError(f"{place}: {self.text!r}: expected {expected}", hint=hint)


def parse(text: str, source: str) -> HostList:
    """The list in `text`; `source` is its name in errors, such as `$DISTCC_HOSTS`.  Raises ConfigError."""
    nodes: dict[str, tuple[Node, _Word]] = {}
    localhost: int | None = None
    local: int | None = None
    local_cpp: int | None = None
    randomize = zeroconf = False
    notes: list[str] = []
    for word in _words(text, source):
        if word.text == "+zeroconf":
            zeroconf = True
        elif word.text == "--randomize":
            randomize = True
        elif word.text.startswith("--localslots_cpp"):
            local_cpp = _multiplier(word, len("--localslots_cpp"), "=/")
        elif word.text.startswith("--localslots"):
            local = _multiplier(word, len("--localslots"), "=/")
        elif word.text.startswith(("-", "+")):
            raise word.error("a host, --localslots=N, --localslots_cpp=N, --randomize or +zeroconf")
        elif re.match(r"localhost(/|$)", word.text):
            found = DEFAULT_LOCALHOST_SLOTS
            if word.text != "localhost":
                found = _multiplier(word, len("localhost"), "/")
            localhost = max(found, localhost or 0)
        else:
            node = _ssh(word) if "@" in word.text else _tcp(word)
            if node is not None:
                if earlier := nodes.get(node.key):
                    node = _merged(node, word, earlier)
                    notes.append(
                        f"{word.source}: {node.key} stands there twice: it counts once, with {node.slots} slots"
                    )
                nodes[node.key] = (node, word)
    return HostList(
        nodes=tuple(node for node, _ in nodes.values()),
        local_slots=local if localhost is None else localhost,
        local_cpp_slots=local_cpp,
        randomize=randomize,
        zeroconf=zeroconf,
        notes=tuple(dict.fromkeys(notes)),
    )


def _words(text: str, source: str) -> Iterator[_Word]:
    """The words between blanks; a `#` begins a comment wherever it stands."""
    for number, line in enumerate(re.split(r"\r\n|[\n\r\f]", text), 1):
        for match in re.finditer(r"\S+", line.partition("#")[0]):
            yield _Word(match[0], source, number, match.start() + 1)


def _merged(node: Node, word: _Word, earlier: tuple[Node, _Word]) -> Node:
    """A node that is named twice has the larger number of slots; its options must agree."""
    known, first = earlier
    if replace(known, slots=node.slots) != node:
        raise word.error(f"the options of line {first.line}, column {first.column}, where {node.key} stands already")
    return replace(node, slots=max(known.slots, node.slots))


def _tcp(word: _Word) -> Node | None:
    text = word.text
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise word.error("a closing ] after the IPv6 address", len(text))
        if not _IPV6.fullmatch(host):
            raise word.error("an IPv6 address between [ and ]", 1)
    else:
        host = re.split(r"[:/,]", text, maxsplit=1)[0]
        rest = text[len(host) :]
        if re.match(r":[0-9A-Fa-f]*:", rest) or text.startswith("::"):
            raise word.error("an IPv6 address in brackets, such as [fd00::1]:3632/4")
        if not _NAME.fullmatch(host):
            raise word.error(f"a host name or address, in the form {_SYNTAX}")
    port, slots = DEFAULT_PORT, DEFAULT_SLOTS
    seen: set[str] = set()
    while rest and rest[0] in ":/":
        at = len(text) - len(rest)
        if rest[0] in seen:
            raise word.error(f"the form {_SYNTAX}", at)
        seen.add(rest[0])
        digits = re.split(r"[:/,]", rest[1:], maxsplit=1)[0]
        if rest[0] == ":":
            port = _number(word, at + 1, digits, "a port", 65535)
        else:
            slots = _number(word, at + 1, digits, "a number of slots", MOST_SLOTS)
        rest = rest[1 + len(digits) :]
    lzo, cpp, down = _options(word, rest)
    return None if down else Node(host, port, slots, lzo=lzo, cpp=cpp)


def _ssh(word: _Word) -> Node | None:
    user, _, rest = word.text.partition("@")
    if not _USER.fullmatch(user):
        raise word.error("[USER]@HOST")
    host = re.split(r"[:/,]", rest, maxsplit=1)[0]
    if not _NAME.fullmatch(host):
        raise word.error("a host name after @", len(user) + 1)
    rest = rest[len(host) :]
    slots = DEFAULT_SLOTS
    if rest.startswith("/"):
        digits = re.split(r"[:,]", rest[1:], maxsplit=1)[0]
        slots = _number(word, len(word.text) - len(rest) + 1, digits, "a number of slots", MOST_SLOTS)
        rest = rest[1 + len(digits) :]
    command = None
    if rest.startswith(":"):
        command = rest[1:].partition(",")[0]
        if not command:
            raise word.error("the remote command after :", len(word.text) - len(rest) + 1)
        rest = rest[1 + len(command) :]
    lzo, cpp, down = _options(word, rest)
    node = Node(host, DEFAULT_PORT, slots, lzo=lzo, cpp=cpp, ssh=True, user=user or None, command=command)
    return None if down else node


def _options(word: _Word, rest: str) -> tuple[bool, bool, bool]:
    """lzo, cpp and down, from `,lzo,cpp`."""
    at = len(word.text) - len(rest)
    if rest and rest[0] != ",":
        raise word.error(f"the form {_SYNTAX}", at)
    found: set[str] = set()
    for option in rest[1:].split(",") if rest else ():
        if option == "auth" or option.startswith("auth="):
            hint = "let the node listen in a trusted network only, without --auth, or leave it out of the list"
            raise word.error("lzo, cpp or down; GSS-API (auth) is not supported", at + 1, hint)
        if option not in ("lzo", "cpp", "down"):
            raise word.error("one of the options lzo, cpp, down", at + 1)
        found.add(option)
        at += 1 + len(option)
    if "cpp" in found and "lzo" not in found:
        raise word.error("lzo beside cpp: pump mode always compresses", hint=f"write {word.text},lzo")
    return "lzo" in found, "cpp" in found, "down" in found


def _multiplier(word: _Word, at: int, signs: str) -> int:
    """The N of `=N` or `/N` that must begin at `at` and end the word."""
    if word.text[at : at + 1] not in tuple(signs):
        raise word.error(f"{word.text[:at]}{signs[0]}N", at)
    return _number(word, at + 1, word.text[at + 1 :], "a number of slots", MOST_SLOTS)


def _number(word: _Word, at: int, digits: str, what: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", digits) or not 1 <= int(digits) <= most:
        raise word.error(f"{what} from 1 to {most}", at)
    return int(digits)
