"""The sweep: what may be half-written goes, what can be vouched for stays, and nothing else is touched."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildfarm.errors import MachineError
from buildfarm.model import BuildState, Kind, OutputRecord
from buildfarm.state import durable, recovery
from buildfarm.state.claims import read_rows
from buildfarm.state.identity import BOOT_ID_VARIABLE, boot_id
from buildfarm.state.journal import BUILDS_KEPT, Journal
from buildfarm.state.recovery import BETWEEN_LINES_NS, SweepPlan, plan_sweep, unvouched
from buildfarm.state.removal import perform
from buildfarm.state.sight import last_sign_of_life, look
from tests import state_samples as sample

DAY_NS = 86_400_000_000_000


class Tree:
    """A real tree with a journal and a build that is under way."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.journal = Journal.open(root / ".buildfarm")
        self.build = sample.begin(self.journal)
        self._step = 0

    def write(self, name: str, content: bytes = b"whole") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def check_out(self, *names: str, kind: Kind = Kind.COMPILE, **more: object) -> int:
        self._step += 1
        paths = [self.root / name for name in names]
        self.journal.check_out(self.build, [sample.check_out(self._step, *paths, kind=kind, **more)])  # type: ignore[arg-type]
        return self._step

    def records(self, *names: str) -> list[OutputRecord]:
        return [sample.record(self.root / name) for name in names]

    def make(self, *names: str, kind: Kind = Kind.COMPILE, inputs: tuple[str, ...] = ()) -> int:
        """A step from its check-out to its check-in."""
        step = self.check_out(*names, kind=kind)
        for name in names:
            if not (self.root / name).exists():
                self.write(name, name.encode())
        self.journal.check_in(self.build, [sample.check_in(step, *self.records(*names), inputs=inputs)])
        return step

    def plan(
        self,
        *,
        rebooted: bool = False,
        clock_ns: int | None = None,
        recipe_continues: Callable[[str], bool | None] = lambda _: False,
        recipe_repeats: Callable[[str], bool] = lambda _: False,
    ) -> SweepPlan:
        return plan_sweep(
            read_rows(self.journal),
            boot_id="another boot" if rebooted else boot_id(),
            clock_ns=durable.clock_offset_ns() if clock_ns is None else clock_ns,
            recipe_continues=recipe_continues,
            recipe_repeats=recipe_repeats,
        )

    def sweep(self, **how: bool) -> set[str]:
        """Plan and perform; the names that are left."""
        plan = self.plan(**how)  # type: ignore[arg-type]
        perform(plan, self.journal, self.root)
        again = self.plan(**how)  # type: ignore[arg-type]
        assert not again.removed, "the second sweep found more"
        return self.names()

    def names(self) -> set[str]:
        files = (path for path in self.root.rglob("*") if path.is_file() and ".buildfarm" not in path.parts)
        return {os.fspath(path.relative_to(self.root)) for path in files}


def reasons(plan: SweepPlan) -> dict[str, str]:
    return {os.path.basename(removal.path): removal.reason for removal in plan.removed}


