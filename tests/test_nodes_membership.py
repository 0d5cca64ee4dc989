"""The node list follows what the user writes while a build runs."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path

import pytest

from buildfarm.conductor.membership import Membership, read_again
from buildfarm.conductor.toolbox import Toolbox
from buildfarm.conductor.watching import Watcher
from buildfarm.errors import ConfigError
from buildfarm.request import RunRequest
from tests.farm import PATIENCE


def member(tmp_path: Path, **environment: str) -> Membership:
    request = RunRequest(
        tmp_path,
        (),
        environment={"DISTCC_DIR": str(tmp_path / "distcc"), "XDG_CONFIG_HOME": str(tmp_path), **environment},
    )
    return Membership(request, Toolbox(tmp_path), tmp_path / "cache")


def names(membership: Membership) -> list[str]:
    return [f"{node.host}/{node.slots}" for node in membership.nodes]


def test_hosts_file_buildfarm_toml_and_environment_file_are_read_again(tmp_path: Path) -> None:
    hosts = tmp_path / "distcc" / "hosts"
    hosts.parent.mkdir()
    hosts.write_text("pi1/4")
    variables = tmp_path / "farm.env"
    membership = member(tmp_path, BUILDFARM_ENVIRONMENT_FILE=str(variables))
    assert names(membership) == ["pi1/4"]
    assert {hosts, variables, tmp_path / "buildfarm.toml"} <= set(membership.files)
    hosts.write_text("pi1/8 pi2/2 localhost/1")
    assert membership.reload() and names(membership) == ["pi1/8", "pi2/2"] and membership.local_slots == 1
    assert not membership.reload(), "nothing new"
    (tmp_path / "buildfarm.toml").write_text('[nodes]\nhosts = "pi3/4"\n')
    assert membership.reload() and names(membership) == ["pi3/4"]
    variables.write_text("BUILDFARM_HOSTS='pi4/2'\n")
    assert membership.reload() and names(membership) == ["pi4/2"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("buildfarm.toml", '[nodes]\nhosts = "pi1/x"\n', "expected a number of slots"),
        ("buildfarm.toml", "[nodes\n", "not valid TOML"),
        ("distcc/hosts", "pi1:port/2\n", "expected a port"),
    ],
)
def test_nonsense_leaves_the_last_good_list(tmp_path: Path, name: str, text: str, words: str) -> None:
    hosts = tmp_path / "distcc" / "hosts"
    hosts.parent.mkdir()
    hosts.write_text("pi1/4")
    membership = member(tmp_path)
    (tmp_path / name).write_text(text)
    another, trouble = read_again(membership)
    assert not another and trouble is not None and words in trouble and "stay as they were" in trouble
    assert names(membership) == ["pi1/4"]


def test_distccs_variables_must_be_numbers(tmp_path: Path) -> None:
    assert member(tmp_path, DISTCC_BACKOFF_PERIOD="5", DISTCC_IO_TIMEOUT="7").policy(1).backoff == 5.0
    assert member(tmp_path).policy(1).backoff == 60.0
    with pytest.raises(ConfigError, match="DISTCC_IO_TIMEOUT"):
        member(tmp_path, DISTCC_IO_TIMEOUT="soon").policy(1)


def test_a_file_that_comes_is_replaced_or_goes_is_noticed(tmp_path: Path) -> None:
    busy = tmp_path / "tree"
    busy.mkdir()
    watched, inside = tmp_path / "hosts", busy / "buildfarm.toml"
    seen: list[int] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        told = asyncio.Event()

        def changed() -> None:
            seen.append(len(seen))
            told.set()

        def replace() -> None:
            (tmp_path / "new").write_text("pi1 pi2")
            os.replace(tmp_path / "new", watched)

        def unlink() -> None:
            watched.unlink()

        def write(path: Path, text: str) -> None:
            path.write_text(text)

        task = loop.create_task(Watcher((watched, inside), changed, busy=busy).run())
        for change in (
            partial(write, watched, "pi1"),
            replace,
            partial(write, inside, "[nodes]"),
            unlink,
        ):
            told.clear()
            await asyncio.sleep(0.01)
            change()
            await asyncio.wait_for(told.wait(), PATIENCE)
        task.cancel()

    asyncio.run(scenario())
    assert len(seen) == 4
