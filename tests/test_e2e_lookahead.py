"""Lookahead: barriers fall, and no wrong guess ever reaches the tree.

The dangerous cases stop make in the middle of a recipe (`until test -e go`), wait until the results made ahead are
in the store, change the world, and let make go on.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import project
from tests.farm import Farm, wait_until
from tests.tool import Result, Running, buildfarm, environment, status

WAITING = """#!/bin/sh
case " $* " in *-frandom-seed=bf-probe*) ;; *) sleep {seconds};; esac
exec /usr/bin/{name} "$@"
"""
STOP = "until test -e go; do sleep 0.05; done"


def waiting(seconds: float) -> dict[str, str]:
    """Compilers that wait before they compile."""
    return {name: WAITING.format(seconds=seconds, name=name) for name in ("gcc", "cc", "gfortran")}


def with_units_away(farm: Farm, count: int, *words: str) -> Result:
    """`buildfarm run WORDS`, none of whose compiles ends before so many units are on the nodes at once."""
    farm.close_gate()
    with Running(("run", "--hosts", farm.hosts, *words)) as build:
        wait_until(lambda: farm.waiting() >= count, f"{count} units on the nodes at once")
        farm.open_gate()
        return build.wait()


def files(root: Path, texts: dict[str, str]) -> Path:
    """A tree of small files."""
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def makes_tree(root: Path, *words: str) -> dict[str, str]:
    """What make leaves of the tree, which is put back as it was."""
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    done = project.made_by_make(root, *words)
    assert done.returncode == 0, done.stderr
    result = project.digests(root)
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_file():
            path.unlink()
    for path, content in before.items():
        path.write_bytes(content)
    return result


def serial_directories(root: Path) -> Path:
    """Eight directories of four units, built one directory after the other by a shell loop."""
    names = [f"d{i}" for i in range(8)]
    texts = {
        "Makefile": "all:\n\tfor d in "
        + " ".join(names)
        + "; do $(MAKE) -C $$d || exit 1; done\n\tcc -o prog main.c */*.o\n",
        "main.c": "int main(void) { return 0; }\n",
    }
    for name in names:
        texts[f"{name}/Makefile"] = "all: a.o b.o c.o d.o\n%.o: %.c\n\tcc -O1 -c $< -o $@\n"
        texts.update({f"{name}/{u}.c": f"int {name}_{u}(int x) {{ return x + {ord(u)}; }}\n" for u in "abcd"})
    return files(root, texts)


def module_chain(root: Path, *, prerequisites: bool, flags: str = "-O1") -> Path:
    """Ten modules, each using the one before, and six users of the last."""
    users = [f"u{i}" for i in range(6)]
    objects = " ".join(f"{name}.o" for name in [*(f"m{i}" for i in range(10)), *users, "main"])
    makefile = f"prog: {objects}\n\tgfortran -o prog {objects}\n%.o: %.f90\n\tgfortran {flags} -c $< -o $@\n"
    if prerequisites:
        makefile += "".join(f"m{i}.o: m{i - 1}.o\n" for i in range(1, 10))
        makefile += "".join(f"{user}.o: m9.o\n" for user in users)
    texts = {"Makefile": makefile}
    for i in range(10):
        use, before = (f"  use m{i - 1}\n", f" + c{i - 1}") if i else ("", "")
        texts[f"m{i}.f90"] = (
            f"module m{i}\n{use}  implicit none\n  integer, parameter :: c{i} = {i}{before}\ncontains\n"
            f"  integer function f{i}(x)\n    integer, intent(in) :: x\n    f{i} = x + c{i}\n"
            "  end function\nend module\n"
        )
    for i, user in enumerate(users):
        texts[f"{user}.f90"] = (
            f"subroutine {user}(x)\n  use m9\n  implicit none\n  integer, intent(inout) :: x\n"
            f"  x = f9(x) + {i}\nend subroutine\n"
        )
    calls = "".join(f"  call {user}(x)\n" for user in users)
    texts["main.f90"] = f"program main\n  implicit none\n  integer :: x\n  x = 0\n{calls}  print *, x\nend program\n"
    return files(root, texts)


def test_a_serial_loop_over_directories_is_no_barrier(tmp_path: Path) -> None:
    tree = serial_directories(tmp_path / "p")
    expected = makes_tree(tree)
    with Farm(count=1, jobs=32, gated=True) as farm:
        farm.close_gate()  # a plan that came when a directory is built would not name its units
        with Running(("run", "-C", str(tree), "--hosts", farm.hosts)) as build:
            # make alone never gets more than four at a time
            wait_until(lambda: farm.waiting() >= 24, "units of six directories on the node")
            wait_until(lambda: status(tree)["units"]["total_is_final"], "every directory's plan")
            farm.open_gate()
            result = build.wait()
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) == 32
    assert project.digests(tree) == expected
    document = status(tree)
    units, planning = document["units"], document["planning"]
    assert units["done"] == units["total"] == 32
    assert planning["asked"] == planning["predicted"] == 32 > planning["foreseen"] > 0
    assert units["lookahead"] >= 24


@pytest.mark.parametrize("flags", ["-O1", "-O1 -march=native"])
def test_a_chain_of_modules_is_no_barrier(tmp_path: Path, flags: str) -> None:
    tree = module_chain(tmp_path / "p", prerequisites=True, flags=flags)
    expected = makes_tree(tree)
    with Farm(count=1, jobs=32, gated=True) as farm:
        result = with_units_away(farm, 14, "-C", str(tree))
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) == 17
    assert project.digests(tree) == expected
    assert status(tree)["units"]["lookahead"] >= 14


@pytest.mark.parametrize("option", ["-j1", "--serial-order"])
def test_without_any_prerequisite_serial_order_builds_right_and_in_parallel(tmp_path: Path, option: str) -> None:
    tree = module_chain(tmp_path / "p", prerequisites=False)
    expected = makes_tree(tree, "-j1")
    with Farm(count=1, jobs=32, gated=True) as farm:
        result = with_units_away(farm, 14, "-C", str(tree), option)
        assert result.code == 0, result.stderr
    assert project.digests(tree) == expected
    assert status(tree)["units"]["lookahead"] >= 14


HAS_ASKED = """# whether the process whose number the file $1 has asks the conductor for a compile, or is over
test -d "$1" && exit 0
test -s "$1" && read -r pid <"$1" || exit 1
test -d "/proc/$pid" || exit 0
grep -q '^State:.S' "/proc/$pid/status" && ls -l "/proc/$pid/fd" | grep -q socket:
"""


@pytest.mark.parametrize("again", [False, True])
def test_modules_that_make_asked_for_before_are_waited_for_without_any_prerequisite(
    tmp_path: Path, again: bool
) -> None:
    tree = module_chain(tmp_path / "p", prerequisites=False)
    asked = tmp_path / "asked"
    (tmp_path / "has_asked").write_text(HAS_ASKED)
    text = (tree / "Makefile").read_text()  # of two that make begins at once either may ask first: one after the other
    until = f"until sh {tmp_path}/has_asked {asked}/$(AFTER); do sleep 0.05; done"
    apart = f"\t{until}; echo $$$$ >{asked}/$*; exec gfortran -O1"
    order = "".join(f"m{i}.o: AFTER = m{i - 1}\n" for i in range(1, 10)) + "m0.o: AFTER =\n"
    (tree / "Makefile").write_text(f"AFTER = m9\n{text.replace(chr(9) + 'gfortran -O1', apart)}{order}")
    asked.mkdir()
    if again:  # then the modules of before are there
        assert project.made_by_make(tree, "-j1").returncode == 0
        source = tree / "m0.f90"
        source.write_text(source.read_text().replace("c0 = 0", "c0 = 5"))
    words = ["-B"] if again else []
    expected = makes_tree(tree, "-j1", *words)
    for path in asked.iterdir():
        path.unlink()
    with Farm(count=1, jobs=32, compilers=waiting(0.2)) as farm:
        result = buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, "-j8", *words)
        assert result.code == 0, result.stderr
    assert project.digests(tree) == expected


SWEPT = {
    "Makefile": "prog: a.o b.o c.o d.o\n\tcc -o $@ $^\nclean:\n\tsleep 3\n\trm -f prog *.o\n",
    "a.c": "int main(void) { return 0; }\n",
    **{f"{name}.c": f"int {name};\n" for name in "bcd"},
}


def test_goals_are_built_in_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    tree = files(tmp_path / "p", SWEPT)
    expected = makes_tree(tree)
    project.made_by_make(tree)
    with Farm(count=1, jobs=8, gated=True) as farm:
        result = with_units_away(farm, 3, "-C", str(tree), "clean", "prog")
        assert result.code == 0, result.stderr
    assert project.digests(tree) == expected
    assert status(tree)["units"]["lookahead"] >= 2, "a plan that came before `clean` had done its work is no use"


def test_nobody_waits_for_the_modules_of_a_call_that_was_killed(tmp_path: Path) -> None:
    tree = files(
        tmp_path / "p",
        {
            "Makefile": "all: m.o u.o\nm.o: m.f90\n\techo $$$$ >new; mv new pid; exec gfortran -c $< -o $@\n"
            "u.o: u.f90\n\tuntil test -e pid; do sleep 0.05; done; touch begun; gfortran -c $< -o $@\n",
            "m.f90": "module m\n  integer :: x = 1\nend module\n",
            "u.f90": "subroutine u\n  use m\n  print *, x\nend subroutine\n",
        },
    )
    with Farm(count=1, jobs=4, gated=True) as farm:
        farm.close_gate()
        with Running(("run", "-C", str(tree), "--hosts", farm.hosts, "-j2")) as build:
            wait_until(lambda: farm.waiting() >= 1 and (tree / "begun").exists(), "both calls")
            os.kill(int((tree / "pid").read_text()), signal.SIGKILL)
            farm.open_gate()
            assert build.wait().code == 2


STEPS = {
    "Makefile": f"all:\n\tcc -c first.c\n\t{STOP}\n\ttest ! -x step || ./step\n\t$(MAKE) -C sub\n",
    "first.c": "int first;\n",
    "sub/Makefile": "all: a.o b.o\n%.o: %.c\n\tcc -O1 -I../early -I../late $(EXTRA) -c $< -o $@\n-include flags.mk\n",
    "sub/a.c": '#include "version.h"\nint a = VERSION;\n',
    "sub/b.c": '#include "version.h"\n#include <limits.h>\nint b = VERSION + 1;\n',
    "early/empty.h": "",
    "late/version.h": "#define VERSION 1\n",
}


def held(tree: Path, count: int) -> Callable[[], bool]:
    store = tree / ".buildfarm" / "store"
    return lambda: store.is_dir() and len([f for f in store.iterdir() if f.suffix != ".new"]) >= count


def with_a_change(tmp_path: Path, step: str, *options: str, ahead: int) -> tuple[Path, Result]:
    """Build STEPS; `step` is what make's recipe does after `ahead` results were made ahead."""
    tree = files(tmp_path / "p", STEPS)
    (tree / "step").write_text(f"#!/bin/sh\n{step}\n")
    (tree / "step").chmod(0o755)
    with Farm(count=1, jobs=8) as farm, Running(("run", "-C", str(tree), "--hosts", farm.hosts, *options)) as build:
        wait_until(held(tree, ahead), "results to be made ahead")
        (tree / "go").touch()
        result = build.wait()
    assert result.code == 0, result.stderr
    return tree, result


