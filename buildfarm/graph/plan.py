"""One make instance's plan as values: its targets, and the tool calls and recursive makes in their recipes.

It runs nothing and joins no instances; `graph/dag.py` does that.  It is one thing, what make's text comes to, and the
values that say it.  Whether a target is up to date is make's own
word: it is `remade` if make's trace announced its recipe, and nothing else decides.

A vertex's key is an absolute, normalised path for a file target, and `DIRECTORY//NAME` for a phony one, which no
normalised path can equal.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from buildfarm.graph import cmake, drafts, libtool, shell
from buildfarm.graph.classify import parted
from buildfarm.graph.makedb import Complaints, MakeDatabase, MissingRule, Rule
from buildfarm.graph.names import without_distributor
from buildfarm.graph.plain import MAKES, TOOL_KINDS, PlainCall, PlainLines, absolute, digest
from buildfarm.graph.trace import Step
from buildfarm.model import ToolCall
from buildfarm.value import dataclass

Classify = Callable[[Sequence[str]], ToolCall]
Read = Callable[[str], str | None]
"""The text of a file by its absolute path; None: there is none."""
_WRITE_NOTHING = frozenset({"echo", "printf", "true", ":", "test", "[", "exit"})
_SPECIAL = re.compile(r"\.[A-Z_]+")  # .PHONY, .SUFFIXES, ... (manual, "Special Built-in Target Names")


class PlannedCall(NamedTuple):
    """A compile, link or archive command that make is going to run."""

    key: str  # the target's key, `#`, a digest of cwd and argv: the same in every plan
    target: str  # the vertex's key
    cwd: str
    argv: tuple[str, ...]
    call: ToolCall
    outputs: tuple[str, ...]  # absolute paths
    environment: Mapping[str, str]
    line: str  # the whole recipe line
    certain: bool  # False: the line may skip it (`||`, `if`, behind a test), or its recipe writes its source first
    draft: str = ""  # a script that prints the source, where the recipe writes that first and this is known
    ends_line: bool = True  # nothing that could write comes after it in its line
    alone: bool = True  # False: its command compiles other sources too, and `argv` is that of a call for this one

    @property
    def is_unit(self) -> bool:
        return self.call.unit is not None


class SubMake(NamedTuple):
    """A recursive make call; `environment` is what make would give it, without jobserver and -j."""

    target: str
    cwd: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    certain: bool

    @property
    def makelevel(self) -> int:
        level = self.environment.get("MAKELEVEL", "0")
        return int(level) if level.isdigit() else 0


class Target(NamedTuple):
    """A vertex of make's graph as one instance sees it."""

    key: str
    name: str  # as make writes it
    directory: str  # of the instance
    phony: bool = False
    prerequisites: tuple[str, ...] = ()  # keys
    order_only: tuple[str, ...] = ()  # keys
    grouped_with: str | None = None  # the key of the target whose recipe makes this one too
    recipe: tuple[str, ...] = ()  # the lines that make would run now
    place: str | None = None  # `Makefile:12`
    has_rule: bool = False  # False: a file that is not there, and that nothing makes
    remade: bool = False  # make would run its recipe now
    due_to: str = ""  # newer prerequisites, as make names them; empty: it does not exist
    failed: bool = False  # it, or something that it needs, can't be made yet
    calls: tuple[PlannedCall, ...] = ()
    submakes: tuple[SubMake, ...] = ()

    @property
    def needs_anything(self) -> bool:
        """Whether something stands before it in the graph, as far as its own instance knows."""
        return bool(self.prerequisites or self.order_only or self.submakes or self.grouped_with is not None)

    @property
    def needs_prerequisites_only(self) -> bool:
        """Whether nothing but plain prerequisites stands before it."""
        return not (self.order_only or self.submakes or self.grouped_with is not None)

    @property
    def generates(self) -> bool:
        """A file that make would make now by other means than compiling, linking or archiving."""
        return self.remade and not self.phony and not self.calls


