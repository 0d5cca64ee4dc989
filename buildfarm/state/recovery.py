"""The sweep: which files of an interrupted build can be vouched for, and which must go before make runs again.

Journal rows and a view of the files (`sight`) in, verdicts out; `removal` does what they say.  It neither starts make
nor knows its graph; the caller has the lock and has ended what was left of the old build.

Theory of operation.  make takes a half-written file for an up-to-date target, so a file that may be half-written
must not be there when make looks.

- *pending* (checked out, no word since): its step may be in the middle of it; it goes.  When nothing that the
  step claims has been touched (size, mtime and hash are those of the check-in before), the step had not begun,
  and all stays as it was: make wants it remade for the reason it had then.  Not if that check-in is of the same
  build: it was an earlier command of the same recipe (`ar`, then `ranlib`), which make takes for all of it.
- *arrived* (in place and hashed, not known to be on the disk): stays if its hash says so, else goes.
- *checked in*: stays if size and mtime are the recorded ones, after a reboot its hash too.  A file that was
  changed since, by its own recipe (`objcopy`, `strip`) before the last barrier, is whole and stays; changed
  later, or with another hash, it goes.
- The outputs of one step live or die together: an object whose `.mod` went, or is not there any more after an
  interrupted build, would never be made again.
- Where make has outlived the build (`settled_ns`), what was changed before its oldest recipe began is whole too.
- After a build that ended by itself only *pending* is looked at; records that no longer fit (someone else has
  made the file since) are dropped, the files are left.

Only a path that a step claimed as its output, or its archiver's file beside that, is ever removed, and only a
regular file (what a symbolic link leads to, never the link).  Not removed either: what the step's own command
reads under the same name (`gcc -c x.c -o x.c`).  Times decide nothing about what a step wrote; they only bound
what `unvouched`, an archiver and a recipe's later commands may have touched, by the clock of the tree's own file
system, and a clock that was set back only makes the sweep remove more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field

from buildfarm.model import MODULE_SUFFIXES, BuildState, OutputRecord
from buildfarm.state.claims import Claim, JournalRows, Standing
from buildfarm.state.journal import CLOCK_STEP_NS, BuildRow
from buildfarm.state.sight import Hash, Look, Seen, beside_archive, hash_files, look
from buildfarm.value import dataclass


@dataclass(frozen=True, slots=True)
class Kept:
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Removal:
    """A file to go.  `path` is as journaled, `real` what is removed."""

    path: str
    real: str
    reason: str


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """Verdicts.  `kept_units` counts compile steps of the interrupted build, and of those it resumed, that stand."""

    build: int | None
    interrupted: bool
    rebooted: bool
    kept: tuple[Kept, ...] = ()
    removed: tuple[Removal, ...] = ()
    forgotten: tuple[str, ...] = ()  # records to drop; the files are gone or someone else's
    restored: tuple[str, ...] = ()  # pending, never touched: the record before stands again
    adopted: tuple[int, ...] = ()  # steps that had arrived whole
    open_steps: tuple[int, ...] = ()  # checked out when the build died
    unfinished: tuple[int, ...] = ()  # steps that look whole and go only because their recipes may not have ended
    repeated: tuple[int, ...] = ()  # steps that stand, and whose recipes make runs again all the same
    kept_units: int = 0  # that make does not ask for again


BETWEEN_LINES_NS = 2_000_000_000
"""A barrier knows when the oldest running line of a recipe began; how long those before it took is guessed."""

UNFINISHED = "its recipe may not have ended"
CHANGED = "changed after its check-in"
CUT_SHORT = "another command of its recipe had made it, and this one never ended"
FINISHED = "make, which went on, had finished it"
WRITTEN_ANEW = "changed after it arrived"


def _nothing(_: str) -> bool:
    return False


def trusted_before(build: BuildRow, boot_id: str, clock_ns: int) -> int:
    """What was last changed at or before this moment (ns, the tree's clock) was whole at the last barrier.

    `clock_ns` is wall clock minus time since boot, now: if it went down in the same boot, the clock was set back
    after the barrier, and later files may bear earlier times.
    """
    set_back = build.clock_ns - clock_ns
    if build.owner.boot_id != boot_id or set_back < CLOCK_STEP_NS:
        return build.barrier_ns
    return build.barrier_ns - set_back


def plan_sweep(
    rows: JournalRows,
    *,
    boot_id: str,
    clock_ns: int,
    look: Look = look,
    hash_files: Hash = hash_files,
    recipe_continues: Callable[[str], bool | None] = _nothing,
    recipe_repeats: Callable[[str], bool] = _nothing,
    settled_ns: int | None = None,
) -> SweepPlan:
    """Judge every file that the journal knows; touches nothing.

    `recipe_continues(path)`: the recipe that made this output has commands after the step's, so that a check-in after
    the last barrier does not say that the recipe had ended; None: nobody knows, so it may.  `recipe_repeats(path)`:
    make runs that recipe again, ended or not.  `settled_ns`: make has outlived the build, and no recipe of it that
    still runs began before.
    """
    build = rows.build
    if build is None:
        return SweepPlan(None, False, False)
    interrupted = build.state in (BuildState.RUNNING, BuildState.INTERRUPTED)
    rebooted = not boot_id or build.owner.boot_id != boot_id
    trusted_ns = trusted_before(build, boot_id, clock_ns)
    judge = _Judge(
        rows=rows,
        interrupted=interrupted,
        rebooted=rebooted,
        trusted_ns=max(trusted_ns, settled_ns or 0),
        look=look,
        recipe_continues=recipe_continues,
        recipe_repeats=recipe_repeats,
        settled_ns=settled_ns,
        steady=not rebooted and trusted_ns == build.barrier_ns,
    )
    judge.look_at_all()
    digests = hash_files(sorted(judge.to_hash))
    return judge.verdicts(digests)


@dataclass
class _Judge:
    """One sweep's working memory."""

    rows: JournalRows
    interrupted: bool
    rebooted: bool
    trusted_ns: int
    look: Look
    recipe_continues: Callable[[str], bool | None]
    recipe_repeats: Callable[[str], bool]
    settled_ns: int | None
    steady: bool  # the clock has run on since the build: a later change has a later time
    seen: dict[str, Seen] = field(default_factory=dict)
    to_hash: set[str] = field(default_factory=set)
    # The verdicts so far, as in `SweepPlan`:
    kept: list[Kept] = field(default_factory=list)
    removed: dict[str, Removal] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    adopted: list[int] = field(default_factory=list)
    unfinished: list[int] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)
    kept_steps: set[int] = field(default_factory=set)

    def look_at_all(self) -> None:
        for claim in self.rows.claims:
            found = self.look(claim.path)
            if found is None:
                continue
            self.seen[claim.path] = found
            wanted = claim.standing is not Standing.CHECKED_IN or (self.interrupted and self.rebooted)
            if wanted and claim.record is not None and _fits(found, claim.record):
                self.to_hash.add(found.real)

    def verdicts(self, digests: Mapping[str, str | None]) -> SweepPlan:
        for step, claims in _by_step(self.rows.claims).items():
            self._judge(step, claims, digests)
        unfinished = [path for archive, since in self.rows.archives for path in beside_archive(archive, since)]
        for path in (*self.rows.temporaries, *unfinished):
            found = self.look(path)
            if found is not None and found.regular:
                self.removed[path] = Removal(path, found.real, "a temporary file of a step that did not end")
        assert self.rows.build is not None, "BUG: a sweep without a build"
        return SweepPlan(
            build=self.rows.build.id,
            interrupted=self.interrupted,
            rebooted=self.rebooted,
            kept=tuple(self.kept),
            removed=tuple(self.removed.values()),
            forgotten=tuple(self.forgotten),
            restored=tuple(self.restored),
            adopted=tuple(self.adopted),
            open_steps=self.rows.open_steps,
            unfinished=tuple(self.unfinished),
            repeated=tuple(self.repeated),
            kept_units=len(self.kept_steps & self.rows.chain_units) if self.interrupted else 0,
        )

    def _judge(self, step: int, claims: Sequence[Claim], digests: Mapping[str, str | None]) -> None:
        """The outputs of one step: they live or die together."""
        standing = claims[0].standing
        present = [claim for claim in claims if claim.path in self.seen]
        self.forgotten += [claim.path for claim in claims if claim.path not in self.seen]
        continues = self._continues(claims) is not False
        faults = {claim.path: self._fault(claim, digests, continues) for claim in present}
        if self.interrupted and present:
            faults.update((claim.path, "is missing") for claim in self._lost(claims))
        fault = next((f"{os.path.basename(path)}: {why}" for path, why in faults.items() if why), None)
        if standing is Standing.PENDING and present and fault is None:
            self._keep_pending(step, present)
            return
        if standing is Standing.CHECKED_IN and fault is not None and not self.interrupted:
            self.forgotten += [path for path, why in faults.items() if why]
            return
        for claim in present:
            self._settle(claim, faults[claim.path] or fault)
        if self.steady and fault is not None and present and self._may_be_whole(claims, faults):
            self.unfinished.append(step)
        if fault is None and present:
            if standing is Standing.ARRIVED:
                self.adopted.append(step)
            if not self.interrupted or not any(self.recipe_repeats(claim.path) for claim in claims):
                self.kept_steps.add(step)
            elif self.steady:
                self.repeated.append(step)

    def _keep_pending(self, step: int, present: Sequence[Claim]) -> None:
        """Outputs of a step that had not begun, or that a make which went on has finished."""
        untouched = [claim.path for claim in present if _fits(self.seen[claim.path], claim.record)]
        made = [claim.path for claim in present if claim.path not in untouched]
        self.restored += untouched
        self.forgotten += made
        self.kept += [Kept(path, "its step had not begun") for path in untouched]
        self.kept += [Kept(path, FINISHED) for path in made]
        if made and not untouched:
            self.kept_steps.add(step)

    def _settle(self, claim: Claim, fault: str | None) -> None:
        """Keep the file, or have it removed for `fault`."""
        if fault is None:
            self.kept.append(Kept(claim.path, self._why_kept(claim)))
            if not _fits(self.seen[claim.path], claim.record):
                self.forgotten.append(claim.path)
        elif (spared := self._spared(claim)) is not None:
            self.kept.append(Kept(claim.path, spared))
            self.forgotten.append(claim.path)
        else:
            self.removed[claim.path] = Removal(claim.path, self.seen[claim.path].real, fault)

    def _may_be_whole(self, claims: Sequence[Claim], faults: Mapping[str, str | None]) -> bool:
        """Whether nothing speaks against the bytes of a step's outputs.

        ModelE's recipes `touch` and copy modules, automake's rename depfiles: one that is gone may be beside.
        """
        sizes = all(
            claim.record is not None and self.seen.get(claim.path, claim.record).size == claim.record.size
            for claim in claims
        )
        return sizes and set(faults.values()) <= {None, UNFINISHED, CHANGED, WRITTEN_ANEW}

    def _lost(self, claims: Sequence[Claim]) -> list[Claim]:
        """Fortran modules that a step has made and that are gone: make asks for its object only, users need them.

        A recipe that goes on after the compile may have moved them.
        """
        if claims[0].standing is Standing.PENDING:
            return []
        lost = [
            claim
            for claim in claims
            if claim.path not in self.seen and claim.record is not None and claim.path.endswith(MODULE_SUFFIXES)
        ]
        return [] if lost and self._continues(claims) else lost

    def _continues(self, claims: Sequence[Claim]) -> bool | None:
        """`recipe_continues` of a step; plans name the object of a Fortran unit, and not always its modules."""
        told = {self.recipe_continues(claim.path) for claim in claims} - {None}
        return any(told) if told else None

    def _fault(self, claim: Claim, digests: Mapping[str, str | None], continues: bool) -> str | None:
        """Why this output can't be vouched for; None: it can."""
        found = self.seen[claim.path]
        if not found.regular:
            return "not a regular file"
        if claim.standing is Standing.PENDING and claim.record is None:
            return None if self._is_settled(found) else "checked out, never checked in"
        if claim.record is None:
            return "arrived without a record"
        fits = _fits(found, claim.record)
        if claim.standing is Standing.PENDING:
            if not fits and self._is_settled(found):
                return None
            if claim.again and not self._is_settled(found):
                return CUT_SHORT
            whole = fits and digests.get(found.real) == claim.record.digest
            return None if whole else "checked out, never checked in"
        if claim.standing is Standing.ARRIVED:
            if not fits:
                return None if self._is_settled(found) else WRITTEN_ANEW
            if digests.get(found.real) != claim.record.digest:
                return "its bytes are not those that arrived"
        elif not fits:
            if not self.interrupted or found.changed_ns > self.trusted_ns:
                return CHANGED
            return None
        elif self.interrupted and self.rebooted and digests.get(found.real) != claim.record.digest:
            return "its bytes are not those that were checked in"
        lately = found.changed_ns > self.trusted_ns - BETWEEN_LINES_NS
        if self.interrupted and lately and continues:
            return UNFINISHED
        return None

    def _is_settled(self, found: Seen) -> bool:
        """Whether its recipe had ended when a make that had outlived the build was asked."""
        return self.settled_ns is not None and found.changed_ns <= self.settled_ns

    def _why_kept(self, claim: Claim) -> str:
        if not _fits(self.seen[claim.path], claim.record):
            if self._is_settled(self.seen[claim.path]):
                return FINISHED
            return "changed by its recipe before the last barrier"
        if (self.rebooted and self.interrupted) or claim.standing is Standing.ARRIVED:
            return "size, mtime and hash are as recorded"
        return "size and mtime are as recorded"

    def _spared(self, claim: Claim) -> str | None:
        """Why this file is not removed although nothing vouches for it."""
        if not self.seen[claim.path].regular:
            return "not a regular file"
        if claim.own_source:
            return "its own command reads it"
        return None


