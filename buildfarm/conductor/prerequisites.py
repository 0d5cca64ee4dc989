"""Prerequisites that a Makefile lacks: what a unit reads and another target makes, and make is not told.

It plans by dry runs, scans Fortran sources and reads the journal; it changes no Makefile.  Between make instances it
says nothing: there the order of the recursive calls stands for the prerequisites.

Theory of operation.  A build that works with `-j1` and fails with `-j8`, now and then, is nearly always this.  What a
unit really reads is known from its source (modules), from the journal (headers that its last compile has read), and,
when it failed, from the compiler's own words; where these went to a terminal, from the headers that its source names
and that were not there when the build began.  A link step reads what its command names.  Who makes it is known from
the plan.  If the maker is nowhere among the target's prerequisites, however far, the Makefile lacks a line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import networkx as nx

from buildfarm.conductor.exports import planned
from buildfarm.dispatch import directives
from buildfarm.errors import BuildfarmError
from buildfarm.graph.classify import classify
from buildfarm.graph.dag import BuildGraph
from buildfarm.graph.fortran import scan_unit
from buildfarm.graph.plan import InstancePlan, PlannedCall
from buildfarm.model import MODULE_SUFFIXES, Kind, Unit
from buildfarm.report.text import count, printable, relative
from buildfarm.state import reader
from buildfarm.state.views import FailureView
from buildfarm.value import dataclass

MOST_TOLD = 5  # at a build's end; `export missing` has all

KEEPS_ORDER = "--serial-order, which keeps make's order as with -j1 and compiles ahead all the same"
FROM_A_NODE = "if the linker calls an object damaged, `buildfarm explain OBJECT` names the node that made it"

_WORDS = (
    r"Cannot open module file ['‘`](?P<module>[^'’]+)['’]",  # gfortran, module.c
    r"[Ff]atal [Ee]rror: (?P<header>[^:\n]+): No such file or directory",  # cpp, gfortran's cpp
    r"(?:Can't|Cannot) open included file ['‘`](?P<included>[^'’]+)['’]",  # gfortran, scanner.c
)


@dataclass(frozen=True, slots=True)
class Missing:
    """One line that a Makefile lacks; names as that Makefile writes them."""

    target: str
    prerequisite: str
    reads: str  # the file that the target's unit reads
    directory: str  # of the make instance
    place: str | None  # `Makefile:12`, where the target's rule stands

    @property
    def line(self) -> str:
        return f"{self.target}: {self.prerequisite}"


class Inspector:
    """Compares one plan with what its units read."""

    def __init__(self, graph: BuildGraph) -> None:
        self._graph = graph
        self._units = {call.outputs[0]: call for call in graph.units() if call.outputs}
        self._links = {call.outputs[0]: call for call in graph.calls() if call.outputs and not call.is_unit}
        self._scans: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        self._before: dict[str, frozenset[str]] = {}
        self._definers: dict[str, list[PlannedCall]] = {}
        for call in self._units.values():
            for name in self._scan(call)[0]:
                self._definers.setdefault(name, []).append(call)

    def of_build(self, read: Mapping[str, Sequence[str]]) -> list[Missing]:
        """All that is missing.  `read`: by absolute output the files that its compile has read, where known."""
        found: dict[tuple[str, str, str], Missing] = {}
        for output, call in self._units.items():
            for item in self._of_unit(call, (*self._scan(call)[1], *read.get(output, ()))):
                found.setdefault((item.directory, item.target, item.prerequisite), item)
        return list(found.values())

    def of_failure(self, output: str, files: Sequence[str] | None) -> list[Missing]:
        """What a unit lacked that failed for want of one of these files; None: what its source uses.

        Of a link step the files are not known: what its command names.
        """
        if (link := self._links.get(output)) is not None:
            return self._of_unit(link, [os.path.join(link.cwd, word) for word in link.argv[1:] if word[:1] != "-"])
        call = self._units.get(output)
        if call is None:
            return []
        return self._of_unit(call, self._scan(call)[1] if files is None else files)

    def _scan(self, call: PlannedCall) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The module files that a unit makes, and those that it needs, by bare name."""
        unit = call.call.unit
        if unit is None or unit.fortran is None:
            return (), ()
        if call.key not in self._scans:
            self._scans[call.key] = _scanned(unit, call.cwd)
        return self._scans[call.key]

    def _of_unit(self, call: PlannedCall, files: Iterable[str]) -> list[Missing]:
        found: dict[str, Missing] = {}
        for name in files:
            for maker in self._makers(call, name):
                item = self._judge(call, maker, name)
                if item is not None:
                    found.setdefault(item.prerequisite, item)
        return list(found.values())

    def _makers(self, call: PlannedCall, name: str) -> Iterator[str]:
        """The keys of the targets that make a file, by bare name or path."""
        bare = os.path.basename(name)
        if bare.endswith(MODULE_SUFFIXES):
            for definer in self._definers.get(bare, ()):
                yield definer.target
            return
        here = os.path.normpath(os.path.join(call.cwd, name))
        for target in self._graph.targets():
            same = target.key == here or (not os.path.isabs(name) and target.key.endswith("/" + name.lstrip("./")))
            if same and target.has_rule and not target.phony and target.recipe:
                yield target.key

    def _judge(self, call: PlannedCall, maker: str, name: str) -> Missing | None:
        if maker == call.target or maker in self._ancestors(call.target) or call.target in self._ancestors(maker):
            return None
        for plan in self._graph.plans.values():
            if self._makes(plan, call.target) and self._makes(plan, maker):
                target, source = plan.targets[call.target], plan.targets[maker]
                return Missing(target.name, source.name, os.path.basename(name), plan.directory, target.place)
        return None

    @staticmethod
    def _makes(plan: InstancePlan, key: str) -> bool:
        target = plan.targets.get(key)
        return target is not None and target.has_rule and bool(target.recipe)

    def _ancestors(self, key: str) -> frozenset[str]:
        if key not in self._before:
            graph = self._graph.graph
            self._before[key] = frozenset(nx.ancestors(graph, key)) if key in graph else frozenset()
        return self._before[key]


