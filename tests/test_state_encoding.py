"""Words come back from the database as they went in, whatever bytes they hold."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from buildfarm.state.encoding import (
    pack,
    pack_mapping,
    pack_words,
    plain,
    unpack,
    unpack_mapping,
    unpack_words,
)

words = st.binary(max_size=20).map(lambda data: os.fsdecode(data.replace(b"\0", b"")))


@given(words)
def test_any_bytes_make_the_round_trip(word: str) -> None:
    assert unpack(pack(word)) == word


@given(st.lists(words))
def test_any_list_makes_the_round_trip(some: list[str]) -> None:
    assert unpack_words(pack_words(some)) == tuple(some)


@given(st.dictionaries(words, words))
def test_any_mapping_makes_the_round_trip_in_its_order(mapping: dict[str, str]) -> None:
    assert list(unpack_mapping(pack_mapping(mapping)).items()) == list(mapping.items())


@given(st.text(st.characters(codec=None)))
def test_any_message_becomes_text_that_sqlite_takes(text: str) -> None:
    shown = plain(text)
    assert shown is not None
    shown.encode("utf-8")


def test_plain_text_stays_as_it_is() -> None:
    assert plain("größe") == "größe"
    assert plain(os.fsdecode(b"a\xffb")) == "a\ufffdb"
    assert plain(None) is None
