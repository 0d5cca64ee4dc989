"""Makes the conductor's `RunRequest` from a command line and configuration, or from the journal.

It checks what can be checked before anything starts (a directory, a makefile, make itself) and starts nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

from buildfarm import config as configuration
from buildfarm.cli.tree import named
from buildfarm.errors import MachineError, UsageError
from buildfarm.make import arguments
from buildfarm.make.instance import jobs_of
from buildfarm.model import BuildSpec
from buildfarm.request import VERIFY_PERCENT, RunRequest
from buildfarm.value import dataclass

MAKEFILE_NAMES = ("GNUmakefile", "makefile", "Makefile")
"""GNU make manual, 3.2: what make looks for without -f, in this order."""

FARM_VARIABLES = ("BUILDFARM_", "DISTCC_")


@dataclass(frozen=True, slots=True)
class Options:
    """buildfarm's own options as given; None: not given."""

    hosts: str | None = None
    fallback: str | None = None
    verify: float | None = None
    allow_public: bool = False
    events: Path | None = None
    config: Path | None = None
    plain: bool = False
    no_color: bool = False
    no_lookahead: bool = False
    no_pump: bool = False
    serial_order: bool = False
    jobs: int | None = None

    def recorded(self) -> dict[str, str]:
        """What `resume` must repeat, as text for the journal; how the build is shown is not part of it."""
        record: dict[str, str] = {}
        if self.hosts is not None:
            record["hosts"] = self.hosts
        if self.fallback is not None:
            record["fallback"] = self.fallback
        if self.verify is not None:
            record["verify"] = f"{self.verify:g}"
        if self.allow_public:
            record["allow_public"] = "yes"
        if self.events is not None:
            record["events"] = str(self.events.absolute())
        if self.config is not None:
            record["config"] = str(self.config.absolute())
        if self.no_lookahead:
            record["no_lookahead"] = "yes"
        if self.no_pump:
            record["no_pump"] = "yes"
        if self.serial_order:
            record["serial_order"] = "yes"
        if self.jobs is not None:
            record["jobs"] = str(self.jobs)
        return record


def from_words(words: Sequence[str], options: Options, environment: Mapping[str, str]) -> RunRequest:
    """The request of `run`.  Raises UsageError, ConfigError, MachineError."""
    parsed = _parse(words)
    directory = named(parsed.directory)
    chosen = options.config.absolute() if options.config else None
    config = configuration.load(directory, environment, chosen)
    # A makefile named with -f is relative to the directory that was typed, so make must run there.
    where = directory if parsed.makefiles else config.directory
    jobs, enters = parsed.jobs, parsed.enters
    if not parsed.goals and where == config.directory:
        configured = {name: value for name, value in config.variables.items() if name not in parsed.variables}
        more = [*config.goals, *(f"{name}={value}" for name, value in configured.items())]
        parsed = arguments.parse([*parsed.make_words, *more])
    _require_make(environment)
    _require_makefile(where, parsed, environment, config)
    if jobs is not None:
        options = replace(options, jobs=jobs)
    return _request(
        where,
        parsed.make_words,
        parsed.goals,
        parsed.variables,
        parsed.dry_run,
        options,
        config,
        environment,
        enters=enters,
        named_directory=directory,
    )


def from_spec(spec: BuildSpec, build: int, options: Options, environment: Mapping[str, str]) -> RunRequest:
    """The request of `resume`: the journal's `spec` with `options` of this command line over it.

    make gets the journal's environment.  This process's `environment` decides how the build is shown, and which
    nodes there are where it says so: the farm may have changed since.
    """
    directory = Path(spec.directory)
    record = spec.options
    merged = Options(
        hosts=options.hosts if options.hosts is not None else record.get("hosts"),
        fallback=options.fallback or record.get("fallback"),
        verify=options.verify if options.verify is not None else _percent(record.get("verify")),
        allow_public=options.allow_public or "allow_public" in record,
        events=options.events or (Path(record["events"]) if "events" in record else None),
        config=options.config or (Path(record["config"]) if "config" in record else None),
        plain=options.plain,
        no_color=options.no_color,
        no_lookahead=options.no_lookahead or "no_lookahead" in record,
        no_pump=options.no_pump or "no_pump" in record,
        serial_order=options.serial_order or "serial_order" in record,
        jobs=options.jobs if options.jobs is not None else _number(record.get("jobs")),
    )
    farm = {name: value for name, value in environment.items() if name.startswith(FARM_VARIABLES)}
    makes = {**spec.environment, **farm}
    config = configuration.load(directory, makes, merged.config)
    _require_make(makes)
    return _request(
        directory,
        spec.make_arguments,
        spec.goals,
        spec.variables,
        False,
        merged,
        config,
        makes,
        shown_in=environment,
        resumed_from=build,
    )