def values(tree: Path) -> tuple[int, int]:
    """The numbers in a.o and b.o, read from their data sections."""
    result = []
    for name in ("a", "b"):
        dump = (
            tree.parent / f"{name}.data"
        )  # never /dev/stdout: where it fails, objcopy removes its output, as root too
        subprocess.run(
            ["objcopy", "-O", "binary", "--only-section=.data", f"{name}.o", dump], cwd=tree / "sub", check=True
        )
        result.append(int.from_bytes(dump.read_bytes()[:4], "little"))
    return result[0], result[1]


def test_nothing_changed_and_the_results_made_ahead_are_delivered_with_a_fresh_time(tmp_path: Path) -> None:
    tree, _ = with_a_change(tmp_path, "true", ahead=2)
    assert values(tree) == (1, 2)
    assert status(tree)["units"]["lookahead"] == 2
    assert (tree / "sub" / "a.o").stat().st_mtime >= (tree / "go").stat().st_mtime
    assert subprocess.run(["make", "-q", "-C", "sub"], cwd=tree).returncode == 0


def test_what_a_result_made_ahead_cost_the_network_is_told_when_it_is_delivered(tmp_path: Path) -> None:
    events = tmp_path / "events"
    with_a_change(tmp_path, "true", "--events", str(events), ahead=2)
    told = [json.loads(line) for line in events.read_text().splitlines()]
    made = {event["output"]: event for event in told if event["event"] == "check_in" and event["lookahead"]}
    assert made.keys() == {"sub/a.o", "sub/b.o"}
    assert all(event["bytes_sent"] > 0 and event["bytes_received"] > 0 for event in made.values())


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("echo '#define VERSION 7' > late/version.h", (7, 8)),
        ("echo '#define VERSION 8' > early/version.h", (8, 9)),
        ("echo '#define VERSION 9' > sub/version.h", (9, 10)),
        ("echo 'int a = 5;' > sub/a.c", (5, 2)),
        ("sed -i 's/VERSION 1/VERSION 4/' late/version.h; touch -d '2001-01-01' late/version.h", (4, 5)),
        ("mkdir early/sub; echo 'EXTRA = -DVERSION=3' > sub/flags.mk; : > late/version.h", (3, 4)),
        ("rm late/version.h; echo '#define VERSION 6' > early/version.h", (6, 7)),
    ],
    ids=["regenerated", "shadowed", "beside", "edited", "old-time", "flags", "moved"],
)
def test_a_change_between_lookahead_and_delivery_counts(tmp_path: Path, step: str, expected: tuple[int, int]) -> None:
    tree, _ = with_a_change(tmp_path, step, ahead=2)
    assert values(tree) == expected


