"""Shell completion: `buildfarm completion SHELL`, and what the scripts that it prints ask back.

click knows commands and options; the goals come from make, which is asked by a dry run that runs no recipe.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

VARIABLE = "_BUILDFARM_COMPLETE"
SECONDS = 3.0  # for make's answer: who presses TAB does not wait longer
SHELLS = ("bash", "zsh", "fish")

_RULE = re.compile(r"^([A-Za-z0-9_][\w./+-]*(?:[ \t]+[\w./+-]+)*)[ \t]*:(?![=:])", re.MULTILINE)


@click.command(
    epilog="""\b
Examples:
  d=~/.local/share/bash-completion/completions
  mkdir -p $d && buildfarm completion bash > $d/buildfarm
  mkdir -p ~/.zfunc && buildfarm completion zsh > ~/.zfunc/_buildfarm
                          with `fpath+=~/.zfunc` before compinit in ~/.zshrc
  buildfarm completion fish > ~/.config/fish/completions/buildfarm.fish

\b
Exit status: 0; 64 usage.
"""
)
@click.argument("shell", metavar="SHELL", type=click.Choice(SHELLS))
def completion(shell: str) -> int:
    """Print the completion script for SHELL: bash, zsh or fish.

    It completes commands, options, directories, and the goals of the Makefile.
    """
    click.echo(script(shell))
    return 0


def script(shell: str) -> str:
    """The shell's script; it calls `buildfarm` with `_BUILDFARM_COMPLETE` set for each completion."""
    from click.shell_completion import get_completion_class

    from buildfarm.cli.app import app

    kind = get_completion_class(shell)
    assert kind is not None, f"BUG: click knows no {shell}"
    maker = kind(app, {}, "buildfarm", VARIABLE)
    return maker.source_template % maker.source_vars()


def answer(instruction: str) -> int:
    """Answer a completion script, whose words stand in the environment."""
    from click.shell_completion import shell_complete

    from buildfarm.cli.app import app

    return shell_complete(app, {}, "buildfarm", VARIABLE, instruction)


def goals(make_words: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The goals that make knows with these words; empty where it knows none or takes too long."""
    from buildfarm.errors import BuildfarmError
    from buildfarm.make import arguments

    try:
        parsed = arguments.parse(make_words)
    except BuildfarmError:
        return []
    directory = Path(parsed.directory).resolve()
    try:
        found = _asked(directory, tuple(parsed.make_words), environment)
    except (BuildfarmError, OSError):
        found = []
    return found or _read(directory, parsed.makefiles)


def _asked(directory: Path, words: tuple[str, ...], environment: Mapping[str, str]) -> list[str]:
    import asyncio

    from buildfarm.graph.makedb import Reader
    from buildfarm.make.dryrun import dry_run
    from buildfarm.make.instance import MakeInstance

    reader = Reader()
    instance = MakeInstance(str(directory), ("make", *words), environment)

    async def heard() -> bool:
        async with asyncio.timeout(SECONDS):
            return (await dry_run(instance, SECONDS, reader.read)).error is None

    try:
        whole = asyncio.run(heard())
    except TimeoutError:
        whole = False
    if not whole:
        return []
    rules = reader.database().rules.values()
    return sorted(rule.name for rule in rules if rule.is_target and _is_goal(rule.name))


def _read(directory: Path, makefiles: Sequence[str]) -> list[str]:
    """The goals as they stand literally in the makefiles."""
    for name in makefiles or ("GNUmakefile", "makefile", "Makefile"):
        try:
            text = (directory / name).read_text(errors="replace")
        except OSError:
            continue
        return sorted({word for match in _RULE.finditer(text) for word in match[1].split() if _is_goal(word)})
    return []


def _is_goal(name: str) -> bool:
    return not name.startswith((".", "/", "%")) and "%" not in name and not re.search(r"[\s$]", name)


def complete_goals(make_words: Sequence[str], incomplete: str) -> list[tuple[str, str]]:
    """(kind, value) pairs for click: goals, or directories where make wants one.

    The words are as typed: a shell hands them to completion before it has expanded anything.
    """
    if make_words and make_words[-1] in ("-C", "--directory", "-I", "--include-dir"):
        return [("dir", incomplete)]
    if make_words and make_words[-1] in ("-f", "--file", "--makefile", "-o", "-W"):
        return [("file", incomplete)]
    words = [os.path.expandvars(os.path.expanduser(word)) for word in make_words]
    return [("plain", name) for name in goals(words, os.environ) if name.startswith(incomplete)]


def directories(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What an option that names a directory completes to: the shell knows them."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]
