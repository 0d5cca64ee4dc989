"""buildfarm.toml: which file is in force, where [build] applies, and errors that help."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from buildfarm import config
from buildfarm.cli import tree
from buildfarm.config_schema import ConfigFile
from buildfarm.dispatch import hosts
from buildfarm.errors import ConfigError

GOOD = """\
[build]
directory = "decks"
goals = ["gcm"]
variables = { RUN = "myrun" }

[nodes]
hosts = "localhost/2 10.168.168.41/8,lzo,cpp"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("decks", "model/sub"):
        (tmp_path / "project" / name).mkdir(parents=True)
    return tmp_path / "project"


def environment(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path / "home")}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_without_a_file_everything_is_empty(project: Path, tmp_path: Path) -> None:
    assert config.load(project, environment(tmp_path)) == config.Config(project)


@pytest.mark.parametrize("named", [".", "decks"])
def test_build_applies_in_the_files_directory_and_in_the_one_it_names(
    project: Path, tmp_path: Path, named: str
) -> None:
    file = write(project / config.NAME, GOOD)
    found = config.load((project / named).resolve(), environment(tmp_path))
    assert found == config.Config(
        directory=project / "decks",
        goals=("gcm",),
        variables={"RUN": "myrun"},
        hosts="localhost/2 10.168.168.41/8,lzo,cpp",
        hosts_file=file,
        project_file=file,
    )
    assert config.find_place((project / named).resolve()).directory == project / "decks"


def test_a_directory_further_down_keeps_its_own_makefile_and_takes_only_nodes(project: Path, tmp_path: Path) -> None:
    write(project / config.NAME, GOOD)
    found = config.load(project / "model/sub", environment(tmp_path))
    assert (found.directory, found.goals, dict(found.variables)) == (project / "model/sub", (), {})
    assert found.hosts == "localhost/2 10.168.168.41/8,lzo,cpp"
    assert config.find_place(project / "model/sub").directory == project / "model/sub"


def test_the_nearest_file_wins(project: Path, tmp_path: Path) -> None:
    write(project / config.NAME, GOOD)
    write(project / "model" / config.NAME, '[nodes]\nhosts = "near"\n')
    assert config.load(project / "model/sub", environment(tmp_path)).hosts == "near"


def test_the_users_file_gives_what_the_projects_leaves_out(project: Path, tmp_path: Path) -> None:
    write(project / config.NAME, '[build]\ngoals = ["all"]\n')
    user = write(tmp_path / "home/buildfarm" / config.NAME, '[nodes]\nhosts = "mine"\n')
    found = config.load(project, environment(tmp_path))
    assert (found.goals, found.hosts, found.hosts_file) == (("all",), "mine", user)


def test_an_empty_host_list_is_said_and_not_left_out(project: Path, tmp_path: Path) -> None:
    write(project / config.NAME, '[nodes]\nhosts = ""\n')
    write(tmp_path / "home/buildfarm" / config.NAME, '[nodes]\nhosts = "mine"\n')
    assert config.load(project, environment(tmp_path)).hosts == ""


def test_a_chosen_file_is_the_only_one(project: Path, tmp_path: Path) -> None:
    write(project / config.NAME, GOOD)
    chosen = write(tmp_path / "other.toml", '[nodes]\nhosts = "chosen"\n')
    found = config.load(project, environment(tmp_path), chosen)
    assert (found.directory, found.hosts, found.goals) == (project, "chosen", ())
    with pytest.raises(ConfigError, match="no such file"):
        config.load(project, environment(tmp_path), tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[build]\ngoal = ["gcm"]\n', ':2: build.goal: unknown key; did you mean "goals"?'),
        ('[node]\nhosts = "x"\n', ':1: node: unknown key; did you mean "nodes"? (known here: build, nodes)'),
        ("[build]\n\ndirectory = 3\n", ":3: build.directory: expected a path as text, relative to this file"),
        (
            '[build]\ngoals = "gcm"\n',
            ':2: build.goals: expected a list of targets, such as ["gcm"], not "gcm"',
        ),
        ('[build]\ngoals = ["-k"]\n', ":2: build.goals: a goal is a target's name"),
        (
            "[build]\nvariables = { RUN = 3 }\n",
            ':2: build.variables.RUN: expected a text, such as "myrun", not 3',
        ),
        (
            '[build.variables]\nB = "1"\n"a b" = "x"\n',
            ":3: build.variables.a b: not a name that a make variable",
        ),
        ("build = true\n", ":1: build: expected a table, [build], not true"),
        ("[nodes]\nhosts = [1]\n", ":2: nodes.hosts: expected a host list in distcc's syntax"),
        ('nodes.hosts = "a"\nnodes.hots = "b"\n', ':2: nodes.hots: unknown key; did you mean "hosts"?'),
        ("[build]\ngoals = \n", ":2: not valid TOML: Invalid value"),
        ("[build\n", ":1: not valid TOML"),
        ('[build]\ndirectory = "absent"\n', ":2: build.directory: "),
    ],
)
def test_an_error_names_file_line_field_and_what_was_expected(
    project: Path, tmp_path: Path, text: str, expected: str
) -> None:
    file = write(project / config.NAME, text)
    with pytest.raises(ConfigError) as caught:
        config.load(project, environment(tmp_path))
    assert caught.value.message.startswith(f"{file}{expected}")
    assert caught.value.exit_code == 78