@pytest.mark.parametrize(
    "step", ["ln -s real sub/a.o", ": > sub/real; ln sub/real sub/a.o; touch -d 2001-01-01 sub/real"]
)
def test_an_object_that_became_a_link_before_delivery_is_written_through_it(tmp_path: Path, step: str) -> None:
    tree, _ = with_a_change(tmp_path, step, ahead=2)
    assert values(tree) == (1, 2)
    assert (tree / "sub" / "a.o").samefile(tree / "sub" / "real")


def test_a_system_header_can_be_shadowed_too(tmp_path: Path) -> None:
    tree, _ = with_a_change(tmp_path, "echo '#undef VERSION\n#define VERSION 40' > early/limits.h", ahead=2)
    assert values(tree) == (1, 41)


def test_one_object_built_twice_with_other_flags_is_right_both_times(tmp_path: Path) -> None:
    tree = files(
        tmp_path / "p",
        {
            "Makefile": (
                "all:\n\t$(MAKE) one\n\t$(MAKE) two\n"
                "one:\n\tcc -DN=1 -c a.c -o a.o\n\tcp a.o one.o\n"
                "two:\n\tcc -DN=2 -c a.c -o a.o\n\tcp a.o two.o\n"
            ),
            "a.c": "int a = N;\n",
        },
    )
    expected = makes_tree(tree)
    with Farm(count=1, jobs=8) as farm:
        assert buildfarm("run", "-C", str(tree), "--hosts", farm.hosts).code == 0
    assert project.digests(tree) == expected


