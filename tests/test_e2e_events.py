"""What `--events` tells of real builds."""

from __future__ import annotations

import json
from pathlib import Path

from tests.farm import Farm, dead_port, wait_until
from tests.tool import Running, buildfarm, status


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


def test_a_node_that_is_down_is_told_with_the_seconds_until_it_is_asked_again(tmp_path: Path) -> None:
    tree = tmp_path / "p"
    tree.mkdir()
    (tree / "Makefile").write_text("a.o: a.c\n\tcc -c a.c\n")
    (tree / "a.c").write_text("int a;\n")
    events = tmp_path / "events"
    with Farm(count=1, jobs=1, gated=True) as farm:
        farm.close_gate()
        hosts = f"{farm.hosts} 127.0.0.1:{dead_port()}/1"
        with Running(("run", "-C", str(tree), "--hosts", hosts, "--events", str(events))) as build:
            wait_until(
                lambda: any((node["retry_in_seconds"] or 0) > 0 for node in status(tree)["nodes"]), "in the status"
            )
            farm.open_gate()
            assert build.wait().code == 0
    told = [json.loads(line) for line in events.read_text().splitlines()]
    down = [event for event in told if event["event"] == "node" and event["state"] == "down"]
    assert down and down[0]["retry_in_seconds"] > 0
