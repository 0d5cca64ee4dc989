"""The status document of schema 1 as pydantic models: its published JSON schema (`status --schema`).

`status` prints the document without importing this; a test holds what it prints to these models.  A change here
is a change of contract, see docs/reference.md: fields may be added, none renamed or dropped without a new schema.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BuildDocument(_Part):
    """The last build in this tree."""

    id: int
    goals: list[str] = Field(description="as given on the command line or in buildfarm.toml; empty: make's default")
    variables: dict[str, str] = Field(description="VAR=VALUE words")
    pid: int = Field(description="of the process that runs or ran the build")
    exit_status: int | None = Field(description="what `run` exited with; null while running or after a crash")
    started: datetime = Field(description="UTC, ISO 8601")
    ended: datetime | None
    elapsed_seconds: Seconds
    eta_seconds: Seconds | None = Field(
        description="seconds left, at least those while total_is_final is false; null when not known or not running"
    )
    resumed_from: int | None = Field(description="id of the build that this one continued")
    make_pid: int | None = Field(
        default=None, description="of its make, where that goes on after a kill of `pid` alone"
    )


class UnitsDocument(_Part):
    """Counts of units, that is of compile commands."""

    total: Count = Field(description="grows until make's graph is known whole")
    total_is_final: bool
    done: Count = Field(description="result in place and recorded in this build")
    checked_out: Count = Field(description="on a node or in a local compiler now")
    waiting: Count
    failed: Count
    remote: Count = Field(description="done on nodes")
    local: Count = Field(description="done on this machine")
    lookahead: Count = Field(description="compiled before make asked for them")
    retried: Count = Field(description="units of which an attempt did not count")
    reused: Count = Field(description="verified and kept by resume")
    retries: dict[str, Count] = Field(default={}, description="attempts that did not count, by outcome")


class LinksDocument(_Part):
    """Links and archives; they run on this machine."""

    done: Count
    running: Count


class PlanningDocument(_Part):
    """What the plans (dry runs of make's instances) were worth."""

    instances: Count = Field(description="make instances planned")
    asked: Count = Field(description="compiles of objects that make asked for")
    foreseen: Count = Field(description="of those, the ones that a plan had named before")
    predicted: Count = Field(description="of those, the ones that a plan has named, before or after make asked")
    wasted: Count = Field(description="results made ahead that did not fit any more")
    seconds: Seconds = Field(description="spent in dry runs, beside the build")


class NodeDocument(_Part):
    """A distccd machine."""

    name: str
    port: Annotated[int, Field(ge=0, le=65535)]
    state: Literal["up", "busy", "down", "quarantined", "draining"]
    slots: Count
    checked_out: Count
    done: Count
    failed: Count
    compiler: str | None = Field(description="name, version and target machine; null until probed")
    reason: str | None = Field(description="why it is not up")
    retry_in_seconds: Seconds | None
    mean_seconds: Seconds | None = Field(description="of a unit, as the master saw it")


class CheckedOutDocument(_Part):
    """A unit that has left and is not back."""

    output: str = Field(description=r"relative to `directory`; bytes that are not UTF-8 as \xNN")
    node: str | None = Field(description="null: this machine")
    attempt: Annotated[int, Field(ge=1)]
    seconds: Seconds


class FailureDocument(_Part):
    """A unit or link that failed for good."""

    output: str
    command: str
    exit_status: int
    stderr: str


class StatusDocument(_Part):
    """What `buildfarm status --json` prints."""

    schema_version: Literal[1] = Field(alias="schema")
    directory: str
    state: Literal["none", "running", "complete", "failed", "interrupted"]
    resumable: bool = Field(description="`buildfarm resume` has something to do")
    build: BuildDocument | None
    units: UnitsDocument
    link_steps: LinksDocument
    planning: PlanningDocument
    nodes: list[NodeDocument]
    checked_out: list[CheckedOutDocument]
    failures: list[FailureDocument]


def json_schema() -> dict[str, object]:
    """The JSON schema of the status document."""
    schema: dict[str, object] = StatusDocument.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
