"""Results held for make: whole or absent, bounded, the least recently used going first."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import pytest

from buildfarm.state.digest import SIZE
from buildfarm.state.journal import Journal
from buildfarm.state.store import MAGIC, ObjectStore, StoredResult
from buildfarm.state.writer import JournalWriter
from tests.farm import PATIENCE
from tests.state_samples import ODD


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / ".buildfarm"


@pytest.fixture
def writer(state_dir: Path) -> Iterator[JournalWriter]:
    with JournalWriter(Journal.open(state_dir), state_dir) as writer:
        yield writer


def result(size: int = 1000) -> StoredResult:
    return StoredResult(
        outputs={"a.o": b"\x7fELF" + b"o" * size, ODD: b"", "m.mod": b"\0\xff"},
        inputs={"/tree/a.c": "ab" * 16, ODD: "cd" * 16},
        stdout=b"out",
        stderr=b"\xff warning",
        seconds=1.5,
        node="pi3:3632",
        bytes_sent=4711,
        bytes_received=815,
    )


def test_a_result_comes_back_as_it_was(state_dir: Path, writer: JournalWriter) -> None:
    store = ObjectStore(state_dir, writer)
    assert store.put("print", result())
    assert "print" in store and store.get("print") == result()
    assert store.get("other") is None
    store.discard("print")
    assert "print" not in store and store.bytes == 0
    assert list((state_dir / "store").iterdir()) == []


def test_what_a_node_has_made_can_be_forgotten_as_a_whole(state_dir: Path, writer: JournalWriter) -> None:
    store = ObjectStore(state_dir, writer)
    for name, node in (("liar's", "pi3:3632"), ("other's", "pi4:3632"), ("here", None)):
        store.put(name, replace(result(), node=node))
    (state_dir / "store" / "rubbish").write_bytes(b"junk")
    again = ObjectStore(state_dir, writer)
    again.discard_made_on("pi3:3632")
    assert "liar's" not in again and "other's" in again and "here" in again
    assert len(list((state_dir / "store").iterdir())) == 3


def test_a_result_that_was_kept_before_its_traffic_was_is_read(state_dir: Path, writer: JournalWriter) -> None:
    head = {"outputs": [["a.o", 3]], "inputs": [], "stdout": 0, "stderr": 0, "seconds": 1.5, "node": "pi3:3632"}
    packed = json.dumps(head).encode()
    body = MAGIC + struct.pack("<I", len(packed)) + packed + b"obj"
    ObjectStore(state_dir, writer).put("print", result())
    (file,) = (state_dir / "store").iterdir()
    file.write_bytes(body + blake2b(body, digest_size=SIZE).digest())
    old = ObjectStore(state_dir, writer).get("print")
    assert old == StoredResult({"a.o": b"obj"}, {}, seconds=1.5, node="pi3:3632")
    assert (old.bytes_sent, old.bytes_received) == (0, 0)


def test_results_outlive_the_build_and_a_kill(state_dir: Path, writer: JournalWriter) -> None:
    ObjectStore(state_dir, writer).put("print", result())
    (state_dir / "store" / "half.new").write_bytes(b"a put that was cut off")
    again = ObjectStore(state_dir, writer)
    assert again.get("print") == result()
    assert len(again) == 1 and again.bytes == sum(f.stat().st_size for f in (state_dir / "store").iterdir())


def test_a_result_cut_at_any_length_or_altered_is_absent(state_dir: Path, writer: JournalWriter) -> None:
    ObjectStore(state_dir, writer).put("print", result(10))
    (file,) = (state_dir / "store").iterdir()
    whole = file.read_bytes()
    for spoilt in [whole[:n] for n in range(len(whole))] + [whole + b"x", whole[:40] + b"\0" + whole[41:]]:
        file.write_bytes(spoilt)
        assert ObjectStore(state_dir, writer).get("print") is None
        assert not file.exists()


def test_the_least_recently_used_goes_first_also_after_a_restart(state_dir: Path, writer: JournalWriter) -> None:
    store = ObjectStore(state_dir, writer, limit=6000)
    for name in ("a", "b", "c", "d"):
        assert store.put(name, result())
    store.get("a")
    store = ObjectStore(state_dir, writer, limit=6000)
    store.put("e", result())
    store.put("f", result())
    assert [name for name in "abcdef" if name in store] == ["a", "d", "e", "f"]
    assert store.bytes <= 6000


def test_the_last_results_are_in_memory_and_no_others(
    state_dir: Path, writer: JournalWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("buildfarm.state.store.RECENT_LIMIT", 3000)
    store = ObjectStore(state_dir, writer, limit=8000)
    results = {name: result(1000 + number) for number, name in enumerate("abc")}
    for name, some in results.items():
        assert store.put(name, some)
    assert [store.recent(name) for name in "abc"] == [None, results["b"], results["c"]]
    assert store.get("a") == results["a"], "it is read"
    store.put("b", result(5))
    assert store.recent("b") == result(5) and store.recent("c") == results["c"]
    store.discard("b")
    assert store.recent("b") is None and store.get("b") is None
    for number in range(10):
        store.put(str(number), result())
    assert "c" not in store and store.recent("c") is None
    store.put("large", result(4000))
    assert store.recent("large") is None and store.get("large") == result(4000)
    assert ObjectStore(state_dir, writer).recent("large") is None


def test_uses_are_told_together_and_the_last_word_counts(state_dir: Path, writer: JournalWriter) -> None:
    store = ObjectStore(state_dir, writer)
    for _ in range(50):
        for name in ("a", "b"):
            store.put(name, result())
        store.discard("a")
    known = writer.submit(lambda journal: journal.stored_uses()).result(PATIENCE)
    assert len(known) == 1 and list(known.values()) == [100]


def test_uses_are_told_although_another_word_to_the_journal_fails(state_dir: Path, writer: JournalWriter) -> None:
    def wrong(_: Journal) -> None:
        raise ZeroDivisionError

    began = threading.Event()
    store = ObjectStore(state_dir, writer)
    writer.submit(lambda _: began.wait(PATIENCE), durable=False)  # what comes meanwhile is one group
    store.put("a", result())
    failing = writer.submit(wrong)
    began.set()
    with pytest.raises(ZeroDivisionError):
        failing.result(PATIENCE)
    assert list(writer.submit(lambda journal: journal.stored_uses()).result(PATIENCE).values()) == [1]


def test_what_exceeds_the_bound_alone_is_not_kept(state_dir: Path, writer: JournalWriter) -> None:
    store = ObjectStore(state_dir, writer, limit=500)
    assert not store.put("big", result())
    assert len(store) == 0


def test_a_disk_that_takes_nothing_only_means_no_store(state_dir: Path, writer: JournalWriter) -> None:
    (state_dir / "store").write_text("a file in the way")
    store = ObjectStore(state_dir, writer)
    assert not store.put("print", result())
    assert store.get("print") is None
