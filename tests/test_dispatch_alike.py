"""What a real node proves of its system headers, and what it can't."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildfarm.dispatch.alike import Alike, Thing
from buildfarm.dispatch.closure import Header, SearchPath
from buildfarm.dispatch.headers import Headers
from buildfarm.model import Node
from tests.farm import Farm

SYSTEM = SearchPath((), ("/usr/include",), ("/usr/include/",))


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with Farm(count=1, jobs=2) as running:
        yield running


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory that a node may read, which has another user's rights."""
    with tempfile.TemporaryDirectory(prefix="bf-alike-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def node(farm: Farm) -> Node:
    return Node("127.0.0.1", farm.nodes[0].port, lzo=True)


def headers(tmp_path: Path, text: str = "#include <stdio.h>\n#include <string.h>\n") -> frozenset[Header]:
    """What a source of this text leads to, itself left out."""
    (tmp_path / "a.c").write_text(text)
    return frozenset(Headers().closure(str(tmp_path / "a.c"), (), str(tmp_path), SYSTEM).files[1:])


def prove(alike: Alike, node: Node, things: frozenset[Thing]) -> bool:
    """Whether all of them hold afterwards."""
    if alike.want(node.key, things):
        asyncio.run(alike.prove(node, "gcc"))
    return alike.holds(node.key, things)


def test_the_same_headers_are_proved_and_asked_for_once(node: Node, farm: Farm, tmp_path: Path) -> None:
    alike, things = Alike(), headers(tmp_path)
    assert len(things) > 3
    assert not alike.holds(node.key, things)
    assert prove(alike, node, things)
    assert not alike.want(node.key, things)
    assert not alike.holds("another", things)


def test_what_must_not_be_there_is_asked_for_too(node: Node, tmp_path: Path) -> None:
    there = tmp_path / "there.h"
    there.write_text("")
    alike = Alike()
    assert prove(alike, node, headers(tmp_path) | {str(tmp_path / "not" / "there.h")})
    assert not prove(alike, node, frozenset({str(there)}))
    assert prove(alike, node, headers(tmp_path)), "one that differs says nothing of others"


def test_a_directory_that_is_missing_here_must_lack_the_name_there_too(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("#if __has_include(<not/there.h>)\n#endif\n")
    search = SearchPath((), ("/usr/include",), ("/usr/include/",), ("/usr/local/missing",))
    notes = Headers().closure(str(tmp_path / "a.c"), (), str(tmp_path), search).notes
    assert notes.absent == {"/usr/include/not/there.h", "/usr/local/missing/not/there.h"}


def test_names_that_the_assembler_would_read_otherwise_are_not_proved(node: Node, tmp_path: Path) -> None:
    alike = Alike()
    assert not prove(alike, node, frozenset({str(tmp_path / 'od"d.h')}))


def test_a_header_that_changed_since_it_was_seen_is_not_proved(node: Node, tmp_path: Path) -> None:
    (tmp_path / "x.h").write_text("int x;\n")
    seen = headers(tmp_path, '#include "x.h"\n')
    (tmp_path / "x.h").write_text("int x, y;\n")
    assert not prove(Alike(), node, seen)


def test_a_missing_header_spoils_only_its_part_of_the_batch(node: Node, tmp_path: Path) -> None:
    for name in ("m1.h", "m2.h", "m3.h", "m4.h"):
        (tmp_path / name).write_text(f"int {name[:2]};\n")
    seen = headers(tmp_path, "".join(f'#include "m{number}.h"\n' for number in range(1, 5)))
    (tmp_path / "m4.h").unlink()
    alike = Alike()
    assert not prove(alike, node, seen)
    assert alike.holds(node.key, frozenset(header for header in seen if not header.path.endswith("m4.h")))


def test_a_node_with_other_bytes_is_found_out(tmp_path: Path) -> None:
    with Farm(count=1, jobs=2) as farm:
        other = farm.nodes[0].bin / "gcc"
        real = os.path.realpath("/usr/bin/gcc")
        other.unlink(missing_ok=True)
        other.write_text(
            f'#!/bin/sh\n{real} "$@" || exit\n'
            'for word in "$@"; do case $word in *.o) sed -i s/fputs/FPUTS/ "$word" ;; esac; done\n'
        )
        other.chmod(0o755)
        node = Node("127.0.0.1", farm.nodes[0].port, lzo=True)
        alike, things = Alike(), headers(tmp_path)
        assert not prove(alike, node, things)
        good = frozenset(header for header in things if "fputs" not in Path(header.path).read_text(errors="replace"))
        assert good and alike.holds(node.key, good), "other files are as they are here"


def test_doubt_ends_belief(node: Node, tmp_path: Path) -> None:
    alike, things = Alike(), headers(tmp_path)
    assert prove(alike, node, things)
    assert alike.may_hold(node.key, things)
    alike.doubt(node.key)
    assert not alike.holds(node.key, things) and not alike.may_hold(node.key, things)
    assert not prove(alike, node, things)


def test_a_node_that_was_away_is_asked_again(node: Node, tmp_path: Path) -> None:
    alike, things = Alike(), headers(tmp_path)
    before = alike.standing(node.key)
    assert prove(alike, node, things)
    assert alike.standing(node.key) is before, "what it proves tells of what it has answered before"
    alike.forget(node.key)
    assert alike.standing(node.key) is not before
    assert not alike.holds(node.key, things)
    assert prove(alike, node, things)


def test_a_lost_connection_says_nothing_of_headers(node: Node, tmp_path: Path) -> None:
    alike, things = Alike(), headers(tmp_path)
    gone = Node("127.0.0.1", 1)
    assert not prove(alike, gone, things)
    assert alike.want(gone.key, things), "it may be asked again"
    for _ in range(3):
        prove(alike, gone, things)
    assert not alike.want(gone.key, things), "but not for ever"


def test_a_node_that_is_not_there_proves_nothing(tmp_path: Path) -> None:
    alike, things = Alike(), headers(tmp_path)
    assert not prove(alike, Node("127.0.0.1", 1), things)
