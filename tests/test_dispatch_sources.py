"""Where the host list comes from: the first that is set, in the documented order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildfarm.dispatch import sources
from buildfarm.dispatch.sources import HostText
from buildfarm.errors import ConfigError
from buildfarm.model import Node


def _hosts(directory: Path, text: str) -> Path:
    directory.mkdir(parents=True)
    path = directory / "hosts"
    path.write_text(text)
    return path


def test_the_first_that_is_set_wins(tmp_path: Path) -> None:
    config = tmp_path / "buildfarm.toml"
    home = _hosts(tmp_path / "home" / ".distcc", "from-home")
    own = _hosts(tmp_path / "own", "from-distcc-dir")
    system = _hosts(tmp_path / "etc" / "distcc", "from-system")
    environment = {
        "BUILDFARM_HOSTS": "from-ours",
        "DISTCC_HOSTS": "from-distcc",
        "DISTCC_DIR": str(own.parent),
        "HOME": str(tmp_path / "home"),
    }
    given: dict[str, str] = {"option": "from-option", "config": "from-config"}

    def found() -> HostText | None:
        return sources.find(
            environment,
            option=given.get("option"),
            config_text=given.get("config"),
            config_path=config,
            system_hosts=system,
        )

    assert found() == HostText("--hosts", "from-option")
    del given["option"]
    assert found() == HostText("$BUILDFARM_HOSTS", "from-ours")
    del environment["BUILDFARM_HOSTS"]
    assert found() == HostText(f"{config}: [nodes] hosts", "from-config", config)
    del given["config"]
    assert found() == HostText("$DISTCC_HOSTS", "from-distcc")
    del environment["DISTCC_HOSTS"]
    assert found() == HostText(str(own), "from-distcc-dir", own)
    own.unlink()
    assert found() == HostText(str(system), "from-system", system), "with $DISTCC_DIR distcc ignores ~/.distcc"
    del environment["DISTCC_DIR"]
    assert found() == HostText(str(home), "from-home", home)
    home.unlink()
    assert found() == HostText(str(system), "from-system", system)
    system.unlink()
    assert found() is None


def test_an_empty_value_means_no_nodes(tmp_path: Path) -> None:
    system = _hosts(tmp_path / "etc", "pi3")
    hosts = sources.read(sources.find({}, option="", system_hosts=system))
    assert hosts.nodes == ()
    assert hosts.notes == ()


def test_nobody_naming_nodes_is_no_error(tmp_path: Path) -> None:
    hosts = sources.read(sources.find({}, system_hosts=tmp_path / "none"))
    assert (hosts.nodes, hosts.source) == ((), None)


def test_ssh_nodes_know_how_they_are_reached() -> None:
    text = HostText("--hosts", "pi3/2 pi@pi4 +zeroconf localhost/3")
    pi3, pi4 = sources.read(text, {"DISTCC_SSH": "ssh -p 2222"}, allow_public=True).nodes
    assert pi3 == Node("pi3", slots=2, public=True)
    assert (pi4.user, pi4.ssh, pi4.via) == ("pi", True, ("ssh", "-p", "2222"))


def test_an_environment_file_stands_over_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "farm.env"
    environment = {"BUILDFARM_ENVIRONMENT_FILE": str(file), "DISTCC_HOSTS": "old", "PATH": "/bin"}
    assert sources.surroundings(environment) == environment, "a file that is not there says nothing"
    file.write_text("# the farm\nexport DISTCC_HOSTS='pi1/4 pi2/4'\nPATH=/evil\n")
    assert sources.surroundings(environment) == {**environment, "DISTCC_HOSTS": "pi1/4 pi2/4"}
    file.write_text("DISTCC_HOSTS=pi1\nand so on\n")
    with pytest.raises(ConfigError, match=r"farm.env, line 2: 'and so on': expected NAME=VALUE"):
        sources.surroundings(environment)


def test_an_error_names_the_source() -> None:
    with pytest.raises(ConfigError, match=r"^\$BUILDFARM_HOSTS, line 1, column 5: "):
        sources.read(sources.find({"BUILDFARM_HOSTS": "pi3/x"}))


def test_a_hosts_file_that_cant_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "hosts").mkdir()
    with pytest.raises(ConfigError, match="can't read this hosts file: Is a directory") as caught:
        sources.find({"DISTCC_DIR": str(tmp_path)}, system_hosts=tmp_path / "none")
    assert caught.value.hint
    if os.geteuid():
        locked = _hosts(tmp_path / "locked", "pi3")
        locked.chmod(0)
        with pytest.raises(ConfigError, match="Permission denied"):
            sources.find({"DISTCC_DIR": str(locked.parent)})


def test_a_binary_hosts_file_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(b"\xff\xfe\x00pi3")
    with pytest.raises(ConfigError, match="line 1, column 1: "):
        sources.read(sources.find({"DISTCC_DIR": str(tmp_path)}))
