"""Nodes are asked early where a build is likely to need them; what they say early counts as what they say later."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from buildfarm.conductor import headstart
from buildfarm.conductor.probing import Prober
from buildfarm.conductor.toolbox import Toolbox
from buildfarm.dispatch.events import Probed
from buildfarm.model import BuildState, Node
from buildfarm.request import RunRequest
from buildfarm.state.journal import Journal
from tests import state_samples as sample
from tests.farm import PATIENCE, Farm, dead_port, require_distccd


def prober(tmp_path: Path) -> Prober:
    request = RunRequest(tmp_path, (), environment=dict(os.environ))
    return Prober(request, Toolbox(tmp_path / "masquerade"), tmp_path / "canaries")


def probed(prober: Prober, node: Node) -> Probed:
    async def ask() -> Probed:
        async with asyncio.timeout(PATIENCE):
            return await prober.probe(node)

    return asyncio.run(ask())


def test_an_early_answer_is_the_later_one(tmp_path: Path) -> None:
    require_distccd()
    with Farm(count=1) as farm:
        node = Node("127.0.0.1", farm.nodes[0].port)
        later = probed(prober(tmp_path), node)
        assert later.error is None and later.languages
        early = prober(tmp_path)
        early.ask_early([node, node])
        report = probed(early, node)
        assert (report.languages, report.compiler, report.error) == (later.languages, later.compiler, None)
        farm.nodes[0].stop()
        farm.nodes[0].kill()
        assert probed(early, node).error is not None, "what was said early counts once"


def test_without_known_canaries_nobody_is_asked_early_and_nothing_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("somebody was asked")

    asked = prober(tmp_path)
    monkeypatch.setattr(asked, "_ask", never)
    asked.ask_early([Node("127.0.0.1", dead_port())])
    assert not (tmp_path / "canaries").exists()


def test_a_node_that_is_not_there_is_told_of_as_ever(tmp_path: Path) -> None:
    absent = Node("127.0.0.1", dead_port())
    expected = probed(prober(tmp_path), absent)  # lays the canaries
    early = prober(tmp_path)
    early.ask_early([absent])
    assert probed(early, absent) == expected
    assert expected.error is not None and not expected.quarantine


def test_a_bug_in_the_thread_comes_out_where_the_answer_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = Node("127.0.0.1", dead_port())
    probed(prober(tmp_path), absent)

    async def broken(*_: object) -> Probed:
        raise ZeroDivisionError

    early = prober(tmp_path)
    monkeypatch.setattr(early, "_ask", broken)
    early.ask_early([absent])
    with pytest.raises(BaseException) as caught:
        probed(early, absent)
    assert caught.group_contains(ZeroDivisionError) or isinstance(caught.value, ZeroDivisionError)


def test_work_is_expected_unless_the_last_build_was_complete(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        assert headstart.is_likely_to_work(journal.last_build())
        for state, likely in (
            (BuildState.COMPLETE, False),
            (BuildState.FAILED, True),
            (BuildState.INTERRUPTED, True),
        ):
            build = sample.begin(journal)
            assert headstart.is_likely_to_work(journal.last_build()), "a build that died"
            journal.end_build(build, state, None)
            assert headstart.is_likely_to_work(journal.last_build()) is likely