def alter(path: Path, content: bytes) -> None:
    """Other bytes of the same length, with the old time: what a disk does to a file."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    tree = Tree(tmp_path)
    yield tree
    tree.journal.close()


def test_a_tree_that_was_never_built_needs_no_sweep(tmp_path: Path) -> None:
    with Journal.open(tmp_path / ".buildfarm") as journal:
        plan = plan_sweep(read_rows(journal), boot_id=boot_id(), clock_ns=0)
        assert (plan.build, plan.removed, plan.kept) == (None, (), ())
        assert perform(plan, journal, tmp_path) == 0


def test_what_was_checked_out_goes_and_what_was_checked_in_stays(tree: Tree) -> None:
    tree.write("main.c")
    tree.make("a.o", "a.mod")
    tree.check_out("b.o", "b.mod", temporaries=[str(tree.root / ".b.o.tmp")])
    tree.write("b.o", b"hal")
    tree.write(".b.o.tmp", b"")
    tree.check_out("prog", kind=Kind.LINK)
    tree.write("prog", b"half")
    plan = tree.plan()
    assert reasons(plan) == {
        "b.o": "checked out, never checked in",
        "prog": "checked out, never checked in",
        ".b.o.tmp": "a temporary file of a step that did not end",
    }
    assert plan.kept_units == 1
    assert tree.sweep() == {"main.c", "a.o", "a.mod"}
    last = tree.journal.last_build()
    assert last is not None and last.state is BuildState.INTERRUPTED


def test_a_file_changed_after_its_check_in_goes(tree: Tree) -> None:
    tree.make("a.o")
    tree.make("b.o")
    tree.write("b.o", b"something else")
    assert tree.sweep() == {"a.o"}


def test_hashes_decide_after_a_reboot_only(tree: Tree) -> None:
    tree.make("a.o")
    tree.make("b.o")
    alter(tree.root / "b.o", b"\0\0\0")
    assert not tree.plan().removed
    assert reasons(tree.plan(rebooted=True)) == {"b.o": "its bytes are not those that were checked in"}
    assert tree.sweep(rebooted=True) == {"a.o"}


def test_the_boot_id_of_the_environment_stands_for_a_reboot(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BOOT_ID_VARIABLE, "after the cut")
    assert tree.plan().rebooted
    sample.begin(tree.journal)
    assert not tree.plan().rebooted


def test_an_arrival_is_kept_by_its_hash_and_counts_as_done(tree: Tree) -> None:
    for name in ("a", "b", "c"):
        step = tree.check_out(f"{name}.o")
        tree.write(f"{name}.o", name.encode())
        tree.journal.arrive(tree.build, sample.check_in(step, *tree.records(f"{name}.o")))
    alter(tree.root / "b.o", b"\0")
    (tree.root / "c.o").unlink()
    plan = tree.plan()
    assert reasons(plan) == {"b.o": "its bytes are not those that arrived"}
    assert plan.kept_units == 1
    assert tree.sweep(rebooted=True) == {"a.o"}
    assert set(sample.checked_in(tree.journal)) == {str(tree.root / "a.o")}
    states = dict(tree.journal.select("SELECT output, state FROM step").fetchall())
    assert {os.path.basename(k): v for k, v in states.items()} == {
        b"a.o": "done",
        b"b.o": "swept",
        b"c.o": "swept",
    }


def test_the_outputs_of_a_step_live_or_die_together(tree: Tree) -> None:
    tree.make("a.o", "a.mod")
    tree.write("a.mod", b"changed by somebody")
    assert reasons(tree.plan()) == {
        "a.mod": "changed after its check-in",
        "a.o": "a.mod: changed after its check-in",
    }
    assert tree.sweep() == set()


def test_a_module_that_its_recipe_moved_away_takes_nothing_with_it(tree: Tree) -> None:
    tree.make("a.o", "a.mod")
    (tree.root / "a.mod").unlink()
    tree.journal.set_barrier(tree.build, (tree.root / "a.o").stat().st_ctime_ns + BETWEEN_LINES_NS)
    assert not tree.plan(recipe_continues=lambda path: path.endswith("a.mod")).removed


def test_a_lost_module_takes_its_object_with_it_and_a_lost_object_nothing(tree: Tree) -> None:
    """Make asks for objects only; whoever uses the module needs it."""
    tree.make("a.o", "a.mod")
    tree.make("b.o", "b.mod")
    (tree.root / "a.mod").unlink()
    (tree.root / "b.o").unlink()
    assert reasons(tree.plan()) == {"a.o": "a.mod: is missing"}
    assert tree.sweep() == {"b.mod"}


def test_a_step_that_had_not_begun_leaves_what_was_there(tree: Tree) -> None:
    tree.make("a.o", "a.mod")
    tree.build = sample.begin(tree.journal)
    tree.check_out("a.o", "a.mod")
    assert tree.sweep(rebooted=True) == {"a.o", "a.mod"}
    assert len(sample.checked_in(tree.journal)) == 2
    tree.check_out("a.o", "a.mod")
    tree.write("a.mod", b"the new module, written before the object")
    assert tree.sweep() == set()


def test_a_step_that_had_not_begun_after_another_of_its_recipe_takes_what_that_one_made(tree: Tree) -> None:
    """`ar qc lib.a ...; ranlib lib.a`, as CMake writes it: make takes what stands before the `;` for all of it."""
    tree.make("lib.a", kind=Kind.ARCHIVE)
    tree.check_out("lib.a", kind=Kind.ARCHIVE)
    tree.journal.set_barrier(tree.build, (tree.root / "lib.a").stat().st_ctime_ns)
    plan = tree.plan()
    assert reasons(plan) == {"lib.a": "another command of its recipe had made it, and this one never ended"}
    assert not plan.unfinished
    assert tree.sweep() == set()


def test_what_an_archiver_writes_first_under_another_name_goes_with_its_archive(tree: Tree) -> None:
    """binutils' `ar` and `ranlib` write `stXXXXXX` beside it, and rename that (bucomm.c: make_tempname)."""
    for name in ("lib/stAbCd12", "lib/stthin12", "lib/stempty1", "lib/stabcdef", "stAbCd12", "lib/stAbCd12.o"):
        tree.write(name, {"lib/stthin12": b"!<thin>\n", "lib/stempty1": b""}.get(name, b"!<arch>\nx"))
        (tree.root / name).chmod(0o600)
    tree.write("lib/stabcdef", b"a directive of someone's")
    tree.write("lib/stampall", b"")  # a recipe's, begun meanwhile: `touch $@`
    tree.check_out("lib/a.a", kind=Kind.ARCHIVE)
    assert tree.sweep() == {"lib/stabcdef", "lib/stampall", "stAbCd12", "lib/stAbCd12.o"}


