"""What one `run` or `resume` asks of the conductor: a frozen value, complete, with every default applied.

It is built by `cli` from the command line, `buildfarm.toml`, the environment or the journal.  It reads none
of them itself, and does not look at nodes: the raw host lists travel to `dispatch.sources`, which reads them
again when they change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from buildfarm.model import BuildSpec
from buildfarm.value import dataclass

VERIFY_PERCENT = 2.0
"""Default of `RunRequest.verify`."""

UNLIMITED_JOBS = 0
"""`RunRequest.jobs` for a bare `-j`: make's "no limit"."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One build to run.  All paths are absolute; `resume` makes the same value from the journal."""

    directory: Path  # where make runs: the tree whose `.buildfarm` holds the state
    make_words: tuple[str, ...]  # all that make gets, goals and variables included; without -C and -j
    goals: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    jobs: int | None = None  # -j, or that of MAKEFLAGS; None: not given, UNLIMITED_JOBS: given without a number
    enters: bool = False  # -C was typed: make says which directory it enters and leaves
    dry_run: bool = False  # -n, -q, -t and the like: make runs no recipe, nothing is journaled

    hosts_option: str | None = None  # --hosts
    hosts_config: str | None = None  # `[nodes] hosts` of `config`
    config: Path | None = None  # the buildfarm.toml in force; read again when it changes

    named: Path | None = None  # the directory that -C named, where the search for buildfarm.toml begins
    config_chosen: Path | None = None  # --config

    fallback: str = "local"  # "local" | "never"
    verify: float = VERIFY_PERCENT  # percent of the nodes' units that are compiled here too and compared
    allow_public: bool = False  # nodes whose address the whole Internet can reach
    lookahead: bool = True
    pump: bool = True  # nodes may preprocess C and C++, where that is cheaper
    serial_order: bool = False

    plain: bool = False  # lines, never the live view
    color: bool = True  # False: --no-color or NO_COLOR
    events: Path | None = None  # append JSON lines here

    options: Mapping[str, str] = field(default_factory=dict)  # ours as typed, for the journal and `resume`
    environment: Mapping[str, str] = field(default_factory=dict)  # make's, before ours is added
    resumed_from: int | None = None  # the journal's id of the build that this one continues

    @property
    def jobs_are_ours(self) -> bool:
        """Whether nobody said how many recipes make may run at a time: there is no -j, and no outer job server."""
        return self.jobs is None and "jobserver" not in self.environment.get("MAKEFLAGS", "")

    @property
    def keeps_order(self) -> bool:
        """Whether make is to run one recipe after the other, and lookahead alone fills the farm.

        Who names several goals and no -j counts on their order (`clean all`); so they are not built side by side.
        """
        return self.serial_order or (self.jobs_are_ours and len(self.goals) > 1)

    @property
    def make_command(self) -> tuple[str, ...]:
        """make's words, to be run in `directory`."""
        return ("-C", ".", *self.make_words) if self.enters else self.make_words

    def spec(self) -> BuildSpec:
        """The journal's record of this request; `resume` repeats it to the letter."""
        return BuildSpec(
            directory=str(self.directory),
            goals=self.goals,
            variables=self.variables,
            make_arguments=self.make_words,
            options=self.options,
            environment=self.environment,
        )
