"""Units for which a precompiled header stands ready are compiled from it, as under make."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.farm import Farm
from tests.tool import buildfarm

MAKEFILE = "all: a.o b.o\n%.o: %.c\n\tgcc -O1 -Iinc1 -Iinc2 -c $< -o $@\n"


def _value(root: Path) -> bytes:
    return subprocess.run(["objdump", "-sj.data", "a.o"], cwd=root, capture_output=True, check=True).stdout


@pytest.mark.parametrize("options", [(), ("--no-pump", "--no-lookahead")])
@pytest.mark.parametrize("place", ["inc1", "inc2", "gone"])
@pytest.mark.parametrize(
    "text",
    [
        '#include "v.h"\n',
        "#include <sub/v.h>\n",
        '#if __has_include("v.h")\n#include "v.h"\n#else\n#define V 5\n#endif\n',
    ],
)
def test_a_precompiled_header_is_used_as_under_make(
    tmp_path: Path, text: str, place: str, options: tuple[str, ...]
) -> None:
    """Beside the header, before it in the search, and without it."""
    for directory in ("inc1/sub", "inc2/sub"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "x.h").write_text("#define V 33\n")
    for part in ("", "sub/"):
        compiled = f"{'inc2' if place == 'gone' else place}/{part}v.h.gch"
        subprocess.run(["gcc", "-O1", "-x", "c-header", "x.h", "-o", compiled], cwd=tmp_path, check=True)
        if place != "gone":
            (tmp_path / "inc2" / part / "v.h").write_text("#define V 2\n")
    (tmp_path / "a.c").write_text(f"{text}int v = V;\n")
    (tmp_path / "b.c").write_text("int b;\n")
    subprocess.run(["make", "a.o"], cwd=tmp_path, check=True, capture_output=True)
    expected = _value(tmp_path)
    assert b" 21000000 " in expected
    (tmp_path / "a.o").unlink()
    with Farm(count=1, jobs=1) as farm:
        result = buildfarm("run", "-C", str(tmp_path), "--hosts", farm.hosts, *options)
        assert result.code == 0, result.stderr
        assert _value(tmp_path) == expected
        assert len(farm.started()) == 1, "the other one travels"
    if place != "gone" or "has_include" in text:  # else preprocessing fails, which is reason enough
        told = buildfarm("explain", "-C", str(tmp_path), "a.o", "--no-plan").stdout
        assert "here because a precompiled header stands beside one that it may include" in told
