"""Holds the documents to the program: every command, option, exit code, field, key and variable stands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from buildfarm import errors
from buildfarm.cli.app import app
from buildfarm.config_schema import ConfigFile
from buildfarm.report.document import StatusDocument

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
USER_GUIDE = (ROOT / "docs" / "user-guide.md").read_text(encoding="utf-8")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "sample_projects").glob("*.md")])


def commands() -> list[str]:
    with click.Context(app) as context:
        return app.list_commands(context)


def command(name: str) -> click.Command:
    with click.Context(app) as context:
        found = app.get_command(context, name)
    assert found is not None
    return found


def section(heading: str, text: str = REFERENCE) -> str:
    """The text below a heading, up to the next of its level or above."""
    match = re.search(rf"^(#+) {re.escape(heading)}$", text, re.MULTILINE)
    assert match, f"docs/reference.md has no heading {heading!r}"
    rest = text[match.end() :]
    end = re.search(rf"^#{{1,{len(match[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def options(name: str) -> Iterator[str]:
    """The options of a command and of its sub-commands."""
    waiting = [command(name)]
    while waiting:
        found = waiting.pop()
        if isinstance(found, click.Group):
            waiting.extend(found.commands.values())
        for parameter in found.params:
            if isinstance(parameter, click.Option):
                yield from (*parameter.opts, *parameter.secondary_opts)


@pytest.mark.parametrize("name", commands())
def test_every_command_is_in_reference_and_user_guide(name: str) -> None:
    assert section(f"`buildfarm {name}`").strip()
    assert f"buildfarm {name}" in USER_GUIDE


@pytest.mark.parametrize("name", commands())
def test_every_option_is_in_the_commands_section(name: str) -> None:
    text = section(f"`buildfarm {name}`")
    for option in options(name):
        if option in ("-h", "--help"):
            continue
        assert re.search(rf"`{re.escape(option)}(?=[ `=])", text), f"{name} {option} is not documented"


@pytest.mark.parametrize("name", commands())
def test_no_option_is_documented_that_does_not_exist(name: str) -> None:
    documented = {
        found
        for row in section(f"`buildfarm {name}`").splitlines()
        if row.startswith("| `-")
        for found in re.findall(r"`(--?[a-z][a-z-]*)", row.split("|")[1], re.IGNORECASE)
    }
    assert documented <= set(options(name)), documented - set(options(name))


@pytest.mark.parametrize("name", commands())
def test_every_command_has_help_with_an_example_and_its_exit_status(name: str) -> None:
    found = command(name)
    assert found.help
    assert f"buildfarm {name}" in (found.epilog or "")
    assert "Exit status" in (found.epilog or "")


def test_every_exit_code_of_an_error_is_documented() -> None:
    codes = {
        error.exit_code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.BuildfarmError)
    }
    table = section("Exit codes")
    for code in sorted(codes):
        assert re.search(rf"^\| {code} \|", table, re.MULTILINE), f"exit code {code} is not documented"


def field_paths(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """`(name of the part, field)` of the status document."""
    for name, field in model.model_fields.items():
        yield prefix, field.alias or name
        parts = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for part in parts:
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from field_paths(part, name)


@pytest.mark.parametrize(("part", "field"), sorted(set(field_paths(StatusDocument))))
def test_every_status_field_is_documented(part: str, field: str) -> None:
    rows = [row for row in section("The status document").splitlines() if row.startswith("| `")]
    names: tuple[str, ...]
    if part:
        rows = [row for row in rows if row.startswith((f"| `{part}.", f"| `{part}[]"))]
        names = (f"`{part}.{field}`", f"`{field}`")
    else:
        names = (f"`{field}`", f"`{field}.", f"`{field}[]`")
    assert any(name in row for row in rows for name in names), f"{part}.{field} is not documented"


def test_every_key_of_the_configuration_is_documented() -> None:
    text = section("`buildfarm.toml`")
    for table, field in ConfigFile.model_fields.items():
        assert isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        for key in field.annotation.model_fields:
            assert f"`[{table}]` `{key}`" in text, f"[{table}] {key} is not documented"


def test_every_environment_variable_is_documented() -> None:
    text = section("Environment variables")
    named = re.compile(r"""["'](BUILDFARM_[A-Z_]*[A-Z]|DISTCC_[A-Z_]*[A-Z]|XDG_[A-Z_]*[A-Z]|NO_COLOR)=?["']""")
    for path in sorted((ROOT / "buildfarm").rglob("*")):
        if path.suffix in (".py", ".c"):
            for variable in named.findall(path.read_text(encoding="utf-8")):
                assert f"`{variable}`" in text, f"{variable} ({path.relative_to(ROOT)}) is not documented"


def test_every_event_is_documented() -> None:
    text = section("Events")
    source = (ROOT / "buildfarm" / "report" / "events.py").read_text(encoding="utf-8")
    events = re.findall(r'self\._write\(\s*"(\w+)"', source)
    assert len(events) > 5
    for event in events:
        assert f"| `{event}` |" in text, f"the event {event} is not documented"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"{path.name}: {target} does not exist"
        if anchor:
            assert anchor in anchors(file), f"{path.name}: {target}: no such heading"


def anchors(path: Path) -> set[str]:
    """GitHub's anchors of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_changelog_keeps_the_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## \[Unreleased\]$", text, re.MULTILINE)
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_architecture_names_every_file_of_the_packages() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    packages = ("conductor", "make", "graph", "dispatch", "state", "report")
    directories = [ROOT / "buildfarm" / package for package in packages]
    files = {file.name for directory in directories for file in directory.iterdir()}
    files = {name for name in files if name.endswith((".py", ".c", ".h"))}
    assert {name for name in files - {"__init__.py"} if f"`{name}`" not in text} == set()
