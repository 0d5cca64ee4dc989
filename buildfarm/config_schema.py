"""What `buildfarm.toml` may hold, as pydantic models.

Only `config` imports it, and only when there is a file to check.  Every field's description is the words that an
error uses for what was expected.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


def _passable(word: str) -> str:
    if "\0" in word:
        raise ValueError("a word that a command can take holds no NUL")
    return word


def _goal(word: str) -> str:
    if word.startswith("-") or "=" in word:
        raise ValueError("a goal is a target's name: options belong on the command line, VAR=VALUE in variables")
    return _passable(word)


Word = Annotated[str, StringConstraints(strict=True, min_length=1), AfterValidator(_passable)]
Goal = Annotated[Word, AfterValidator(_goal)]
Variable = Annotated[Word, StringConstraints(pattern=r"^[^\s:#=-][^\s:#=]*$")]
Value = Annotated[str, StringConstraints(strict=True), AfterValidator(_passable)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class BuildTable(_Table):
    """`[build]`: what `buildfarm run` builds when no goal is named."""

    directory: Word | None = Field(default=None, description='a path as text, relative to this file, such as "decks"')
    goals: list[Goal] = Field(default=[], description='a list of targets, such as ["gcm"]')
    variables: dict[Variable, Value] = Field(default={}, description='a table of texts, such as { RUN = "myrun" }')


class NodesTable(_Table):
    """`[nodes]`: where units may go."""

    hosts: Value | None = Field(
        default=None, description='a host list in distcc\'s syntax as one text, such as "pi1/4 pi2/4,lzo"'
    )
    verify: float | None = Field(
        default=None, ge=0, le=100, description="a percentage of the units from 0 to 100, such as 2"
    )
    allow_public: bool | None = Field(default=None, description="true or false")


class ConfigFile(_Table):
    """The whole file."""

    build: BuildTable = Field(default=BuildTable(), description="a table, [build]")
    nodes: NodesTable = Field(default=NodesTable(), description="a table, [nodes]")
