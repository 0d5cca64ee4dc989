"""A click command whose words are mostly make's: ours are checked by click, the rest is left as it is.

It exists because click's own ways of letting unknown options through drop `--` and split clusters such as
`-kj4`; see `words` for the rule of what is whose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from buildfarm.cli.words import split
from buildfarm.errors import UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

MAKES_WORDS = "make_words"
"""The parameter in which the callback gets make's words, a tuple."""


class RawCommand(click.Command):
    """Passes all that is not an option of this command to the callback as `make_words`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {
            name: not (isinstance(option, click.Option) and option.is_flag)
            for option in self.get_params(ctx)
            for name in (*option.opts, *option.secondary_opts)
            if name.startswith("-")
        }
        try:
            ours, makes = split(args, own)
        except UsageError:
            if not ctx.resilient_parsing:  # a shell asks how the line may go on
                raise
            ours, makes = [], []
        rest = super().parse_args(ctx, ours)
        assert not rest, "BUG: click was given words that are not ours"
        ctx.params[MAKES_WORDS] = tuple(makes)
        return rest

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Options of ours, and what make would take here: a goal or, behind `-C`, a directory."""
        from click.shell_completion import CompletionItem

        from buildfarm.cli.completion import complete_goals

        items = super().shell_complete(ctx, incomplete)
        if not incomplete.startswith("-"):
            makes = ctx.params.get(MAKES_WORDS, ())
            items += [CompletionItem(value, type=kind) for kind, value in complete_goals(makes, incomplete)]
        return items

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[OPTIONS]", "[MAKE OPTIONS]", "[GOAL ...]", "[VAR=VALUE ...]"]
