"""Completion in the shells themselves: on a terminal of its own, with the script that is shipped, a TAB typed.

What is offered is `test_cli_completion`'s; here it must arrive on the line.
"""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from buildfarm.cli.completion import script
from tests.farm import PATIENCE
from tests.tool import environment

TAB, KILL_LINE = b"\t", b"\x15"

SETUP = {
    "bash": ("bash", "--norc", "--noprofile", "-i"),
    "zsh": ("zsh", "-f", "-i"),
    "fish": ("fish", "--no-config", "--interactive"),
}
READY = {
    "bash": "bind 'set bell-style none'; bind 'set enable-bracketed-paste off'; source {script}",
    "zsh": "unsetopt prompt_cr zle_bracketed_paste; autoload -U compinit; compinit -D -u; source {script}",
    "fish": "source {script}",
}
MAKEFILE = "RUN ?= none\nall:\nclean-all clean-some: ; @touch ran\nNAMES := release debug\n$(NAMES): ; true\n"


@dataclass
class Terminal:
    """A shell on a pseudo terminal."""

    pid: int
    descriptor: int
    said: bytes = b""

    def type(self, keys: bytes) -> None:
        os.write(self.descriptor, keys)

    def wait_for(self, text: str) -> None:
        """Return once `text` has appeared since the last answer; fail the test when it does not."""
        end = time.monotonic() + PATIENCE
        while text.encode() not in self.said:
            if time.monotonic() > end:
                pytest.fail(f"waited in vain for {text!r}; the terminal shows {self.said!r}")
            if select.select([self.descriptor], [], [], 0.2)[0]:
                try:
                    self.said += os.read(self.descriptor, 65536)
                except OSError:
                    pytest.fail(f"the shell has ended; the terminal shows {self.said!r}")

    def completes(self, line: str, to: str) -> None:
        """Type the line and TAB: it becomes `to`.  The line is taken back afterwards."""
        self.said = b""
        self.type(line.encode() + TAB)
        self.wait_for(to)
        self.type(KILL_LINE)

    def answers(self, command: str, text: str) -> None:
        """Run a command that prints `text`; what is typed must not contain it."""
        assert text not in command
        self.said = b""
        self.type(command.encode() + b"\r")
        self.wait_for(text)


@pytest.fixture(params=SETUP)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    """A shell that knows the completion, in a directory with a project below it."""
    name = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is missing: make tools")
    project = tmp_path / "home" / "my project"
    project.mkdir(parents=True)
    (project / "Makefile").write_text(MAKEFILE)
    program = tmp_path / "bin" / "buildfarm"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m buildfarm "$@"\n')
    program.chmod(0o755)
    (tmp_path / "script").write_text(script(name))
    env = environment(
        PATH=f"{program.parent}:{os.environ['PATH']}",
        HOME=str(tmp_path / "home"),
        XDG_CONFIG_HOME=str(tmp_path / "home"),
        XDG_DATA_HOME=str(tmp_path / "home"),
        TERM="dumb" if name != "fish" else "xterm",
        COLUMNS="200",
        PS1="> ",
    )
    pid, descriptor = pty.fork()
    if not pid:
        os.chdir(tmp_path / "home")
        os.execvpe(SETUP[name][0], SETUP[name], env)
    terminal = Terminal(pid, descriptor)
    try:
        terminal.answers(f"{READY[name].format(script=tmp_path / 'script')}; echo rea''dy", "ready")
        yield terminal
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(descriptor)


def test_commands_options_and_the_makefiles_goals_are_completed_on_the_line(shell: Terminal, tmp_path: Path) -> None:
    shell.completes("buildfarm resu", "buildfarm resume")
    shell.completes("buildfarm run --serial", "--serial-order")
    shell.completes("buildfarm run -C my\\ project deb", "debug")
    shell.completes("buildfarm run -C ~/my\\ project -k rele", "release")
    shell.completes("buildfarm run -C my\\ project RUN=myrun debug clean-s", "clean-some")
    shell.completes("buildfarm status -C my", "my\\ project")
    assert not (tmp_path / "home" / "my project" / "ran").exists()