def _scanned(unit: Unit, cwd: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        text = Path(cwd, unit.source).read_text(encoding="latin-1")
    except OSError:
        return (), ()
    scan = scan_unit(text, unit)
    needed = (*(f"{name}.mod" for name in scan.needed_modules), *scan.needed_submodule_files)
    return scan.possible_module_files, needed


def of_tree(directory: Path, state_dir: Path, words: tuple[str, ...], environment: Mapping[str, str]) -> list[Missing]:
    """All that the tree's Makefiles lack.  Raises MachineError where make gives no plan."""
    graph = planned(directory, words, environment, everything=True).graph
    read = {
        os.path.normpath(step.output): tuple(os.path.normpath(path) for path in step.inputs)
        for step in reader.steps(state_dir)
        if step.output is not None
    }
    return Inspector(graph).of_build(read)


def of_failed_build(
    directory: Path, state_dir: Path, words: tuple[str, ...], environment: Mapping[str, str]
) -> list[str]:
    """Lines for the end of a build in which units or links failed for want of what another target makes."""
    rows = reader.snapshot(state_dir)
    if rows.build is None:
        return []
    lacked = [(failure, _lacked(failure, rows.build.started)) for failure in rows.failures]
    failures = [(failure, files) for failure, files in lacked if files is None or files]
    if not failures:
        return []
    try:
        inspector = Inspector(planned(directory, words, environment, everything=True).graph)
    except BuildfarmError:
        return []  # the build's own failure is what the user must see
    lines = []
    told: set[tuple[str, str]] = set()
    for failure, files in failures:
        for item in inspector.of_failure(os.path.normpath(failure.output), files):
            if (item.directory, item.line) not in told:
                told.add((item.directory, item.line))
                lines.append(_told(item, str(directory)))
    if not lines:
        return _of_files_there_now(rows.failures, rows.build.started, str(directory))
    rest = len(lines) - MOST_TOLD
    return [
        *lines[:MOST_TOLD],
        *([f"and {count(rest, 'more line')}: `buildfarm export missing` has them"] if rest > 0 else []),
        f"or build with {KEEPS_ORDER}",
    ]


def _of_files_there_now(failures: Iterable[FailureView], started: float, directory: str) -> list[str]:
    """For files of no rule, which some recipe makes beside its target: in make's own order it may come first."""
    lines = [
        f"{printable(relative(os.path.normpath(failure.output), directory))} did not find"
        f" {printable(relative(path, directory))}, which this build has made too late, and the Makefile does"
        " not say that one needs the other"
        for failure in failures
        if (path := _made_too_late(failure, started)) is not None
    ]
    return [*lines[:MOST_TOLD], f"build with {KEEPS_ORDER}"] if lines else []


def _made_too_late(failure: FailureView, started: float) -> str | None:
    """The file that a compiler did not find, if it is where the compiler had looked, and younger than the build."""
    for name in _not_found(os.fsdecode(failure.stderr)):
        for path in _found(failure, name):
            if os.stat(path).st_ctime >= started:
                return path
    return None


def _found(failure: FailureView, name: str) -> list[str]:
    """The files of that name in the directories that a failed compile's command shows."""
    words = failure.argv
    typed = [word[2:] or after for word, after in zip(words, (*words[1:], ""), strict=True) if word.startswith("-I")]
    beside = [os.path.dirname(word) for word in words[1:] if not word.startswith("-")]
    places = dict.fromkeys(("", *beside, *typed))
    return list(filter(os.path.isfile, (os.path.normpath(os.path.join(failure.cwd, place, name)) for place in places)))


def _not_found(words: str) -> list[str]:
    """The files that a compiler's messages name as missing."""
    return [name for pattern in _WORDS for match in re.finditer(pattern, words) for name in match.groups() if name]


def of_late_files(late: Sequence[str], directory: str) -> str:
    """The line for the end of a build whose make had no rule for files that other recipes have made meanwhile."""
    first = printable(relative(late[0], directory))
    others = f" and {count(len(late) - 1, 'other file')}" if len(late) > 1 else ""
    there = "are" if others else "is"
    return (
        f"make has no rule for {first}{others}, which {there} made now:"
        f" if that is what it failed for, the Makefile needs make's own order; build with {KEEPS_ORDER}"
    )


def _lacked(failure: FailureView, started: float) -> list[str] | None:
    """The files for want of which a step may have failed; None: of Fortran and links without words a plan can tell."""
    if failure.stderr:
        return _not_found(os.fsdecode(failure.stderr))
    argv = failure.argv
    call = classify((os.path.basename(argv[0]), *argv[1:]), environment={})
    if call.unit is None or call.unit.fortran is not None:
        return None if call.unit is not None or call.kind in (Kind.LINK, Kind.ARCHIVE) else []
    try:
        asks = directives.read(Path(failure.cwd, call.unit.source).read_bytes()).asks
    except OSError:
        return []
    names = [ask.name for ask in asks if ask.how is directives.How.QUOTE and not ask.probe]
    return [name for name in names if all(os.stat(path).st_ctime >= started for path in _found(failure, name))]


def _told(item: Missing, directory: str) -> str:
    where = relative(item.directory, directory) if item.directory != directory else "."
    place = printable(os.path.join(where, item.place) if item.place and where != "." else item.place or where)
    return (
        f"{printable(item.target)} needs {printable(item.reads)}, which is made with {printable(item.prerequisite)},"
        f" and the Makefile does not say so; add at {place}:  {printable(item.line)}"
    )


def fragment(found: Sequence[Missing], directory: str) -> str:
    """The missing lines as makefile text, in sections by Makefile."""
    if not found:
        return "# no prerequisite is missing, as far as the sources and the journal tell\n"
    lines = []
    for where in sorted({item.directory for item in found}):
        lines.append(f"# for the Makefile in {relative(where, directory) if where != directory else 'this directory'}:")
        lines += [f"{item.line}\t# reads {item.reads}" for item in found if item.directory == where]
    return "\n".join(printable(line) if "\t" not in line else line for line in lines) + "\n"
