"""Has nodes prove that they have the same system headers as this machine, so that these need not travel.

It sends no unit and chooses no way for one; `conductor.making` asks before each attempt.

*Theory of operation.*  The node assembles a small source whose section holds the bytes of the files in question
(`.incbin`), each behind a mark that nobody can guess; what comes back is compared with what is here.  Paths that must
not be there are asked for by `__has_include`.  One missing file spoils the answer for its batch, which is then halved,
a few times.  Nothing is proved twice in a build, and nothing is kept beyond it: headers are replaced with packages,
between builds.

A node whose headers change while a build runs would compile with others than it has proved.  So would its compiler, and
nothing but comparing its objects (`conductor.trust`) guards against that.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import field

from buildfarm.dispatch import client
from buildfarm.dispatch.canary import MARK
from buildfarm.dispatch.closure import Header
from buildfarm.dispatch.faults import NodeFault
from buildfarm.model import Job, Node, SentFile
from buildfarm.value import dataclass

HALVINGS = 3
FAULTS_TOLERATED = 3  # of a node's connection, before it is no longer asked
BATCH_BYTES = 1 << 20  # of files in one question
AT_ONCE = 4  # questions on their way: each answer is in memory, twice
SURE_KEPT = 64  # sets of things, a few hundred each, that stand for many units' headers
_DIRECTORY = "/bf/alike"  # in the node's temporary tree
_SOURCE = "bf_alike.c"
_PLAIN = re.compile(r"[^\"\\\n?%]+")  # a path that C, the assembler and a trigraph leave alone

Thing = Header | str
"""A file that must be there with its bytes, or a path that must not be there."""


@dataclass(slots=True)
class _Known:
    """What one node has proved, and what it could not."""

    same: set[Thing] = field(default_factory=set)
    other: set[Thing] = field(default_factory=set)
    asked: set[Thing] = field(default_factory=set)  # the answer is on its way
    sure: set[frozenset[Thing]] = field(default_factory=set)  # subsets of `same` that were asked about
    wanted: set[Thing] = field(default_factory=set)  # to be asked with the next question
    doubted: bool = False
    faults: int = 0  # questions that came to nothing


class Alike:
    """The proofs of one build.  Not thread-safe."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Known] = {}
        self._places = asyncio.Semaphore(AT_ONCE)

    def holds(self, node: str, things: frozenset[Thing]) -> bool:
        """Whether the node has proved all of them."""
        if not things:
            return True
        known = self._nodes.get(node)
        if known is None or known.doubted:
            return False
        if things in known.sure:
            return True
        if not things <= known.same:
            return False
        if len(known.sure) >= SURE_KEPT:
            known.sure.clear()
        known.sure.add(things)
        return True

    def may_hold(self, node: str, things: frozenset[Thing]) -> bool:
        """Whether the node may still turn out to have all of them."""
        known = self._nodes.get(node)
        return known is None or (not known.doubted and known.other.isdisjoint(things))

    def standing(self, node: str) -> object:
        """Another one when the node was away since: what it proves then tells nothing of what it did before."""
        return self._nodes.setdefault(node, _Known())

    def want(self, node: str, things: frozenset[Thing]) -> bool:
        """Have the node asked for what is not known of it; whether there is a question to ask."""
        known = self._nodes.setdefault(node, _Known())
        if not known.doubted and known.other.isdisjoint(things):
            known.wanted |= things - known.same - known.asked
        return bool(known.wanted) and not known.doubted

    def doubt(self, node: str) -> None:
        """An answer to a unit showed files that are not here: nothing that the node has proved counts any more."""
        self._nodes.setdefault(node, _Known()).doubted = True

    def forget(self, node: str) -> None:
        """The node was away: who knows what it is now."""
        self._nodes.pop(node, None)

    async def prove(self, node: Node, compiler: str) -> None:
        """Ask the node, by the name that it has for the compiler, until nothing more is wanted.

        Never raises for the node's sake; raises OSError for want of something here.
        """
        known = self._nodes.setdefault(node.key, _Known())
        while known.wanted and not known.doubted:
            known.asked, known.wanted = known.wanted, set()
            try:
                for batch in _batches(known.asked):
                    async with self._places:
                        try:
                            same = await _proved(node, compiler, batch, HALVINGS)
                        except NodeFault:
                            known.faults += 1
                            known.doubted = known.doubted or known.faults >= FAULTS_TOLERATED
                            return
                    known.same |= same
                    known.other |= set(batch) - same
            finally:
                known.asked = set()


def _batches(things: Iterable[Thing]) -> Iterable[list[Thing]]:
    batch: list[Thing] = []
    size = 0
    for thing in sorted(things, key=_path):
        bytes_ = thing.stamp[1] if isinstance(thing, Header) else 0
        if batch and size + bytes_ > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(thing)
        size += bytes_
    if batch:
        yield batch


async def _proved(node: Node, compiler: str, things: Sequence[Thing], halvings: int) -> set[Thing]:
    """Those of the things that are there as here.  Raises NodeFault."""
    askable = [thing for thing in things if _PLAIN.fullmatch(_path(thing))]
    if not askable:
        return set()
    token = secrets.token_hex(16)
    answer = await client.compile(node, _question(compiler, askable, token))
    if answer.status == 0:
        return await asyncio.to_thread(_compared, answer.object, askable, token.encode())
    if not halvings or len(askable) == 1:
        return set()
    middle = len(askable) // 2
    halves = (askable[:middle], askable[middle:])
    return set().union(*[await _proved(node, compiler, half, halvings - 1) for half in halves])


def _question(compiler: str, things: Sequence[Thing], token: str) -> Job:
    lines = ['__asm__(".section bf_alike,\\"a\\"\\n");']
    for number, thing in enumerate(things):
        path = _path(thing)
        mark = f'__asm__(".ascii \\"{token}{number:08d}\\"\\n");'
        if isinstance(thing, Header):
            lines += [mark, f'__asm__(".incbin \\"{path}\\"\\n");']
        else:
            lines += [f'#if !__has_include("{path}")', mark, "#endif"]
    lines += [f'__asm__(".ascii \\"{token}\\"\\n.text\\n");', ""]
    source = os.fsencode("\n".join(lines))
    argv = (compiler, MARK, "-fno-toplevel-reorder", "-O0", "-c", _SOURCE, "-o", "bf_alike.o")
    return Job(argv, cwd=_DIRECTORY, files=(SentFile(f"{_DIRECTORY}/{_SOURCE}", source),), recipe="P3")


def _compared(content: bytes, things: Sequence[Thing], token: bytes) -> set[Thing]:
    """What the object says of each; files are read here, and one that has changed since it was seen proves nothing."""
    pieces = {piece[:8]: piece[8:] for piece in content.split(token)[1:-1]}
    same: set[Thing] = set()
    for number, thing in enumerate(things):
        piece = pieces.get(b"%08d" % number)
        if piece is not None and (not isinstance(thing, Header) or piece == _bytes(thing)):
            same.add(thing)
    return same


def _bytes(header: Header) -> bytes | None:
    try:
        with open(header.path, "rb") as file:
            content = file.read()
    except OSError:
        return None
    return content if len(content) == header.stamp[1] else None


def _path(thing: Thing) -> str:
    return thing.path if isinstance(thing, Header) else thing
