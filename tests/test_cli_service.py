"""Resuming at boot: unit files that systemd accepts, for trees of any name, with and without systemd."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from buildfarm import boot
from tests.tool import buildfarm, environment

ODD = [
    b"/a",
    b"/",
    b"/home/pi/Climate-2/.x",
    b"/.hidden/a b",
    "/ü/q'\"".encode(),
    b"/not\xffutf8/a\\b",
    b"/a:b_c/%d$HOME",
]


@pytest.mark.parametrize("path", ODD)
def test_a_path_is_escaped_as_systemd_does_it(path: bytes) -> None:
    if shutil.which("systemd-escape") is None:
        pytest.skip("systemd-escape is missing: install systemd")
    theirs = subprocess.run([b"systemd-escape", b"--path", path], capture_output=True, check=False)
    if theirs.returncode != 0:
        pytest.skip("this systemd-escape takes no such path")
    assert boot.escape(path) == theirs.stdout.decode().rstrip("\n")


@pytest.mark.parametrize("odd", [False, True])
def test_systemd_finds_no_fault_with_the_unit(tmp_path: Path, odd: bool) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing: install systemd")
    text = boot.unit_text()
    if odd:  # `verify` wants the program to be there
        there = tmp_path / 'my "python" 100%'
        there.symlink_to(sys.executable)
        text = boot.unit_text(str(there))
    unit = tmp_path / "buildfarm-resume@tmp.service"
    unit.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "--user", "--man=no", "verify", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    mentioned = [line for line in done.stderr.splitlines() if "buildfarm" in line]
    assert done.returncode == 0 and not mentioned, done.stderr


def test_install_status_and_uninstall_need_no_systemd(tmp_path: Path) -> None:
    tree, other = tmp_path / "a tree", tmp_path / "other"
    for directory in (tree, other):
        directory.mkdir()
    env = environment(XDG_CONFIG_HOME=str(tmp_path / "config"), PATH="/nowhere")
    units = tmp_path / "config" / "systemd" / "user"
    assert buildfarm("service", "status", "-C", str(tree), env=env).code == 1
    installed = buildfarm("service", "install", "-C", str(tree), env=env)
    assert installed.code == 0 and "enable-linger" in installed.stdout, installed
    (link,) = (units / "default.target.wants").iterdir()
    assert link.name == boot.unit_name(tree)
    assert "resume --only-interrupted" in link.read_text()
    assert buildfarm("service", "install", "-C", str(other), env=env).code == 0
    shown = buildfarm("service", "status", "-C", str(tree), env=env)
    assert shown.code == 0 and link.name in shown.stdout
    assert buildfarm("service", "uninstall", "-C", str(tree), env=env).code == 0
    assert (units / boot.TEMPLATE).exists(), "the other tree needs it"
    assert buildfarm("service", "uninstall", "-C", str(other), env=env).code == 0
    assert not (units / boot.TEMPLATE).exists()
    assert "not installed" in buildfarm("service", "uninstall", "-C", str(other), env=env).stdout


def test_what_the_unit_runs_is_a_command_of_ours(tmp_path: Path) -> None:
    line = next(line for line in boot.unit_text().splitlines() if line.startswith("ExecStart="))
    words = line.partition(" -m buildfarm ")[2].replace("%f", str(tmp_path)).split()
    result = buildfarm(*words)
    assert result.code == 0 and "was not interrupted" in result.stdout
