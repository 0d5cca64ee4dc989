"""Which files a call is taken to write."""

from __future__ import annotations

import pytest

from buildfarm.conductor.here import absolute_outputs
from buildfarm.graph.classify import classify
from buildfarm.model import Invocation


@pytest.mark.parametrize(
    ("words", "outputs"),
    [
        ("gcc -c a.c -o a.o -MMD", ("/p/a.o", "/p/a.d")),
        ("gcc -c a.c b.c", ("/p/a.o", "/p/b.o")),
        ("gcc -c -MF /dev/null -MMD -x c /dev/null -o /dev/null", ()),
        ("gcc -c -Wp,-MD,/dev/null a.c -o a.o", ("/p/a.o",)),
    ],
)
def test_a_device_is_no_output(words: str, outputs: tuple[str, ...]) -> None:
    argv = tuple(words.split())
    assert absolute_outputs(classify(argv), Invocation(argv, "/p", {})) == outputs
