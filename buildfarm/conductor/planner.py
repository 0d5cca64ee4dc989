"""Plans a whole build without building: a dry run of make, then one of each recursive make that it would call.

It joins `make` with `graph` and decides nothing itself.  A plan may be less than the truth (rules that
do not exist before the build has begun), never more: what is missing stands in the plans.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import shlex
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from buildfarm.conductor.unwrapping import without_scripts
from buildfarm.errors import UsageError
from buildfarm.graph.alike import Alike
from buildfarm.graph.classify import LOCAL_VARIABLES, classify
from buildfarm.graph.makedb import MakeDatabase, Reader, complaints
from buildfarm.graph.plain import PlainLines
from buildfarm.graph.plan import EarlyRecipes, InstancePlan, make_plan
from buildfarm.graph.questions import Questions
from buildfarm.make import blocks, buffering, confining
from buildfarm.make.arguments import parse as parse_words
from buildfarm.make.cache import cache_directory
from buildfarm.make.dryrun import DryRunOutput, dry_run
from buildfarm.make.instance import MakeInstance
from buildfarm.make.printed import Confined, printed
from buildfarm.value import dataclass

if TYPE_CHECKING:
    from buildfarm.graph.dag import BuildGraph

P = ParamSpec("P")
T = TypeVar("T")

MOST_INSTANCES = 5_000  # a Makefile that calls itself without end must not plan without end
SECONDS = 60.0  # of the processors' time for one dry run; ModelE's take 0.03 each, a kernel's top level 5
ASKING_SECONDS = 15.0  # the same, for what recipe lines ask; one that waits (`cat fifo`) must not hold up a resume
_END = "\x1e"  # of an answer, and of its status
_AT_ONCE = min(4, len(os.sched_getaffinity(0)) + 1)  # dry runs: to hear more than three keeps one interpreter busy


@dataclass(frozen=True, slots=True)
class Planned:
    """A build's graph, and one line for each make instance that could not be planned."""

    graph: BuildGraph
    troubles: tuple[str, ...]


def plan_build(directory: str, words: Sequence[str], environment: Mapping[str, str]) -> Planned:
    """The plan of `make WORDS` in the absolute `directory`."""
    return _run(_plan_build(MakeInstance(directory, ("make", *words), environment)))


def plan_instances(
    directory: str, words: Sequence[str], environment: Mapping[str, str]
) -> tuple[tuple[InstancePlan, ...], tuple[str, ...]]:
    """The same, not joined into a graph, and the troubles; for who asks about single targets."""
    return _run(_plan_instances(MakeInstance(directory, ("make", *words), environment)))


def _run(work: Coroutine[None, None, T]) -> T:
    """`asyncio.run`, whose main task must not have a plan for its result.

    When it gives SIGINT back, `signal.signal` makes an error message of the handler that was there, which holds the
    task (Lib/signal.py, `_int_to_enum`): the repr of its result takes as long as the plan of it did.
    """
    results: list[T] = []

    async def main() -> None:
        results.append(await work)

    asyncio.run(main())
    return results[0]


async def plan_instance(
    instance: MakeInstance, *, make: str | None = None, tree: str | None = None
) -> tuple[InstancePlan | None, str | None]:
    """The plan of one make instance, and what went wrong with it, if anything."""
    library, confiner, cut = await asyncio.to_thread(_natives)
    hearing = Hearing(instance, cut)
    output = await dry_run(instance, SECONDS, hearing, make=make, tree=tree, library=library, confiner=confiner)
    if output.error is not None:
        return None, output.error
    database = await asyncio.to_thread(uncollected, hearing.database)
    confined = functools.partial(printed, tree=tree, confiner=confiner, seconds=ASKING_SECONDS)
    questions = Questions()
    while True:
        plan, trouble = await asyncio.to_thread(
            uncollected, _understand, instance, output, hearing, database, questions
        )
        if output.confinement == confining.NOT_AT_ALL:  # programs of the project's own might write
            return plan, trouble
        if not questions.open:
            return await without_scripts(plan, confined), trouble
        await _answer(questions, confined)


async def _answer(questions: Questions, confined: Confined) -> None:
    """Have done what recipe lines ask, so that their commands are known when the plan is made once more."""
    for asked in questions.taken():
        script = "".join(f"(eval {shlex.quote(question.command)}); printf '{_END}%s{_END}' $?\n" for question in asked)
        try:
            told = await confined(script, asked[0].cwd, dict(asked[0].environment))
        except OSError:
            continue
        texts = told.text.decode("utf-8", "surrogateescape").split(_END)
        for question, text, status in zip(asked, texts[::2], texts[1::2], strict=False):
            if status == "0":  # else what it asks of may not be there yet
                questions.answers[question] = text.rstrip("\n")