def test_a_tool_that_a_signal_killed_may_have_left_half_a_file(tree: Tree) -> None:
    killed, failed = tree.check_out("lib.a", kind=Kind.ARCHIVE), tree.check_out("b.o")
    tree.write("lib.a", b"hal")
    tree.write("b.o", b"as make leaves it")
    tree.journal.check_in(tree.build, [sample.failure(killed, exit_status=-9), sample.failure(failed)])
    tree.journal.end_build(tree.build, BuildState.FAILED, 2)
    assert tree.sweep() == {"b.o"}


def test_after_a_build_that_ended_nothing_else_goes(tree: Tree) -> None:
    tree.make("a.o")
    tree.make("b.o")
    tree.journal.end_build(tree.build, BuildState.COMPLETE, 0)
    tree.write("b.o", b"made by a plain make since")
    assert tree.sweep(rebooted=True) == {"a.o", "b.o"}
    assert set(sample.checked_in(tree.journal)) == {str(tree.root / "a.o")}
    sample.begin(tree.journal)
    assert tree.sweep() == {"a.o", "b.o"}


def test_a_source_is_never_removed(tree: Tree) -> None:
    sources = {"x.c", "y.c"}
    for name in sources:
        tree.write(name)
    same = str(tree.root / "x.c")
    tree.check_out("x.c", argv=("gcc", "-c", same, "-o", same))
    plan = tree.plan()
    perform(plan, tree.journal, tree.root)
    assert tree.names() == sources
    assert {kept.reason for kept in plan.kept} == {"its own command reads it"}


def test_devices_and_directories_are_never_removed(tree: Tree) -> None:
    (tree.root / "dir").mkdir()
    tree.journal.check_out(tree.build, [sample.check_out(77, "/dev/null", tree.root / "dir")])
    plan = tree.plan()
    assert plan.removed == ()
    perform(plan, tree.journal, tree.root)
    assert (tree.root / "dir").is_dir()


def test_what_a_link_leads_to_goes_and_the_link_stays(tree: Tree) -> None:
    target = tree.write("real/a.o", b"hal")
    (tree.root / "a.o").symlink_to(target)
    tree.check_out("a.o")
    tree.sweep()
    assert (tree.root / "a.o").is_symlink()
    assert not target.exists()


def test_odd_names_are_swept_like_others(tree: Tree) -> None:
    name = sample.ODD + ".o"
    tree.write(name, b"hal")
    tree.check_out(name)
    assert tree.sweep() == set()


def test_a_file_changed_by_its_own_recipe_before_the_last_barrier_stays(tree: Tree) -> None:
    tree.make("a.o")
    tree.write("a.o", b"stripped")
    tree.journal.set_barrier(tree.build, (tree.root / "a.o").stat().st_ctime_ns)
    assert tree.sweep() == {"a.o"}


def test_a_recipe_that_goes_on_after_its_compile_is_trusted_a_while_after_the_next_barrier(tree: Tree) -> None:
    tree.make("a.o")
    plan = tree.plan(recipe_continues=lambda _: True)
    assert reasons(plan) == {"a.o": "its recipe may not have ended"}
    assert not tree.plan().removed
    changed_ns = (tree.root / "a.o").stat().st_ctime_ns
    tree.journal.set_barrier(tree.build, changed_ns)
    assert reasons(tree.plan(recipe_continues=lambda _: True)) == {"a.o": "its recipe may not have ended"}
    tree.journal.set_barrier(tree.build, changed_ns + BETWEEN_LINES_NS)
    assert not tree.plan(recipe_continues=lambda _: True).removed


@pytest.mark.parametrize(
    ("told", "goes"),
    [({}, True), ({"a.o": False}, False), ({"a.o": True}, True), ({"a.o": False, "a.mod": True}, True)],
)
def test_what_is_known_of_a_recipe_holds_for_all_that_a_step_writes(
    tree: Tree, told: dict[str, bool], goes: bool
) -> None:
    """Plans may name the object alone; of what no plan has anything may come."""
    tree.make("a.o", "a.mod")
    plan = tree.plan(recipe_continues=lambda path: told.get(os.path.basename(path)))
    assert set(reasons(plan)) == ({"a.o", "a.mod"} if goes else set())