def _request(
    directory: Path,
    make_words: tuple[str, ...],
    goals: tuple[str, ...],
    variables: Mapping[str, str],
    dry_run: bool,
    options: Options,
    config: configuration.Config,
    environment: Mapping[str, str],
    *,
    enters: bool = False,
    named_directory: Path | None = None,
    shown_in: Mapping[str, str] | None = None,
    resumed_from: int | None = None,
) -> RunRequest:
    terminal = environment if shown_in is None else shown_in
    # distcc(1), DISTCC_FALLBACK: 0 means that no compile falls back to this machine.
    fallback = options.fallback or ("never" if environment.get("DISTCC_FALLBACK") == "0" else "local")
    return RunRequest(
        directory=directory,
        make_words=make_words,
        enters=enters,
        goals=goals,
        variables=variables,
        jobs=options.jobs if options.jobs is not None else jobs_of(environment),
        dry_run=dry_run,
        hosts_option=options.hosts,
        hosts_config=config.hosts,
        config=config.hosts_file or config.project_file,
        named=named_directory or directory,
        config_chosen=options.config.absolute() if options.config else None,
        fallback=fallback,
        verify=next((v for v in (options.verify, config.verify) if v is not None), VERIFY_PERCENT),
        allow_public=options.allow_public or bool(config.allow_public),
        lookahead=not options.no_lookahead,
        pump=not options.no_pump,
        serial_order=options.serial_order,
        plain=options.plain or terminal.get("TERM", "dumb") == "dumb",
        color=not options.no_color and not terminal.get("NO_COLOR"),
        events=options.events.absolute() if options.events else None,
        options=options.recorded(),
        environment=environment,
        resumed_from=resumed_from,
    )


def _parse(words: Sequence[str]) -> arguments.MakeArguments:
    try:
        return arguments.parse(words)
    except UsageError as error:
        from difflib import get_close_matches

        all_ours = ["--" + field.name.replace("_", "-") for field in fields(Options)]
        own = [name for name in all_ours if not arguments.is_option(name)]
        near = [
            match
            for word in words
            if word.startswith("--")
            for match in get_close_matches(word.partition("=")[0], own, n=1, cutoff=0.75)
        ]
        hint = f"did you mean {near[0]}?" if near else error.hint
        if near and near[0] in {word.partition("=")[0] for word in words}:
            hint = f"`buildfarm run` has {near[0]}, this command has not"
        raise UsageError(error.message, hint=hint) from error


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _percent(text: str | None) -> float | None:
    return None if text is None else float(text)


def _require_make(environment: Mapping[str, str]) -> None:
    if shutil.which("make", path=environment.get("PATH", os.defpath)) is None:
        raise MachineError("no `make` on PATH", hint="install GNU make, for instance `apt install make`")


def _require_makefile(
    directory: Path,
    parsed: arguments.MakeArguments,
    environment: Mapping[str, str],
    config: configuration.Config,
) -> None:
    """Say it better than make where make could only stop: no goal, and nothing to read rules from."""
    if parsed.makefiles or parsed.goals or environment.get("MAKEFILES"):
        return
    if any(flag.startswith(("-E", "--e", "-v", "--v", "-p", "--print-d")) for flag in parsed.flags):
        return
    if any((directory / name).exists() for name in MAKEFILE_NAMES):
        return
    where = f" (buildfarm.toml: {config.project_file})" if config.project_file else ""
    raise UsageError(
        f"{directory}: no Makefile here{where}",
        hint="name its directory with -C DIR or the file with -f FILE",
    )
