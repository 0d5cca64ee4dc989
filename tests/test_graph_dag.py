"""Plans of make instances, joined in one graph."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import pytest

from buildfarm.graph.classify import classify
from buildfarm.graph.dag import BuildGraph
from buildfarm.graph.exchange import to_dot, to_json
from buildfarm.graph.makedb import Complaints, complaints
from buildfarm.graph.plan import InstancePlan, make_plan
from tests.hearing import parse


def trace_plan(
    trace: str,
    rules: str,
    *,
    goals: str = "all",
    directory: str = "/w",
    cwd: str | None = None,
    argv: tuple[str, ...] = ("make",),
    key: str = "top",
    exists: Callable[[str], bool] = lambda path: False,
) -> InstancePlan:
    """A plan of literal make output: `rules` are rule lines, `P name` makes a name phony."""
    phony = {line[2:] for line in rules.splitlines() if line.startswith("P ")}
    blocks = [
        f"{line}\n#  Implicit rule search has been done.\n"
        + ("#  Phony target (prerequisite of .PHONY).\n" if line.partition(":")[0] in phony else "")
        for line in rules.splitlines()
        if line and not line.startswith("P ")
    ]
    text = (
        f"{trace}# Make data base, printed on x\n\n# makefile\n.DEFAULT_GOAL := {goals}\n\n# Files\n\n"
        + "\n".join(blocks)
        + "\n# files hash-table stats:\n# Finished Make data base on x\n"
    )
    return make_plan(
        parse(text),
        Complaints((), (), ()),
        key=key,
        cwd=cwd or directory,
        argv=argv,
        directory=directory,
        environment={"MAKELEVEL": "1"},
        recorded=(),
        classify=classify,
        exists=exists,
    )


def step(target: str, *lines: str) -> str:
    return f"M:1: target '{target}' does not exist\n" + "".join(f"{line}\n" for line in lines)


PROGRAM = trace_plan(
    step("gen.h", "./make-header > gen.h")
    + step("a.o", "gcc -c a.c -o a.o")
    + step("b.o", "gcc -c b.c -o b.o")
    + step("prog", "gcc a.o b.o -o prog"),
    "P all\nall: prog c.o\nprog: a.o b.o\na.o: a.c gen.h\nb.o: b.c | gen.h\nc.o: c.c\ngen.h:",
)


def graph_of(*plans: InstancePlan) -> BuildGraph:
    graph = BuildGraph()
    for plan in plans:
        graph.merge(plan)
    return graph


def keys(graph: BuildGraph) -> dict[str, str]:
    """Output's name to the call's key."""
    return {os.path.basename(call.outputs[0]): call.key for call in graph.calls()}


def test_targets_are_paths_and_phony_ones_are_of_their_directory() -> None:
    graph = graph_of(PROGRAM).graph
    assert set(graph) >= {"/w//all", "/w/prog", "/w/a.o", "/w/a.c", "/w/gen.h", "/w/c.o"}
    assert graph.edges["/w/gen.h", "/w/a.o"]["kind"] == "prerequisite"
    assert graph.edges["/w/gen.h", "/w/b.o"]["kind"] == "order-only"
    assert graph.edges["/w/prog", "/w//all"]["kind"] == "prerequisite"


def test_units_come_in_make_s_order_with_directory_and_line() -> None:
    units = graph_of(PROGRAM).units()
    assert [(u.cwd, u.argv[2], u.line) for u in units] == [
        ("/w", "a.c", "gcc -c a.c -o a.o"),
        ("/w", "b.c", "gcc -c b.c -o b.o"),
    ]
    assert units[0].outputs == ("/w/a.o",)


def test_totals_tell_what_is_to_do() -> None:
    totals = graph_of(PROGRAM).totals()
    assert (totals.units, totals.link_steps, totals.remade, totals.up_to_date) == (2, 1, 4, 2)


def test_a_generated_header_is_waited_for() -> None:
    graph = graph_of(PROGRAM)
    names = keys(graph)
    waits = graph.waits_for()
    assert waits[names["a.o"]] == ("/w/gen.h",)
    assert waits[names["b.o"]] == ("/w/gen.h",)
    assert graph.unit_dependencies() == {names["a.o"]: (), names["b.o"]: ()}


def test_units_depend_on_units_through_targets_without_any() -> None:
    plan = trace_plan(
        step("m.o", "gfortran -c m.f90")
        + step("m.mod", "true")
        + step("u.o", "gfortran -c u.f90")
        + step("v.o", "gfortran -c v.f90"),
        "all: u.o v.o\nu.o: u.f90 m.mod\nv.o: u.o\nm.mod: m.o\nm.o: m.f90",
    )
    graph = graph_of(plan)
    names = keys(graph)
    assert graph.unit_dependencies() == {
        names["m.o"]: (),
        names["u.o"]: (names["m.o"],),
        names["v.o"]: (names["u.o"],),
    }
    path, seconds = graph.critical_path({names["m.o"]: 2.0, names["u.o"]: 3.0, names["v.o"]: 1.0})
    assert (path, seconds) == ([names["m.o"], names["u.o"], names["v.o"]], 6.0)
    assert graph.remaining_path({names["u.o"]: 3.0, names["v.o"]: 1.0})[names["u.o"]] == 4.0
    assert graph.parallelism({names["m.o"]: 2.0}) == 1.0


def test_lines_of_one_recipe_follow_each_other() -> None:
    graph = graph_of(trace_plan(step("all", "gcc -c a.c", "gcc -c b.c && gcc -c c.c"), "all:"))
    names = keys(graph)
    dependencies = graph.unit_dependencies()
    assert dependencies[names["b.o"]] == (names["a.o"],)
    assert dependencies[names["c.o"]] == (names["b.o"],)


@pytest.mark.parametrize(
    ("lines", "there", "certain", "drafted"),
    [
        (["rm -f a.f90", "cpp -P a.F > a.f90", "gfortran -c a.f90"], False, True, True),
        (["cpp -P a.F >a.f90 && gfortran -c a.f90"], False, True, True),
        (["cpp -P a.F > a.f90", "gfortran -c a.f90"], True, True, True),  # what the last build left may be old
        (["./make-it > a.f90", "gfortran -c a.f90"], False, False, False),
        (["./make-it > a.f90", "gfortran -c a.f90"], True, True, False),  # as the last build left it, most likely
        (["gfortran -c a.f90 > a.f90.log"], False, True, False),
        (["echo a > log", "gfortran -c a.f90"], False, True, False),  # somebody else makes it
    ],
)
def test_a_unit_whose_own_recipe_has_yet_to_write_its_source_is_drafted_or_left_to_make(
    lines: list[str], there: bool, certain: bool, drafted: bool
) -> None:
    plan = trace_plan(step("a.o", *lines), "P all\nall: a.o\na.o: a.F", exists=lambda path: there)
    (unit,) = graph_of(plan).units()
    assert (unit.certain, bool(unit.draft)) == (certain, drafted)


def test_recursive_makes_are_joined_to_their_caller() -> None:
    top = trace_plan(step("all", "for d in lib app; do make -C $d; done", "gcc -c end.c"), "P all\nall:", key="top")
    lib = trace_plan(
        step("a.o", "gcc -c a.c") + step("b.o", "gcc -c b.c"),
        "all: a.o b.o\na.o: a.c\nb.o: b.c",
        directory="/w/lib",
        cwd="/w",
        argv=("make", "-C", "lib"),
        key="lib",
    )
    graph = graph_of(top)
    assert [submake.argv for submake in graph.unplanned()] == [("make", "-C", "lib"), ("make", "-C", "app")]
    graph.merge(lib)
    assert [submake.argv for submake in graph.unplanned()] == [("make", "-C", "app")]
    assert graph.unplanned()[0].makelevel == 1
    assert [unit.cwd for unit in graph.units()] == ["/w", "/w/lib", "/w/lib"]
    assert graph.graph.edges["/w/lib/all", "/w//all"]["kind"] == "submake"
    assert all(not before for before in graph.unit_dependencies().values())
    assert graph.totals().unplanned == 1


def test_a_later_plan_of_an_instance_replaces_the_earlier_one() -> None:
    graph = graph_of(PROGRAM)
    graph.merge(trace_plan(step("b.o", "gcc -c b.c -o b.o"), "all: b.o\nb.o: b.c"))
    assert [unit.argv[2] for unit in graph.units()] == ["b.c"]
    assert graph.totals().instances == 1


def test_a_command_that_two_instances_plan_is_one_unit() -> None:
    again = trace_plan(step("a.o", "gcc -c a.c -o a.o"), "all: a.o\na.o: a.c", key="again")
    assert len(graph_of(PROGRAM, again).units()) == 2


def test_the_same_object_with_other_flags_is_another_unit() -> None:
    again = trace_plan(step("a.o", "gcc -O3 -c a.c -o a.o"), "all: a.o\na.o: a.c", key="again")
    units = graph_of(PROGRAM, again).units()
    assert len({unit.key for unit in units}) == 3


def test_an_object_of_another_directory_is_planned_by_that_directory_alone() -> None:
    rule, own = "../text/f.o: ../text/f.c\n", "f.o: f.c\n"
    lib = trace_plan(
        step("../text/f.o", "gcc -c -o ../text/f.o ../text/f.c"),
        rule,
        goals="../text/f.o",
        directory="/w/lib",
        key="lib",
    )
    text = trace_plan(step("f.o", "gcc -O2 -c -o f.o f.c"), own, goals="f.o", directory="/w/text", key="text")
    graph = BuildGraph()
    graph.merge(lib)
    graph.merge(text)
    assert [(call.cwd, call.argv[1]) for call in graph.units()] == [("/w/text", "-O2")]


def test_a_target_of_another_directory_is_made_by_that_directory_s_own_instance_alone() -> None:
    """Quantum ESPRESSO's rule names no output: in `modules` it would write `modules/mp.o`, for `../util/mp.o`."""
    rule, own = "m.o: m.f90 ../util/mp.o\n../util/mp.o: ../util/mp.f90\n", "mp.o: mp.f90\n"
    modules = trace_plan(
        step("../util/mp.o", "gfortran -O2 -c ../util/mp.f90") + step("m.o", "gfortran -O2 -c m.f90"),
        rule,
        goals="m.o",
        directory="/w/modules",
        key="modules",
    )
    util = trace_plan(step("mp.o", "gfortran -O1 -c mp.f90"), own, goals="mp.o", directory="/w/util", key="util")
    for plans in ((modules, util), (util, modules)):
        units = graph_of(*plans).units()
        assert {(call.cwd, call.argv[-1]) for call in units} == {("/w/util", "mp.f90"), ("/w/modules", "m.f90")}
    alone = graph_of(modules).units()
    assert [call.argv[-1] for call in alone] == ["../util/mp.f90", "m.f90"], "nobody else is known to make it"