def test_all_errors_of_a_file_are_told_at_once(project: Path, tmp_path: Path) -> None:
    write(project / config.NAME, "[build]\ngoal = []\n[nodes]\nhost = 1\n")
    with pytest.raises(ConfigError) as caught:
        config.load(project, environment(tmp_path))
    assert len(caught.value.message.splitlines()) == 2


def test_bytes_that_are_not_utf8_are_named_with_their_line(project: Path, tmp_path: Path) -> None:
    (project / config.NAME).write_bytes(b'[nodes]\nhosts = "\xff"\n')
    with pytest.raises(ConfigError, match=r"buildfarm\.toml:2: not UTF-8"):
        config.load(project, environment(tmp_path))


def test_a_file_that_cannot_be_read_is_an_error_of_configuration(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project / config.NAME, GOOD)

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigError, match="can't be read: Permission denied"):
        config.load(project, environment(tmp_path))


def test_the_quick_look_for_the_directory_complains_as_the_full_check_does(project: Path) -> None:
    write(project / config.NAME, "[build]\ndirectory = 3\n")
    with pytest.raises(ConfigError, match=r":2: build\.directory: expected"):
        config.find_place(project)


WORDS = st.sampled_from(["", "decks", "-k", "A=b", "A", "9", "a b", "x\0", "pi1/4 pi2"]) | st.text(max_size=3)
ANYTHING = st.recursive(
    WORDS | st.integers(-1, 101) | st.booleans() | st.floats(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=3,
)
KEYS = st.sampled_from([*config._CERTAIN["build"], *config._CERTAIN["nodes"], "host"])
TABLES = st.dictionaries(
    st.sampled_from(["build", "nodes", "node"]), st.dictionaries(KEYS, ANYTHING, max_size=3) | ANYTHING, max_size=2
)


@given(TABLES)
@example({"build": {"directory": "decks", "goals": ["gcm"], "variables": {"RUN": ""}}})
@example({"nodes": {"hosts": "", "verify": 100, "allow_public": False}})
def test_what_is_surely_right_is_right_by_the_schema(data: dict[str, object]) -> None:
    if config._surely_right(data):
        ConfigFile.model_validate(data)


def test_what_people_write_needs_no_schema_to_be_told_right(project: Path) -> None:
    assert config._surely_right(config._parse(project, GOOD))
    assert config._surely_right(config._parse(project, config.EXAMPLE))
    fields = {table: set(field.annotation.model_fields) for table, field in ConfigFile.model_fields.items()}  # type: ignore[union-attr]
    assert fields == {table: set(keys) for table, keys in config._CERTAIN.items()}


@given(st.text("ap1.:/,lzocp-#@ ", max_size=20))
@example("pi1:3632/4,lzo,cpp pi2")
@example("pi1/4 pi1/4,lzo")
def test_a_host_list_that_is_surely_right_can_be_parsed(text: str) -> None:
    if tree._surely_hosts(text):
        hosts.parse(text, "a test")


def test_a_usual_host_list_needs_no_parser_to_be_told_right() -> None:
    assert tree._surely_hosts("10.168.168.41/8,lzo,cpp pi2:3633 pi-3.local/12,lzo")


def test_a_directory_of_that_name_is_told_and_not_passed_by(project: Path, tmp_path: Path) -> None:
    (project / config.NAME).mkdir()
    with pytest.raises(ConfigError, match=r"buildfarm\.toml: a directory"):
        config.load(project / "decks", environment(tmp_path))
    with pytest.raises(ConfigError, match=r"buildfarm\.toml: a directory"):
        config.find_place(project)
    chosen = write(tmp_path / "other.toml", "")
    assert config.load(project, environment(tmp_path), chosen).directory == project


def test_a_users_file_that_can_not_be_looked_at_is_none(tmp_path: Path) -> None:
    assert config.find_user_file({"XDG_CONFIG_HOME": str(tmp_path / ("x" * 300))}) is None  # ENAMETOOLONG, as EACCES
