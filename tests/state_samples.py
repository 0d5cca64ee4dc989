"""Builds, steps and records for the tests of the state room."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from buildfarm.model import BuildSpec, CheckIn, CheckOut, Kind, OutputRecord, StepState
from buildfarm.state.claims import Claim, Standing, read_rows
from buildfarm.state.digest import digest_file
from buildfarm.state.journal import Journal

ODD = os.fsdecode(b"sp ace/\xff\xfe'\"\n\xc3\xa9")  # bytes that are not UTF-8, quotes, a newline


def spec(directory: str = "/tree") -> BuildSpec:
    return BuildSpec(
        directory=directory,
        goals=("gcm", ODD),
        variables={"RUN": "my run", "ODD": ODD, "EMPTY": ""},
        make_arguments=("-k", "", "gcm", "RUN=my run"),
        options={"fallback": "never"},
        environment={"PATH": "/bin", "BYTES": ODD},
    )


def begin(journal: Journal, *, token: str = "feed", resumed_from: int | None = None) -> int:
    return journal.begin_build(spec(), pid=os.getpid(), started=1000.0, resumed_from=resumed_from, token=token)


def check_out(
    step: int,
    *outputs: str | Path,
    kind: Kind = Kind.COMPILE,
    node: str | None = "pi3:3632",
    attempt: int = 1,
    temporaries: Iterable[str] = (),
    argv: tuple[str, ...] | None = None,
    lookahead: bool = False,
) -> CheckOut:
    names = tuple(os.fspath(output) for output in outputs) or (f"/tree/{step}.o",)
    return CheckOut(
        step=step,
        kind=kind,
        cwd="/tree",
        argv=argv or ("gcc", "-c", f"{step}.c", "-o", names[0]),
        outputs=names,
        fingerprint=f"print{step}",
        node=node,
        attempt=attempt,
        time=1000.0 + step,
        temporaries=tuple(temporaries),
        lookahead=lookahead,
    )


def record(path: str | Path) -> OutputRecord:
    """Of a real file."""
    found = os.stat(path)
    return OutputRecord(os.fspath(path), found.st_size, found.st_mtime_ns, digest_file(path))


def check_in(
    step: int,
    *outputs: OutputRecord,
    inputs: tuple[str, ...] = (),
    seconds: float = 2.0,
    attempt: int = 0,
) -> CheckIn:
    return CheckIn(
        step=step,
        state=StepState.DONE,
        time=2000.0 + step,
        seconds=seconds,
        outputs=outputs or (OutputRecord(f"/tree/{step}.o", 10, 20, "aa"),),
        inputs=inputs,
        attempt=attempt,
    )


def failure(step: int, exit_status: int = 1, stderr: bytes = b"bad.c:1: error\n") -> CheckIn:
    return CheckIn(
        step=step,
        state=StepState.FAILED,
        time=2000.0 + step,
        seconds=0.1,
        exit_status=exit_status,
        stderr=stderr,
    )


def checked_in(journal: Journal) -> dict[str, Claim]:
    """By path, the outputs whose check-in is the latest word on them."""
    return {claim.path: claim for claim in read_rows(journal).claims if claim.standing is Standing.CHECKED_IN}
