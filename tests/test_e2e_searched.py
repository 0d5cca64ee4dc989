"""A header that comes while make is in a recipe, wherever a compiler looks for it: what was made ahead does not count.

Make's own tree says what is right; each case is one that results made ahead would get wrong.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

import pytest

from tests import project
from tests.farm import Farm, wait_until
from tests.test_e2e_lookahead import STOP, files, held
from tests.tool import Running, status

PROBING = "#if __has_include({0})\n#include {0}\n#else\n#define V 3\n#endif\nint {1} = V;\n"
PLAIN = '#include "v.h"\nint {1} = V;\n'
MACRO = '#define OPT "opt.h"\n#if __has_include(OPT)\n#define V 1\n#else\n#define V 3\n#endif\nint {1} = V;\n'
COME = "echo '#define V 1' >inc1/opt.h"
GCH = "echo '#define V 6' >v6.h; gcc -O1 -x c-header v6.h -o inc2/v.h.gch"
FIRST = "mkdir -p inc0; echo '#define V 1' >inc0/v.h"


def tree_of(root: Path, compile: str, source: str, suffix: str, preface: str) -> Path:
    """One unit, a recipe that waits and then takes a step, and two more units behind it."""
    second = f"second:\n\t$(MAKE) s1.o s2.o\n%.o: %.{suffix}\n\t{compile} -c $< -o $@\n"
    makefile = f"{preface}\nall: second\nsecond: first\nfirst: s0.o\n\t{STOP}\n\t./step\n{second}"
    texts = {"Makefile": makefile, "inc1/none.h": "", "inc2/v.h": "#define V 2\n"}
    texts |= {f"s{i}.{suffix}": source.format('"opt.h"', f"f{i}") for i in range(3)}
    return files(root, texts)


@pytest.mark.parametrize(
    ("compile", "source", "suffix", "preface", "step"),
    [
        ("gcc -O1 -Iinc1 -Iinc2", PROBING, "c", "", COME),
        ("g++ -O1 -Iinc1 -Iinc2", PROBING.replace("{0}", "<opt.h>"), "cc", "", COME),
        ("gcc -O1 -Iinc1 -Iinc2", MACRO, "c", "", COME),
        ("gcc -O1 -Iinc1 -Iinc2 -DOPT='\"opt.h\"'", MACRO.partition("\n")[2], "c", "", COME),
        ("gcc -O1 -Iinc1 -Iinc2", PLAIN, "c", "", GCH),
        ("gcc -O1", PLAIN, "c", "export CPATH=inc0:inc1:inc2", FIRST),
        ("gcc -O1", PLAIN, "c", "export C_INCLUDE_PATH=inc0:inc1:inc2", FIRST),
        ("g++ -O1", PLAIN, "cc", "export CPLUS_INCLUDE_PATH=inc0:inc1:inc2", FIRST),
        ("CPATH=inc0:inc2 gcc -O1", PLAIN, "c", "", FIRST),
        ("gcc -O1 -iprefix inc -iwithprefixbefore 0 -iwithprefixbefore 2", PLAIN, "c", "", FIRST),
    ],
    ids=[
        *(
            "probed",
            "probed-angle",
            "probed-macro",
            "probed-option",
            "precompiled",
            "CPATH",
            "C_INCLUDE_PATH",
            "CPLUS_INCLUDE_PATH",
        ),
        *("CPATH-in-recipe", "prefix"),
    ],
)
def test_a_header_that_comes_counts(
    tmp_path: Path, compile: str, source: str, suffix: str, preface: str, step: str
) -> None:
    tree = tree_of(tmp_path / "p", compile, source, suffix, preface)
    (tree / "step").write_text(f"#!/bin/sh\n{step}\n")
    (tree / "step").chmod(0o755)
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)
    (copy / "go").touch()
    assert project.made_by_make(copy).returncode == 0
    expected = project.digests(copy)
    with Farm(count=1, jobs=8) as farm, Running(("run", "-C", str(tree), "--hosts", farm.hosts)) as build:
        wait_until(lambda: status(tree)["units"]["total_is_final"], "the plan")
        if "prefix" not in compile:  # those are never made ahead
            wait_until(held(tree, 2), "results to be made ahead")
        (tree / "go").touch()
        result = build.wait()
    assert result.code == 0, result.stderr
    made = project.digests(tree)
    assert {name: made[name] for name in expected if name.endswith(".o")} == {
        name: expected[name] for name in expected if name.endswith(".o")
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may put a header into /usr/local/include")
def test_a_library_that_the_build_installs_counts(tmp_path: Path) -> None:
    name = f"bf-{secrets.token_hex(4)}.h"
    header = Path("/usr/local/include", name)
    source = f"#include <{name}>\nint {{1}} = V;\n"
    step = f"echo '#define V 1' >{header}"
    tree = tree_of(tmp_path / "p", "gcc -O1 -idirafter inc2", source, "c", "")
    (tree / "inc2" / name).write_text("#define V 2\n")
    (tree / "step").write_text(f"#!/bin/sh\n{step}\n")
    (tree / "step").chmod(0o755)
    try:
        with Farm(count=1, jobs=8) as farm, Running(("run", "-C", str(tree), "--hosts", farm.hosts)) as build:
            wait_until(held(tree, 2), "results to be made ahead")
            (tree / "go").touch()
            result = build.wait()
        assert result.code == 0, result.stderr
        made = project.digests(tree)
        for built in tree.glob("s[12].o"):
            built.unlink()
        assert project.made_by_make(tree, "s1.o", "s2.o").returncode == 0
        now = project.digests(tree)
        assert {name: now[name] for name in ("s1.o", "s2.o")} == {name: made[name] for name in ("s1.o", "s2.o")}
    finally:
        header.unlink(missing_ok=True)
