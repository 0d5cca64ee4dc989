"""What a header leads to is found out once for all sources, and anew when the tree says otherwise."""

from __future__ import annotations

import os
from collections.abc import Set
from pathlib import Path

import pytest

from buildfarm.dispatch import directives
from buildfarm.dispatch.closure import Closure, SearchPath, Unclear
from buildfarm.dispatch.headers import Headers
from buildfarm.dispatch.listings import Listings

SEARCH = ("first", "second")


class Tree:
    """Sources below a directory, and what was learned of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.headers = Headers()
        for name in SEARCH:
            (root / name).mkdir()
        places = tuple(str(root / name) for name in SEARCH)
        self._search = SearchPath(places, places)

    def write(self, name: str, text: str) -> None:
        """Write it, long ago: a directory that has just changed is read again whatever was seen."""
        (self.root / name).write_text(text)
        os.utime((self.root / name).parent, (1, 1))

    def closure(self, source: str) -> Closure:
        return self.headers.closure(str(self.root / source), (), str(self.root), self._search)

    def names(self, source: str) -> set[str]:
        return {os.path.relpath(header.path, self.root) for header in self.closure(source).files}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.write("second/deep.h", "int deep;\n")
    tree.write("second/middle.h", '#include "deep.h"\n#ifdef USER_H\n#include USER_H\n#endif\n')
    for number in range(3):
        tree.write(f"second/top{number}.h", f'#include "middle.h"\nint top{number};\n')
        tree.write(f"{number}.c", f'#include "top{number}.h"\n')
    return tree


def test_a_header_is_searched_for_macros_and_followed_once_for_all_sources(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[bytes] = []
    followed: list[str] = []
    defined, find = directives.defined, Headers._find

    def note_content(content: bytes, names: frozenset[str]) -> frozenset[str]:
        searched.append(content)
        return defined(content, names)

    def note_name(self: Headers, asked: directives.Asked, *rest: object) -> list[str]:
        followed.append(asked.name)
        return find(self, asked, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(directives, "defined", note_content)
    monkeypatch.setattr(Headers, "_find", note_name)
    for number in range(3):
        assert tree.names(f"{number}.c") == {f"{number}.c", f"second/top{number}.h", "second/middle.h", "second/deep.h"}
    assert followed.count("deep.h") == 1
    assert len(searched) == len(set(searched)) == 8  # three sources, three of the first headers, the two behind


def test_a_header_that_comes_before_another_is_found_by_sources_that_come_later(tree: Tree) -> None:
    tree.names("0.c")
    tree.write("first/top1.h", "int other;\n")
    assert tree.names("1.c") == {"1.c", "first/top1.h"}
    (tree.root / "first/deep.h").write_text("int earlier;\n")  # `middle.h` stands in `second`, where it finds its own
    assert "second/deep.h" in tree.names("2.c")
    (tree.root / "second/deep.h").unlink()
    assert tree.names("2.c") == {"2.c", "second/top2.h", "second/middle.h", "first/deep.h"}


def test_a_header_that_comes_to_define_the_macro_is_noticed(tree: Tree) -> None:
    tree.names("0.c")
    tree.write("second/deep.h", '#define USER_H "user.h"\n')
    with pytest.raises(Unclear, match="USER_H"):
        tree.closure("1.c")


def test_a_header_that_comes_while_others_are_looked_for_is_found_by_the_next_source(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):  # `first` changes, so it is followed from then on
        (tree.root / f"first/{number}").touch()
        tree.names(f"{number}.c")
    (tree.root / "second/more").mkdir()
    (tree.root / "second/more/z.h").touch()
    (tree.root / "s.c").write_text('#include "deep.h"\n#include "more/z.h"\n')
    names = Listings.names

    def come_late(self: Listings, directory: str) -> Set[str]:
        if directory == str(tree.root / "second/more"):
            (tree.root / "first/deep.h").touch()
        return names(self, directory)

    monkeypatch.setattr(Listings, "names", come_late)
    tree.names("s.c")
    assert tree.names("s.c") == {"s.c", "first/deep.h", "second/more/z.h"}


def test_headers_that_include_one_another_through_the_directory_above_are_followed_once(tree: Tree) -> None:
    """vim.h and xdiff.h do, under a name that grew with each turn: 4,096 characters took a second for each unit."""
    (tree.root / "second/sub").mkdir()
    tree.write("second/around.h", '#pragma once\n#include "sub/turn.h"\n')
    tree.write("second/sub/turn.h", '#include "../around.h"\n#include "../deep.h"\n')
    tree.write("around.c", '#include "around.h"\n')
    names = tree.closure("around.c").names.values()
    assert {os.path.normpath(name) for name in names} == {
        str(tree.root / name) for name in ("around.c", "second/around.h", "second/sub/turn.h", "second/deep.h")
    }
    assert len(tree.closure("around.c").files) == 5  # around.h by two names


def test_a_directory_behind_a_link_is_not_taken_for_another(tree: Tree) -> None:
    """`link/../x.h` is not `x.h`, though both are links to one file: what they include is searched beside them."""
    for place in ("second/here", "second/elsewhere", "second/elsewhere/sub"):
        (tree.root / place).mkdir()
    tree.write("second/common.h", "int common;\n")
    (tree.root / "second/here/link").symlink_to("../elsewhere/sub")
    for place in ("here", "elsewhere"):
        (tree.root / f"second/{place}/x.h").symlink_to("../common.h")
    tree.write("linked.c", '#include "here/link/../x.h"\n')
    with pytest.raises(Unclear, match="behind a link"):
        tree.closure("linked.c")
