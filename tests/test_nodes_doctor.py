"""`doctor` names the cause of each fault of a real node and the line that mends it; `nodes setup` makes a node."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from buildfarm.conductor.remedies import Ground, compression_advice, remedy, setup_script
from tests.farm import Farm, Node, dead_port, wait_until
from tests.test_nodes_ssh import Sshd, sshd
from tests.tool import buildfarm, environment

__all__ = ["sshd"]
NAMES = ("gcc", "gcc-12", "x86_64-linux-gnu-gcc", "x86_64-linux-gnu-gcc-12")


def doctor(tmp_path: Path, hosts: str) -> dict[str, dict[str, Any]]:
    """The checks by subject."""
    result = buildfarm("doctor", "-C", str(tmp_path), "--hosts", hosts, "--json")
    document = json.loads(result.stdout)
    assert result.code == (0 if document["ok"] else 1)
    return {check["subject"]: check for check in document["checks"]}


def test_a_good_node_and_this_machine_are_told_with_figures(tmp_path: Path) -> None:
    with Farm(count=1, jobs=4) as farm:
        checks = doctor(tmp_path, farm.hosts)
        node = checks[farm.nodes[0].address]
    assert node["ok"], node
    for words in ("gcc ", "answers in ", "MB/s", "c, c++"):
        assert words in node["says"]
    assert "clock" not in node["says"], "it is this machine's own"
    assert "adds no processor" in node["says"]
    assert checks["hosts"] == {"subject": "hosts", "ok": True, "says": "1 node from --hosts", "fix": None}
    assert {"make", "gcc", "filesystem", "sqlite", "disk", "memory", "open files", "packing"} <= checks.keys()


def test_a_node_that_is_not_there(tmp_path: Path) -> None:
    port = dead_port()
    check = doctor(tmp_path, f"127.0.0.1:{port}/2")[f"127.0.0.1:{port}"]
    assert not check["ok"]
    for line in ('STARTDISTCC="true"', 'LISTENER="127.0.0.1"', "systemctl restart distcc", "apt install distcc"):
        assert line in check["fix"]
    assert "nodes setup" not in check["fix"], "it needs no ssh to where it is"
    assert "take it out of the host list" in check["fix"]
    assert f"nothing listens on 127.0.0.1, port {port}" in check["fix"]
    assert f"is {port} right?  Debian's distccd listens on 3632" in check["fix"]
    assert "`buildfarm doctor` says how" in buildfarm("nodes", "--hosts", f"127.0.0.1:{port}/2").stdout


def test_advice_for_a_refusing_node_names_host_and_port_and_doubts_only_odd_ports() -> None:
    refused = "no connection: Connection refused"
    usual = remedy(refused, Ground("pi3", 3632, "10.0.0.1", "10.0.0.3")) or ""
    assert "nothing listens on pi3, port 3632" in usual and "right?" not in usual
    assert 'LISTENER="10.0.0.3"   (at 127.0.0.1 it can\'t be reached)' in usual
    assert "buildfarm nodes setup pi3 --apply" in usual
    here = remedy(refused, Ground("localhost", 4000, "127.0.0.1", "127.0.0.1")) or ""
    assert "is 4000 right?" in here and "can't be reached" not in here


def test_a_node_that_does_not_let_us_in(tmp_path: Path) -> None:
    with Farm(count=1) as farm:
        farm.nodes[0].kill()
        _start(farm.nodes[0], allow="192.0.2.1")  # nobody has it
        check = doctor(tmp_path, farm.hosts)[farm.nodes[0].address]
    assert not check["ok"] and 'ALLOWEDNETS="127.0.0.1"' in check["fix"]


def test_a_node_that_can_not_write_its_temporary_files(tmp_path: Path) -> None:
    """It closes as one does that does not let us in, for it makes a file before it reads the request (`serve.c`)."""
    with Farm(count=1) as farm:
        farm.nodes[0].kill()
        _start(farm.nodes[0], allow="127.0.0.1", TMPDIR="/proc")
        check = doctor(tmp_path, farm.hosts)[farm.nodes[0].address]
    assert not check["ok"] and "TMPDIR" in check["says"]
    assert "export TMPDIR=/tmp" in check["fix"] and 'ALLOWEDNETS="127.0.0.1"' in check["fix"]


def _start(node: Node, *, allow: str, **variables: str) -> None:
    """Start the daemon so that it lets only this address in."""
    words = ["distccd", "--no-detach", "--daemon", "--allow", allow, "--listen", "127.0.0.1"]
    words += ["--port", str(node.port), "--log-file", str(node.log), "--verbose"]
    begin = node.log.stat().st_size
    node._daemon = subprocess.Popen(
        words,
        env={**environment(**variables), "BUILDFARM_TEST_NODE": node._mark},
        cwd=node.tmp,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: "preforking daemon started" in node.text(begin), "distccd to start")


def test_a_node_without_a_compiler(tmp_path: Path) -> None:
    with Farm(count=1, jobs=2, path="/nonexistent") as farm:
        check = doctor(tmp_path, farm.hosts)[farm.nodes[0].address]
    assert not check["ok"] and "sudo apt install gcc" in check["fix"]


def test_a_node_with_another_compiler(tmp_path: Path) -> None:
    with Farm(count=2, jobs=2) as farm:
        older, other = farm.nodes
        for name in NAMES:
            older.install(
                name, '#!/bin/sh\ncase "$*" in *fullversion*) echo 9.9.9;; *) exec /usr/bin/gcc "$@";; esac\n'
            )
            other.install(
                name, '#!/bin/sh\ncase "$*" in *-dump*) ;; *) set -- "$@" -O0;; esac\nexec /usr/bin/gcc "$@"\n'
            )
        checks = doctor(tmp_path, farm.hosts)
    old, differs = checks[older.address], checks[other.address]
    assert not old["ok"] and "version 9.9.9" in old["says"] and "full-upgrade" in old["fix"]
    assert "other bytes" in differs["says"]


def test_every_fault_has_its_line() -> None:
    ground = Ground("pi3", 3632, "10.0.0.1", "10.0.0.3")
    for fault, line in {
        "no connection: Connection refused": 'LISTENER="10.0.0.3"',
        "no connection: Name or service not known": "/etc/hosts",
        "no connection within 5 s": "sudo ufw allow from 10.0.0.1 to any port 3632 proto tcp",
        "closed without an answer; is this": "update-distcc-symlinks",
        "its gcc has target aarch64-linux-gnu, here it is x86_64-linux-gnu, and": "apt install gcc-x86-64-linux-gnu",
        "ssh: pi@pi3: Permission denied (publickey).": "ssh-copy-id pi3",
        "ssh: Host key verification failed.": "ssh pi3 true",
        "status 1 without a word; is its disk full?": "df -h /tmp",
        "8.8.8.8 is no private address, and": "--allow-public",
    }.items():
        assert line in (remedy(fault, ground) or ""), fault
    assert 'ALLOWEDNETS="127.0.0.1 10.0.0.1"' in (remedy("closed without an answer", ground, denied=True) or "")
    assert ",lzo" in (compression_advice(3e6, lzo=False, engine="python", host="pi3") or "")
    assert "liblzo2-2" in (compression_advice(3e6, lzo=True, engine="python", host="pi3") or "")
    assert compression_advice(90e6, lzo=False, engine="python", host="pi3") is None


def test_setup_prints_a_script_that_a_shell_can_read(tmp_path: Path) -> None:
    result = buildfarm("nodes", "setup", "127.0.0.1", "--jobs", "4", "--network", "10.1.0.0/16")
    assert result.code == 0
    for line in ('STARTDISTCC="true"', 'ALLOWEDNETS="127.0.0.1 10.1.0.0/16"', 'JOBS="4"', 'ZEROCONF="true"'):
        assert line in result.stdout
    subprocess.run(["sh", "-n"], input=result.stdout, text=True, check=True)
    assert 'ALLOWEDNETS="127.0.0.1"' in setup_script("127.0.0.1", listen="127.0.0.1", jobs=None)
    assert buildfarm("nodes", "setup", "--", "-oProxyCommand=x").code == 64


def test_setup_applies_the_script_through_ssh(tmp_path: Path, sshd: Sshd) -> None:
    """What arrives is kept instead of run: this machine must stay as it is."""
    received, stand_in = tmp_path / "received", tmp_path / "stand-in"
    stand_in.write_text(f'#!/bin/sh\nexec {sshd.command} 127.0.0.1 "cat > {received}"\n')
    stand_in.chmod(0o755)
    result = buildfarm("nodes", "setup", "127.0.0.1", "--apply", env=environment(DISTCC_SSH=str(stand_in)))
    assert result.code == 0, result.stderr
    assert received.read_text() == setup_script("127.0.0.1", listen="127.0.0.1", jobs=None)
    assert "is a node now" in result.stdout


@pytest.mark.parametrize("words", [("accept", "--wait", "0.2", "nobody-of-this-name")])
def test_accept_of_a_node_that_does_not_announce_itself_is_a_usage_error(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    result = buildfarm("nodes", *words, env=environment(XDG_CONFIG_HOME=str(tmp_path)))
    assert result.code == 64 and "does not announce itself" in result.stderr
