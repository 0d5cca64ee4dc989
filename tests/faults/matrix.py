"""The rows of the fault matrix: how they are declared, what they find, how the findings become a page.

It stages nothing itself.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of a fault.  `held`: buildfarm kept its promise (make's bytes, nothing checked in made again)."""

    make: str
    ours: str
    held: bool


class NotHere(Exception):
    """This machine can't stage the fault; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Row:
    """A fault.  `quick`: part of `make check`; `sample`: only there, for a row that takes longer."""

    group: str
    name: str
    how: str
    stage: Callable[[Path], Finding]
    needs: tuple[str, ...] = ()
    quick: bool = False
    sample: bool = False

    @property
    def key(self) -> str:
        return f"{self.stage.__module__.rpartition('.')[2]}.{self.stage.__name__}"

    def lacks(self) -> str | None:
        """What this machine lacks for the row; None: nothing."""
        for need in self.needs:
            if need == "root":
                if os.geteuid() != 0:
                    return "root"
            elif need.startswith("/"):
                if not Path(need).exists():
                    return need
            elif shutil.which(need, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
                return need
        return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row that was staged, or was not."""

    row: Row
    finding: Finding | None
    reason: str  # why it was skipped, or what broke
    seconds: float

    @property
    def word(self) -> str:
        if self.finding is None:
            return "skipped" if self.reason else "broken"
        return "holds" if self.finding.held else "DOES NOT HOLD"


ROWS: list[Row] = []


def fault(
    group: str, name: str, how: str, *, needs: Iterable[str] = (), quick: bool = False, sample: bool = False
) -> Callable[[Callable[[Path], Finding]], Callable[[Path], Finding]]:
    """Declare a row; the function stages it in an empty directory."""

    def declare(stage: Callable[[Path], Finding]) -> Callable[[Path], Finding]:
        ROWS.append(Row(group, name, how, stage, tuple(needs), quick or sample, sample))
        return stage

    return declare


HEAD = """\
# What happens when things break

Every row was staged, not argued: the fault was injected into plain `make -j CC="distcc gcc"` and into buildfarm, on
the same machine, with the same real `distccd`, `make` and `gcc`; both columns of a row come from one staging of it,
while rows may have been staged one after the other over some hours. `make faults` stages all and writes this page;
`make check` stages the quick ones.

The promise that is checked in each row, unless it says otherwise: after the fault, `buildfarm resume` (or `run`) ends
with the bytes that plain make gives in an undisturbed build, and no object that was checked in is made again.

"""

LIMITS = """
## What is not promised

- **A node that returns another unit's object, or wrong code, with all the right marks** can't be told by looking at
  the object. Probes compile canaries on each node, and a share of the units is compiled here too and compared
  (`--verify`); a node that lies once in a thousand units may get away with it.
- **A make that outlived its conductor and then died in a cut of power**: what it wrote without us, more than a minute
  after the conductor's last sign of life, is taken for the user's own work. While such a make still runs, `resume`
  ends it, keeps what it had finished and makes again what its running recipes may have in hand.
- **Files that make does not know as targets** (side outputs of a recipe that no rule names) are judged only if a
  compiler, linker or archiver wrote them.
- **A disk that lies about flushes** loses what it said was safe. After a reboot hashes are compared, so what it lost
  is made again.
- What goes by make's word alone is moved to `.buildfarm/removed/`, not deleted: a source that a rule could also make,
  edited in the last moments before a crash, is found there."""


def page(outcomes: Iterable[Outcome], machine: str) -> str:
    """`docs/reliability.md`."""
    outcomes = list(outcomes)
    count = {word: sum(o.word == word for o in outcomes) for word in ("holds", "DOES NOT HOLD", "skipped", "broken")}
    lines = [HEAD, f"{machine}\n\n{count['holds']} rows hold, {count['DOES NOT HOLD']} do not"]
    lines.append(f", {count['skipped']} were skipped, {count['broken']} could not be staged.\n")
    for group in dict.fromkeys(outcome.row.group for outcome in outcomes):
        lines.append(f"\n## {group}\n\n| fault | how it is injected | plain make with distcc | buildfarm | |\n")
        lines.append("| --- | --- | --- | --- | --- |\n")
        for outcome in outcomes:
            if outcome.row.group == group:
                lines.append(_line(outcome))
    lines.append(LIMITS)
    return "".join(lines).rstrip("\n") + "\n"


def _line(outcome: Outcome) -> str:
    row, found = outcome.row, outcome.finding
    cells = [row.name, row.how, found.make if found else "", found.ours if found else outcome.reason, outcome.word]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |\n"
