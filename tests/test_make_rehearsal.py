"""A stub that would die in a build, or misunderstand one, does not get there."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from buildfarm.make import masquerade, native
from buildfarm.make.rehearsal import delivers


def compiled(tmp_path: Path, change: tuple[bytes, bytes] | None = None) -> Path:
    """The stub as it is compiled at its best, with one thing in its source changed."""
    if not shutil.which("cc"):
        pytest.skip("cc is missing: install a C compiler")
    text = native.source("stub.c")
    if change is not None:
        assert change[0] in text
        text = text.replace(*change)
    source, program = tmp_path / "stub.c", tmp_path / "buildfarm-stub"
    source.write_bytes(text)
    early = platform.machine() == "x86_64"
    options = masquerade._STUB_OPTIONS[0 if early else 1]
    subprocess.run(["cc", "-O2", "-o", program, source, *options], check=True)
    return program


def test_a_stub_that_works_passes_and_leaves_nothing(tmp_path: Path) -> None:
    stub = compiled(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert delivers(stub)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(platform.machine() != "x86_64", reason="early.h is missing: it is written for x86-64")
@pytest.mark.parametrize(
    "change",
    [
        (b"char *message = early_memory(length + 8), *at;", b"char *message = malloc(length + 8), *at;\n*message = 1;"),
        (b"kernel(SYS_rename, (long)from, (long)to, 0, 0, 0, 0)", b"0L"),
        (b"early_print(2, body + output, errors);", b""),
        (b"at = early_put_count(at, argc);", b"at = early_put_count(at, argc - 1);"),
        (b"SYS_exit_group, WEXITSTATUS(early.status)", b"SYS_exit_group, 0"),
    ],
    ids=["calls the library", "renames nothing", "says half", "tells half", "ends otherwise"],
)
def test_a_stub_that_does_not_is_found_out(tmp_path: Path, change: tuple[bytes, bytes]) -> None:
    assert not delivers(compiled(tmp_path, change))


def test_a_program_that_is_no_stub_is_found_out(tmp_path: Path) -> None:
    program = tmp_path / "buildfarm-stub"
    program.write_text("#!/bin/sh\nexec true\n")
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("buildfarm.make.rehearsal.PATIENCE", 0.5)
        assert not delivers(program)
