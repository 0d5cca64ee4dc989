"""Units whose assembler is to write a listing (`-Wa,-a...=FILE`): a node compiles, this machine's assembler lists."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from buildfarm.dispatch.debug_paths import restored_text
from buildfarm.dispatch.prepared import CannotTravel, NotAsText
from tests.travel import Trip

HEADER = "#define TWICE(x) ((x) + (x))\nstatic inline int three(int x) { return TWICE(x) + x; }\n"
SOURCE = '#include <stdlib.h>\n#include "a.h"\nint f(char **v) { return three(atoi(v[1])) + TWICE(v[0][0]); }\n'
LISTED = "-Wa,-a,-ad,-alms=out/a.lst"


@pytest.fixture(scope="module")
def trip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trip]:
    with Trip(tmp_path_factory.mktemp("l") / "tree") as running:
        running.write("inc/a.h", HEADER)
        running.write("a.c", SOURCE)
        running.write("a.cc", SOURCE)
        running.write("out/there", "")
        yield running


@pytest.mark.parametrize(
    "command",
    [
        f"gcc -Os -Iinc {LISTED} -MMD -MP -MFout/a.d -c a.c -o out/a.o",
        "gcc -O2 -I{root}/inc -Wa,-ahlns={root}/out/x.lst,-mrelax-relocations=no -c {root}/a.c",
        f"g++ -O1 -Iinc {LISTED} -c a.cc",
    ],
)
@pytest.mark.parametrize("pumped", [False, True])
def test_object_and_listing_are_the_compilers_own(trip: Trip, command: str, pumped: bool) -> None:
    result = trip.go(command.format(root=trip.root), pumped=pumped)
    assert (result.status, result.local_status, result.words) == (0, 0, "same")
    assert result.raw
    assert all(result.made.values()) and any(name.endswith(".lst") for name in result.made)


@pytest.mark.parametrize(
    "command",
    [
        f"gcc -g -gdwarf-2 -Og -Iinc {LISTED} -c a.c -o out/a.o",
        "gcc -g3 -gdwarf-4 -Iinc -Wa,-adhlns=out/a.lst -c ./a.c -o out/a.o",
        f"gcc -g -Og -I{{root}}/inc {LISTED} -c {{root}}/a.c -o out/a.o",
        "g++ -g -O1 -I{root}/inc -Wa,-adhlns={root}/out/a.lst -c a.cc -o {root}/out/a.o",
    ],
)
def test_with_debug_information_a_node_preprocesses(trip: Trip, command: str) -> None:
    """A listing tells columns."""
    command = command.format(root=trip.root)
    with pytest.raises(NotAsText):
        trip.prepare(command)
    result = trip.go(command, pumped=True)
    assert result.recipe == "P3" and result.stripped and result.words == "same"
    assert result.made == {"a.lst": True}


def test_what_the_assembler_says_is_said_by_a_local_compile(trip: Trip) -> None:
    trip.write("w.c", '__asm__(".warning \\"look\\"");\n')
    with pytest.raises(CannotTravel, match="something to say"):
        trip.go(f"gcc {LISTED} -O1 -c w.c")


def test_text_that_tells_of_the_node_in_another_way_is_not_restored() -> None:
    text = b'\t.file 0 "/tmp/distccd_1a/home/u" "x.c"\n.LASF1:\n\t.string\t"/tmp/distccd_1a/home/u"\n'
    assert restored_text(text, "/home/u", "/u") == b'\t.file 0 "/u" "x.c"\n.LASF1:\n\t.string\t"/u"\n'
    assert restored_text(b'\t.ascii\t"/tmp/distccd_1a/home/u\\000"\n', "/home/u", "/u") == b'\t.ascii\t"/u\\000"\n', (
        "ARM"
    )
    pieces = b'\t.ascii\t"/tmp/dist"\n\t.ascii\t"ccd_1a/home"\n\t.ascii\t"/u\\000"\n'
    assert restored_text(pieces, "/home/u", "/u") == b'\t.ascii\t"/u\\000"\n'
    assert restored_text(pieces, "/home/v", "/u") is None
    assert restored_text(text, "/home/v", "/u") is None
    assert restored_text(b'\t.file 1 "/s/x.c"\n\t.file 2 "/s/x.c"\n', "/home/u", "/u") is None
    assert restored_text(text, "/home/u", "/\N{LATIN SMALL LETTER U WITH DIAERESIS}") is None