class Hearing:
    """Reads what make prints while make still prints, on another core."""

    def __init__(self, instance: MakeInstance, cut: blocks.Cut | None = None) -> None:
        try:
            directory = os.path.realpath(os.path.join(instance.directory, parse_words(instance.argv[1:]).directory))
        except UsageError:
            directory = instance.directory
        self._environment = instance.environment
        self._early = _early_recipes(directory, instance.environment)
        self._reader = Reader(cut, self._early.plain.words)
        self._trace = self._reader.trace
        self._taken = 0  # steps of the trace
        self._named = 0  # rules of the data base

    def __call__(self, piece: bytes) -> None:
        """Another piece of make's output."""
        uncollected(self._read, piece)

    def _read(self, piece: bytes) -> None:
        self._reader.read(piece)
        if self._trace is not self._reader.trace:  # make has begun anew
            self._early.forget()
            self._trace, self._taken, self._named = self._reader.trace, 0, 0
        self._early.take(self._trace.steps[self._taken :])
        self._taken = len(self._trace.steps)
        self._early.name(self._reader.rules[self._named :])
        self._named = len(self._reader.rules)

    def database(self) -> MakeDatabase:
        """What make said; asked once, when all has been heard."""
        return self._reader.database()

    def early(self, directory: str, environment: Mapping[str, str]) -> EarlyRecipes:
        """What was read, if make works in `directory`, and recipes with what means the same to `classify`."""
        same = all(bool(environment.get(name)) == bool(self._environment.get(name)) for name in LOCAL_VARIABLES)
        same = same and directory == self._early.plain.directory
        return self._early if same else _early_recipes(directory, environment)


def _early_recipes(directory: str, environment: Mapping[str, str]) -> EarlyRecipes:
    return EarlyRecipes(PlainLines(directory, Alike(functools.partial(classify, environment=environment))))


def uncollected(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Do `work`, which makes millions of values and no cycles, without looking for cycles: a fifth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        return work(*arguments, **named)
    finally:
        if was_on:
            gc.enable()


@functools.cache
def _natives() -> tuple[Path | None, Path | None, blocks.Cut | None]:
    """What makes dry runs cheaper: `buffering`'s, `confining`'s, `blocks`'; compiled if they have never been."""
    cache = cache_directory()
    return buffering.prepare(cache), confining.prepare(cache), blocks.prepare(cache)


def _understand(
    instance: MakeInstance, output: DryRunOutput, hearing: Hearing, database: MakeDatabase, questions: Questions
) -> tuple[InstancePlan, str | None]:
    """What a dry run said; slow enough for a thread."""
    complained = complaints(output.stderr)
    directory = database.directory or instance.directory
    early = hearing.early(directory, output.environment)
    plan = make_plan(
        database,
        complained,
        key=instance.key(),
        cwd=instance.directory,
        argv=instance.argv,
        directory=directory,
        environment=output.environment,
        recorded=[line.environment for line in output.submakes],
        classify=early.plain.classify,
        read=functools.lru_cache(_read),
        exists=os.path.isfile,
        ask=questions,
        early=early,
    )
    return plan, "; ".join(complained.fatal) or None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None


async def _plan_build(top: MakeInstance) -> Planned:
    from buildfarm.graph.dag import BuildGraph

    plans, troubles = await _plan_instances(top)
    graph = BuildGraph()
    for plan in plans:
        graph.merge(plan)
    return Planned(graph, troubles)


async def _plan_instances(top: MakeInstance) -> tuple[tuple[InstancePlan, ...], tuple[str, ...]]:
    """Several dry runs at once, for nothing else is there to do; plans and troubles come as they would one by one."""
    plans: list[InstancePlan] = []
    troubles: dict[str, None] = {}
    seen: set[str] = set()
    waiting = deque([top])
    under_way: deque[tuple[MakeInstance, asyncio.Task[tuple[InstancePlan | None, str | None]]]] = deque()
    async with asyncio.TaskGroup() as group:
        while waiting or under_way:
            while waiting and len(under_way) < _AT_ONCE and len(seen) < MOST_INSTANCES:
                instance = waiting.popleft()
                try:
                    key = instance.key()
                except UsageError as error:
                    troubles[f"{instance.directory}: {error.message}"] = None
                    continue
                if key not in seen:
                    seen.add(key)
                    under_way.append((instance, group.create_task(plan_instance(instance, tree=top.directory))))
            if not under_way:
                break
            instance, task = under_way.popleft()
            plan, trouble = await task
            if trouble is not None:
                troubles[f"{instance.directory}: {trouble}"] = None
            if plan is None:
                continue
            plans.append(plan)
            for target in plan.targets.values():
                for submake in target.submakes:
                    where = os.path.normpath(os.path.join(plan.directory, submake.cwd))
                    waiting.append(MakeInstance(where, submake.argv, submake.environment, submake.makelevel))
    if waiting:
        troubles[f"more than {MOST_INSTANCES} recursive makes: the rest is not planned"] = None
    return tuple(plans), tuple(troubles)