def test_an_arrived_object_is_not_taken_for_the_end_of_its_recipe(tree: Tree) -> None:
    step = tree.check_out("a.o")
    tree.write("a.o")
    tree.journal.arrive(tree.build, sample.check_in(step, *tree.records("a.o")))
    assert not tree.plan().removed
    plan = tree.plan(recipe_continues=lambda _: True)
    assert reasons(plan) == {"a.o": "its recipe may not have ended"}
    assert not plan.adopted


def test_what_went_for_its_recipe_alone_is_offered_as_a_result_unless_the_clock_is_in_doubt(tree: Tree) -> None:
    tree.make("a.o", "a.mod")
    tree.make("b.o")
    tree.write("b.o", b"stripped meanwhile")
    tree.make("c.o")

    def continues(path: str) -> bool:
        return not path.endswith("c.o")

    plan = tree.plan(recipe_continues=continues)
    assert set(reasons(plan)) == {"a.o", "a.mod", "b.o"}
    assert [step & 0xFFFF for step in plan.unfinished] == [1]
    assert not tree.plan(recipe_continues=continues, rebooted=True).unfinished
    assert not tree.plan(recipe_continues=continues, clock_ns=durable.clock_offset_ns() - DAY_NS).unfinished


def test_what_stands_though_make_runs_its_recipe_again_is_offered_as_a_result(tree: Tree) -> None:
    tree.make("a.o", "a.mod")
    tree.make("b.o")

    def repeats(path: str) -> bool:
        return path.endswith("a.o")

    plan = tree.plan(recipe_repeats=repeats)
    assert not plan.removed
    assert [step & 0xFFFF for step in plan.repeated] == [1]
    assert plan.kept_units == 1, "make asks for the other again, and it counts then"
    rebooted = tree.plan(recipe_repeats=repeats, rebooted=True)
    assert not rebooted.repeated and rebooted.kept_units == 1


@pytest.mark.parametrize("content", [b"a.mod", b"other"])
def test_what_its_recipe_wrote_anew_before_the_barrier_is_offered_as_a_result_too(tree: Tree, content: bytes) -> None:
    """ModelE's recipes copy a module over itself; whether the bytes are still those that arrived, the rescue asks."""
    step = tree.check_out("a.o", "a.mod")
    tree.write("a.o")
    tree.write("a.mod", b"a.mod")
    tree.journal.arrive(tree.build, sample.check_in(step, *tree.records("a.o", "a.mod")))
    tree.write("a.mod", content)
    os.utime(tree.root / "a.mod")
    plan = tree.plan(recipe_continues=lambda _: True)
    assert set(reasons(plan)) == {"a.o", "a.mod"}
    assert [step & 0xFFFF for step in plan.unfinished] == [1]


def test_kept_units_are_those_of_the_chain_of_resumed_builds(tree: Tree) -> None:
    tree.make("older.o")
    tree.journal.end_build(tree.build, BuildState.COMPLETE, 0)
    first = tree.build = sample.begin(tree.journal)
    tree.make("a.o")
    tree.make("prog", kind=Kind.LINK)
    tree.build = sample.begin(tree.journal, resumed_from=first)
    tree.make("b.o")
    assert tree.plan().kept_units == 2


def test_kept_units_are_those_of_every_interrupted_build_whether_resumed_or_run_again(tree: Tree) -> None:
    tree.make("0.o")
    for number in range(1, 2 * BUILDS_KEPT):
        tree.journal.end_build(tree.build, BuildState.INTERRUPTED, None)
        resumed = tree.build if number % 2 else None
        tree.build = sample.begin(tree.journal, resumed_from=resumed)
        tree.make(f"{number}.o")
    assert tree.plan().kept_units == 2 * BUILDS_KEPT
    tree.journal.end_build(tree.build, BuildState.COMPLETE, 0)
    tree.build = sample.begin(tree.journal)
    tree.make("last.o")
    assert tree.plan().kept_units == 1, "a build that was complete is nobody's predecessor"


def test_a_clock_set_back_or_forward_decides_nothing_about_steps(tree: Tree) -> None:
    for shift in (-DAY_NS, DAY_NS):
        name = f"a{shift}.o"
        path = tree.write(name)
        os.utime(path, ns=(path.stat().st_mtime_ns + shift,) * 2)
        tree.make(name)
        tree.write(f"b{shift}.o", b"hal")
        tree.check_out(f"b{shift}.o")
        os.utime(tree.root / f"b{shift}.o", ns=(path.stat().st_mtime_ns + shift,) * 2)
    assert tree.sweep() == {f"a{-DAY_NS}.o", f"a{DAY_NS}.o"}