def test_cycles_break_nothing() -> None:
    plan = trace_plan(step("a.o", "gcc -c a.c") + step("b.o", "gcc -c b.c"), "all: a.o b.o\na.o: b.o\nb.o: a.o")
    graph = graph_of(plan)
    names = keys(graph)
    assert graph.critical_path({names["a.o"]: 1.0, names["b.o"]: 1.0})[1] == 2.0
    assert len(graph.remaining_path({})) == 2


def test_grouped_targets_share_their_recipe() -> None:
    trace = step("g1", "gen")
    text = "all: g1 g2\ng1: in\ng2: in"
    plan = trace_plan(trace, text)
    assert not plan.targets["/w/g2"].remade
    block = "#  Implicit rule search has been done.\n"
    whole = (
        f"{trace}# Make data base, printed on x\n\n# makefile\n.DEFAULT_GOAL := all\n\n# Files\n\n"
        f"all: g1 g2\n{block}\ng1: in\n{block}#  Also makes: g1 g2\n\ng2: in\n{block}#  Also makes: g1 g2\n\n"
        "# files hash-table stats:\n# Finished Make data base on x\n"
    )
    grouped = make_plan(
        parse(whole),
        Complaints((), (), ()),
        key="k",
        cwd="/w",
        argv=("make",),
        directory="/w",
        environment={},
        recorded=(),
        classify=classify,
    )
    assert grouped.targets["/w/g2"].remade
    assert graph_of(grouped).graph.edges["/w/g1", "/w/g2"]["kind"] == "grouped"


