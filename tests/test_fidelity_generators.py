"""What generators write builds on nodes: CMake, autotools with libtool, and Makefiles in the manner of Kbuild, Perl
scripts and mkmf; `sample_projects/` has one of each.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from buildfarm.state.reader import compiles
from tests import project
from tests.farm import Farm
from tests.tool import TIMEOUT, buildfarm, environment, status

SAMPLES = Path(__file__).parent.parent / "sample_projects"


@dataclass(frozen=True)
class Kind:
    """How a sample is prepared and built, and how many of its units a node may compile."""

    sample: str
    tools: tuple[str, ...]
    prepare: str
    words: tuple[str, ...]
    units: int
    program: str


KINDS = (
    Kind("cmake", ("cmake", "g++"), "cmake -S . -B build -G 'Unix Makefiles'", ("-C", "build"), 4, "build/tides"),
    Kind("autotools", ("autoreconf", "automake", "libtoolize"), "autoreconf -i && ./configure", (), 5, "floe"),
    Kind("kbuild", (), ":", (), 3, "image"),
    Kind("perl_generated", ("perl",), "perl configure.pl", (), 3, "river"),
    Kind("mkmf", ("perl", "gfortran"), "perl mkmf.pl", ("-C", "build"), 3, "build/ocean.exe"),
)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Farm]:
    with Farm(count=2, jobs=2) as farm:
        yield farm


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.sample)
def test_what_it_generates_is_built_by_nodes_as_make_builds_it(kind: Kind, nodes: Farm, tmp_path: Path) -> None:
    missing = [tool for tool in kind.tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is missing: make tools")
    prepared, place = tmp_path / "prepared", tmp_path / "p"
    shutil.copytree(SAMPLES / kind.sample, place)
    subprocess.run(
        ["sh", "-ec", kind.prepare], cwd=place, env=environment(), check=True, capture_output=True, timeout=TIMEOUT
    )
    shutil.copytree(place, prepared, symlinks=True)
    planned = json.loads(buildfarm("plan", "--json", *kind.words, cwd=place).stdout)["units"]
    done = subprocess.run(
        ["make", "-j3", *kind.words], cwd=place, env=environment(), capture_output=True, check=False, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stderr
    printed = subprocess.run([place / kind.program], capture_output=True, check=True).stdout
    expected, left = digests(place), left_to_do(place, kind)
    shutil.rmtree(place)
    shutil.copytree(prepared, place, symlinks=True)
    events = tmp_path / "events"
    result = buildfarm("run", "--hosts", nodes.hosts, "--events", str(events), *kind.words, cwd=place)
    assert result.code == 0, result.stderr
    assert digests(place) == expected
    assert subprocess.run([place / kind.program], capture_output=True, check=True).stdout == printed
    where = place / (kind.words[1] if kind.words else ".")
    compiled = [json.loads(line) for line in events.read_text().splitlines()]
    remote = [e["output"] for e in compiled if e["event"] == "check_in" and e["kind"] == "compile" and e["node"]]
    assert len(remote) == kind.units, result.stderr
    assert status(where)["units"]["local"] == 0
    assert left_to_do(place, kind) == left
    foretold = {(unit["directory"], *unit["command"]) for unit in planned}
    assert {(cwd, *argv) for cwd, argv in compiles(where / ".buildfarm")} == foretold


def digests(place: Path) -> dict[str, str]:
    """Every file but ours, compared without debug information: automake compiles with -g."""
    found = project.digests(place, stripped=True)
    return {name: digest for name, digest in found.items() if ".buildfarm/" not in name}


def left_to_do(place: Path, kind: Kind) -> bytes:
    """What make would still print."""
    return subprocess.run(
        ["make", "-n", *kind.words], cwd=place, env=environment(), capture_output=True, check=True, timeout=TIMEOUT
    ).stdout
