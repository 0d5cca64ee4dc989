"""`+zeroconf`: a real announcement on loopback, used by a running build once the user has accepted it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zeroconf import ServiceInfo, Zeroconf

from buildfarm.dispatch.discovery import SERVICE, Announced
from tests.farm import Farm, wait_until
from tests.test_nodes_e2e import write_units
from tests.tool import Running, buildfarm, environment, status


@contextmanager
def announced(name: str, port: int) -> Iterator[None]:
    """Announce a node as distccd with Avahi does, on the loopback interface."""
    texts = {"txtvers": "1", "cpus": "2", "jobs": "3", "cc_version": "12.2.0", "cc_machine": "x86_64-linux-gnu"}
    info = ServiceInfo(
        SERVICE, f"{name}.{SERVICE}", addresses=[socket.inet_aton("127.0.0.1")], port=port, properties=texts
    )
    zeroconf = Zeroconf(interfaces=["127.0.0.1"])
    try:
        zeroconf.register_service(info)
        yield
        zeroconf.unregister_service(info)
    finally:
        zeroconf.close()


def test_a_node_that_announces_itself_works_once_it_is_accepted(tmp_path: Path) -> None:
    tree = write_units(tmp_path / "p", 24)
    surroundings = environment(XDG_CONFIG_HOME=str(tmp_path / "config"))
    with Farm(count=2, jobs=2, gated=True) as farm:
        known, stranger = farm.nodes
        farm.close_gate()
        with announced(f"distcc@stranger-{stranger.port}", stranger.port):
            hosts = f"{known.address}/2,lzo +zeroconf"
            words = ("run", "-C", str(tree), "--hosts", hosts, "--fallback", "never", "--no-lookahead")
            with Running(words, env=surroundings) as build:
                wait_until(lambda: farm.waiting() == 2, "the known node to work")
                listed = buildfarm("nodes", "accept", "--wait", "60", f"127.0.0.1:{stranger.port}", env=surroundings)
                assert listed.code == 0, listed.stderr
                assert not stranger.started(), "a stranger got work before it was accepted"
                wait_until(
                    lambda: stranger.port in {node["port"] for node in status(tree)["nodes"]}, "the build to take it in"
                )
                farm.open_gate()
                result = build.wait()
            assert result.code == 0, result.stderr
        assert [c for c in stranger.compiles() if c.outcome == "COMPILE_OK"], "the accepted node has worked"
    assert "announces itself at" in result.stderr and "nodes accept 127.0.0.1" in result.stderr
    again = buildfarm("nodes", "accept", "--wait", "0.3", env=surroundings)
    assert again.code == 0


def test_slots_are_those_that_it_announces() -> None:
    assert Announced("distcc@pi3", "10.0.0.3", 3632, cpus=4, jobs=6).node().slots == 6
    assert Announced("distcc@pi3", "10.0.0.3", 3632, cpus=4).node().slots == 6, "distccd's own default is cpus + 2"
    assert Announced("distcc@pi3", "10.0.0.3", 3632).node().slots == 4
