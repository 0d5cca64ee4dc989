"""The quick rows of the fault matrix; `make faults` stages them all (docs/reliability.md)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.__main__ import MODULES
from tests.faults.matrix import ROWS, NotHere, Outcome, Row, page

assert MODULES, "importing them declares the rows"
QUICK = [row for row in ROWS if row.quick]


@pytest.mark.parametrize("row", QUICK, ids=[row.key for row in QUICK])
def test_the_fault_is_survived(row: Row, tmp_path: Path) -> None:
    lacks = row.lacks()
    if lacks is None:
        tmp_path.chmod(0o755)
        try:
            finding = row.stage(tmp_path)
        except NotHere as lack:
            lacks = str(lack)
        else:
            assert finding.held, finding.ours
            return
    pytest.skip(f"{row.key} needs {lacks}, which is missing")


def test_every_row_has_a_key_of_its_own_and_a_place_on_the_page() -> None:
    assert len({row.key for row in ROWS}) == len(ROWS)
    text = page([Outcome(row, None, "not staged", 0.0) for row in ROWS], "Made nowhere.")
    for row in ROWS:
        assert row.name in text
