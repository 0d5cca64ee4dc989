"""The tests' own farm: real daemons start, count, wait at the gate, hang, die and come back."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from buildfarm.dispatch.client import compile
from buildfarm.dispatch.faults import NodeFault
from buildfarm.model import Answer, Job, Node
from tests.farm import Farm, wait_until

JOB = Job(("gcc", "-c", "unit.c", "-o", "unit.o"), source=b"int unit(void) { return 42; }\n")


async def _compile(farm: Farm, node: int = 0) -> Answer:
    return await compile(Node("127.0.0.1", farm.nodes[node].port), JOB)


def test_compiles_are_counted_with_the_sources_names(farm: Farm) -> None:
    assert asyncio.run(_compile(farm, node=1)).status == 0
    farm.wait_compiles(1)
    (job,) = farm.compiles()
    assert (job.node, job.outcome, job.compiler, job.source) == (1, "COMPILE_OK", "gcc", "unit.c")
    assert farm.sources() == ["unit.c"]
    assert len(farm.started()) == 1


def test_the_stock_client_compiles_on_it(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "unit.c").write_bytes(b"int unit(void) { return 42; }\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DISTCC")}
    environment |= {"DISTCC_HOSTS": farm.hosts, "DISTCC_FALLBACK": "0", "DISTCC_DIR": str(tmp_path)}
    subprocess.run(["distcc", "gcc", "-c", "unit.c", "-o", "unit.o"], cwd=tmp_path, env=environment, check=True)
    farm.wait_compiles(1)
    assert (tmp_path / "unit.o").stat().st_size > 0


def test_a_closed_gate_holds_compiles_until_it_is_opened() -> None:
    async def scene(farm: Farm) -> None:
        farm.close_gate()
        compiling = asyncio.create_task(_compile(farm))
        await asyncio.to_thread(wait_until, lambda: farm.waiting() == 1, "a compiler at the gate")
        assert not compiling.done()
        assert not farm.compiles()
        farm.open_gate()
        assert (await compiling).status == 0

    with Farm(count=1, gated=True) as farm:
        asyncio.run(scene(farm))


def test_a_killed_node_leaves_no_process_and_comes_back_on_its_port() -> None:
    async def scene(farm: Farm) -> None:
        (node,) = farm.nodes
        farm.close_gate()
        compiling = asyncio.create_task(_compile(farm))
        await asyncio.to_thread(farm.wait_started, 1)
        port = node.port
        node.kill()
        assert node.pids() == []
        with pytest.raises(NodeFault):
            await compiling
        farm.open_gate()
        node.restart()
        assert node.port == port
        assert (await _compile(farm)).status == 0

    with Farm(count=1, gated=True) as farm:
        asyncio.run(scene(farm))


def test_a_stopped_node_hangs_until_it_goes_on() -> None:
    async def scene(farm: Farm) -> None:
        (node,) = farm.nodes
        node.stop()
        state = Path(f"/proc/{node.pid}/stat")
        wait_until(lambda: state.read_text().split()[2] == "T", "a stopped daemon")
        compiling = asyncio.create_task(_compile(farm))
        await asyncio.sleep(0)
        assert not compiling.done()
        node.cont()
        assert (await compiling).status == 0

    with Farm(count=1) as farm:
        asyncio.run(scene(farm))
