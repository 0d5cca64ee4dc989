"""Translates the journal's rows into the `Status` that the report shows: the seam between `state` and `report`.

It adds nothing but what follows from the rows and the time: what waits, what is left, how nodes are called.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path

from buildfarm.home import STATE_DIRECTORY
from buildfarm.report.status import NOT_PROBED, Build, Failure, NodeLine, Out, Planning, Status, Units
from buildfarm.report.text import relative
from buildfarm.state.reader import identity, snapshot
from buildfarm.state.views import Counters, NodeView, StatusRows


def read(directory: Path, now: float) -> tuple[Status, str | None]:
    """The tree's status at `now`, and what is wrong with its journal, if anything.  Raises StateError."""
    rows = snapshot(directory / STATE_DIRECTORY)
    found = translate(rows, str(directory), now)
    if found.state == "interrupted" and found.build is not None and found.build.ended is None:
        found = found._replace(build=found.build._replace(make_pid=_living_make(directory / STATE_DIRECTORY)))
    return found, rows.problem


def _living_make(state_dir: Path) -> int | None:
    """The make of an interrupted build that goes on by itself."""
    from buildfarm.conductor.survivors import surviving_make
    from buildfarm.make import orphans

    known = identity(state_dir)
    return None if known is None else surviving_make(orphans.find(known[1]), known[0])


def translate(rows: StatusRows, directory: str, now: float) -> Status:
    """`rows` as a status at `now`, seconds since the epoch."""
    names = _node_names(rows)
    counters = _counted(rows)
    running = rows.state == "running"
    eta = None
    if running and rows.eta_seconds is not None and rows.eta_at is not None:
        eta = max(0.0, rows.eta_seconds - (now - rows.eta_at))
    build = None
    if rows.build is not None:
        row = rows.build
        build = Build(
            id=row.id,
            goals=row.goals,
            variables=row.variables,
            pid=row.pid,
            started=row.started,
            ended=row.ended,
            exit_status=row.exit_status,
            eta_seconds=eta,
            resumed_from=row.resumed_from,
        )
    return Status(
        directory=directory,
        state=rows.state,
        # A build that died left no end: the last that is known of it stands for it.
        now=now if running else _last_known(rows, now),
        build=build,
        units=_units(counters, rows.retries, complete=rows.state == "complete"),
        planning=Planning(
            instances=rows.counters.instances,
            asked=rows.counters.asked,
            foreseen=rows.counters.foreseen,
            predicted=rows.counters.predicted,
            wasted=rows.counters.wasted,
            seconds=rows.counters.plan_seconds,
        ),
        links_done=counters.links_done,
        links_running=counters.links_running if running else 0,
        nodes=tuple(
            NodeLine(
                name=node.host,
                port=node.port,
                state=node.state if running or node.state != "busy" else "up",
                slots=node.slots,
                checked_out=node.checked_out if running else 0,
                done=node.done,
                failed=node.failed,
                compiler=node.compiler,
                reason=node.reason,
                retry_in_seconds=max(0.0, node.retry_at - now) if running and node.retry_at is not None else None,
                mean_seconds=node.mean_seconds,
                by_ssh=node.key if "@" in node.key else None,
            )
            for node in map(_known, rows.nodes)
        ),
        checked_out=tuple(
            Out(
                output=relative(out.output, directory),
                node=None if out.node is None else names.get(out.node, out.node),
                attempt=out.attempt,
                seconds=max(0.0, (now if running else _last_known(rows, now)) - out.started),
            )
            for out in rows.checked_out
            if out.kind == "compile" and not out.waits and not (running and out.arrived)
        ),
        failures=tuple(
            Failure(
                output=relative(failed.output, directory),
                command=shlex.join(failed.argv),
                exit_status=_exit_status(failed.exit_status),
                stderr=os.fsdecode(failed.stderr),
            )
            for failed in rows.failures
        ),
    )


def _counted(rows: StatusRows) -> Counters:
    """The journal's counters, where a step whose result is in place is done: that only waits for the disk.

    After a kill it may not be there yet, and only what was checked in is sure to be kept.  A step that waits for its
    next attempt is not under way.
    """
    counters = rows.counters
    arrived = [out for out in rows.checked_out if out.arrived and rows.state == "running"]
    units = [out for out in arrived if out.kind == "compile"]
    waiting = sum(out.waits and out.kind == "compile" for out in rows.checked_out if not out.arrived)
    links = sum(out.kind in ("link", "archive") for out in arrived)
    remote = sum(out.node is not None for out in units)
    return replace(
        counters,
        done=counters.done + len(units),
        checked_out=counters.checked_out - len(units) - waiting,
        remote=counters.remote + remote,
        local=counters.local + len(units) - remote,
        lookahead=counters.lookahead + sum(out.lookahead for out in units),
        links_done=counters.links_done + links,
        links_running=counters.links_running - links,
    )


def _units(counters: Counters, retries: tuple[tuple[str, int], ...], *, complete: bool) -> Units:
    """A complete build has no more units than it has done, whatever its plan said."""
    seen = counters.done + counters.reused + counters.checked_out + counters.failed
    total = seen if complete else max(counters.total or 0, seen)
    return Units(
        total=total,
        total_is_final=counters.total_is_final or complete,
        done=counters.done,
        checked_out=counters.checked_out,
        waiting=total - seen,
        failed=counters.failed,
        remote=counters.remote,
        local=counters.local,
        lookahead=counters.lookahead,
        retried=counters.retried,
        reused=counters.reused,
        retries=retries,
    )


def _known(node: NodeView) -> NodeView:
    """A build writes down now and then how nodes stand: one that has done units since is known by them."""
    return replace(node, state="up", reason=None) if node.done and node.reason == NOT_PROBED else node


def _node_names(rows: StatusRows) -> dict[str, str]:
    """By key: the host alone, as in `nodes`, or `host:port` where two nodes share the host."""
    hosts = [node.host for node in rows.nodes]
    return {node.key: node.host if hosts.count(node.host) == 1 else f"{node.host}:{node.port}" for node in rows.nodes}


def _last_known(rows: StatusRows, now: float) -> float:
    if rows.build is None:
        return now
    if rows.build.ended is not None:
        return rows.build.ended
    heard = [time for time in (rows.eta_at, rows.last_heard_at) if time is not None]
    return min(now, max([rows.build.started, *(out.started for out in rows.checked_out), *heard]))


def _exit_status(status: int | None) -> int:
    return 1 if status is None else status
