"""What liars made is taken back in the journal at once, so that a build that dies then leaves nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildfarm.model import BuildState
from buildfarm.state.claims import read_rows
from buildfarm.state.identity import boot_id
from buildfarm.state.journal import Journal
from buildfarm.state.recovery import plan_sweep
from buildfarm.state.taint import Taken, forget, take_back
from tests.state_samples import begin, check_in, check_out, checked_in, record


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.o" for number in range(4)]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


@pytest.mark.parametrize("resumed", [True, False])
def test_the_sweep_of_the_next_build_removes_what_was_taken_back(
    tmp_path: Path, files: list[Path], resumed: bool
) -> None:
    with Journal.open(tmp_path / ".buildfarm") as journal:
        first = begin(journal)
        journal.check_out(first, [check_out(0, files[0], node="liar:1")])
        journal.check_in(first, [check_in(0, record(files[0]))])
        journal.end_build(first, BuildState.INTERRUPTED, None)
        build = begin(journal, resumed_from=first if resumed else None)
        for step, node in ((1, "liar:1"), (2, "honest:1"), (3, None)):
            journal.check_out(build, [check_out(step, files[step], node=node)])
            journal.check_in(build, [check_in(step, record(files[step]))])
        taken = take_back(journal, build, ("liar:1",))
        assert set(taken.outputs) == {str(files[0]), str(files[1])}, "of the build that it continues as well"
        assert not taken.scattered
        assert take_back(journal, build, ("liar:1",)) == Taken(), "once is enough"
        plan = plan_sweep(read_rows(journal), boot_id=boot_id(), clock_ns=0)
        assert {removal.path for removal in plan.removed} == set(taken.outputs)
        row = journal.select("SELECT done, remote FROM progress WHERE build = ?", (build,)).fetchone()
        assert tuple(row) == (2, 1), "it counts as done no more"
        forget(journal, build, taken.outputs)
        assert set(checked_in(journal)) == {str(files[2]), str(files[3])}


def test_a_path_that_another_command_has_written_since_tells_of_results_moved_on(
    tmp_path: Path, files: list[Path]
) -> None:
    with Journal.open(tmp_path / ".buildfarm") as journal:
        build = begin(journal)
        for step, node in ((1, "liar:1"), (2, "honest:1")):
            journal.check_out(build, [check_out(step, files[0], node=node)])
            journal.check_in(build, [check_in(step, record(files[0]))])
        assert take_back(journal, build, ("liar:1",)) == Taken((), scattered=True)