@dataclass(frozen=True, slots=True)
class InstancePlan:
    """What one make instance is going to do.  A plan of the same `key` made later replaces an earlier one."""

    key: str
    cwd: str  # of the call, before -C
    argv: tuple[str, ...]
    directory: str  # where make works
    goals: tuple[str, ...]  # keys
    targets: Mapping[str, Target]  # sources, of which make knows no more than that they are there, are none
    order: tuple[str, ...]  # keys of the targets that would be remade, in make's serial order
    missing: tuple[MissingRule, ...] = ()
    fatal: tuple[str, ...] = ()
    makefiles: tuple[str, ...] = ()  # paths of those that were read

    @property
    def whole(self) -> bool:
        """Nothing was missing when the plan was made."""
        return not self.missing and not self.fatal


def _no_file(_: str) -> None:
    return None


def _is_not_there(_: str) -> bool:
    return False


def vertex(directory: str, name: str, *, phony: bool) -> str:
    return f"{directory}//{name}" if phony else absolute(directory, name)


def may_write(command: shell.Command) -> bool:
    """Whether a recipe's files may be others after it."""
    return command.writes or command.argv[0].rpartition("/")[2] not in _WRITE_NOTHING


def make_plan(
    database: MakeDatabase,
    complaints: Complaints,
    *,
    key: str,
    cwd: str,
    argv: Sequence[str],
    directory: str,
    environment: Mapping[str, str],
    recorded: Sequence[Mapping[str, str]],
    classify: Classify,
    read: Read = _no_file,
    exists: Callable[[str], bool] = _is_not_there,
    ask: shell.Ask = shell.nobody_knows,
    early: EarlyRecipes | None = None,
) -> InstancePlan:
    """The plan of the instance that was called with `argv` in `cwd` and works in `directory` (all absolute).

    `environment` is that of its recipes; `recorded` holds those of the lines that carry a record's number.  `read` and
    `exists` (a regular file) look at the tree for what scripts of autotools' look at; `ask` knows what commands in
    recipe lines print, in the environment that it is given.  `early` has read some steps of this instance already, in
    the same directory and with the same `classify`.
    """
    early = early or EarlyRecipes(PlainLines(directory, classify))
    early.environment.update(environment)
    builder = _Builder(database, directory, recorded, classify, read, exists, ask, early)
    builder.add_steps()
    goals = tuple(builder.key(name) for name in database.goals)
    builder.add_reachable((*database.goals, *builder.names))
    return InstancePlan(
        key=key,
        cwd=cwd,
        argv=tuple(argv),
        directory=directory,
        goals=goals,
        targets=builder.targets,
        order=tuple(dict.fromkeys(builder.key(step.target) for step in database.steps)),
        missing=complaints.missing,
        fatal=complaints.fatal,
        makefiles=tuple(absolute(directory, name) for name in database.makefiles),
    )


@dataclass(slots=True)
class _Recipe:
    """What the steps of one target come to."""

    lines: list[str]
    calls: list[PlannedCall]
    submakes: list[SubMake]
    place: str | None
    due_to: str
    step: Step | None = None  # the only one, if it was read early


class EarlyRecipes:
    """Recipes of plain calls alone, read before it is known what else make knows of their targets.

    It takes each target for a file, and its step for the only one: `make_plan` sees whether that was so.
    """

    def __init__(self, plain: PlainLines) -> None:
        self.plain = plain
        self.environment: dict[str, str] = {}  # of all recipes; filled when it is known
        self._recipes: dict[str, _Recipe | None] = {}  # None: there is another step

    def recipes(self) -> Iterator[_Recipe]:
        """Those of targets that had one step only, as far as was seen, in the order of the steps."""
        return (recipe for recipe in self._recipes.values() if recipe is not None)

    def forget(self) -> None:
        """Steps will be read anew."""
        self._recipes.clear()

    def name(self, rules: Iterable[Rule]) -> None:
        """Find the paths of what the rules name."""
        paths, path = self.plain.paths, self.plain.path
        for rule in rules:
            if rule.name not in paths:
                path(rule.name)
            for name in rule.prerequisites:
                if name not in paths:
                    path(name)

    def take(self, steps: Iterable[Step]) -> None:
        """Read the recipes of these steps."""
        for step in steps:
            if step.target in self._recipes or step.also:
                self._recipes[step.target] = None
                continue
            calls = [call for line in step.lines if (call := self.plain(line.text)) is not None]
            if len(calls) < len(step.lines) or any(line.record is not None for line in step.lines):
                continue
            target = self.plain.path(step.target)
            planned = [planned_call(target, self.plain.directory, call, self.environment) for call in calls]
            lines = [call.line for call in calls]
            self._recipes[step.target] = _Recipe(lines, planned, [], step.place, step.due_to, step)