def since(tree: Tree, clock_ns: int | None = None) -> int:
    row = tree.journal.last_build()
    assert row is not None
    now = durable.clock_offset_ns() if clock_ns is None else clock_ns
    return recovery.trusted_before(row, boot_id(), now)


def test_other_targets_written_since_the_barrier_go_unless_a_step_has_read_them(tmp_path: Path) -> None:
    shipped = tmp_path / "configure"
    shipped.write_text("shipped, and make has a rule for it")
    tree = Tree(tmp_path)
    targets = [shipped]
    for name in ("half.h", "read.h", "checked.o", "whole.h"):
        targets.append(tree.write(name))
    (tmp_path / "directory").mkdir()
    tree.make("checked.o", inputs=(str(tmp_path / "read.h"),))
    names = [str(path) for path in (*targets, tmp_path / "directory", tmp_path / "phony")]
    found = unvouched(
        names, read_rows(tree.journal), since_ns=since(tree), verified=lambda path: path.endswith("whole.h")
    )
    assert [os.path.basename(removal.path) for removal in found] == ["half.h"]
    until = last_sign_of_life(tree.journal.state_dir)
    assert until is not None
    os.utime(tmp_path / "half.h", ns=(0, until + DAY_NS))
    assert not unvouched(names[:2], read_rows(tree.journal), since_ns=since(tree), until_ns=until)
    assert perform(tree.plan(), tree.journal, tree.root, found) == 1
    assert "half.h" not in tree.names() and "configure" in tree.names()
    tree.journal.close()


def test_what_a_step_has_made_is_known_under_another_name(tree: Tree) -> None:
    """automake's recipes rename depfiles; a file that a kill has cut, or another one, is not taken for it."""
    for name in ("a.Tpo", "b.Tpo"):
        tree.write(name, name.encode())
        tree.make(name)
        (tree.root / name).rename(tree.root / f"{name}.Po")
    made = recovery.made_as(read_rows(tree.journal).claims)
    assert made(str(tree.root / "a.Tpo.Po"))
    (tree.root / "b.Tpo.Po").write_bytes(b"b")
    assert not made(str(tree.root / "b.Tpo.Po"))
    assert not made(str(tree.root / "nowhere.Po"))


def test_copying_the_old_time_onto_a_file_does_not_hide_it(tree: Tree) -> None:
    path = tree.write("half.h")
    os.utime(path, ns=(0, 0))
    assert unvouched([str(path)], read_rows(tree.journal), since_ns=since(tree))


def test_a_clock_set_back_during_the_build_makes_the_sweep_trust_less(tree: Tree) -> None:
    bound = since(tree)
    assert since(tree, durable.clock_offset_ns() - DAY_NS) <= bound - DAY_NS + 1_000_000_000
    assert since(tree, durable.clock_offset_ns() + DAY_NS) == bound


def test_a_file_that_can_not_be_removed_stops_the_build_by_name(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    tree.check_out("a.o")
    tree.write("a.o", b"hal")
    monkeypatch.setattr("buildfarm.state.removal.os.unlink", refuse)
    with pytest.raises(MachineError, match=r"a\.o: checked out, never checked in, and it can't be removed"):
        perform(tree.plan(), tree.journal, tree.root)
    monkeypatch.undo()
    assert tree.sweep() == set()


def test_the_view_of_a_file_follows_links_and_knows_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "dangling").symlink_to("nowhere")
    found = look(str(tmp_path / "link"))
    assert found is not None and found.real == str((tmp_path / "a").resolve()) and found.regular
    (tmp_path / "loop").symlink_to("loop")
    for gone in ("dangling", "none", "a/below", "loop", "n" * 300):
        assert look(str(tmp_path / gone)) is None


def test_after_a_build_that_ended_only_what_is_not_settled_need_be_read(tree: Tree) -> None:
    tree.make("a.o")
    tree.check_out("b.o", "b.mod")
    tree.write("b.o", b"half")
    tree.journal.end_build(tree.build, BuildState.FAILED, 2)
    rows = read_rows(tree.journal, settled=False)
    assert {os.path.basename(claim.path) for claim in rows.claims} == {"b.o", "b.mod"}
    plan = plan_sweep(rows, boot_id=boot_id(), clock_ns=durable.clock_offset_ns())
    assert {os.path.basename(removal.path) for removal in plan.removed} == {"b.o"}
    assert plan.open_steps == rows.open_steps != ()
