"""Which words of `buildfarm run` are ours, and which are make's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.cli.words import split
from buildfarm.errors import UsageError

OWN = {"--hosts": True, "--plain": False, "--fallback": True}


@pytest.mark.parametrize(
    ("line", "ours", "makes"),
    [
        ("-kj4 all", "", "-kj4 all"),
        ("--plain -f - gcm RUN=x", "--plain", "-f - gcm RUN=x"),
        ("gcm --hosts pi1 -k", "--hosts pi1", "gcm -k"),
        ("--hosts=pi1/4 -I dir", "--hosts=pi1/4", "-I dir"),
        ("-f --plain", "", "-f --plain"),
        ("-kf --plain", "", "-kf --plain"),
        ("--file --plain --plain", "--plain", "--file --plain"),
        ("--eval=$(info) -W x --plain", "--plain", "--eval=$(info) -W x"),
        ("-j --plain", "--plain", "-j"),
        ("-j4f --plain", "--plain", "-j4f"),
        ("-Ofoo --plain", "--plain", "-Ofoo"),
        ("-- --plain", "", "-- --plain"),
        ("--plain -- -odd --hosts", "--plain", "-- -odd --hosts"),
        ("--no-print-directory -n", "", "--no-print-directory -n"),
        ("--plain=yes", "", "--plain=yes"),
        ("--hosts --plain", "--hosts --plain", ""),
    ],
)
def test_whose_word_it_is(line: str, ours: str, makes: str) -> None:
    assert split(line.split(), OWN) == (ours.split(), makes.split())


def test_an_option_without_its_value_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="--hosts needs a value"):
        split(["gcm", "--hosts"], OWN)


WORDS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")) | st.sampled_from(["-k", "-f", "--"]))


@given(WORDS)
def test_without_an_option_of_ours_make_gets_every_word_in_order(words: list[str]) -> None:
    foreign = [word for word in words if word.partition("=")[0] not in OWN]
    assert split(foreign, OWN) == ([], foreign)
