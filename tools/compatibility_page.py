"""The pages of real projects: what `tools.compatibility` has measured of each, told in two tables.

It measures nothing.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Record:
    """One project's figures, as kept."""

    name: str
    source: str
    version: str
    buildfarm: str = ""  # the revision that built it
    status: tuple[int, int] = (0, 0)  # make's, buildfarm's
    files: int = 0
    raw: int = 0  # of `files`, equal in every byte
    stripped: int = 0  # of the rest, equal without debug information and build id
    own: list[str] = field(default_factory=list)  # of the rest, different between two builds by make
    different: list[str] = field(default_factory=list)
    remote: int = 0
    local: dict[str, int] = field(default_factory=dict)  # units by reason
    unseen: list[str] = field(default_factory=list)  # objects that no step of buildfarm's wrote
    left: tuple[int, int] = (0, 0)  # lines of `make -n` afterwards
    planning: dict[str, float] = field(default_factory=dict)  # as in the status document
    lookahead: int | None = 0  # None: not kept; units of `planning`'s that lay ready when make asked
    null_seconds: float = 0.0  # of make's own build with nothing to do


def row(record: Record, note: str) -> str:
    """The page's line for one project."""
    status = "same" if record.status[0] == record.status[1] else f"{record.status[0]}, {record.status[1]}"
    left = "same" if record.left[0] == record.left[1] else f"{record.left[0]}, {record.left[1]}"
    local = "; ".join(f"{number} {reason}" for reason, number in record.local.items()) or "0"
    return (
        f"| [{record.name}]({record.source}) | {record.version} | {status} | {record.files} | {record.raw} | "
        f"{record.stripped} | {len(record.own)} | {len(record.different)} | {record.remote} | {local} | "
        f"{len(record.unseen)} | {left} | {note} |"
    )


def plan_row(record: Record) -> str:
    """The line of the second table."""
    plan = record.planning

    def share(number: float) -> str:
        return f"{100 * number / plan['asked']:.1f} %" if plan["asked"] else "-"

    ahead = "-" if record.lookahead is None else record.lookahead
    null = f"{record.null_seconds:.2f}" if record.null_seconds else "-"
    return (
        f"| {record.name} | {plan['asked']} | {share(plan['predicted'])} | {share(plan['foreseen'])} | {ahead} | "
        f"{plan['wasted']} | {plan['instances']} | {plan['seconds']:.2f} | {null} |"
    )


HEAD = """\
# Compatibility

Real projects, built by `make` and by `buildfarm run` in the same place on two `distccd`, and compared file by file.
This page is written by `python -m tools.compatibility CHECKOUTS`; `tools/compatibility.toml` lists them.
Each was built as its kind usually is, some with words of their own (`--recipes`) that leave out what takes long or
what the machine lacks.
{revisions}

- *status*: exit statuses are the same, or make's and buildfarm's.
- *files* in the tree afterwards; *raw*: equal in every byte and in mode; *stripped*: of the others, those equal
  after `objcopy --strip-debug` and without the linker's build id (only debug information differs, see below);
  *make's own*: of the others, those that differ between two builds by make as well; *different*: what is left, to
  be explained or mended.
- *remote*: units compiled on nodes; *local*: objects compiled here, by reason; *unseen*: object files that no step
  wrote that buildfarm saw (a copy of an object counts too).
- *make -n*: what make would still print afterwards is as much as after a build by make.

With `-g` an object from a node differs from a local one in its debug information (the producer string; columns of
macros), and so does the build id of a program that is linked of such objects; code and data are the same.

"""


PLANNING = """\
## Plans of real projects

What plans were worth in the builds of [compatibility](compatibility.md), as `buildfarm status --json` tells under
`planning` (two nodes of two slots, all on one machine with two cores). Written by `python -m tools.compatibility`.

- *compiles* of objects that make asked for; *predicted*: the share that a plan has named, before or after make asked
  (a make's dry run begins when that make does, so its first `-j` compiles are asked for before the plan can be
  there); *before make asked*: the share that was named by then.
- *from lookahead*: units whose result was made, or under way, when make asked; *thrown away*: results made ahead
  that did not fit any more.
- *instances* of make that were planned; *planning*: seconds that the dry runs took, beside the build and without
  delaying it; *null build*: seconds that plain `make` takes afterwards to find that nothing is to be done, in one
  instance after the other. Both were taken on a busy machine: only their ratio says something.

"""


def page(projects: dict[str, Any], records: dict[str, Any]) -> str:
    """The page of compatibility, from all records."""
    titles = "project | version | status | files | raw | stripped | make's own | different | remote | local | unseen"
    lines = [f"| {titles} | make -n | note |", "|" + " --- |" * 13]
    found = [Record(**records[name]) for name in projects if name in records]
    lines += [row(record, projects[record.name].get("note", "")) for record in found]
    built = collections.Counter(record.buildfarm for record in found)
    if len(built) == 1:
        revisions = f"All were built by buildfarm at revision {found[0].buildfarm}."
    else:
        told = (f"{revision or 'an older one'} ({count})" for revision, count in built.most_common())
        revisions = f"Revisions of buildfarm and how many projects each has built: {', '.join(told)}."
    return HEAD.replace("{revisions}", revisions) + "\n".join(lines) + "\n"


def planning(projects: dict[str, Any], records: dict[str, Any]) -> str:
    """The section of the page of performance."""
    titles = (
        "compiles | predicted | before make asked | from lookahead | thrown away | instances | planning | null build"
    )
    lines = [f"| project | {titles} |", "|" + " --- |" * 9]
    found = [Record(**records[name]) for name in projects if name in records]
    return PLANNING + "\n".join([*lines, *(plan_row(record) for record in found if "predicted" in record.planning)])
