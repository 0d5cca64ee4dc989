"""What resume finds, keeps and removes, through the command line, on real builds that really die."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from buildfarm.conductor import suspects
from buildfarm.conductor.astray import Astray, led_back
from buildfarm.make import orphans
from tests import project
from tests.farm import Farm, wait_until
from tests.faults.room import checked_in
from tests.test_e2e_lookahead import held
from tests.tool import Running, buildfarm, environment, status

RECIPES = """\
all: program table.txt

program: main.o
\tcc -o $@ main.o

main.o: main.c
\tcc -c main.c -o main.o

stripped.o: main.c
\tcc -c main.c -o stripped.o
\tstrip stripped.o
\t@echo stripped

table.txt: main.o
\tprintf 'one\\n' > $@; : > started; while test -e wait; do sleep 0.05; done; printf 'two\\n' >> $@
"""


def write(tree: Path) -> Path:
    tree.mkdir()
    (tree / "Makefile").write_text(RECIPES)
    (tree / "main.c").write_text("int main(void) { return 0; }\n")
    return tree


def interrupted_in_a_recipe(tree: Path) -> None:
    """Kill all of a build while `table.txt` is half-written by its recipe."""
    (tree / "wait").touch()
    with Running(("run", "-C", str(tree), "--hosts", "", "-j4")) as build:
        wait_until((tree / "started").exists, "the recipe to have begun")
        wait_until((tree / "program").exists, "the program")
        wait_until(lambda: len(checked_in(tree)) == 1, "the unit's check-in")
        build.kill_all()
    (tree / "wait").unlink()
    assert (tree / "table.txt").read_text() == "one\n"


def test_a_file_that_a_recipe_was_writing_is_made_again(tmp_path: Path) -> None:
    tree = write(tmp_path / "p")
    interrupted_in_a_recipe(tree)
    made = (tree / "main.o").stat().st_mtime_ns
    assert subprocess.run(["make", "-q", "table.txt"], cwd=tree, check=False).returncode == 0, "make is taken in"
    result = buildfarm("resume", "-C", str(tree))
    assert result.code == 0, result.stderr
    assert (tree / "table.txt").read_text() == "one\ntwo\n"
    assert (tree / "main.o").stat().st_mtime_ns == made
    assert (tree / ".buildfarm" / "removed" / "0" / "table.txt").read_text() == "one\n"


def test_the_dry_run_says_what_stays_and_what_goes_and_touches_nothing(tmp_path: Path) -> None:
    tree = write(tmp_path / "p")
    interrupted_in_a_recipe(tree)
    before = project.digests(tree)
    result = buildfarm("resume", "-C", str(tree), "--dry-run")
    assert result.code == 0, result.stderr
    lines = result.stdout.splitlines()
    kept = lines[: lines.index(next(line for line in lines if line.startswith("would remove")))]
    gone = lines[len(kept) :]
    assert "  main.o" in kept and "  table.txt" in gone
    assert any("nothing vouches for it" in line for line in gone)
    assert project.digests(tree) == before
    assert status(tree)["state"] == "interrupted"
    assert buildfarm("resume", "-C", str(tree)).code == 0


def test_what_make_finished_without_its_conductor_is_called_unvouched_and_not_half_made(tmp_path: Path) -> None:
    tree = write(tmp_path / "p")
    (tree / "wait").touch()
    with Running(("run", "-C", str(tree), "--hosts", "", "-j1", "program", "table.txt", "stripped.o")) as build:
        wait_until((tree / "started").exists, "the recipe to have begun")
        wait_until(lambda: status(tree)["link_steps"]["done"] == 1, "the link's check-in")
        os.kill(build.process.pid, 9)
        build.process.wait()
        (tree / "wait").unlink()
        wait_until((tree / "stripped.o").exists, "make to go on by itself")
        wait_until(lambda: not orphans.find(token_of(tree)), "make to end")
    result = buildfarm("resume", "-C", str(tree))
    assert result.code == 0, result.stderr
    assert "half" not in result.stderr
    words = f"2 files moved to {tree}/.buildfarm/removed: written after its last checkpoint by no step of ours"
    assert f"the last build was interrupted: 1 unit kept; {words}" in result.stderr
    assert {path.name for path in (tree / ".buildfarm" / "removed").rglob("*.*")} == {"table.txt", "stripped.o"}


def token_of(tree: Path) -> str:
    """The mark that all processes of the last build carry."""
    with sqlite3.connect(tree / ".buildfarm" / "state.db") as database:
        (token,) = database.execute("SELECT token FROM build ORDER BY id DESC").fetchone()
    return str(token)


def test_what_a_process_of_the_dead_build_wrote_long_after_is_not_trusted(tmp_path: Path) -> None:
    tree = write(tmp_path / "p")
    (tree / "wait").touch()
    with Running(("run", "-C", str(tree), "--hosts", "")) as build:
        wait_until((tree / "started").exists, "the recipe to have begun")
        os.kill(build.process.pid, 9)
        build.process.wait()
        late = time.time() + 3600
        os.utime(tree / "table.txt", (late, late))
        result = buildfarm("resume", "-C", str(tree), "--dry-run")
        assert "would end what still runs" in result.stdout
        (tree / "wait").unlink()
        assert buildfarm("resume", "-C", str(tree)).code == 0
    assert (tree / "table.txt").read_text() == "one\ntwo\n"


def test_a_lost_journal_costs_what_nothing_vouches_for_and_no_more(tmp_path: Path) -> None:
    tree = write(tmp_path / "p")
    interrupted_in_a_recipe(tree)
    made = (tree / "main.o").stat().st_mtime_ns
    (tree / ".buildfarm" / "state.db").write_bytes(b"rubbish")
    assert buildfarm("resume", "-C", str(tree)).code == 66, "nobody knows what was asked for"
    result = buildfarm("run", "-C", str(tree), "--hosts", "")
    assert result.code == 0, result.stderr
    assert "its journal is lost" in result.stderr
    assert (tree / "table.txt").read_text() == "one\ntwo\n"
    assert (tree / "main.o").stat().st_mtime_ns == made, "a whole ELF object speaks for itself"


def test_only_interrupted_leaves_a_build_that_ended_by_itself_alone(tmp_path: Path) -> None:
    tree = write(tmp_path / "p")
    assert buildfarm("resume", "-C", str(tree), "--only-interrupted").code == 0
    (tree / "main.c").write_text("int main(void) { return missing; }\n")
    assert buildfarm("run", "-C", str(tree), "--hosts", "").code == 2
    result = buildfarm("resume", "-C", str(tree), "--only-interrupted")
    assert result.code == 0 and "was not interrupted" in result.stdout
    assert not (tree / "main.o").exists()


def test_a_build_in_a_clean_or_complete_tree_asks_make_for_no_plan_before_it_starts(tmp_path: Path) -> None:
    tree = write(tmp_path / "p")
    script = (
        "import sys\n"
        "from buildfarm.conductor import suspects\n"
        "def never(*_): raise AssertionError('planned')\n"
        "suspects.find = never\n"
        "from buildfarm.cli import main\n"
        "main(['run', '-C', sys.argv[1], '--hosts', ''])\n"
    )
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", script, tree], env=environment(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr


def test_make_tells_its_file_targets_and_which_recipes_go_on(tmp_path: Path) -> None:
    tree = write(tmp_path / "p")
    for goals in (("all", "stripped.o"), ("CC=cc", "all", "stripped.o")):
        found = suspects.find(str(tree), goals, environment())
        assert found.troubles == ()
        assert set(found.files) == {str(tree / name) for name in ("program", "main.o", "table.txt", "stripped.o")}
        goes_on = {name: found.continues(str(tree / name)) for name in ("main.o", "stripped.o", "no_target.o")}
        assert goes_on == {"main.o": False, "stripped.o": True, "no_target.o": None}


GOING_ON = """\
all: asked.o wrapped.o echoed.o distributed.o moved.o piped.o twice.o stamped.o listed.o emptied.o
asked.o: ; gcc `cat flags` -c a.c -o $@
wrapped.o: ; ./mpicc -c a.c -o $@
echoed.o: ; gcc -c a.c -o $@ 2>errors && echo done 2>&1 >/dev/null
distributed.o: ; distcc gcc '-DX=1' -c a.c -o $@
moved.o: ; gcc `cat flags` -c a.c -o $@ && cp $@ copy.o
piped.o:
\tgcc `cat flags` -c a.c -o $@
\t: | ./stamp `cat flags` $@
twice.o:
\tgcc -c a.c -o $@
\tgcc `cat flags` -c a.c -o $@
stamped.o:
\tgcc -c a.c -o $@
\t@echo done >$@.stamp
listed.o: ; gcc -c a.c -o $@; { echo a; echo b; } >list
emptied.o: ; gcc -c a.c -o $@; >errors
"""


def test_a_recipe_that_ends_with_its_compile_does_not_go_on_however_that_is_worded(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(GOING_ON)
    (tmp_path / "flags").write_text("-O1 -g\n")
    (tmp_path / "mpicc").write_text("#!/bin/sh\ncase $1 in -show) show=echo; shift ;; esac\n$show gcc -DN $@\n")
    (tmp_path / "mpicc").chmod(0o755)
    found = suspects.find(str(tmp_path), ("all",), environment())
    goes_on = {"moved.o", "piped.o", "twice.o", "stamped.o", "listed.o", "emptied.o"}
    names = GOING_ON.partition("\n")[0].split()[1:]
    assert {name: found.continues(str(tmp_path / name)) for name in names} == {name: name in goes_on for name in names}


@pytest.mark.parametrize("name", ["main.o", "program", "lib.a"])
def test_a_file_that_was_cut_anywhere_is_not_whole(tmp_path: Path, name: str) -> None:
    tree = write(tmp_path / "p")
    (tree / "Makefile").write_text(RECIPES + "lib.a: main.o\n\tar rcs $@ $^\n")
    subprocess.run(["make", "program", "lib.a"], cwd=tree, check=True, capture_output=True)
    whole = (tree / name).read_bytes()
    assert suspects.is_whole(str(tree / name))
    cut = tree / "cut"
    for length in (*range(0, len(whole), 97), len(whole) - 1):
        cut.write_bytes(whole[:length])
        assert not suspects.is_whole(str(cut)) or (name == "lib.a" and length == 8)


def test_results_that_make_had_not_asked_for_are_kept_and_used(tmp_path: Path) -> None:
    tree = project.write(tmp_path / "p")
    makefile = tree / "Makefile"
    stop = "\tuntil test -e $(CURDIR)/go; do sleep 0.05; done\n"  # or make asks for results as fast as they come
    makefile.write_text(makefile.read_text().replace("FORCE\n\t+$(MAKE)", f"FORCE\n{stop}\t+$(MAKE)"))
    assert stop in makefile.read_text()
    with Farm(count=1, jobs=4) as farm:
        with Running(("run", "-C", str(tree), "--hosts", farm.hosts, "-j1")) as build:
            wait_until(held(tree, 4), "four results in the store")
            build.kill_all()
        (tree / "go").touch()
        shown = buildfarm("resume", "-C", str(tree), "--dry-run")
        assert "that make has not asked for yet" in shown.stdout, shown
        results = [path for path in (tree / ".buildfarm" / "store").iterdir() if path.suffix != ".new"]
        before = len(farm.started())
        assert buildfarm("resume", "-C", str(tree), "--hosts", farm.hosts).code == 0
        done = status(tree)["units"]["done"]
        assert len(farm.started()) - before <= done - len(results)


def test_a_journal_of_which_only_a_part_could_be_saved_costs_no_whole_object(tmp_path: Path) -> None:
    tree = write(tmp_path / "p")
    interrupted_in_a_recipe(tree)
    made = (tree / "main.o").stat().st_mtime_ns
    database = tree / ".buildfarm" / "state.db"
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("DELETE FROM output")
    connection.execute("DROP TABLE duration")  # not our tables any more: set aside, and what is left is saved
    connection.close()
    result = buildfarm("resume", "-C", str(tree))
    assert result.code == 0, result.stderr
    assert "was damaged" in result.stderr
    assert (tree / "table.txt").read_text() == "one\ntwo\n"
    assert (tree / "main.o").stat().st_mtime_ns == made


def test_what_a_living_make_has_finished_without_its_conductor_is_kept(tmp_path: Path) -> None:
    tree = tmp_path / "p"
    tree.mkdir()
    (tree / "Makefile").write_text(
        "all: one.txt two.o\n\techo half > last.txt; touch reached; while test -f wait; do sleep 0.1; done; exit 3\n"
        "one.txt:\n\ttouch begun; while test -f hold; do sleep 0.1; done; echo one > $@; echo x >> log\n"
        "two.o: two.c one.txt\n\tgcc -c two.c; echo x >> log; sleep 0.1\n"  # start times are grains of 30 ms
    )
    (tree / "two.c").write_text("int two;\n")
    (tree / "wait").touch()
    (tree / "hold").touch()
    with Running(("run", "-C", str(tree), "--hosts", "", "-j1")) as build:
        wait_until((tree / "begun").exists, "the first recipe")
        os.kill(build.process.pid, 9)
        build.process.wait()
        (tree / "hold").unlink()
        wait_until((tree / "reached").exists, "make to go on by itself")
        said = buildfarm("status", "-C", str(tree))
        assert re.search(r"its make still runs \(pid \d+\)", said.stdout), said.stdout
        dry = buildfarm("resume", "-C", str(tree), "--dry-run").stdout
        assert "two.o" not in dry.partition("would remove")[2], dry
        (tree / "Makefile").write_text((tree / "Makefile").read_text().replace("; exit 3", "").replace("wait", "no"))
        result = buildfarm("resume", "-C", str(tree), "--hosts", "")
    assert result.code == 0, result.stderr
    assert (tree / "log").read_text() == "x\nx\n", "nothing that had ended was made again"
    assert "still runs" not in buildfarm("status", "-C", str(tree)).stdout


def test_what_a_living_make_is_in_the_middle_of_is_not_kept(tmp_path: Path) -> None:
    tree = tmp_path / "p"
    tree.mkdir()
    (tree / "Makefile").write_text(
        "all: one.txt two.txt\none.txt:\n\techo one > $@; touch begun; while test -f wait; do sleep 0.1; done; \\\n"
        "\techo end >> $@\n"
        "two.txt:\n\techo two > $@\n"
    )
    (tree / "wait").touch()
    with Running(("run", "-C", str(tree), "--hosts", "", "-j2")) as build:
        wait_until((tree / "two.txt").exists, "the second recipe")
        wait_until((tree / "begun").exists, "the first recipe")
        os.kill(build.process.pid, 9)
        build.process.wait()
        (tree / "Makefile").write_text((tree / "Makefile").read_text().replace("wait", "no"))
        result = buildfarm("resume", "-C", str(tree), "--hosts", "")
    assert result.code == 0, result.stderr
    assert (tree / "one.txt").read_text() == "one\nend\n"


LOCKED = """\
CFLAGS = -O1
-include .settings
program: main.o
	cc -o $@ main.o deps/dep.o
