"""What `--events` tells of real builds."""

from __future__ import annotations

import json
from pathlib import Path

from tests.tool import buildfarm


def test_one_call_that_compiles_two_sources_names_both_objects(tmp_path: Path) -> None:
    tree = tmp_path / "p"
    tree.mkdir()
    (tree / "Makefile").write_text("libab.a: a.c b.c\n\tcc -c a.c b.c\n\tar rcs $@ a.o b.o\n")
    for name in "ab":
        (tree / f"{name}.c").write_text(f"int {name}(void) {{ return 1; }}\n")
    events = tmp_path / "events"
    assert buildfarm("run", "-C", str(tree), "--hosts", "", "--events", str(events)).code == 0
    told = [json.loads(line) for line in events.read_text().splitlines()]
    made = [event["outputs"] for event in told if event["event"] == "check_in"]
    assert made == [["a.o", "b.o"], ["libab.a"]]
