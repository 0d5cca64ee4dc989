"""A state that is damaged in whatever way opens again, and says what it did."""

from __future__ import annotations

import os
import random
import sqlite3
from pathlib import Path

import pytest

from buildfarm.errors import MachineError, StateError
from buildfarm.model import BuildState
from buildfarm.state import reader, unseen
from buildfarm.state.claims import Standing, read_rows
from buildfarm.state.journal import Journal
from buildfarm.state.place import SCHEMA_VERSION
from tests import state_samples as sample


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """With a closed journal of one build and 40 steps, 30 of them checked in."""
    state_dir = tmp_path / ".buildfarm"
    with Journal.open(state_dir) as journal:
        build = sample.begin(journal)
        journal.check_out(build, [sample.check_out(n) for n in range(40)])
        journal.check_in(build, [sample.check_in(n) for n in range(30)])
    return state_dir


def database(state_dir: Path) -> Path:
    return state_dir / "state.db"


def broken(state_dir: Path) -> list[Path]:
    return sorted(state_dir.glob("state.db.broken-*"))


def usable(journal: Journal) -> bool:
    build = sample.begin(journal)
    journal.check_out(build, [sample.check_out(1)])
    return journal.check_in(build, [sample.check_in(1)]) == 1


def test_a_database_cut_at_any_length_is_set_aside_or_whole(state_dir: Path) -> None:
    whole = database(state_dir).read_bytes()
    lengths = {*range(0, 200, 33), *range(0, len(whole), 8192), *range(100, len(whole), 9001), len(whole) - 1}
    for length in sorted(lengths):
        for left in broken(state_dir):
            left.unlink()
        database(state_dir).write_bytes(whole[:length])
        assert reader.snapshot(state_dir).state in ("none", "running")
        with Journal.open(state_dir) as journal:
            assert journal.healed is not None, f"cut at {length} of {len(whole)} was taken for whole"
            assert usable(journal)
        assert len(broken(state_dir)) == 1
        assert broken(state_dir)[0].read_bytes() == whole[:length]