def test_json_holds_units_and_critical_path() -> None:
    graph = graph_of(PROGRAM)
    names = keys(graph)
    document = json.loads(to_json(graph, {names["a.o"]: 2.0}))
    assert document["critical_path"]["seconds"] == 2.0
    assert [unit["outputs"] for unit in document["units"]] == [["/w/a.o"], ["/w/b.o"]]
    assert [entry["outputs"] for entry in document["link_steps"]] == [["/w/prog"]]


def test_dot_escapes_names() -> None:
    plan = trace_plan(step('q"\\.o', "true"), 'all: q"\\.o\nq"\\.o:')
    dot = to_dot(graph_of(plan))
    assert '"/w/q\\"\\\\.o"' in dot
    nodes = {line.split(" [")[0].strip() for line in dot.splitlines() if "label=" in line}
    assert shlex.split('"/w/q\\"\\\\.o"')[0] == '/w/q"\\.o'
    assert len(nodes) == 2


def test_a_wide_build_is_planned_whole(tmp_path: Path) -> None:
    width = 1000
    names = " ".join(f"o{n}.o" for n in range(width))
    (tmp_path / "Makefile").write_text(f"all: {names}\n%.o: ; gcc -c -o $@ $*.c\n")
    done = subprocess.run(["make", "-rnpk", "--trace"], cwd=tmp_path, capture_output=True, text=True, check=True)
    plan = make_plan(
        parse(done.stdout),
        complaints(done.stderr),
        key="k",
        cwd=str(tmp_path),
        argv=("make",),
        directory=str(tmp_path),
        environment={},
        recorded=(),
        classify=classify,
    )
    graph = graph_of(plan)
    assert len(graph.units()) == width
    assert nx.is_directed_acyclic_graph(graph.graph)
    seconds = {unit.key: 1.0 for unit in graph.units()}
    assert graph.bounds(seconds).parallelism == width


def test_what_was_derived_can_be_forgotten_and_comes_again() -> None:
    graph = graph_of(PROGRAM)
    before = (graph.calls(), graph.waits_for(), graph.totals(), to_json(graph, {}))
    graph.forget()
    assert (graph.calls(), graph.waits_for(), graph.totals(), to_json(graph, {})) == before


def test_a_source_is_in_the_graph_and_no_target() -> None:
    targets = PROGRAM.targets
    assert "/w/a.c" not in targets
    assert targets["/w/a.o"].needs_anything and targets["/w/b.o"].needs_anything
    graph = graph_of(PROGRAM)
    assert graph.graph.nodes["/w/a.c"]["targets"] == () and graph.name("/w/a.c") == "a.c"
    told = {told["target"]: told for told in json.loads(to_json(graph, {}))["targets"]}
    assert told["/w/a.c"] == {"target": "/w/a.c", "phony": False, "remade": False, "needs": {}}
