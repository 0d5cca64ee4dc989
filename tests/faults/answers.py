"""Nodes that answer wrongly: a relay changes what a real `distccd` has sent."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

from tests.farm import Farm
from tests.faults import room
from tests.faults.matrix import Finding, fault
from tests.faults.node import Change, Relay, join, parts, with_object
from tests.tool import status

GROUP = "The node answers wrongly"


def _lies(directory: Path, change: Change, *, options: str = "") -> Finding:
    """Every answer of the one node is changed; plain make, then buildfarm."""
    with Farm(count=1, jobs=4, options="") as farm:
        tree = room.fresh(directory, "plain")
        with Relay(farm.nodes[0].port, change=change) as relay:
            code, _ = room.plain(tree, f"127.0.0.1:{relay.port}/4{options}", seconds=60)
        wrong = room.difference(tree)
        make = room.said(code)
        make += f", {len(wrong)} files wrong; {room.aftermath(tree)}" if wrong else ", make's bytes"
        tree = room.fresh(directory, "ours")
        with Relay(farm.nodes[0].port, change=change) as relay:
            result = room.run(tree, f"127.0.0.1:{relay.port}/4{options}")
            broken = relay.broken
    held, words = room.judged(tree, result, {})
    (node,) = status(tree)["nodes"]
    ours = f"{words}; {broken} bad answers, then {node['state']}: {node['reason'] or ''}"
    return Finding(make, ours.rstrip(": "), held and broken > 0)


def _object(change: Callable[[bytes], bytes]) -> Change:
    return lambda answer, _: with_object(answer, change)


@fault(GROUP, "garbage", "the answer becomes random bytes (seeded)", needs=("distcc",), quick=True)
def garbage(directory: Path) -> Finding:
    dice = random.Random(1)
    return _lies(directory, lambda answer, _: dice.randbytes(len(answer)))


@fault(GROUP, "truncated answer", "half of the answer, then a proper end of the connection", needs=("distcc",))
def truncated(directory: Path) -> Finding:
    return _lies(directory, lambda answer, _: answer[: len(answer) // 2])


@fault(GROUP, "status 0 with an empty object", "`DOTO00000000`", needs=("distcc",), quick=True)
def empty_object(directory: Path) -> Finding:
    return _lies(directory, _object(lambda _: b""))


@fault(GROUP, "status 0 with a junk object", "the object's bytes become text", needs=("distcc",))
def junk_object(directory: Path) -> Finding:
    return _lies(directory, _object(lambda body: b"junk" * (len(body) // 4)))


@fault(GROUP, "an object that was cut", "the object without its last 100 bytes, its length told so", needs=("distcc",))
def cut_object(directory: Path) -> Finding:
    return _lies(directory, _object(lambda body: body[:-100]))


@fault(GROUP, "another architecture's object", "the same object, its `e_machine` AArch64", needs=("distcc",))
def foreign_object(directory: Path) -> Finding:
    return _lies(directory, _object(lambda body: body[:18] + struct.pack("<H", 183) + body[20:]))


@fault(GROUP, "an object of 4 GiB", "`DOTOffffffff` and 4 kB", needs=("distcc",))
def huge_object(directory: Path) -> Finding:
    def change(answer: bytes, _: int) -> bytes:
        return join([p for p in parts(answer) if p[0] != b"DOTO"]) + b"DOTOffffffff" + b"x" * 4096

    return _lies(directory, change)


@fault(GROUP, "an LZO bomb", "protocol 2, a few megabytes that inflate to 1 GiB", needs=("distcc",))
def bomb(directory: Path) -> Finding:
    from lzallright import LZOCompressor

    packed = LZOCompressor().compress(bytes(1 << 30))

    def change(answer: bytes, _: int) -> bytes:
        return join([p for p in parts(answer) if p[0] != b"DOTO"]) + b"DOTO%08x" % len(packed) + packed

    return _lies(directory, change, options=",lzo")


@fault(
    GROUP,
    "another unit's object",
    "every answer holds the first unit's object: right marks, wrong code. No look at an object can tell;"
    " the share that is compiled here too and compared does (`--verify`), then the node's results are made again",
    needs=("distcc",),
)
def other_object(directory: Path) -> Finding:
    first: list[bytes] = []

    def change(answer: bytes, _: int) -> bytes:
        bodies = [body for token, _, body in parts(answer) if token == b"DOTO" and body]
        if not first and bodies:
            first.append(bodies[0])
        return with_object(answer, lambda body: first[0] if body else body)

    return _lies(directory, change)
