"""Nodes behind a real sshd on loopback: `@host` and `user@host` run `distccd --inetd` there."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from buildfarm.dispatch import ssh
from buildfarm.model import Node
from tests import project
from tests.farm import free_port, require_distccd, wait_until
from tests.test_nodes_e2e import built_by_make, write_units
from tests.tool import buildfarm, environment, status

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/sbin")


@dataclass(frozen=True)
class Sshd:
    command: str  # for DISTCC_SSH
    log: Path

    @property
    def sessions(self) -> int:
        """How many connections have been authenticated."""
        return self.log.read_text(errors="replace").count("Accepted publickey")


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    """An sshd of our own with a fresh key pair; every user that can log in here may come."""
    require_distccd()
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("sshd is missing: install the package openssh-server")
    place = tmp_path / "ssh"
    place.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / name], check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd(8): its chroot, which no service has made here
    port, log = free_port(), place / "log"
    (place / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {place}/host\nAuthorizedKeysFile {place}/user.pub\n"
        f"PidFile {place}/pid\nStrictModes no\nPermitRootLogin yes\nUsePAM no\nLogLevel VERBOSE\nMaxStartups 100\n"
    )
    (place / "ssh_config").write_text(
        f"Host *\n  Port {port}\n  IdentityFile {place}/user\n  IdentitiesOnly yes\n"
        f"  StrictHostKeyChecking no\n  UserKnownHostsFile {place}/known\n"
    )
    daemon = subprocess.Popen(
        [SSHD, "-D", "-f", place / "sshd_config", "-E", log], stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_until(lambda: log.exists() and "Server listening" in log.read_text(errors="replace"), "sshd to listen")
        yield Sshd(f"ssh -F {place}/ssh_config", log)
    finally:
        daemon.terminate()
        daemon.wait()


@pytest.mark.parametrize("user", ["", getpass.getuser()])
def test_a_build_over_ssh_is_makes_own_and_shares_one_connection(tmp_path: Path, sshd: Sshd, user: str) -> None:
    tree = write_units(tmp_path / "p", 7)
    expected = built_by_make(tree)
    result = buildfarm(
        "run", "-C", str(tree), "--hosts", f"{user}@127.0.0.1/3,lzo", "--fallback", "never",
        env=environment(DISTCC_SSH=sshd.command),
    )  # fmt: skip
    assert result.code == 0, result.stderr
    assert project.digests(tree) == expected
    (node,) = status(tree)["nodes"]
    assert node["done"] == 8 and node["failed"] == 0
    assert sshd.sessions <= 4, "units share connections"


def test_a_host_that_ssh_can_not_enter_is_down_in_sshs_own_words(tmp_path: Path, sshd: Sshd) -> None:
    tree = write_units(tmp_path / "p", 1)
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    words = f"{sshd.command} -o IdentityFile={other} -i {other}"
    config = Path(sshd.command.split()[-1])
    config.write_text(config.read_text().replace(f"IdentityFile {config.parent}/user", f"IdentityFile {other}"))
    result = buildfarm("run", "-C", str(tree), "--hosts", "@127.0.0.1/2", env=environment(DISTCC_SSH=words))
    assert result.code == 0
    (node,) = status(tree)["nodes"]
    assert node["state"] == "down" and "Permission denied" in node["reason"]
    told = buildfarm("status", "-C", str(tree)).stdout + buildfarm("nodes", "--hosts", "@127.0.0.1/2").stdout
    assert told.count("    @127.0.0.1  down") == 1 and told.count("\n  @127.0.0.1  down") == 1, told


def test_the_command_is_distccs() -> None:
    node = Node("pi4", ssh=True, user="pi", command="/opt/distccd", via=("rsh", "-x"))
    assert ssh.command(node, None) == [
        "rsh", "-x", "-l", "pi", "pi4", "/opt/distccd", "--inetd", "--enable-tcp-insecure"
    ]  # fmt: skip
    assert ssh.command(Node("pi4", ssh=True), None)[-4:] == ["pi4", "distccd", "--inetd", "--enable-tcp-insecure"]
    assert ssh.program({"DISTCC_SSH": " ssh  -p 2222 "}) == ("ssh", "-p", "2222")
