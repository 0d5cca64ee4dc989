"""`report` and `export` after a real build: files that their readers accept."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests import project
from tests.tool import Result, buildfarm


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of 25 units, built here."""
    made = project.write(tmp_path_factory.mktemp("export") / "p")
    assert buildfarm("run", "-C", str(made), "--hosts", "").code == 0
    return made


def _export(tree: Path, *words: str) -> str:
    result = buildfarm("export", *words, "-C", str(tree))
    assert result.code == 0, result.stderr
    return result.stdout


def test_the_report_is_written_whole_and_says_what_it_is_about(tree: Path, tmp_path: Path) -> None:
    result = buildfarm("report", "-C", str(tree), "-o", str(tmp_path / "r.html"), "--trace", str(tmp_path / "t.json"))
    assert result.code == 0, result.stderr
    page = (tmp_path / "r.html").read_text()
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    for directory in project.DIRECTORIES:
        assert f"{directory}/{directory}_0.o" in page
    assert f"{project.UNITS}" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.html", "t.json"]


def test_a_report_of_nothing_says_how_to_begin(tmp_path: Path) -> None:
    result = buildfarm("report", "-C", str(tmp_path))
    assert result.code == 64
    assert "no build is known here" in result.stderr and "buildfarm run" in result.stderr


def test_a_report_that_cannot_be_written_says_so(tree: Path, tmp_path: Path) -> None:
    result = buildfarm("report", "-C", str(tree), "-o", str(tmp_path / "missing" / "r.html"))
    assert result.code == 71
    assert "can't be written" in result.stderr


def test_the_trace_has_every_unit_as_a_complete_event(tree: Path) -> None:
    events = json.loads(_export(tree, "trace"))["traceEvents"]
    complete = [event for event in events if event["ph"] == "X" and event["cat"] == "compile"]
    assert len(complete) == project.UNITS
    assert all(event["dur"] >= 0 and event["ts"] >= 0 and event["tid"] >= 1 for event in complete)
    flows = [event["ph"] for event in events if event["ph"] in "sf"]
    assert flows.count("s") == flows.count("f")


def test_compile_commands_name_every_unit_as_it_ran(tree: Path) -> None:
    entries = json.loads(_export(tree, "compile-commands"))
    assert len(entries) == project.UNITS
    for entry in entries:
        assert (Path(entry["directory"]) / entry["file"]).is_file()
        checked = subprocess.run(
            [*entry["arguments"], "-fsyntax-only"], cwd=entry["directory"], capture_output=True, check=False
        )
        assert checked.returncode == 0


def test_compile_commands_of_a_tree_that_was_never_built_come_from_the_plan(tmp_path: Path) -> None:
    fresh = project.write(tmp_path / "fresh")
    entries = json.loads(_export(fresh, "compile-commands"))
    assert len(entries) == project.UNITS


def test_dot_is_what_graphviz_reads(tree: Path) -> None:
    text = _export(tree, "dot")
    assert text.startswith("digraph build {")
    assert '"' + str(tree / "main.o") + '"' in text
    if shutil.which("dot"):
        assert subprocess.run(["dot", "-Tcanon"], input=text.encode(), capture_output=True, check=False).returncode == 0


def test_a_targets_neighbourhood_is_no_more_than_that(tree: Path) -> None:
    text = _export(tree, "dot", "--target", "alpha/alpha_1.o", "--depth", "1")
    labels = re.findall(r'\[label="([^"]*)"', text)
    assert {"alpha_1.o", "alpha_1.c", "lib.a"} <= {Path(label).name for label in labels}
    assert not any("beta" in label for label in labels)


def test_svg_is_well_formed_and_names_every_target(tree: Path) -> None:
    root = ET.fromstring(_export(tree, "svg"))
    titles = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert sum(title.endswith(".o") for title in titles) == project.UNITS


def test_an_unknown_target_is_answered_with_near_ones(tree: Path) -> None:
    result = buildfarm("export", "svg", "-C", str(tree), "--target", "alfa_1.o")
    assert result.code == 64
    assert "did you mean" in result.stderr


def test_prometheus_text_is_in_its_format_and_adds_up(tree: Path) -> None:
    text = _export(tree, "prometheus")
    line = re.compile(r'[a-z_]+\{([a-z]+="(?:[^"\\]|\\.)*",?)+\} -?\d+(\.\d+)?$')
    samples = [entry for entry in text.splitlines() if not entry.startswith("#")]
    assert samples and all(line.match(entry) for entry in samples), samples
    done = sum(float(entry.rpartition(" ")[2]) for entry in samples if entry.startswith("buildfarm_units{"))
    assert done == project.UNITS


def test_an_unknown_format_is_a_usage_error() -> None:
    result: Result = buildfarm("export", "pdf")
    assert result.code == 64
    assert "compile-commands" in result.stderr


@pytest.mark.parametrize("words", [("compile-commands", "--build", "1"), ("trace", "--target", "main.o")])
def test_an_option_that_has_no_say_is_wrong_usage(tree: Path, words: tuple[str, ...]) -> None:
    result = buildfarm("export", *words, "-C", str(tree))
    assert (result.code, result.stdout) == (64, "")
    assert f"{words[1]}: not for {words[0]}" in result.stderr
