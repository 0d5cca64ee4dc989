"""A dry run tells what make would do and changes nothing, whatever the makefile tries."""

from __future__ import annotations

import asyncio
import functools
import os
import secrets
import select
import subprocess
from pathlib import Path

import pytest

from buildfarm.home import own_directory
from buildfarm.make import buffering, confine, confining
from buildfarm.make.instance import MakeInstance, split_flags
from tests.farm import PATIENCE
from tests.hearing import HeardRun, heard_run

needs_landlock = pytest.mark.skipif(confine.abi() == 0, reason="the kernel has no Landlock")


def plan(directory: Path, *words: str, timeout: float = 60, **environment: str) -> HeardRun:
    base = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    level = int(environment.get("MAKELEVEL", "0"))
    instance = MakeInstance(str(directory), ("make", *words), {**base, **environment}, level)
    library, confiner = natives()
    return asyncio.run(heard_run(instance, timeout, library=library, confiner=confiner))


@functools.cache
def natives() -> tuple[Path | None, Path | None]:
    """Kept with the stubs that tests use."""
    cache = own_directory("cache")
    return buffering.prepare(cache), confining.prepare(cache)


def snapshot(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_mode, status.st_mtime_ns, status.st_ino, content)
    return found


def lines_of(output: HeardRun) -> list[str]:
    return [record.line for record in output.submakes if not record.line.startswith(": buildfarm-")]


HARMFUL = {
    "plus line": "all:\n\t+touch harm\n",
    "MAKE line": "all:\n\ttouch harm; $(MAKE) --version\n",
    "remade makefile": "include gen.mk\nall: ; echo\ngen.mk: dep.h\n\techo X=1 > $@\ndep.h: ; touch $@\n",
    "remade optional makefile": "-include a.d\nall: ; echo\n%.d:\n\t@touch $@ harm\n",
    "bash": "SHELL := /bin/bash\nall:\n\t+[[ a == a ]] && touch harm\n",
    "override SHELL": "override SHELL = /bin/bash\nall:\n\t+touch harm\n",
    "override flags": "override .SHELLFLAGS = -e -c\nall:\n\t+touch harm\n",
    "pipefail": "SHELL=bash\n.SHELLFLAGS = -eu -o pipefail -c\nall:\n\t+touch harm\n",
    "target's SHELL": "all: SHELL = /bin/bash\nall:\n\t+touch harm\n",
    "one shell": ".ONESHELL:\nall:\n\t+touch harm\n\ttouch harm2\n",
    "not a Bourne shell": "SHELL = /usr/bin/perl\n.SHELLFLAGS = -e\nall:\n\t+open(F, '>harm')\n",
    "env": "SHELL = /usr/bin/env bash\nall:\n\t+touch harm\n",
    "always": "all: FORCE\n\t+rm -f Makefile\nFORCE:\n",
    "own -j": "MAKEFLAGS += -j4\nall: a b\na b:\n\t+touch harm$@\n",
    "match-anything": "%: ; +touch harm\nMakefile: ;\nall: x\n",
    "posix": ".POSIX:\nall:\n\t+touch harm\n",
    "forged dry run": "all:\n\t+MAKEFLAGS= $(MAKE) -f Makefile harm\nharm: ; touch harm\n",
}


@pytest.mark.parametrize("name", list(HARMFUL))
def test_no_recipe_line_is_run(tmp_path: Path, name: str) -> None:
    (tmp_path / "Makefile").write_text(HARMFUL[name])
    before = snapshot(tmp_path)
    output = plan(tmp_path)
    assert snapshot(tmp_path) == before
    assert output.error is None, output.stderr


WRITING = {
    "shell": "X := $(shell touch harm; echo 1)\nall: ; echo $(X)\n",
    "shell in a recipe": "all: ; echo $(shell touch harm)\n",
    "shell ages a file": "X := $(shell touch old)\nall: old ; echo\n",
    "file function": "all: ; echo $(file >harm,x)\n",
    "remove": "X := $(shell rm -f old; mkdir d; mv old new)\nall: ; echo\n",
    "target's shell and flags": "all: SHELL = /bin/sh\nall: .SHELLFLAGS = -c\nall:\n\t+touch harm\n",
}


@needs_landlock
@pytest.mark.parametrize("name", list(WRITING))
def test_what_make_itself_runs_can_t_change_the_tree(tmp_path: Path, name: str) -> None:
    (tmp_path / "Makefile").write_text(WRITING[name])
    (tmp_path / "old").touch()
    os.utime(tmp_path / "old", (1e9, 1e9))
    before = snapshot(tmp_path)
    output = plan(tmp_path)
    assert output.confinement != "free"
    assert snapshot(tmp_path) == before