def test_planning_runs_no_recipe(tmp_path: Path) -> None:
    tree = files(
        tmp_path / "p",
        {
            "Makefile": (
                f"all:\n\tcc -c first.c\n\t{STOP}\n\t+echo plus >> log\n\t$(MAKE) -C sub && echo made >> log\n"
                "include gen.mk\ngen.mk:\n\techo generated >> log\n\techo 'X = 1' > $@\n"
            ),
            "first.c": "int first;\n",
            "sub/Makefile": "all: a.o\n\t+echo sub >> ../log\n%.o: %.c\n\tcc -c $< -o $@\n",
            "sub/a.c": "int a;\n",
        },
    )
    with Farm(count=1, jobs=8) as farm, Running(("run", "-C", str(tree), "--hosts", farm.hosts)) as build:
        wait_until(held(tree, 1), "a result to be made ahead")
        assert (tree / "log").read_text().split() == ["generated"]
        assert not (tree / "sub" / "a.o").exists()
        (tree / "go").touch()
        assert build.wait().code == 0
    assert (tree / "log").read_text().split() == ["generated", "plus", "sub", "made"]


def test_results_made_ahead_survive_a_kill_and_are_used(tmp_path: Path) -> None:
    tree = files(tmp_path / "p", STEPS)
    with Farm(count=1, jobs=8) as farm:
        with Running(("run", "-C", str(tree), "--hosts", farm.hosts)) as build:
            wait_until(held(tree, 2), "results to be made ahead")
            wait_until((tree / "first.o").exists, "what make has asked for itself")
            build.kill_all()
        compiled = len(farm.compiles())
        assert compiled == 3
        (tree / "go").touch()
        result = buildfarm("resume", "-C", str(tree), "--hosts", farm.hosts)
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) <= compiled + 1  # first.o's recipe was cut off: its object may have been kept
    assert values(tree) == (1, 2)
    assert status(tree)["units"]["lookahead"] >= 2


