"""A build from its first call to its closing line: make is run, and run again where a node has lied.

It is opened by `build` when the first call needs it.  Who serves make's calls is `crew`'s; what asks the build to
stop is passed on by `supervisor`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping

from buildfarm.conductor.blind import compiled_past
from buildfarm.conductor.build import Begun, exit_code, state_of
from buildfarm.conductor.crew import Crew
from buildfarm.conductor.ledger import Ledger, Tally
from buildfarm.conductor.loop import Loop
from buildfarm.conductor.supervisor import Supervisor
from buildfarm.model import BuildState
from buildfarm.report.reporter import Summary
from buildfarm.report.text import count
from buildfarm.state import recipes
from buildfarm.state.place import CLOCK
from buildfarm.state.taint import Taken
from buildfarm.state.unseen import claimed, record
from buildfarm.state.writer import JournalWriter

MAKE_ERRORS = 2  # its exit status (GNU make manual, "How to Run make")
FLUSH_SECONDS = 30.0  # how long the end of a build may wait for the disk
TROUBLED_SECONDS = 2.0  # the same, when commits fail already
DAMAGED = (
    "no compile has failed, but damaged or wrong results came from {nodes}; what was made there in this build was made"
    " again: if the linker still names a damaged object, delete that, and `buildfarm resume` makes it anew"
)


class Workshop:
    """Serves one build."""

    def __init__(self, begun: Begun) -> None:
        self._begun = begun
        self._request = begun.request
        self._reporters = begun.reporters
        self._supervisor = Supervisor(begun)

    def run(self) -> int:
        """The process's exit code.  Raises BuildfarmError."""
        durations = self._begun.journal.durations_by_output()
        with (
            JournalWriter(
                self._begun.journal,
                self._request.directory,
                on_trouble=self._trouble,
                recipes_since=self._recipes_since,
            ) as writer,
            asyncio.Runner(loop_factory=Loop) as runner,
        ):
            return runner.run(self._conduct(writer, durations))

    def _recipes_since(self) -> int | None:
        """Since when (ns, the tree's clock) the oldest recipe runs; called by the journal's thread."""
        return recipes.oldest_start(self._supervisor.make_pid, self._begun.state_dir / CLOCK)

    def _trouble(self, text: str) -> None:
        if text:
            self._reporters.note(text)

    async def _conduct(self, writer: JournalWriter, durations: Mapping[str, float]) -> int:
        ledger = Ledger(writer, self._begun.build, self._reporters)
        ledger.reused(self._begun.reused)
        code: int | None = None
        try:
            async with (
                asyncio.TaskGroup() as tasks,
                Crew(self._begun, writer, ledger, durations, tasks) as crew,
            ):
                status = await self._until_believed(crew, ledger, tasks)
                await asyncio.to_thread(writer.flush, TROUBLED_SECONDS if writer.trouble else FLUSH_SECONDS)
            ledger.tally.unseen = await self._note_unseen(crew, writer)
            code = exit_code(status, self._supervisor.interrupted_by)
        except BaseExceptionGroup as group:
            raise _first(group) from group
        finally:
            state = state_of(code, self._supervisor.interrupted_by)
            closing = writer.submit(lambda journal: journal.end_build(ledger.build, state, code))
        await asyncio.wrap_future(closing)
        ledger.tell_all()
        if state is BuildState.FAILED and code == MAKE_ERRORS:
            for line in await asyncio.to_thread(self._hints, crew, ledger.tally):
                self._reporters.note(line)
        self._reporters.finished(self._summary(ledger, code, state))
        return code

    # --- make, and make again where a node has lied ----------------------------------------------------------

    async def _until_believed(self, crew: Crew, ledger: Ledger, tasks: asyncio.TaskGroup) -> int:
        """Run make, and once more for as long as work of a liar's was taken back; its exit status."""
        process, words = self._begun.process, self._begun.words
        while True:
            status = await self._supervisor.run(process, crew.checkpoint, tasks)
            if self._supervisor.interrupted_by is not None:
                return status  # what was taken back so far, the next build's sweep removes
            await crew.trust.settled()
            if not crew.taken:
                return status
            crew.taken.append(ledger.take_back(tuple(crew.trust.liars)))  # what came in since
            bad = sum([await asyncio.wrap_future(part) for part in crew.taken], Taken())
            crew.taken.clear()
            if bad == Taken():
                return status  # they were caught before anything of theirs had its place
            words = self._take_away(bad, ledger, words)
            process = process.again(words)

    def _take_away(self, taken: Taken, ledger: Ledger, words: tuple[str, ...]) -> tuple[str, ...]:
        """Remove what liars have made; make's words for doing it again.

        A result that its recipe has moved on can't be found again: then make must do everything anew (`-B`).
        """
        outputs = tuple(dict.fromkeys(taken.outputs))
        scattered = taken.scattered
        for output in outputs:
            try:
                os.unlink(output)
            except FileNotFoundError:
                scattered = True
        ledger.taken_away(Taken(outputs))
        anew = "everything" if scattered else count(len(outputs), "file")
        ledger.note(f"make runs again: {anew} must be made anew")
        return ("-B", *words) if scattered and "-B" not in words else words

    # --- the end ---------------------------------------------------------------------------------------------

    async def _note_unseen(self, crew: Crew, writer: JournalWriter) -> int:
        """Record what was compiled past us; how many objects that are."""
        begun, found = self._begun, set(crew.unseen)
        if crew.blind:
            outputs = await asyncio.wrap_future(writer.submit(claimed, durable=False))
            found.update(await asyncio.to_thread(compiled_past, str(self._request.directory), begun.started, *outputs))
        writer.submit(lambda journal: record(journal, begun.build, found, crew.blind), durable=False)
        return len(found)

    def _hints(self, crew: Crew, tally: Tally) -> list[str]:
        """What may explain a failure, such as what the Makefiles lack."""
        from buildfarm.conductor.prerequisites import FROM_A_NODE, of_failed_build, of_late_files

        request = self._request
        compiled = not tally.failed
        if compiled and crew.condemned:
            return [DAMAGED.format(nodes=", ".join(crew.condemned))]
        damaged = [FROM_A_NODE] if compiled and tally.links_failed and tally.remote else []
        if request.keeps_order:
            return damaged
        if tally.failed or tally.links_failed:
            words, environment = request.make_words, request.environment
            return of_failed_build(request.directory, self._begun.state_dir, words, environment) + damaged
        # Jobs side by side were our idea, and make itself may have missed what one of them was making.
        return [of_late_files(crew.late, str(request.directory))] if crew.late and request.jobs is None else []

    def _summary(self, ledger: Ledger, code: int, state: BuildState) -> Summary:
        tally = ledger.tally
        return Summary(
            exit_status=code,
            time=time.time(),
            seconds=time.monotonic() - self._begun.since,
            done=tally.done,
            failed=tally.failed,
            remote=tally.remote,
            local=tally.local,
            lookahead=tally.lookahead,
            retries=tally.retries,
            reused=ledger.reused_units + tally.kept,
            links=tally.links,
            links_failed=tally.links_failed,
            unseen=tally.unseen,
            interrupted=state is BuildState.INTERRUPTED,
        )


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The innermost first exception: what went wrong first is what the user must know."""
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return inner