def unvouched(
    targets: Iterable[str],
    rows: JournalRows,
    *,
    since_ns: int,
    until_ns: int | None = None,
    look: Look = look,
    verified: Callable[[str], bool] = _nothing,
) -> list[Removal]:
    """File targets of make's that no step wrote and that may be half-written.

    `targets` are the absolute paths for which make has a recipe, and no sources.  One stays if a step claims it
    (`plan_sweep` has judged it), if a checked-in step of the interrupted build has read it (so its recipe had
    ended), if it was last changed at or before `since_ns` (`trusted_before`) or after `until_ns`
    (`last_sign_of_life`: a file from the future is not this build's), or if `verified` says that
    it is whole.
    """
    known = {os.path.normpath(path) for path in (*(claim.path for claim in rows.claims), *rows.inputs_read)}
    found = []
    for path in dict.fromkeys(targets):
        if path in known:
            continue
        seen = look(path)
        if seen is None or not seen.regular or seen.changed_ns <= since_ns:
            continue
        if (until_ns is not None and seen.mtime_ns > until_ns) or verified(path):
            continue
        found.append(Removal(path, seen.real, "written after the last barrier, and nothing vouches for it"))
    return found


def made_as(claims: Iterable[Claim], *, look: Look = look, hash_files: Hash = hash_files) -> Callable[[str], bool]:
    """Whether a file is, byte for byte, what a step is recorded to have made, under whatever name.

    automake's recipes rename the depfiles that their compiles write.
    """
    records = (claim.record for claim in claims if claim.standing is not Standing.PENDING)
    made = {(record.size, record.mtime_ns, record.digest) for record in records if record is not None}

    def is_one(path: str) -> bool:
        found = look(path)
        return found is not None and (found.size, found.mtime_ns, hash_files([path])[path]) in made

    return is_one


def _by_step(claims: Iterable[Claim]) -> dict[int, list[Claim]]:
    grouped: dict[int, list[Claim]] = {}
    for claim in claims:
        grouped.setdefault(claim.step, []).append(claim)
    return grouped


def _fits(found: Seen, record: OutputRecord | None) -> bool:
    return record is not None and found.size == record.size and found.mtime_ns == record.mtime_ns
