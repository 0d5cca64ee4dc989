"""Shell completion: what a TAB offers, in the words of click's protocol and in a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from buildfarm.cli.completion import SHELLS, script
from tests.tool import buildfarm, environment
from tools.man_page import files

MAKEFILE = """\
NAMES := one two
all: $(NAMES)
$(NAMES): ; @echo $@
.PHONY: all clean-all
clean-all: ; @touch ran
$(shell touch side-effect)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "Makefile").write_text(MAKEFILE)
    return tmp_path


def _offered(tree: Path, *words: str) -> list[str]:
    line = ("buildfarm", *words)
    result = buildfarm(
        env=environment(COMP_WORDS=" ".join(line), COMP_CWORD=str(len(line) - 1), _BUILDFARM_COMPLETE="bash_complete"),
        cwd=tree,
    )
    return [offer.partition(",")[2] for offer in result.stdout.splitlines()]


def test_commands_and_options_are_offered(tree: Path) -> None:
    assert _offered(tree, "res") == ["resume"]
    assert "--serial-order" in _offered(tree, "run", "--s")


@pytest.mark.parametrize("command", ["run", "plan", "watch"])
def test_goals_of_the_named_makefile_are_offered_expanded_ones_too(tree: Path, command: str) -> None:
    assert _offered(tree, command, "-C", "sub", "o") == ["one"]
    assert _offered(tree, command, "-C", "sub", "one", "clean") == ["clean-all"]


def test_asking_for_goals_runs_nothing_and_writes_nothing(tree: Path) -> None:
    before = sorted(tree.rglob("*"))
    _offered(tree, "run", "-C", "sub", "c")
    assert sorted(tree.rglob("*")) == before


def test_a_broken_makefile_offers_what_stands_in_it(tree: Path) -> None:
    (tree / "sub" / "Makefile").write_text("good: ; true\ngone: ; true\n$(error no)\n")
    assert _offered(tree, "run", "-C", "sub", "go") == ["gone", "good"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is missing: install it")
def test_bash_completes_a_goal(tree: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "buildfarm"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m buildfarm "$@"\n')
    program.chmod(0o755)
    (tmp_path / "script").write_text(script("bash"))
    lines = f"""
        source {tmp_path}/script
        COMP_WORDS=(buildfarm run -C sub clea); COMP_CWORD=4
        _buildfarm_completion buildfarm
        echo "${{COMPREPLY[@]}}"
    """
    env = environment(PATH=f"{program.parent}:{os.environ['PATH']}")
    done = subprocess.run(["bash", "-c", lines], cwd=tree, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "clean-all", done.stderr


def test_every_shell_has_a_script() -> None:
    for shell in SHELLS:
        result = buildfarm("completion", shell)
        assert result.code == 0 and "_BUILDFARM_COMPLETE" in result.stdout
    assert buildfarm("completion", "tcsh").code == 64


def test_man_page_and_scripts_that_are_shipped_are_the_programs_own() -> None:
    for path, text in files().items():
        assert path.read_text() == text, f"{path.name} is old: run `python -m tools.man_page`"


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is missing: install groff-base")
def test_the_man_page_has_no_errors() -> None:
    page = next(path for path in files() if path.suffix == ".1")
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z", str(page)], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