main.o: main.c .ready
	cc $(CFLAGS) -c main.c -o main.o
.ready:
	@touch $@
ifneq ($(PREVIOUS),$(CFLAGS))
.ready: settings
endif
settings:
	echo 'PREVIOUS=$(CFLAGS)' > .settings
	cd deps && $(MAKE)
.PHONY: settings
"""


def test_make_is_led_back_to_a_recursive_make_that_its_own_settings_lock_away(tmp_path: Path) -> None:
    """redis writes down its flags, and builds its libraries in the same recipe, which then is not run again."""
    tree = tmp_path / "p"
    (tree / "deps").mkdir(parents=True)
    (tree / "Makefile").write_text(LOCKED)
    (tree / "main.c").write_text("int dep(void);\nint main(void) { return dep(); }\n")
    (tree / "deps" / "Makefile").write_text("dep.o: dep.c\n\tcc -O1 -c dep.c -o dep.o\n")
    (tree / "deps" / "dep.c").write_text("int dep(void) { return 0; }\n")
    with Farm(count=1, jobs=2, gated=True) as farm:
        farm.close_gate()
        with Running(("run", "-C", str(tree), "--hosts", farm.hosts, "--no-lookahead")) as build:
            wait_until(lambda: farm.waiting() > 0, "deps/dep.o to be under way")
            build.kill_all()
        farm.open_gate()
        asked = subprocess.run(["make", "-n"], cwd=tree, check=False, capture_output=True, text=True).stdout
        assert "main.o" in asked
        assert "dep.c" not in asked, "make goes astray"
        result = buildfarm("resume", "-C", str(tree), "--hosts", farm.hosts)
    assert result.code == 0, result.stderr
    assert ".settings moved to" in result.stderr
    assert subprocess.run([tree / "program"], check=False).returncode == 0
    assert (tree / ".settings").read_text() == "PREVIOUS=-O1\n"


def test_what_was_set_aside_before_under_the_same_name_is_kept(tmp_path: Path) -> None:
    """Two Makefiles may include a `.settings` each, and one may be set aside in every build."""
    tree, aside = tmp_path / "p", tmp_path / "aside"
    tree.mkdir()
    (tree / "Makefile").write_text("-include .settings\nifndef DONE\nall: a.o\na.o: a.c\n\tcc -c a.c\nendif\n")
    (tree / "a.c").write_text("int a;\n")
    notes: list[str] = []
    for turn in range(3):
        (tree / ".settings").write_text(f"DONE={turn}\nall:;\n")
        outputs, included = frozenset({str(tree / "a.o")}), (str(tree / ".settings"),)
        locked = Astray(outputs, included, str(tree), (), environment())
        assert led_back(locked, aside, notes.append), "make comes back without the file"
    kept = {path.read_text().partition("\n")[0] for path in (aside / "included").iterdir()}
    assert kept == {"DONE=0", "DONE=1", "DONE=2"} and len(notes) == 3


def killed_behind_settings(tree: Path) -> Path:
    """A build that has written an included file which locks nothing away, killed with a unit on its node."""
    tree.mkdir()
    (tree / "Makefile").write_text(
        "-include .settings\nall:\n\techo X=1 >> .settings\n\tsh probe\n\techo $(X) > seen\n"
    )
    (tree / "probe").write_text("cc -c piece.c -o piece.o\n")
    (tree / "piece.c").write_text("int x;\n")
    with Farm(count=1, jobs=2, gated=True) as farm:
        farm.close_gate()
        with Running(("run", "-C", str(tree), "--hosts", farm.hosts, "--no-lookahead")) as build:
            wait_until(lambda: farm.waiting() > 0, "piece.o to be under way")
            build.kill_all()
        farm.open_gate()
    return tree


def test_included_files_that_lock_nothing_away_stay(tmp_path: Path) -> None:
    tree = killed_behind_settings(tmp_path / "p")
    result = buildfarm("resume", "-C", str(tree), "--hosts", "")
    assert result.code == 0, result.stderr
    assert "moved to" not in result.stderr
    assert (tree / "seen").read_text() == "1\n", "as plain make would read it"


@pytest.mark.parametrize(("by", "settings"), [("resume", "X=1\nX=1\n"), ("forget", "X=1\n")])
def test_an_included_file_that_is_away_while_make_is_asked_comes_back_after_a_kill(
    tmp_path: Path, by: str, settings: str
) -> None:
    tree = killed_behind_settings(tmp_path / "p")
    script = (
        "import os, sys\n"
        "from buildfarm.conductor import suspects\n"
        "find = suspects.find\n"
        "def killed(*words):\n"
        "    return find(*words) if os.path.exists(sys.argv[1] + '/.settings') else os.kill(os.getpid(), 9)\n"
        "suspects.find = killed\n"
        "from buildfarm.cli import main\n"
        "main(['resume', '-C', sys.argv[1], '--hosts', ''])\n"
    )
    dead = subprocess.run([sys.executable, "-c", script, tree], env=environment(), capture_output=True, check=False)
    assert dead.returncode == -9, dead.stderr
    result = buildfarm(by, "-C", str(tree))
    assert result.code == 0, result.stderr
    assert (tree / ".settings").read_text() == settings


def test_an_included_file_that_came_after_the_crash_is_its_authors(tmp_path: Path) -> None:
    """Who writes down, after a crash, what is not to be built any more has not led make astray."""
    tree = tmp_path / "p"
    (tree / "deps").mkdir(parents=True)
    (tree / "Makefile").write_text(
        "-include local.mk\nPARTS ?= parts\nall: main.o $(PARTS)\nmain.o: main.c\n\tcc -c main.c -o main.o\n"
        "parts:\n\tcd deps && $(MAKE)\n.PHONY: all parts\n"
    )
    (tree / "main.c").write_text("int x;\n")
    (tree / "deps" / "Makefile").write_text("dep.o: dep.c\n\tcc -c dep.c -o dep.o\n")
    (tree / "deps" / "dep.c").write_text("int dep;\n")
    with Farm(count=1, jobs=2, gated=True) as farm:
        farm.close_gate()
        with Running(("run", "-C", str(tree), "--hosts", farm.hosts, "--no-lookahead", "-j2")) as build:
            wait_until(lambda: farm.waiting() == 2, "both units to be under way")
            build.kill_all()
        farm.open_gate()
        (tree / "local.mk").write_text("PARTS =\n")
        result = buildfarm("resume", "-C", str(tree), "--hosts", farm.hosts)
    assert result.code == 0, result.stderr
    assert "moved to" not in result.stderr
    assert (tree / "local.mk").exists()
    assert not (tree / "deps" / "dep.o").exists()
