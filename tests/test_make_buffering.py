"""The library of a dry run's make: fewer writes, fewer processes, the same words in the same order."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from pathlib import Path

import pytest

from buildfarm.make import buffering, confining
from buildfarm.make.instance import MakeInstance
from tests.hearing import HeardRun, heard_run, parse

MAKEFILE = """\
$(info read)
include made.mk
X := $(shell echo "said $${LD_PRELOAD-none}" >&2; echo "$${LD_PRELOAD-none}")
all: a.o b.o sub other defined
\techo $(X) $(LD_PRELOAD)
%.o: ; cc -c $*.c -o $@
\t+echo $@ is there
sub: export B = 1
sub: ; $(MAKE) -C $@
\techo behind
other: export MAKEFLAGS = k
other: ; +echo two \\
  lines
defined: export MAKEFLAGS = n=1
defined: ; +echo $@
made.mk: ; +echo > $@
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = buffering.prepare(tmp_path_factory.mktemp("cache"))
    assert found is not None
    return found


def run(directory: Path, library: Path | None, **environment: str) -> HeardRun:
    instance = MakeInstance(str(directory), ("make",), {"PATH": os.environ["PATH"], **environment})
    return asyncio.run(heard_run(instance, 60, library=library))


def trace(output: HeardRun) -> str:
    return output.text.partition("\n# GNU Make ")[0]


@pytest.mark.parametrize("preloaded", [None, "", "libm.so.6", "libm.so.6:libdl.so.2"])
def test_a_buffered_dry_run_says_the_same_in_the_same_order(
    tmp_path: Path, library: Path, preloaded: str | None
) -> None:
    (tmp_path / "Makefile").write_text(MAKEFILE)
    environment = {} if preloaded is None else {"LD_PRELOAD": preloaded}
    line_by_line, buffered = (run(tmp_path, choice, **environment) for choice in (None, library))
    assert trace(buffered).count("\x1e") >= 3
    assert trace(buffered) == trace(line_by_line)
    assert ": buildfarm-" not in trace(buffered)

    def told(output: HeardRun) -> list[tuple[str, dict[str, str]]]:
        return [(line.line, dict(line.environment)) for line in output.submakes if line.line[:1] != ":"]

    assert told(buffered) == told(line_by_line)
    assert buffered.environment == line_by_line.environment
    assert (buffered.stderr, buffered.returncode) == (line_by_line.stderr, line_by_line.returncode)
    assert f"said {preloaded if preloaded is not None else 'none'}\n" in buffered.stderr


TALKATIVE = """\
define NEWLINE


endef
$(info $(NEWLINE)# Files)
$(info #  File has not been said)
$(info $(NEWLINE)# files hash-table stats:)
.RECIPEPREFIX = >
all: a.o 'a\\ name' lone.o two%; @echo all
>#  File has been written in a recipe
>\t# variable set hash-table stats:
>
>automatic
.PHONY: all phony
.PRECIOUS: a.o
.INTERMEDIATE: middle
phony: automatic
automatic: X = automatic
automatic: Y = $(NEWLINE)
automatic: Z += # automatic
automatic: ; echo $(X) $(Y) $^
a.o: a.c | late.o ; echo $< "$$(date)"
%.o: %.c ; cc -c $< -o $@
late.o: ; echo 'late'
double:: a.o ; echo 1
double:: late.o ; echo 2
one%o two%o: ; echo $@ both
two%: twoo ; echo $@
lone.o: missing.h middle
middle: a.o ; echo $@ > $@
'a\\ name': ; echo $@
static.o: %.o: %.c
-include none.mk
all: double static.o phony
"""


def database(output: HeardRun) -> dict[str, object]:
    """What is read of it, but for the dry run's own directory, which has another name each time."""
    read = parse(output.text)
    rules = {name: rule for name, rule in read.rules.items() if "buildfarm-plan-" not in name}
    return {"rules": rules, "steps": read.steps, "goals": read.goals, "shell": read.shell, "complete": read.complete}


def test_what_is_left_out_of_the_data_base_is_not_read(tmp_path: Path, library: Path) -> None:
    (tmp_path / "Makefile").write_text(TALKATIVE)
    for name in ("a.c", "lone.c", "static.c"):
        (tmp_path / name).touch()
    whole, short = (run(tmp_path, choice) for choice in (None, library))
    assert trace(short) == trace(whole)
    read = database(short)
    assert read == database(whole) and read["complete"]
    files = short.text.rpartition("\n# Files\n")[2].partition("\n# files hash-table stats:")[0]
    assert "\na.o: a.c | late.o\n" in files
    for unread in ("# @ :=", "\n#  File has", "\n#  Last modified", "> @echo all"):
        assert unread in whole.text and unread not in files
    behind = short.text.rpartition("\n# files hash-table stats:")[2]
    assert "# Load=" in behind and "# Finished Make data base on " in behind