def planned_call(target: str, directory: str, call: PlainCall, environment: Mapping[str, str]) -> PlannedCall:
    line, argv, tool_call, outputs, mark = call
    return PlannedCall(f"{target}#{mark}", target, directory, argv, tool_call, outputs, environment, line, True)


class _Builder:
    def __init__(
        self,
        database: MakeDatabase,
        directory: str,
        recorded: Sequence[Mapping[str, str]],
        classify: Classify,
        read: Read,
        exists: Callable[[str], bool],
        ask: shell.Ask,
        early: EarlyRecipes,
    ) -> None:
        self.database = database
        self.directory = directory
        self.environment: Mapping[str, str] = early.environment
        self.recorded = recorded
        self.classify = classify
        self.read = read
        self.exists = exists
        self.ask = ask
        self.early = early
        self.plain = early.plain
        self.recipes: dict[str, _Recipe] = {}
        self.names: dict[str, None] = {}
        self.targets: dict[str, Target] = {}
        self._shared = early.plain.words  # one copy of each word and path
        phony = [rule.name for rule in database.rules.values() if rule.phony]
        self._keys = {**early.plain.paths, **{name: vertex(directory, name, phony=True) for name in phony}}
        self._makers: dict[str, str] = {}  # name of a grouped target -> name of the one with the recipe

    def key(self, name: str) -> str:
        found = self._keys.get(name)
        if found is None:
            found = self._keys[name] = self.plain.path(name)
        return found

    def _keys_of(self, names: Sequence[str]) -> tuple[str, ...]:
        if len(names) == 1:
            return (self._keys.get(names[0]) or self.key(names[0]),)
        return tuple([self.key(name) for name in names]) if names else ()

    def _shared_of(self, text: str) -> str:
        return self._shared.setdefault(text, text)

    def add_steps(self) -> None:
        rules = self.database.rules
        special = {rule.name for rule in rules.values() if rule.phony or rule.also_makes}
        early = self.early.recipes()
        found = next(early, None)
        for step in self.database.steps:
            target = step.target
            if found is not None and found.step is step:
                if target not in special and target not in self.recipes:
                    self.recipes[target] = found
                    self.names[target] = None
                    found = next(early, None)
                    continue
                found = next(early, None)
            rule = rules.get(target)
            recipe = self.recipes.get(target)
            if recipe is None:
                recipe = self.recipes[step.target] = _Recipe([], [], [], step.place, step.due_to)
                self.names[step.target] = None
            for line in step.lines:
                recorded = line.record is not None and line.record < len(self.recorded)
                environment = self.recorded[line.record or 0] if recorded else self.environment
                self._read_line(recipe, step, line.text, environment)
            for name in (*step.also, *(rule.also_makes if rule else ())):
                self._makers[name] = step.target
                self.names[name] = None

    def _read_line(self, recipe: _Recipe, step: Step, line: str, environment: Mapping[str, str]) -> None:
        target = self.key(step.target)
        if (plain := self.plain(line)) is not None:
            recipe.lines.append(plain.line)
            recipe.calls.append(self._with_draft(recipe, planned_call(target, self.directory, plain, environment)))
            return
        recipe.lines.append(line)
        share = self._shared.setdefault

        def ask(command: str, cwd: str, seen: Mapping[str, str]) -> str | None:
            return self.ask(command, cwd, {**environment, **seen})

        script = shell.parse(line, self.directory, environment, self.exists, ask)
        last_writer = None if script.opaque else next(filter(may_write, reversed(script.commands)), None)
        for command in script.commands:
            own = {**environment, **command.environment} if command.environment else environment
            if command.argv[0].rpartition("/")[2] in MAKES:
                submake = SubMake(target, command.cwd, command.argv, own, command.certain)
                recipe.submakes.append(submake)
                continue
            calls, added = self._tool_calls(command)
            ends_line = command is last_writer and calls == (tuple(without_distributor(command.argv)),)
            for words in calls:
                typed = tuple([share(word, word) for word in words])
                whole = self.classify(typed)
                parts = [(parted(typed, unit), self.classify(unit.argv)) for unit in whole.units]
                for argv, call in parts or [(typed, whole)]:
                    if call.kind not in TOOL_KINDS:
                        continue
                    planned = PlannedCall(
                        key=f"{target}#{digest(command.cwd, argv)}",
                        target=target,
                        cwd=command.cwd,
                        argv=argv,
                        call=call,
                        outputs=tuple([self._shared_of(absolute(command.cwd, name)) for name in call.outputs]),
                        environment={**added, **own} if added else own,
                        line=line,
                        certain=command.certain,
                        ends_line=ends_line,
                        alone=not parts,
                    )
                    recipe.calls.append(self._with_draft(recipe, planned))

    def _with_draft(self, recipe: _Recipe, call: PlannedCall) -> PlannedCall:
        """The call with what its recipe writes its source by; not certain where that can't be done ahead."""
        unit = call.call.unit
        if unit is None or not drafts.writes(recipe.lines, unit.source):
            return call
        draft = drafts.script(recipe.lines, call.argv, unit, self.directory, self.environment)
        if draft is not None:
            return call._replace(draft=draft)
        return call if self.exists(os.path.join(call.cwd, unit.source)) else call._replace(certain=False)

    def _tool_calls(self, command: shell.Command) -> tuple[tuple[tuple[str, ...], ...], Mapping[str, str]]:
        """The command itself, or what libtool or cmake makes of it, and what that sets in the environment by itself."""

        def read(path: str) -> str | None:
            return self.read(os.path.join(command.cwd, path))

        if linked := cmake.links(command.argv, read):
            return linked, {}
        made = libtool.compiles(command.argv, read)
        if not made:
            return (tuple(without_distributor(command.argv)),), {}
        return tuple(tuple(without_distributor(words)) for words in made), libtool.environment(command.argv, read)

    def add_reachable(self, roots: Sequence[str]) -> None:
        """Make a target of every name that the roots need."""
        stack = list(dict.fromkeys(reversed(roots)))
        seen = set(stack)
        rules, targets = self.database.rules, self.targets
        while stack:
            name = stack.pop()
            if name[:1] == "." and _SPECIAL.fullmatch(name):
                continue
            rule = rules.get(name)
            target = self._target(name, rule)
            if target is None:
                continue
            targets[target.key] = target
            if rule is not None:
                for names in (rule.order_only, rule.prerequisites):
                    for other in names:
                        if other in rules and other not in seen:
                            seen.add(other)
                            stack.append(other)

    def _target(self, name: str, rule: Rule | None) -> Target | None:
        """None: a source."""
        recipe = self.recipes.get(name)
        maker = self._makers.get(name) if recipe is None and self._makers else None
        if rule is None:
            if recipe is None and maker is None:
                return None
            rule = Rule(name, is_target=False)
        _, is_target, prerequisites, order_only, phony, _, _, place, _, failed = rule
        key, needs = self.key(name), self._keys_of(prerequisites)
        orders = self._keys_of(order_only) if order_only else ()
        made: tuple[object, ...]
        if recipe is None:
            grouped = self.key(maker) if maker is not None else None
            made = (grouped, (), place, is_target, maker is not None, "", failed, (), ())
        else:
            calls, submakes = tuple(recipe.calls), tuple(recipe.submakes)
            where = recipe.place or place
            made = (None, tuple(recipe.lines), where, True, True, recipe.due_to, failed, calls, submakes)
        make: Callable[[type[Target], tuple[object, ...]], Target] = tuple.__new__  # in a third of the time
        return make(Target, (key, name, self.directory, phony, needs, orders, *made))
