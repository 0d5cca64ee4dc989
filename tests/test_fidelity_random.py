"""Random projects: what buildfarm leaves is what make leaves, whatever the nodes do.

`make fidelity` is the long form; shrunk counterexamples stand in CASES.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.farm import Farm
from tests.fidelity.cases import Case
from tests.fidelity.duel import FAULTY_COMPILER, fight

BATCHES = int(os.environ.get("FIDELITY_BATCHES", "2"))
SIZE = 20

CASES = {
    "ar_names_itself_as_it_was_called": "10:0.implicit",
    "a_recipes_umask_holds_for_the_object": "1113:0.command_forms",
    "command_v_shows_the_users_path": "144:2.settings",
    "a_driver_warns_of_a_language_after_the_source": "1432:0.side_outputs",
    "lines_of_a_file_named_by_line_are_shown": "11:0.perl_core",
    "lines_of_a_file_that_a_preprocessor_read_are_shown": "3:0.preprocessed_fortran",
    "a_driver_for_cxx_compiles_c_where_it_is_told_so": "21:0.drivers",
    "a_header_may_come_from_a_pipe": "5:0.streams",
    "a_source_may_come_from_a_pipe": "3:0.streams",
}

# What make itself leaves to chance: the time that -t writes into an archive's members, a sub-make with -j3 below -j1,
# an edit in the second in which a target of .LOW_RESOLUTION_TIME was made.
CHANCE = (
    "6441108:0.recursion_by_other_words,1.depfiles,2.implicit,3.implicit",
    "6440212:0.libtool_like,1.recursion,2.settings",
    "97469:0.special_sources,1.special_targets,2.wrapped_calls",
)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Farm]:
    """One good node, and one whose compiler fails in every way now and then."""
    # As tests.tool.environment: compilers quote by it.
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("LC_ALL", "C")
        farm = stack.enter_context(Farm(count=2, jobs=3))
        for name in ("gcc", "g++"):
            farm.nodes[1].install(name, FAULTY_COMPILER.format(real=f"/usr/bin/{name}", odds=20))
        yield farm


@pytest.mark.parametrize("batch", range(BATCHES))
def test_trees_recipes_words_and_statuses_are_makes_own(nodes: Farm, tmp_path: Path, batch: int) -> None:
    cases = [Case.random(batch * SIZE + number) for number in range(SIZE)]
    told = fight(tmp_path / "t", cases, nodes.hosts)
    assert not told, "\n".join(line for case, lines in told.items() for line in (f"--- {case.name}", *lines))


def test_what_once_differed_does_so_no_more(nodes: Farm, tmp_path: Path) -> None:
    told = fight(tmp_path / "t", [Case.parse(name) for name in CASES.values()], nodes.hosts)
    assert not told, "\n".join(line for case, lines in told.items() for line in (f"--- {case.name}", *lines))


def test_make_beside_make_differs_in_nothing(tmp_path: Path) -> None:
    told = fight(tmp_path / "t", [Case.parse(name) for name in CHANCE], "", rehearse=True)
    assert not told, "\n".join(line for case, lines in told.items() for line in (f"--- {case.name}", *lines))
