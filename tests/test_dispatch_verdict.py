"""What an answer means: the table of what distccd sends when something went wrong."""

from __future__ import annotations

import pytest

from buildfarm.dispatch.health import Fault
from buildfarm.dispatch.verdict import LocalVerdict, NodeAtFault, Ok, judge
from buildfarm.model import Answer


def test_success_with_an_object_is_ok() -> None:
    answer = Answer(0, b"a.c:1: warning: x\n", b"", b"\x7fELF")
    assert judge(answer) == Ok(answer)


@pytest.mark.parametrize(
    ("status", "stderr", "outcome", "reason"),
    [
        (0, b"", "corrupt", "said success and sent an empty object"),
        (
            0x6E00,
            b"distccd[7] (dcc_execvp) ERROR: failed to exec g++: No such file\n",
            "refused",
            "not installed",
        ),
        (0x7600, b"", "late", "--job-lifetime"),
        (0x6B00, b"", "lost", "status 107"),
        (0x6400, b"distccd: out of luck\n", "lost", "out of luck"),
        (0x0009, b"", "killed", "signal 9"),
        (0x000B, b"whatever", "killed", "signal 11"),
        (0x008B, b"core", "killed", "signal 11"),
        (0x0100, b"gcc: fatal error: Killed signal terminated program cc1\n", "killed", "was killed"),
        (0x0100, b"a.c:3:1: internal compiler error: Segmentation fault\n", "killed", "crashed"),
        (0x0400, b"a.f90:3: internal compiler error: in foo\n", "killed", "crashed"),
        (0x0100, b"", "refused", "disk full"),
        (0x0100, b" \n", "refused", "disk full"),
    ],
)
def test_a_nodes_fault_is_told_by_its_name(status: int, stderr: bytes, outcome: str, reason: str) -> None:
    judged = judge(Answer(status, stderr, b"", b""))
    assert isinstance(judged, NodeAtFault)
    assert judged.outcome == outcome
    assert reason in judged.reason
    assert Fault(judged.outcome)


@pytest.mark.parametrize(
    "stderr",
    [
        b"a.c:1:7: error: expected ';'\n",
        b"a.c:1: fatal error: no.h: No such file or directory\n",
        b"\xff\x1b[31m odd\n",
    ],
)
def test_a_compile_error_is_for_the_local_compiler_to_confirm(stderr: bytes) -> None:
    judged = judge(Answer(0x100, stderr, b"", b""))
    assert isinstance(judged, LocalVerdict)
    assert "\x1b" not in judged.reason
    assert "status 1" in judged.reason
