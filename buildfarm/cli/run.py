"""`buildfarm run` and `buildfarm resume`: the command line in, the conductor's exit status out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from buildfarm.cli.raw import RawCommand
from buildfarm.cli.tree import config_option, directory_option, tree
from buildfarm.errors import UsageError
from buildfarm.home import STATE_DIRECTORY

Callback = TypeVar("Callback", bound=Callable[..., Any])


def build_options(callback: Callback) -> Callback:
    """The options that `run` and `resume` share."""
    for option in reversed(
        (
            click.option("--hosts", metavar="HOSTS", help='The nodes, in distcc\'s syntax: "pi1/4 pi2:3632/4,lzo".'),
            click.option(
                "--fallback",
                type=click.Choice(["local", "never"]),
                help="Where a unit goes when no node can take it: to this machine, or nowhere (it fails).",
            ),
            click.option(
                "--verify",
                type=click.FloatRange(0, 100),
                metavar="PERCENT",
                help="Percentage of the nodes' units that are also compiled here and compared (default 2; 0: none).",
            ),
            click.option("--allow-public", is_flag=True, help="Permit nodes whose address is not a private one."),
            click.option("--plain", is_flag=True, help="Lines instead of the live view."),
            click.option("--no-color", is_flag=True, help="No colours; NO_COLOR does the same."),
            click.option(
                "--events",
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="Append every check-out, check-in, retry and node change as a line of JSON.",
            ),
            click.option("--no-lookahead", is_flag=True, help="Compile nothing before make asks for it."),
            click.option("--no-pump", is_flag=True, help="Preprocess every C and C++ unit here."),
            click.option(
                "--serial-order",
                is_flag=True,
                help="Keep make's serial order, recipe by recipe; for Makefiles that lack prerequisites.",
            ),
        )
    ):
        callback = option(callback)
    return config_option(callback)


@click.command(
    cls=RawCommand,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  buildfarm run                          what `make` would build here
  buildfarm run -C decks gcm RUN=myrun   as make -C decks gcm RUN=myrun
  buildfarm run -kj40 --hosts "10.0.0.2/8,lzo 10.0.0.3/8,lzo"
  buildfarm run -f build.mk -- -odd-goal everything after -- is make's
  buildfarm run --events build.jsonl     for a program that watches

\b
Environment: BUILDFARM_HOSTS, DISTCC_HOSTS, DISTCC_DIR name the nodes where
--hosts and buildfarm.toml do not; DISTCC_BACKOFF_PERIOD, DISTCC_IO_TIMEOUT,
DISTCC_FALLBACK, DISTCC_SKIP_LOCAL_RETRY, DISTCC_SSH mean what they mean to
distcc; NO_COLOR.

\b
Exit status: make's own (0, 2), 64 usage, 75 another build runs in this tree,
78 configuration, 130 and 143 interrupted (`buildfarm resume` goes on).
""",
)
@build_options
def run(make_words: tuple[str, ...], **given: Any) -> int:
    """Run make here, and its compiles on the nodes.

    All of make's options are make's (-C -f -j -k -B ...); -j defaults to what the farm can use.
    """
    from buildfarm import conductor
    from buildfarm.cli.requests import Options, from_words

    return conductor.run(from_words(make_words, Options(**given), dict(os.environ)))


class _Resume(click.Command):
    """Knows make's options, to say why they are none of its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as unknown:
            from buildfarm.make.arguments import is_option

            name = unknown.option_name
            if not is_option(name):
                raise
            text = f"{name}: make's options are those of the build that is resumed"
            raise UsageError(text, hint="`buildfarm run` with other options builds what is missing too") from unknown


@click.command(
    cls=_Resume,
    epilog="""\b
Examples:
  buildfarm resume                           the build of this directory
  buildfarm resume -C decks --hosts "pi3/4"  the same with other nodes
  buildfarm resume --dry-run                 what would be kept, what would go

\b
Exit status: as `run`; 0 when the last build is complete, 66 when nothing was
ever built here.
""",
)
@directory_option
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="make's -j, instead of the one that the build had."
)
@click.option(
    "-n", "--dry-run", is_flag=True, help="Only list what would be kept, what would be removed, and why; touch nothing."
)
@click.option(
    "--only-interrupted",
    is_flag=True,
    help="Do nothing, with exit status 0, unless the last build was interrupted; for scripts that run at boot.",
)
@build_options
def resume(directory: str, jobs: int | None, dry_run: bool, only_interrupted: bool, **given: Any) -> int:
    """Continue the interrupted build where it stopped.

    Goals, variables, options and environment are the same.  What was checked in is kept; what was under way when
    the build stopped is done again.
    """
    from buildfarm.cli.requests import Options, from_spec
    from buildfarm.errors import NothingToResume
    from buildfarm.state.journal import Journal
    from buildfarm.state.lock import TreeLock
    from buildfarm.state.reader import snapshot

    where = tree(directory, given["config"])
    known = snapshot(where / STATE_DIRECTORY)
    if only_interrupted and known.state != "interrupted":
        click.echo(f"{where}: the last build was not interrupted; there is nothing to resume")
        return 0
    if known.state == "complete":
        click.echo(f"{where}: the last build is complete; there is nothing to resume")
        return 0
    last, reason = None, f"{where}: never built here"
    if known.state != "none" or known.problem:
        # The journal has one writer at a time: whoever holds the tree's lock.
        with TreeLock(where / STATE_DIRECTORY) as lock, Journal.open(where / STATE_DIRECTORY) as journal:
            last = journal.last_build()
            if journal.healed:
                click.echo(f"buildfarm: {journal.healed}", err=True)
                reason = f"{where}: no build is known here any more"
            if dry_run and last is not None:
                from buildfarm.cli.sweep import show

                request = from_spec(last.spec, last.id, Options(jobs=jobs, **given), dict(os.environ))
                return show(journal, lock, request)
    if last is None:
        raise NothingToResume(reason, hint="`buildfarm run` starts a build")
    from buildfarm import conductor

    return conductor.run(from_spec(last.spec, last.id, Options(jobs=jobs, **given), dict(os.environ)))
