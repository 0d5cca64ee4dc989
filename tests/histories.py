"""Builds that never were, as `History` values, of any size; for the tests of what is shown of a build."""

from __future__ import annotations

import random

from buildfarm.report.history import Ahead, Attempt, Chance, History, Place, Step

HERE = "this machine"


def history(units: int = 60, *, nodes: int = 4, slots: int = 4, fault_every: int = 17) -> History:
    """`units` compiles in layers of modules, a link at the end; the same one for the same arguments."""
    dice = random.Random(units)
    places = [Place(f"10.168.168.{41 + i}:3632", slots, compiler="gcc 12.2.0 x86_64-linux-gnu") for i in range(nodes)]
    places.append(Place(HERE, 4, here=True))
    free = [(0.0, i, k) for i in range(nodes) for k in range(slots)]
    steps: list[Step] = []
    edges: list[tuple[int, int]] = []
    for number in range(units):
        free.sort()
        start, node, slot = free.pop(0)
        seconds = round(dice.lognormvariate(0.2, 0.7), 3)
        name = places[node].name
        attempts = []
        if number % fault_every == fault_every - 1:
            reason = f"node {name} closed after 12 of 4096 bytes <b>&"
            attempts.append(Attempt(name, slot, start, start + 0.2, 1, "lost", reason))
            start += 0.25
        attempts.append(Attempt(name, slot, start, start + seconds, len(attempts) + 1, "done"))
        free.append((start + seconds + 0.02, node, slot))
        steps.append(
            Step(
                name=f"part{number // 40}/module_{number}.o",
                kind="compile",
                state="done",
                node=name,
                seconds=seconds,
                attempts=tuple(attempts),
                command=f"gfortran -O2 -c module_{number}.f90 -o module_{number}.o",
                cwd="/home/pi/model",
                lookahead=number % 3 == 0,
                asked=start + seconds + 1 if number % 3 == 0 else None,
                bytes_sent=int(9000 * seconds),
                bytes_received=int(7000 * seconds),
                source=f"part{number // 40}/module_{number}.f90",
            )
        )
        for before in {dice.randrange(max(0, number - 120), number) for _ in range(2)} if number > 8 else ():
            edges.append((before, number))
    end = max(attempt.end for step in steps for attempt in step.attempts)
    steps.append(
        Step(
            "model/program", "link", "done", HERE, 0.8, (Attempt(HERE, 0, end, end + 0.8, 1, "done"),), "gcc -o p", "/"
        )
    )
    edges += [(number, units) for number in range(max(0, units - 20), units)]
    path = [units]
    while sources := [before for before, after in edges if after == path[0]]:
        path.insert(0, max(sources))
    marked = frozenset(path)
    critical = tuple(_marked(step) if i in marked else step for i, step in enumerate(steps))
    return History(
        build=7,
        directory="/home/pi/model",
        state="complete",
        goals=("gcm",),
        variables={"RUN": "</script><b>x"},
        started=1_800_000_000.0,
        seconds=end + 0.8,
        exit_status=0,
        resumed_from=None,
        reused=0,
        places=tuple(places),
        steps=critical,
        edges=tuple(edges),
        critical_path=tuple(path),
        critical_seconds=sum(steps[i].seconds for i in path),
        ahead=Ahead(units // 3, 30.0, 25.0, 2, 1.5),
        chances=(Chance("the same slots", end), Chance("twice the slots", end / 2, "more nodes")),
    )


def _marked(step: Step) -> Step:
    from dataclasses import replace

    return replace(step, critical=True)