def test_garbage_in_any_page_never_raises(state_dir: Path) -> None:
    whole = database(state_dir).read_bytes()
    dice = random.Random(5)
    for page in range(len(whole) // 4096):
        for left in broken(state_dir):
            left.unlink()
        database(state_dir).write_bytes(whole[: page * 4096] + dice.randbytes(4096) + whole[(page + 1) * 4096 :])
        reader.snapshot(state_dir)
        reader.steps(state_dir)
        with Journal.open(state_dir) as journal:
            assert usable(journal)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 8192, b"not a database at all", b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_what_is_no_database_is_moved_aside_and_kept(state_dir: Path, content: bytes) -> None:
    database(state_dir).write_bytes(content)
    assert reader.snapshot(state_dir).problem is not None
    with Journal.open(state_dir) as journal:
        assert journal.healed is not None and "state.db.broken-" in journal.healed
        assert usable(journal)
    assert [path.read_bytes() for path in broken(state_dir)] == [content]


def test_a_foreign_database_is_moved_aside_and_nothing_of_it_believed(state_dir: Path) -> None:
    database(state_dir).unlink()
    foreign = sqlite3.connect(database(state_dir))
    foreign.executescript("PRAGMA application_id = 7; CREATE TABLE build (id); INSERT INTO build VALUES (3);")
    foreign.close()
    assert reader.snapshot(state_dir).problem is not None
    with Journal.open(state_dir) as journal:
        assert journal.healed is not None
        assert journal.last_build() is None
        assert usable(journal)


def test_a_database_without_our_tables_is_moved_aside(state_dir: Path) -> None:
    connection = sqlite3.connect(database(state_dir))
    connection.executescript("DROP TABLE duration")
    connection.close()
    with Journal.open(state_dir) as journal:
        assert journal.healed is not None
        assert usable(journal)


def test_an_older_schema_gets_what_it_lacks_and_keeps_what_it_has(state_dir: Path) -> None:
    connection = sqlite3.connect(database(state_dir))
    connection.executescript("DROP TABLE unseen; PRAGMA user_version = 1;")
    connection.close()
    rows = reader.snapshot(state_dir)
    assert rows.problem is None and reader.unseen(state_dir) == ()
    with Journal.open(state_dir) as journal:
        assert journal.healed is None
        unseen.record(journal, 1, ["/w/past.o"], ["/w/launcher"])
        assert usable(journal)
    assert broken(state_dir) == []
    assert reader.unseen(state_dir) == (("/w/past.o", ("/w/launcher",)),)
    assert len(reader.steps(state_dir, 1)) == 40


def test_an_object_is_unseen_until_a_step_makes_it(state_dir: Path) -> None:
    path = sample.check_out(0).outputs[0]
    with Journal.open(state_dir) as journal:
        unseen.record(journal, 1, [path, "/w/past.o"], [])
        assert {row[0] for row in reader.unseen(state_dir)} == {path, "/w/past.o"}
        build = sample.begin(journal)
        journal.check_out(build, [sample.check_out(0)])
        unseen.record(journal, build, [], [])
        assert {row[0] for row in reader.unseen(state_dir)} == {"/w/past.o"}


@pytest.mark.parametrize("version", [0, 1])
def test_a_version_that_the_tables_do_not_fit_is_damage(state_dir: Path, version: int) -> None:
    connection = sqlite3.connect(database(state_dir))
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    with Journal.open(state_dir) as journal:
        assert journal.healed is not None and usable(journal)


def test_a_newer_schema_is_left_alone_and_the_error_says_what_to_do(state_dir: Path) -> None:
    connection = sqlite3.connect(database(state_dir))
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    before = database(state_dir).read_bytes()
    for attempt in (Journal.open, reader.snapshot):
        with pytest.raises(StateError, match="newer buildfarm") as caught:
            attempt(state_dir)
        assert caught.value.exit_code == 78
        assert caught.value.hint is not None and "upgrade" in caught.value.hint
    assert database(state_dir).read_bytes() == before
    assert broken(state_dir) == []


def crashed(state_dir: Path) -> tuple[bytes, bytes]:
    """Database and log as a killed writer leaves them: 5 steps more, only in the log."""
    journal = Journal.open(state_dir)
    build = sample.begin(journal)
    journal.check_out(build, [sample.check_out(n) for n in range(100, 105)])
    for n in range(100, 105):
        journal.check_in(build, [sample.check_in(n)])
    images = database(state_dir).read_bytes(), (state_dir / "state.db-wal").read_bytes()
    journal.close()
    return images


def test_a_log_cut_at_any_length_loses_commits_from_its_end_only(state_dir: Path) -> None:
    main, log = crashed(state_dir)
    counts = []
    for length in (*range(0, len(log), 3499), len(log)):
        database(state_dir).write_bytes(main)
        (state_dir / "state.db-wal").write_bytes(log[:length])
        (state_dir / "state.db-shm").unlink(missing_ok=True)
        with Journal.open(state_dir) as journal:
            assert journal.healed is None
            counts.append(sum(path.startswith("/tree/10") for path in sample.checked_in(journal)))
    assert counts == sorted(counts)
    assert counts[0] == 1 and counts[-1] == 6  # "/tree/10.o" is of the build before


def test_a_log_that_is_gone_leaves_the_last_checkpoint(state_dir: Path) -> None:
    main, _ = crashed(state_dir)
    database(state_dir).write_bytes(main)
    with Journal.open(state_dir) as journal:
        assert journal.healed is None
        assert len(sample.checked_in(journal)) == 30


def test_garbage_for_a_log_is_ignored(state_dir: Path) -> None:
    main, log = crashed(state_dir)
    database(state_dir).write_bytes(main)
    (state_dir / "state.db-wal").write_bytes(random.Random(1).randbytes(len(log)))
    with Journal.open(state_dir) as journal:
        assert journal.healed is None
        assert len(sample.checked_in(journal)) == 30


def test_a_stray_log_without_its_database_is_not_taken_for_the_new_ones(state_dir: Path) -> None:
    _, log = crashed(state_dir)
    database(state_dir).unlink()
    (state_dir / "state.db-wal").write_bytes(log)
    with Journal.open(state_dir) as journal:
        assert journal.last_build() is None
        assert usable(journal)


def test_what_can_be_read_of_a_damaged_journal_is_saved_and_believed_by_hash_only(state_dir: Path) -> None:
    connection = sqlite3.connect(database(state_dir))
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'duration'").fetchone()
    connection.close()
    with database(state_dir).open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)
    with Journal.open(state_dir) as journal:
        assert journal.healed is not None and "saved" in journal.healed
        build = journal.last_build()
        rows = read_rows(journal)
    assert build is not None
    assert (build.state, build.spec) == (BuildState.INTERRUPTED, sample.spec())
    standings = [claim.standing for claim in rows.claims]
    assert (standings.count(Standing.ARRIVED), standings.count(Standing.PENDING)) == (30, 10)


def test_two_journals_can_be_open_and_neither_loses_a_commit(state_dir: Path) -> None:
    with Journal.open(state_dir) as one, Journal.open(state_dir) as two:
        first, second = sample.begin(one), sample.begin(two)
        for n in range(10):
            one.check_out(first, [sample.check_out(n)])
            two.check_out(second, [sample.check_out(n)])
        count = one.select("SELECT count(*) FROM step WHERE build IN (?, ?)", (first, second)).fetchone()
    assert count == (20,)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written_is_a_clear_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(MachineError, match="can't keep buildfarm's state"):
        Journal.open(tmp_path / ".buildfarm")
    tmp_path.chmod(0o700)


def test_a_file_where_the_directory_should_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / ".buildfarm").write_text("")
    with pytest.raises(MachineError, match="can't keep buildfarm's state") as caught:
        Journal.open(tmp_path / ".buildfarm")
    assert caught.value.hint == f"move {tmp_path / '.buildfarm'} away: it is no directory"


def test_a_directory_where_the_database_should_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / ".buildfarm" / "state.db").mkdir(parents=True)
    with pytest.raises(MachineError):
        Journal.open(tmp_path / ".buildfarm")
