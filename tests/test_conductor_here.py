"""Steps on this machine: what a tool has written is taken in, though make or the recipe have gone on meanwhile."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import cast

import pytest

from buildfarm.conductor import here as module
from buildfarm.conductor.here import Here
from buildfarm.conductor.ledger import Ledger
from buildfarm.conductor.words import Words
from buildfarm.make.server import StubCall
from buildfarm.model import CheckIn, CheckOut, Invocation, Kind, OutputRecord, StepState, ToolCall
from tests.farm import PATIENCE


class Stub:
    """A stub whose tool has written `prog`."""

    def __init__(self, tree: Path) -> None:
        self.invocation = Invocation(("cc", "-o", "prog", "a.o"), str(tree), {})
        self.released = asyncio.Event()

    async def run_real(self, words: Path | None = None) -> int:
        Path(self.invocation.cwd, "prog").write_bytes(b"a program")
        return 0

    async def release(self) -> None:
        self.released.set()


class Book:
    """A ledger that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[CheckOut | CheckIn] = []

    def attempts(self, _: int) -> int:
        return 0

    async def check_out(self, record: CheckOut) -> None:
        self.said.append(record)

    def check_in(self, record: CheckIn) -> Future[bool]:
        self.said.append(record)
        return Future()


def test_a_program_that_is_hashed_when_make_has_ended_is_checked_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_has_ended = threading.Event()
    hash_outputs = module.record_outputs

    def slowly(paths: tuple[str, ...], before: list[tuple[int, int] | None]) -> tuple[OutputRecord, ...]:
        assert make_has_ended.wait(PATIENCE)
        return hash_outputs(paths, before)

    monkeypatch.setattr(module, "record_outputs", slowly)
    monkeypatch.setattr(module, "_SMALL", 0)  # bytes: as a program that takes long

    async def scenario() -> list[CheckOut | CheckIn]:
        stub, book = Stub(tmp_path), Book()
        here = Here(cast(Ledger, book), 1, Words(tmp_path))
        link = ToolCall(Kind.LINK, "cc", ("prog",))
        call = asyncio.create_task(here.run(cast(StubCall, stub), link, step=1))
        await stub.released.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        make_has_ended.set()
        await here.close()
        return book.said

    out, record = asyncio.run(scenario())
    assert isinstance(out, CheckOut) and isinstance(record, CheckIn)
    assert record.state is StepState.DONE
    assert [output.path for output in record.outputs] == [str(tmp_path / "prog")]


def test_what_the_recipe_writes_after_a_failed_compiler_is_not_the_compilers(tmp_path: Path) -> None:
    """`gcc -c a.c -o a.o || echo fallback > a.o`: the shell goes on as soon as the stub is released."""

    class Failing(Stub):
        async def run_real(self, words: Path | None = None) -> int:
            return 1 << 8

        async def release(self) -> None:
            (tmp_path / "prog").write_bytes(b"fallback")

    book = Book()
    here = Here(cast(Ledger, book), 1, Words(tmp_path))
    asyncio.run(here.run(cast(StubCall, Failing(tmp_path)), ToolCall(Kind.LINK, "cc", ("prog",)), step=1))
    record = book.said[1]
    assert isinstance(record, CheckIn) and record.state is StepState.FAILED
    assert not record.half_written


def test_an_archive_has_one_writer_at_a_time(tmp_path: Path) -> None:
    """`lib.a: lib.a(a.o) lib.a(b.o)` with -j: `ar` reads the archive, and writes it anew."""
    archive = tmp_path / "lib.a"
    archive.write_bytes(b"")

    class Archiver(Stub):
        def __init__(self, member: bytes) -> None:
            super().__init__(tmp_path)
            self._member = member

        async def run_real(self, words: Path | None = None) -> int:
            before = archive.read_bytes()
            for _ in range(9):
                await asyncio.sleep(0)
            archive.write_bytes(before + self._member)
            return 0

    async def scenario() -> None:
        here = Here(cast(Ledger, Book()), 4, Words(tmp_path))
        call = ToolCall(Kind.ARCHIVE, "ar", ("lib.a",))
        stubs = [Archiver(b"a"), Archiver(b"b"), Archiver(b"c")]
        await asyncio.gather(*(here.run(cast(StubCall, stub), call, step=n) for n, stub in enumerate(stubs)))

    asyncio.run(scenario())
    assert archive.read_bytes() == b"abc"
