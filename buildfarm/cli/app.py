"""The command group: which commands there are, and where each lives.

A command's module is imported when it is called or when help lists it; none of them imports anything heavy at
its top.
"""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS = {
    "run": "buildfarm.cli.run:run",
    "resume": "buildfarm.cli.run:resume",
    "status": "buildfarm.cli.status:status",
    "plan": "buildfarm.cli.plan:plan",
    "nodes": "buildfarm.cli.nodes:nodes",
    "doctor": "buildfarm.cli.doctor:doctor",
    "report": "buildfarm.cli.report:report",
    "export": "buildfarm.cli.export:export",
    "explain": "buildfarm.cli.explain:explain",
    "watch": "buildfarm.cli.watch:watch",
    "forget": "buildfarm.cli.forget:forget",
    "completion": "buildfarm.cli.completion:completion",
    "service": "buildfarm.cli.service:service",
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command), f"BUG: {place} is no command"
        # Lists of commands, in help and behind TAB, show the first sentence whole; click would cut it.
        command.short_help = command.short_help or (command.help or "").partition("\n")[0].rstrip(".")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            guess = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(COMMANDS)}."
            raise click.UsageError(f"no command {args[0]!r}; {guess} To build a goal: `buildfarm run GOAL`.", ctx)
        return super().resolve_command(ctx, args)


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"buildfarm {version('buildfarm')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  buildfarm run -C ~/lua -k      as make -C ~/lua -k, on ~/.distcc/hosts
  buildfarm run --hosts "pi1/4 pi2/4" gcm RUN=myrun
  buildfarm status               how far is it, from another terminal
  buildfarm resume               after a crash or Ctrl-C: what is missing
""",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version.",
)
def app() -> None:
    """Run make builds on a farm of distccd nodes, and resume them where they stopped.

    Type `buildfarm run ARGS` in place of `make ARGS`: the Makefile stays as it is, and so does the result.
    """
