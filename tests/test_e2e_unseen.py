"""What is compiled past buildfarm is built all the same, and counted in the closing line."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.farm import Farm
from tests.tool import buildfarm, command

pytestmark = pytest.mark.timeout(120)

MAKEFILE = """\
all: seen.o moved.o joined.o past.o
seen.o past.o: wait
past.o: past.c
\tenv -i PATH=/usr/bin:/bin gcc -c past.c -o past.o
moved.o: seen.c
\t$(CC) -c seen.c -o tmp.o && mv tmp.o moved.o
joined.o: seen.o moved.o
\tld -r -o $@ seen.o
wait:
\t$(CC) -c first.c; until $(STATUS) | grep -q '"total_is_final": true'; do :; done
"""


def test_the_closing_line_counts_what_was_compiled_by_calls_that_are_not_caught(tmp_path: Path) -> None:
    for name in ("first", "seen", "past"):
        (tmp_path / f"{name}.c").write_text(f"int {name};\n")
    (tmp_path / "Makefile").write_text(MAKEFILE)
    status = f"STATUS={shlex.join(command('status', '--json'))}"
    with Farm(count=1, jobs=2) as farm:
        result = buildfarm("run", "-C", str(tmp_path), "--hosts", farm.hosts, status)
    assert result.code == 0, result.stderr
    assert (tmp_path / "past.o").exists()
    assert "; 1 compiled here unseen" in result.stderr