def writes(directory: Path, environment: dict[str, str]) -> list[bytes]:
    """What each write(2) of `make -n -p` brings."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with (
        ours,
        subprocess.Popen(["make", "-n", "-p"], cwd=directory, stdout=theirs.fileno(), env=environment) as process,
    ):
        theirs.close()
        found = list(iter(lambda: ours.recv(1 << 20), b""))
        assert process.wait() == 0
    return found


def test_make_writes_blocks_not_lines(tmp_path: Path, library: Path) -> None:
    (tmp_path / "Makefile").write_text("all: ; @echo\n")
    environment = {"PATH": os.environ["PATH"]}
    lines = writes(tmp_path, environment)
    blocks = writes(tmp_path, {**environment, "LD_PRELOAD": str(library)})
    assert len(lines) > 500
    assert len(blocks) < len(lines) / 10
    assert b"buildfarm-buffer" not in b"".join(blocks)


def test_recipe_lines_are_answered_without_a_shell(tmp_path: Path, library: Path) -> None:
    """From make 4.3 on, which starts processes by posix_spawn."""
    shell = tmp_path / "sh"
    shell.write_text('#!/bin/sh\necho started >&2\nexec /bin/sh "$@"\n')
    shell.chmod(0o755)
    (tmp_path / "Makefile").write_text(
        f"SHELL := {shell}\nX := $(shell echo asked)\nall: ; +echo $(X)\n\t$(MAKE) -C d\n"
    )
    said = subprocess.run(["make", "--version"], capture_output=True, text=True, check=True).stdout
    modern = tuple(int(number) for number in said.split()[2].split(".")[:2]) >= (4, 3)
    output = run(tmp_path, library)
    assert [line.line for line in output.submakes][-2:] == ["echo asked", "make -C d"]
    assert output.stderr.count("started") == (1 if modern else 4)


def test_what_a_static_make_hands_down_is_not_told(tmp_path: Path, library: Path) -> None:
    (tmp_path / "Makefile").write_text(f"export LD_PRELOAD = {library}:libm.so.6\nall: ; echo\n")
    environment = run(tmp_path, library).environment
    assert environment["LD_PRELOAD"] == "libm.so.6"


WRITTEN = {
    "nothing": "",
    "a source": "X := $(shell echo 'int n;' > new.c)",
    "a source by make itself": "$(file >new.c,int n;)",
    "a source in another directory": "X := $(shell mkdir -p d/e; echo > d/e/new.c)",
    "an object that is newer": "X := $(shell touch b.o)",
    "an object that is older": "X := $(shell touch b.c)",
    "a file that goes": "X := $(shell rm b.c)",
    "a file that came and went": "X := $(shell touch gone.c; rm gone.c)",
    "a directory that is renamed": "X := $(shell mv old d)",
    "a file behind a link": "X := $(shell ln -s d/e/new.c new.c; mkdir -p d/e; touch d/e/new.c)",
    "above make's directory": "X := $(shell touch ../sibling/new.c)",
}


@pytest.mark.parametrize("name", list(WRITTEN))
@pytest.mark.parametrize("late", [False, True])
def test_make_sees_what_was_written_in_its_view_of_the_tree(
    tmp_path: Path, library: Path, name: str, late: bool
) -> None:
    """Also where make has looked at the same files before: these make itself remembers, in any case."""
    tree = tmp_path / "tree"
    for directory in ("old/e", "../sibling"):
        (tree / directory).mkdir(parents=True)
    for file in ("a.c", "b.c", "b.o", "old/e/new.c"):
        (tree / file).touch()
        os.utime(tree / file, (1e9, 1e9))
    early = "ifneq ($(wildcard a.c new.c b.o d/e/*.c),)\nendif\n"
    (tree / "Makefile").write_text(
        f"{early if late else ''}{WRITTEN[name]}\n"
        "S := $(wildcard *.c d/e/*.c ../sibling/*.c)\nall: $(S:.c=.o) b.o gone.o new.o d/e/new.o\n"
        "%.o: %.c ; cc -c $< -o $@\n"
    )
    confiner = confining.prepare(library.parent.parent.parent)
    assert confiner is not None
    instance = MakeInstance(str(tree), ("make",), {"PATH": os.environ["PATH"]})
    without, with_it = (
        asyncio.run(heard_run(instance, 60, tree=str(tmp_path), library=choice, confiner=confiner))
        for choice in (None, library)
    )
    assert without.confinement == with_it.confinement
    assert trace(without).partition("\n")[2] == trace(with_it).partition("\n")[2]
    assert without.stderr == with_it.stderr
    assert with_it.environment == without.environment
    assert not any("BUILDFARM_LOWER" in text for text in (with_it.text, *with_it.environment))
    known = [
        {name: rule for name, rule in parse(output.text).rules.items() if "buildfarm-plan-" not in name}
        for output in (without, with_it)
    ]
    assert known[0] == known[1] and len(known[0]) > 5


def test_nothing_of_what_confines_is_open_in_what_make_runs(tmp_path: Path, library: Path) -> None:
    (tmp_path / "Makefile").write_text("X := $(shell ls -l /proc/self/fd; env)\nall: ; echo '$(X)'\n")
    confiner = confining.prepare(library.parent.parent.parent)
    instance = MakeInstance(str(tmp_path), ("make",), {"PATH": os.environ["PATH"]})
    output = asyncio.run(heard_run(instance, 60, library=library, confiner=confiner))
    said = next(line for line in output.text.splitlines() if line.startswith("echo '"))
    assert "BUILDFARM" not in said and "LD_PRELOAD" not in said and "TUNABLES" not in said
    assert "upper" not in said and str(tmp_path) not in said.replace(f"PWD={tmp_path}", "")


def test_what_the_user_says_of_memory_stays(tmp_path: Path, library: Path) -> None:
    (tmp_path / "Makefile").write_text("X := $(shell echo $$GLIBC_TUNABLES)\nall: ; echo said $(X)\n")
    confiner = confining.prepare(library.parent.parent.parent)
    said = "glibc.malloc.hugetlb=1"
    instance = MakeInstance(str(tmp_path), ("make",), {"PATH": os.environ["PATH"], "GLIBC_TUNABLES": said})
    output = asyncio.run(heard_run(instance, 60, library=library, confiner=confiner))
    assert f"\necho said {said}\n" in output.text and output.environment["GLIBC_TUNABLES"] == said
