"""The real make: found, refused if it is another make, started, signalled, waited for."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path

import pytest

from buildfarm.errors import MachineError
from buildfarm.make.masquerade import prepare
from buildfarm.make.process import MakeProcess, find_make
from tests.farm import PATIENCE

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


def executable(file: Path, text: str) -> Path:
    file.write_text(text)
    file.chmod(0o755)
    return file


def run(directory: Path, *words: str, makefile: str, environment: dict[str, str] = ENVIRONMENT) -> tuple[int, bytes]:
    """make's exit status as `wait` gives it, and its stdout."""
    (directory / "Makefile").write_text(makefile)

    async def main() -> tuple[int, bytes]:
        reader, writer = os.pipe()
        process = MakeProcess(
            find_make(environment),
            words,
            directory=str(directory),
            environment=environment,
            stdout=writer,
            stderr=writer,
        )
        process.start()
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            output = await asyncio.to_thread(file.read)
        return await process.wait(), output

    return asyncio.run(main())


def test_the_installed_make_is_found() -> None:
    make = find_make(ENVIRONMENT)
    assert make.path == shutil.which("make", path=ENVIRONMENT["PATH"])
    assert make.version >= (3, 81)


def test_the_masquerades_make_is_passed_over(tmp_path: Path) -> None:
    made = prepare(tmp_path, extra_names=["make"])
    assert find_make({"PATH": f"{made.directory}:{ENVIRONMENT['PATH']}"}) == find_make(ENVIRONMENT)


def test_an_outer_makes_flags_do_not_disturb_the_search() -> None:
    assert find_make({**ENVIRONMENT, "MAKEFLAGS": "--nonsense"}) == find_make(ENVIRONMENT)


def test_no_make_is_a_machine_error() -> None:
    with pytest.raises(MachineError, match="no make on PATH") as caught:
        find_make({"PATH": "/nonexistent"})
    assert "install GNU make" in (caught.value.hint or "")


@pytest.mark.parametrize("text", ["#!/bin/sh\necho 'bmake: usage' >&2; exit 2\n", "#!/bin/sh\necho NMAKE 3.0\n"])
def test_another_make_is_refused(text: str, tmp_path: Path) -> None:
    other = executable(tmp_path / "make", text)
    with pytest.raises(MachineError, match=f"{other} is not GNU make"):
        find_make({"PATH": f"{tmp_path}:/nonexistent"})


def test_bmake_is_refused_by_name_and_with_a_hint(tmp_path: Path) -> None:
    bmake = shutil.which("bmake")
    if bmake is None:
        pytest.skip("bmake is missing: install the package bmake")
    other = tmp_path / "make"
    other.symlink_to(bmake)
    with pytest.raises(MachineError, match=f"{other} is not GNU make") as caught:
        find_make({"PATH": f"{tmp_path}:/nonexistent"})
    assert "GNU make only" in (caught.value.hint or "")


def test_gmake_serves_where_make_is_another_one(tmp_path: Path) -> None:
    executable(tmp_path / "make", "#!/bin/sh\nexit 1\n")
    gnu = executable(tmp_path / "gmake", "#!/bin/sh\necho GNU Make 4.4.1\n")
    make = find_make({"PATH": str(tmp_path)})
    assert (make.path, make.version) == (str(gnu), (4, 4))


def test_make_runs_with_its_own_name_words_and_status(tmp_path: Path) -> None:
    status, output = run(tmp_path, "-s", "A=b c", makefile="all:\n\t@echo '$(MAKE)' '$(A)'\n")
    assert (status, output) == (0, b"make b c\n")
    assert run(tmp_path, "-s", makefile="all:\n\t@exit 7\n")[0] == 2


def test_recipes_call_the_gnu_make_that_serves(tmp_path: Path) -> None:
    executable(tmp_path / "make", "#!/bin/sh\necho not this one; exit 1\n")
    (tmp_path / "gmake").symlink_to(find_make(ENVIRONMENT).path)
    surroundings = {**ENVIRONMENT, "PATH": f"{tmp_path}:{ENVIRONMENT['PATH']}"}
    makefile = "all:\n\t@$(MAKE) inner\ninner:\n\t@echo '$(MAKE)'\n"
    assert run(tmp_path, "-s", makefile=makefile, environment=surroundings) == (0, b"gmake\n")


def test_make_is_signalled_and_its_signal_reported(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all:\n\t@echo up; exec sleep 60\n")

    async def main() -> None:
        reader, writer = os.pipe()
        process = MakeProcess(
            find_make(ENVIRONMENT),
            (),
            directory=str(tmp_path),
            environment=ENVIRONMENT,
            stdout=writer,
            stderr=writer,
        )
        process.start()
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            assert await asyncio.to_thread(file.readline) == b"up\n"
            assert os.getpgid(process.pid) == os.getpgrp()
            process.signal(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE):
                assert await process.wait() == -signal.SIGTERM
        process.signal(signal.SIGTERM)  # it has ended: no error

    asyncio.run(main())


def test_an_outer_job_server_reaches_make(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        status, _ = run(tmp_path, "-s", makefile=f"all:\n\t@echo token >/proc/self/fd/{writer}\n")
        assert status == 0
        assert os.read(reader, 100) == b"token\n"
    finally:
        os.close(reader)
        os.close(writer)


def test_a_directory_that_is_not_there_is_a_machine_error(tmp_path: Path) -> None:
    async def main() -> None:
        process = MakeProcess(find_make(ENVIRONMENT), (), directory=str(tmp_path / "missing"), environment=ENVIRONMENT)
        with pytest.raises(MachineError, match="missing"):
            process.start()

    asyncio.run(main())
