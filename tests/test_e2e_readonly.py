"""A directory that takes no state is built all the same: sources that can't be written, objects elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tool import buildfarm

pytestmark = pytest.mark.timeout(60)

CLOSED = Path("/sys")  # nobody, root included, can make a directory there


@pytest.fixture
def makefile(tmp_path: Path) -> Path:
    if os.access(CLOSED / ".buildfarm", os.F_OK):
        pytest.skip("someone has made /sys/.buildfarm")
    (tmp_path / "a.c").write_text("int a;\n")
    path = tmp_path / "Makefile"
    path.write_text(f"{tmp_path}/a.o: {tmp_path}/a.c\n\tcc -c $< -o $@\nfails:\n\texit 3\n")
    return path


def test_make_runs_alone_where_no_state_can_be_kept_and_one_line_says_so(makefile: Path) -> None:
    result = buildfarm("run", "-C", str(CLOSED), "-f", str(makefile), "--hosts", "localhost/2")
    assert result.code == 0, result.stderr
    assert makefile.with_name("a.o").exists()
    (line,) = result.stderr.splitlines()
    assert "can't keep buildfarm's state here" in line and "make runs alone, without nodes" in line
    assert buildfarm("run", "-C", str(CLOSED), "-f", str(makefile), "fails").code == 2


def test_who_wants_no_local_compile_gets_the_reason(makefile: Path) -> None:
    result = buildfarm("run", "-C", str(CLOSED), "-f", str(makefile), "--fallback", "never")
    assert result.code == 71
    assert "make the directory writable" in result.stderr and not makefile.with_name("a.o").exists()