@needs_landlock
def test_temporary_files_and_devices_stay_writable(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(
        "X := $(shell f=$$(mktemp) && echo yes > $$f && cat $$f && touch $$f && rm $$f 2>/dev/null)\nall: ; echo $(X)\n"
    )
    assert "\necho yes\n" in plan(tmp_path).text


def test_a_probe_that_writes_gets_its_answer_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(
        "X := $(shell echo 'int x;' > foo.c; cc -c foo.c -o foo.o && test -f foo.o && echo yes; rm foo.c foo.o)\n"
        "all: ; echo $(X)$(file >list,z)$(shell cat list old; touch old; echo more >> old; cat old)\n"
    )
    (tmp_path / "old").write_text("o")
    before = snapshot(tmp_path)
    output = plan(tmp_path)
    assert snapshot(tmp_path) == before
    if output.confinement == "overlay":
        assert "\necho yesz oomore\n" in output.text


def test_writing_may_seem_to_go_anywhere_in_the_tree(tmp_path: Path) -> None:
    sub = tmp_path / "sub"
    sub.mkdir()
    (sub / "Makefile").write_text("X := $(shell echo 1 > ../up; cat ../up)\nall: ; echo got$(X)\n")
    instance = MakeInstance(str(sub), ("make",), dict(os.environ))
    output = asyncio.run(heard_run(instance, 60, tree=str(tmp_path)))
    assert not (tmp_path / "up").exists()
    if output.confinement == "overlay":
        assert "\necho got1\n" in output.text


def test_shell_functions_run_as_make_runs_them(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(
        "SHELL := /bin/bash\n.SHELLFLAGS := -eu -o pipefail -c\n"
        "A := $(shell [[ ab == a* ]] && echo level=$${MAKELEVEL-none})\n"
        "all:\n\techo $(A) $(shell set -o | grep -c 'pipefail.*on') $(shell echo $${MAKELEVEL-none}) $(SHELL)\n"
    )
    real = subprocess.run(
        ["make", "-s"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert f"\necho {real.stdout}" in plan(tmp_path).text


def test_recursion_is_recorded_with_its_environment(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(
        "export A := 1\nall: one two\none:\n\tcd sub && $(MAKE) -k x\ntwo: export B = 2\ntwo:\n\t$(MAKE) -C sub\n"
    )
    output = plan(tmp_path, "-s", "V=a b", "-j8", MAKEFLAGS=" -j8 --jobserver-auth=3,4", TMPDIR="/tmp/x")
    assert lines_of(output) == ["cd sub && make -k x", "make -C sub"]
    one, two = (record.environment for record in output.submakes[-2:])
    assert (one["A"], one.get("B"), one["MAKELEVEL"]) == ("1", None, "1")
    assert two["B"] == "2"
    assert split_flags(one["MAKEFLAGS"]) == split_flags("s -- V=a\\ b")
    assert one["TMPDIR"] == "/tmp/x"
    assert "LANGUAGE" not in one
    assert output.environment["A"] == "1"
    assert output.text.index("\x1e1\n") < output.text.index("\x1e2\n")


def test_a_record_is_what_the_real_submake_gets(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("export A := x\nall:\n\t$(MAKE) -C sub W=3\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "Makefile").write_text("all: ; @env -0 > ../env; echo '$(MAKEFLAGS)' > ../flags\n")
    (record,) = (r for r in plan(tmp_path, "V=1").submakes if "sub" in r.line)
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    subprocess.run(["make", "-s", "V=1"], cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)
    real = dict(entry.partition("=")[::2] for entry in (tmp_path / "env").read_text().split("\0") if "=" in entry)
    ours = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"}
    shells = {"PWD", "OLDPWD", "_", "W", "V"}
    assert {k: v for k, v in record.environment.items() if k not in ours | shells} == {
        k: v for k, v in real.items() if k not in ours | shells
    }
    assert record.environment["MAKELEVEL"] == "1"


def test_a_line_of_several_lines_is_recorded_whole(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all:\n\tfor d in a b; do \\\n\t  $(MAKE) -C $$d; \\\n\tdone\n")
    assert lines_of(plan(tmp_path)) == ["for d in a b; do \\\n  make -C $d; \\\ndone"]


def test_missing_files_do_not_end_the_plan(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all: a.o b.o\na.o: none.h ; cc a.c\nb.o: ; cc b.c\n")
    output = plan(tmp_path)
    assert output.error is None
    assert "\ncc b.c\n" in output.text
    assert "No rule to make target 'none.h', needed by 'a.o'" in output.stderr


def test_messages_are_not_translated(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all: ; echo\n")
    text = plan(tmp_path, LC_ALL="C.UTF-8", LANG="de_DE.UTF-8", LANGUAGE="de").text
    assert "does not exist" in text  # the rest differs from 4.3 to 4.4


def test_dash_c_dash_f_and_default_names_are_found(tmp_path: Path) -> None:
    sub = tmp_path / "a" / "b"
    sub.mkdir(parents=True)
    (sub / "GNUmakefile").write_text("all: ; echo gnu $(MAKEFILE_LIST)\n")
    (sub / "Makefile").write_text("all: ; echo plain\n")
    (sub / "other.mk").write_text("more: ; echo other $(CURDIR)\n")
    assert "\necho gnu GNUmakefile\n" in plan(tmp_path, "-C", "a", "-Cb").text
    output = plan(tmp_path, "-C", "a/b", "-f", "other.mk", "more")
    assert f"\necho other {sub}\n" in output.text


def test_no_makefile_and_implicit_rules_only(tmp_path: Path) -> None:
    (tmp_path / "a.c").touch()
    output = plan(tmp_path, "a.o")
    assert "\ncc    -c -o a.o a.c\n" in output.text
    assert plan(tmp_path).error is None
    assert "No targets" in plan(tmp_path).stderr


@pytest.mark.parametrize(
    ("words", "flags"), [(["-n"], ""), (["-q"], ""), (["--version"], ""), (["-f-"], ""), ([], "n")]
)
def test_calls_that_build_nothing_are_not_planned(tmp_path: Path, words: list[str], flags: str) -> None:
    assert plan(tmp_path, *words, MAKEFLAGS=flags).error


def test_a_broken_makefile_is_an_error_in_make_s_words(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("ifeq (a,b\n")
    assert "Makefile:1" in (plan(tmp_path).error or "")


def test_a_makefile_that_never_ends_is_killed(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("X := $(shell exec sleep 1000)\nall: ; echo\n")
    output = plan(tmp_path, timeout=0.3)
    assert "had not finished" in (output.error or "")


def test_a_makefile_that_gets_on_slowly_is_heard_out(tmp_path: Path) -> None:
    """As on a busy machine: three seconds by the clock, and hardly any of the processors' time."""
    a_little = "for i in $$(seq 30); do for j in $$(seq 20000); do :; done; sleep 0.1; done"
    (tmp_path / "Makefile").write_text(f"X := $(shell {a_little})\nall: ; echo\n")
    output = plan(tmp_path, timeout=2)
    assert output.error is None and output.seconds > 2


def test_a_plan_that_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    pid_file = Path("/dev/shm") / f"buildfarm-test-{secrets.token_hex(4)}"  # pid namespaces may share it
    (tmp_path / "Makefile").write_text(f"X := $(shell echo $$$$ > {pid_file}; exec sleep 1000)\nall: ; echo\n")

    async def cancelled() -> int:
        instance = MakeInstance(str(tmp_path), ("make",), dict(os.environ))
        task = asyncio.create_task(heard_run(instance, 60))
        while not (pid_file.exists() and pid_file.read_text().strip()):
            await asyncio.sleep(0.01)
        handle = os.pidfd_open(int(pid_file.read_text()))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return handle

    try:
        handle = asyncio.run(cancelled())
        assert select.select([handle], [], [], PATIENCE)[0], "the sleeping process still lives"
        os.close(handle)
    finally:
        pid_file.unlink(missing_ok=True)


def test_instances_that_do_the_same_work_have_the_same_key(tmp_path: Path) -> None:
    def key(*words: str, **environment: str) -> str:
        return MakeInstance(str(tmp_path), ("make", *words), environment, 1).key()

    assert key("x", "-j8", MAKEFLAGS="w -j8 --jobserver-auth=3,4 -- V=1") == key(
        "x", MAKEFLAGS=" -- V=1", PWD="/y", BUILDFARM_TOKEN="t"
    )
    assert key("-C", "a", "x") == MakeInstance(f"{tmp_path}/a", ("make", "x"), {}, 1).key()
    assert key("x") != key("y")
    assert key("x", A="1") != key("x", A="2")
    assert key("x", MAKEFLAGS="k") != key("x")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("", ""),
        ("ks", "ks"),
        ("w -j8 --jobserver-auth=3,4 -Oline -- A=1 B=c\\ d", "w -- A=1 B=c\\ d"),
        (" -j4 --jobserver-auth=fifo:/tmp/x", ""),
        ("-k -j4", "k"),
        ("A=1", " -- A=1"),
        ("r -I/x --no-print-directory --trace -l2.5 -- X=--jobs", "r -I/x --no-print-directory -- X=--jobs"),
    ],
)
def test_makeflags_lose_what_says_nothing_of_the_work(text: str, clean: str) -> None:
    assert split_flags(text).text() == clean
    assert split_flags(clean) == split_flags(text)


def test_the_confinement_is_the_dry_run_s_alone(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all: ; echo\n")
    plan(tmp_path)
    (tmp_path / "ours").write_text("still writable")
    os.utime(tmp_path / "ours", (1, 1))
