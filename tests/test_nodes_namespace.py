"""A node in a network namespace of its own whose link is cut: its power is gone, and nothing says so."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import project
from tests.farm import Farm, require_distccd, wait_until
from tests.test_nodes_e2e import built_by_make, node_of, write_units
from tests.tool import Running, status

SLOW = '#!/bin/sh\ncase "$*" in *bf-probe*) ;; *) sleep 600;; esac\nexec /usr/bin/gcc "$@"\n'


@dataclass(frozen=True)
class Distant:
    """A distccd at the other end of a virtual cable.  Every unit takes it a minute."""

    address: str
    link: str  # our end
    log: Path

    def cut(self) -> None:
        """Nothing arrives any more, in either direction, and nobody is told."""
        subprocess.run(["ip", "link", "set", self.link, "down"], check=True)

    @property
    def compiling(self) -> int:
        lines = self.log.read_text(errors="replace").splitlines()
        return sum("forking to execute" in line and "bf-probe" not in line for line in lines)


@pytest.fixture
def distant(tmp_path: Path) -> Iterator[Distant]:
    require_distccd()
    if os.geteuid() or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    name, link = f"bf{secrets.token_hex(4)}", f"bf{secrets.token_hex(4)}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        pytest.skip("network namespaces can't be made here")
    third = secrets.randbelow(250) + 2
    ours, theirs = f"10.213.{third}.1", f"10.213.{third}.2"
    place = Path(f"/tmp/{name}")
    daemon: subprocess.Popen[bytes] | None = None
    try:
        for command in (
            f"ip link add {link} type veth peer name far netns {name}",
            f"ip addr add {ours}/30 dev {link}",
            f"ip link set {link} up",
            f"ip -n {name} addr add {theirs}/30 dev far",
            f"ip -n {name} link set far up",
            f"ip -n {name} link set lo up",
        ):
            subprocess.run(command.split(), check=True, capture_output=True)
        for directory in (place, place / "bin", place / "tmp"):
            directory.mkdir()
            directory.chmod(0o777)
        (place / "bin" / "gcc").write_text(SLOW)
        (place / "bin" / "gcc").chmod(0o755)
        log = place / "log"
        log.touch(mode=0o666)
        log.chmod(0o666)
        words = ["ip", "netns", "exec", name, "distccd", "--no-detach", "--daemon", "--allow", ours]
        words += ["--listen", theirs, "--jobs", "4", "--log-file", str(log), "--verbose"]
        environment = {**os.environ, "TMPDIR": str(place / "tmp"), "DISTCCD_PATH": f"{place}/bin:/usr/bin:/bin"}
        daemon = subprocess.Popen(words, env=environment, cwd=place, start_new_session=True)
        wait_until(lambda: "preforking daemon started" in log.read_text(errors="replace"), "distccd to start")
        yield Distant(theirs, link, log)
    finally:
        subprocess.run(["ip", "link", "del", link], capture_output=True, check=False)
        found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
        for pid in found.stdout.split():
            subprocess.run(["kill", "-9", pid], capture_output=True, check=False)
        if daemon is not None:
            daemon.wait()
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        shutil.rmtree(place, ignore_errors=True)


def test_a_node_whose_link_is_cut_costs_seconds(tmp_path: Path, distant: Distant) -> None:
    tree = write_units(tmp_path / "p", 11)
    expected = built_by_make(tree)
    with Farm(count=1, jobs=2, gated=True) as farm:
        (near,) = farm.nodes
        farm.close_gate()  # or it has compiled all before the other one is known
        hosts = f"{distant.address}/2,lzo {near.address}/2,lzo"
        words = ("run", "-C", str(tree), "--hosts", hosts, "--fallback", "never", "--verify", "0")
        with Running(words) as build:
            wait_until(lambda: distant.compiling >= 2, "the distant node to compile")
            distant.cut()
            farm.open_gate()
            result = build.wait()
        assert result.code == 0, result.stderr
        document = status(tree)
    assert project.digests(tree) == expected
    assert "no answer within 300 s" not in result.stderr, "found to be lost by the network, long before a deadline"
    assert node_of(document, near.port)["done"] == 12
    assert node_of(document, 3632)["state"] == "down"
