"""Keeps what nodes have compiled although the recipes around it did not end: such results go to the store.

A target goes when nobody can say that its recipe had ended, so that make runs that recipe again; and a recipe whose
target is no file make runs in any case.  The compile in it need not be done again: its object is whole, by its hash.
It becomes a result that was made ahead of make, and is delivered when the recipe asks, if its evidence holds then.

Theory of operation.  The journal has no evidence for a result that was delivered at once, only what its inputs looked
like at that moment (`evidence.appearance`: times, sizes, inodes).  If they look so now, nothing that the compile has
read was changed since, and digests taken now are those of then; if no rival name has come since (but for copies of
modules), those that are absent now were absent then.  The second rests on the clock, so the sweep offers nothing after
a reboot or when the clock was set back.  A unit whose own files ask `__has_include` is left out: nobody knows what was
there that has gone; so is one that names `__DATE__` or `__TIME__`.  In any doubt the unit is compiled again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from buildfarm.conductor.evidence import Witness, appearance, newcomers
from buildfarm.conductor.probes import Probes
from buildfarm.conductor.searched import is_vague
from buildfarm.conductor.toolbox import Toolbox
from buildfarm.dispatch.stamps import SYSTEM, stamp, stamps
from buildfarm.dispatch.wrappers import is_wrapper
from buildfarm.graph.classify import classify
from buildfarm.model import MODULE_SUFFIXES, Invocation, OutputRecord, Unit
from buildfarm.state.digest import digest_bytes, digest_file
from buildfarm.state.results import Result
from buildfarm.state.store import StoredResult, keep

FAR_FUTURE_NS = 1 << 63
_DRIVERS_OWN = b"f951:"  # words of a place that is not in the source: they are told anew at each delivery


def rescue(found: list[Result], environment: Mapping[str, str], state_dir: Path) -> int:
    """Put the results that can be vouched for into the store of `state_dir`; how many those were.

    `environment` is the interrupted build's, as it was before a masquerade changed it.
    """
    witness = Witness()
    toolbox = Toolbox(state_dir)
    clean = toolbox.clean(environment)
    kept = 0
    for result in found:
        stored = _stored(result, toolbox, clean, witness)
        if stored is not None and keep(state_dir, result.fingerprint, stored):
            kept += 1
    return kept


def _stored(result: Result, toolbox: Toolbox, environment: Mapping[str, str], witness: Witness) -> StoredResult | None:
    invocation = Invocation(result.argv, result.cwd, environment)
    if toolbox.mark(invocation) != result.fingerprint:
        return None  # its recipe had changed the environment: nobody knows how
    unit = classify((os.path.basename(result.argv[0]), *result.argv[1:]), environment=environment).unit
    compiler = toolbox.real(result.argv[0], invocation)
    if unit is None or compiler is None or is_vague(unit) or not _journal_tells_all(result, unit):
        return None
    probes = Probes()
    users = [path for path in result.inputs if not path.startswith(SYSTEM) and not path.endswith(MODULE_SUFFIXES)]
    probed = probes.names(unit, [path for path in result.inputs if path.startswith(SYSTEM)])
    if probed is None or probes.names(unit, users) != () or probes.tell_when(unit, users):
        return None
    delivered_ns = result.outputs[0].mtime_ns
    changed = stamp(compiler)
    if changed is None or changed[3] >= delivered_ns:
        return None
    if appearance(unit, result.cwd, environment, result.inputs, stamps(result.inputs)) != result.seen:
        return None
    twins = newcomers(unit, result.cwd, environment, result.inputs, delivered_ns, probed)
    if not _are_copies(unit, twins):
        return None
    evidence = witness.take(unit, result.cwd, environment, result.inputs, {}, FAR_FUTURE_NS, compiler)
    outputs = _whole(result)
    if evidence is None or outputs is None:
        return None
    inputs = {**evidence.inputs, **{twin: evidence.inputs[path] for twin, path in twins.items()}}
    return StoredResult(outputs, inputs, b"", result.stderr, seconds=result.seconds, node=result.node)


def _are_copies(unit: Unit, twins: Mapping[str, str]) -> bool:
    """Whether all that may be found in the place of inputs by now are modules with their bytes.

    ModelE copies a module to where its library's users search, and its own users search there too.  It does not matter
    which of both is read, except to a depfile.
    """
    if twins and unit.depfile is not None:
        return False
    try:
        return all(twin.endswith(MODULE_SUFFIXES) and digest_file(twin) == digest_file(twins[twin]) for twin in twins)
    except OSError:
        return False


def _journal_tells_all(result: Result, unit: Unit) -> bool:
    """Whether argv and words are all that there is: no @file, no wrapper's words, nothing on stdout."""
    if is_wrapper(unit.tool) or any(word.startswith("@") or "stdout" in word for word in result.argv):
        return False
    return unit.fortran is None or _DRIVERS_OWN not in result.stderr


def _whole(result: Result) -> dict[str, bytes] | None:
    """The outputs' bytes; None: they are not those that were recorded."""
    outputs = {}
    for record in result.outputs:
        path = record.path if os.path.lexists(record.path) else _renamed(record)
        try:
            content = Path(path).read_bytes() if path is not None else b""
        except OSError:
            return None
        if digest_bytes(content) != record.digest:
            return None
        outputs[record.path] = content
    return outputs


def _renamed(record: OutputRecord) -> str | None:
    """A file beside where `record` was that may be it: automake's recipes do `mv -f .deps/a.Tpo .deps/a.Po`."""
    try:
        with os.scandir(os.path.dirname(record.path)) as found:
            for entry in found:
                seen = entry.stat(follow_symlinks=False)
                if (seen.st_size, seen.st_mtime_ns) == (record.size, record.mtime_ns):
                    return entry.path
    except OSError:
        pass
    return None
