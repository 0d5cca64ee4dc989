"""The tests' own farm: real daemons start, count, wait at the gate, hang, die and come back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.farm import Farm, wait_until


def _distcc(farm: Farm, source: Path, node: int = 0) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DISTCC")}
    environment |= {"DISTCC_HOSTS": f"{farm.nodes[node].address}/4", "DISTCC_FALLBACK": "0"}
    environment |= {
        "DISTCC_DIR": str(source.parent),
        "DISTCC_BACKOFF_PERIOD": "0",
        "DISTCC_PAUSE_TIME_MSEC": "1",
    }
    return subprocess.Popen(
        ["distcc", "gcc", "-c", source.name, "-o", source.stem + ".o"],
        cwd=source.parent,
        env=environment,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "unit.c"
    path.write_text("int unit(void) { return 42; }\n")
    return path


def test_compiles_are_counted_with_the_sources_names(farm: Farm, source: Path) -> None:
    assert _distcc(farm, source, node=1).wait() == 0
    farm.wait_compiles(1)
    (job,) = farm.compiles()
    assert (job.node, job.outcome, job.source) == (1, "COMPILE_OK", "unit.c")
    assert job.compiler.endswith("gcc")
    assert farm.sources() == ["unit.c"]
    assert len(farm.started()) == 1


def test_a_closed_gate_holds_compiles_until_it_is_opened(source: Path) -> None:
    with Farm(count=1, gated=True) as farm:
        farm.close_gate()
        client = _distcc(farm, source)
        wait_until(lambda: farm.waiting() == 1, "a compiler at the gate")
        assert client.poll() is None and not farm.compiles()
        farm.open_gate()
        assert client.wait(20) == 0
        assert source.with_suffix(".o").stat().st_size > 0


def test_a_killed_node_leaves_no_process_and_comes_back_on_its_port(source: Path) -> None:
    with Farm(count=1, gated=True) as farm:
        (node,) = farm.nodes
        farm.close_gate()
        client = _distcc(farm, source)
        farm.wait_started(1)
        port = node.port
        node.kill()
        assert node.pids() == []
        assert client.wait(20) != 0
        farm.open_gate()
        node.restart()
        assert node.port == port
        assert _distcc(farm, source).wait(20) == 0


def test_a_stopped_node_hangs_until_it_goes_on(source: Path) -> None:
    with Farm(count=1) as farm:
        farm.nodes[0].stop()
        client = _distcc(farm, source)
        wait_until(
            lambda: Path(f"/proc/{farm.nodes[0].pid}/stat").read_text().split()[2] == "T", "a stopped daemon"
        )
        assert client.poll() is None
        farm.nodes[0].cont()
        assert client.wait(20) == 0
