"""From a command line, a configuration and a journal to what the conductor is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildfarm import config
from buildfarm.cli.requests import Options, from_spec, from_words
from buildfarm.errors import ConfigError, MachineError, UsageError
from buildfarm.request import UNLIMITED_JOBS, RunRequest


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("decks", "model"):
        directory = tmp_path / "project" / name
        directory.mkdir(parents=True)
        (directory / "Makefile").write_text("gcm:\n")
    return tmp_path / "project"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "make").symlink_to("/bin/true")
    return {"PATH": str(tools), "XDG_CONFIG_HOME": str(tmp_path / "home"), "TERM": "xterm"}


def configure(project: Path) -> None:
    (project / config.NAME).write_text(
        '[build]\ndirectory = "decks"\ngoals = ["gcm"]\nvariables = { RUN = "myrun", DEBUG = "no" }\n'
        '[nodes]\nhosts = "pi1/4"\n'
    )


def ask(project: Path, line: str, environment: dict[str, str], options: Options | None = None) -> RunRequest:
    return from_words(["-C", str(project), *line.split()], options or Options(), environment)


def test_makes_words_are_kept_but_for_directory_and_jobs(project: Path, environment: dict[str, str]) -> None:
    request = ask(project / "decks", "-kj4 -I inc gcm --eval=X:=1 RUN=x -- -odd", environment)
    assert request.directory == project / "decks"
    assert request.jobs == 4
    assert request.goals == ("gcm", "-odd")
    assert request.variables == {"RUN": "x"}
    assert "-k" in request.make_words
    assert not any(word.startswith(("-j", "-C")) for word in request.make_words)
    assert request.options == {"jobs": "4"}


def test_bare_j_is_unlimited_and_no_j_is_left_to_the_farm(project: Path, environment: dict[str, str]) -> None:
    assert ask(project / "decks", "-j", environment).jobs == UNLIMITED_JOBS
    assert ask(project / "decks", "", environment).jobs is None


def test_the_configuration_speaks_when_no_goal_is_named(project: Path, environment: dict[str, str]) -> None:
    configure(project)
    request = ask(project, "-k DEBUG=yes", environment)
    assert request.directory == project / "decks"
    assert request.goals == ("gcm",)
    assert request.variables == {"RUN": "myrun", "DEBUG": "yes"}
    assert sorted(request.make_words) == sorted(("-k", "gcm", "DEBUG=yes", "RUN=myrun"))
    assert (request.hosts_config, request.config) == ("pi1/4", project / config.NAME)


def test_a_named_goal_silences_the_configured_ones_but_not_the_directory(
    project: Path, environment: dict[str, str]
) -> None:
    configure(project)
    request = ask(project, "clean", environment)
    assert (request.directory, request.goals, dict(request.variables)) == (project / "decks", ("clean",), {})


def test_a_makefile_that_was_named_stays_where_it_was_named(project: Path, environment: dict[str, str]) -> None:
    configure(project)
    request = ask(project, "-f decks/Makefile", environment)
    assert (request.directory, request.goals) == (project, ())


def test_another_directory_takes_only_the_nodes(project: Path, environment: dict[str, str]) -> None:
    configure(project)
    request = ask(project / "model", "", environment)
    assert (request.directory, request.goals, request.hosts_config) == (project / "model", (), "pi1/4")


def test_how_it_is_shown_follows_options_and_environment(project: Path, environment: dict[str, str]) -> None:
    def shown(options: Options | None = None, **extra: str) -> tuple[bool, bool]:
        request = ask(project / "decks", "", {**environment, **extra}, options)
        return request.plain, request.color

    assert shown() == (False, True)
    assert shown(Options(plain=True, no_color=True)) == (True, False)
    assert shown(NO_COLOR="1") == (False, False)
    assert shown(NO_COLOR="") == (False, True)
    assert shown(TERM="dumb") == (True, True)


def test_fallback_is_distccs_unless_said_otherwise(project: Path, environment: dict[str, str]) -> None:
    assert ask(project / "decks", "", environment).fallback == "local"
    never = {**environment, "DISTCC_FALLBACK": "0"}
    assert ask(project / "decks", "", never).fallback == "never"
    assert ask(project / "decks", "", never, Options(fallback="local")).fallback == "local"


@pytest.mark.parametrize(("line", "dry"), [("-n", True), ("--question gcm", True), ("-B gcm", False)])
def test_a_dry_run_is_known_as_one(project: Path, environment: dict[str, str], line: str, dry: bool) -> None:
    assert ask(project / "decks", line, environment).dry_run is dry


def test_resume_asks_for_the_same_again(project: Path, environment: dict[str, str]) -> None:
    configure(project)
    options = Options(hosts="pi7/2", fallback="never", events=Path("/tmp/e"), serial_order=True)
    first = ask(project, "-kj7 RUN=x", {**environment, "FFLAGS": "-O3"}, options)
    again = from_spec(first.spec(), 5, Options(plain=True), {"TERM": "xterm", "FFLAGS": "-O0"})
    assert again.resumed_from == 5
    assert again.plain
    for name in ("directory", "make_words", "goals", "variables", "jobs", "hosts_option", "fallback", "events"):
        assert getattr(again, name) == getattr(first, name), name
    assert again.serial_order
    assert again.environment == first.environment
    assert again.options == first.options


def test_resume_takes_other_nodes_when_it_is_told_of_them(project: Path, environment: dict[str, str]) -> None:
    first = ask(project / "decks", "gcm", {**environment, "DISTCC_HOSTS": "old"}, Options(hosts="pi7/2"))
    again = from_spec(first.spec(), 1, Options(hosts="new/1", jobs=3), {"DISTCC_HOSTS": "new"})
    assert (again.hosts_option, again.jobs, again.environment["DISTCC_HOSTS"]) == ("new/1", 3, "new")


def test_a_directory_without_a_makefile_is_told_before_anything_starts(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    with pytest.raises(UsageError, match="no Makefile here"):
        ask(tmp_path, "", environment)
    assert ask(tmp_path, "hello", environment).goals == ("hello",)  # an implicit rule may make it
    assert ask(tmp_path, "-f -", environment).directory == tmp_path


def test_what_is_missing_is_named(project: Path, environment: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="no `make` on PATH"):
        ask(project / "decks", "", {**environment, "PATH": str(tmp_path / "absent")})
    with pytest.raises(UsageError, match=r"-C .*absent: No such file"):
        ask(project / "absent", "", environment)
    with pytest.raises(ConfigError, match="no such file"):
        ask(project, "", environment, Options(config=tmp_path / "absent.toml"))


def test_a_mistyped_option_of_ours_is_recognised(project: Path, environment: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        ask(project / "decks", "--hostss=pi1", environment)
    assert caught.value.hint == "did you mean --hosts?"