def test_what_an_interrupted_build_made_ahead_lends_its_modules_to_what_is_missing(tmp_path: Path) -> None:
    """Make comes to none of these before the rest of the chain is on the node."""
    tree = module_chain(tmp_path / "p", prerequisites=True)
    with (tree / "Makefile").open("a") as makefile:
        makefile.write("m0.o:\n\tgfortran -O1 -c m0.f90 -o $@\n\tuntil test -e go; do sleep 0.05; done\n")
    (tree / "go").touch()
    expected = makes_tree(tree)
    (tree / "go").unlink()
    with Farm(count=1, jobs=32, gated=True) as farm:
        with Running(("run", "-C", str(tree), "--hosts", farm.hosts, "m4.o")) as build:
            wait_until(held(tree, 4), "half of the chain to be made ahead")
            build.kill_all()
        compiled = len(farm.compiles())
        farm.close_gate()
        with Running(("run", "-C", str(tree), "--hosts", farm.hosts)) as build:
            wait_until(lambda: farm.waiting() >= 12, "the other half and its users on the node")
            (tree / "go").touch()
            farm.open_gate()
            result = build.wait()
        assert result.code == 0, result.stderr
        assert len(farm.compiles()) - compiled <= 13  # m0.o's recipe was cut off: its object may have been kept
    assert project.digests(tree) == expected


def test_a_unit_whose_header_is_made_later_waits_for_it(tmp_path: Path) -> None:
    tree = files(
        tmp_path / "p",
        {
            "Makefile": (
                f"all: a.o b.o\na.o: a.c made.h\n\tcc -c a.c\nb.o: b.c\n\tcc -c b.c\n"
                f"made.h:\n\t{STOP}\n\techo 'int made = 3;' > new && mv new $@\n"  # or it may be read when it is empty
            ),
            "a.c": '#include "made.h"\n',
            "b.c": "int b;\n",
        },
    )
    with Farm(count=1, jobs=8) as farm, Running(("run", "-C", str(tree), "--hosts", farm.hosts)) as build:
        wait_until(lambda: (tree / "b.o").exists(), "b.o")
        (tree / "go").touch()
        result = build.wait()
        assert result.code == 0, result.stderr
        # One more where the header is so young that nobody can vouch for what a compile has read (`making._touched`).
        assert len(farm.compiles()) in (2, 3)
    assert "error" not in result.stderr


@pytest.mark.parametrize("variables", [{}, {"DISTCC_SKIP_LOCAL_RETRY": "1"}])
def test_a_failure_of_what_was_begun_too_early_is_no_verdict(tmp_path: Path, variables: dict[str, str]) -> None:
    """LuaJIT's lj_folddef.h, read while its generator wrote it: make asked before the node had answered."""
    tree = files(
        tmp_path / "p",
        {
            "Makefile": (
                f"all: a.o\na.o: a.c made.h\n\ttouch asked\n\tcc -c a.c\n"
                f"made.h:\n\techo 'int half(' > $@\n\t{STOP}\n\techo 'int made = 3;' > $@\n"
            ),
            "a.c": '#include "made.h"\n',
        },
    )
    words = ("run", "-C", str(tree), "--plain", "--hosts")
    with Farm(count=1, jobs=8, gated=True) as farm, ExitStack() as running:
        farm.close_gate()
        build = running.enter_context(Running((*words, farm.hosts), environment(**variables)))
        wait_until(lambda: farm.waiting() > 0, "a.o on a node")
        (tree / "go").touch()
        wait_until(lambda: (tree / "asked").exists(), "make's request")
        farm.open_gate()
        result = build.wait()
    assert result.code == 0, result.stderr
    assert status(tree)["units"]["local"] == 0
    assert "error" not in result.stderr


def test_no_lookahead_means_none(tmp_path: Path) -> None:
    tree = serial_directories(tmp_path / "p")
    with Farm(count=1, jobs=32) as farm:
        assert buildfarm("run", "-C", str(tree), "--hosts", farm.hosts, "--no-lookahead").code == 0
    units = status(tree)["units"]
    assert (units["lookahead"], units["done"]) == (0, 32)
    assert not os.path.exists(tree / ".buildfarm" / "store") or not os.listdir(tree / ".buildfarm" / "store")
