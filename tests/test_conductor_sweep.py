"""When a build sweeps before it starts make: whenever an earlier one may have left something to judge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildfarm.conductor.build import needs_sweep
from buildfarm.model import BuildState
from buildfarm.state.journal import BUILDS_KEPT, Journal
from buildfarm.state.lock import TreeLock
from tests import state_samples as sample


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.open(tmp_path) as found:
        yield found


def needed(journal: Journal) -> bool:
    with TreeLock(journal.state_dir, token="new") as lock:
        return needs_sweep(journal, lock)


def test_a_tree_without_builds_or_with_an_ended_one_needs_none(journal: Journal) -> None:
    assert not needed(journal)
    for state in (BuildState.COMPLETE, BuildState.FAILED):
        journal.end_build(sample.begin(journal), state, 0)
        assert not needed(journal)


def test_a_build_that_died_or_was_stopped_needs_one(journal: Journal) -> None:
    build = sample.begin(journal)
    assert needed(journal)
    journal.end_build(build, BuildState.INTERRUPTED, 130)
    assert needed(journal)


def test_a_step_that_an_ended_build_has_left_open_needs_one(journal: Journal) -> None:
    build = sample.begin(journal)
    journal.check_out(build, [sample.check_out(1)])
    journal.end_build(build, BuildState.FAILED, 2)
    assert needed(journal)


def test_a_lock_that_nobody_let_go_needs_one(journal: Journal) -> None:
    journal.end_build(sample.begin(journal), BuildState.COMPLETE, 0)
    (journal.state_dir / "lock.owner").write_text(json.dumps({"pid": 1, "start": 1, "boot_id": "x", "token": "old"}))
    assert needed(journal)


def test_records_of_files_that_others_have_made_go_now_and_then(journal: Journal) -> None:
    swept = []
    for _ in range(2 * BUILDS_KEPT):
        journal.end_build(sample.begin(journal), BuildState.COMPLETE, 0)
        swept.append(needed(journal))
    assert swept.count(True) == 2
