"""A compiled unit as the store holds it until make asks, and back again.

It judges nothing: whether a result still fits is `evidence`'s, when it is delivered `lookahead`'s.
"""

from __future__ import annotations

from collections.abc import Mapping

from buildfarm.conductor.task import Compiled, Task
from buildfarm.dispatch.prepared import Made
from buildfarm.dispatch.stamps import Stamp
from buildfarm.state.store import StoredResult


def to_store(task: Task, result: Compiled, inputs: Mapping[str, str]) -> StoredResult:
    """The result with all that the unit writes; `inputs` are the digests of what it was made from.  Raises OSError."""
    outputs = {task.outputs[0]: result.object}
    outputs.update({made.final: made.read() for made in result.made})
    return StoredResult(
        outputs,
        inputs,
        result.stdout,
        result.stderr,
        seconds=result.seconds,
        node=result.node,
        bytes_sent=result.bytes_sent,
        bytes_received=result.bytes_received,
    )


def from_store(stored: StoredResult, task: Task, seen: Mapping[str, Stamp | None]) -> Compiled:
    """The result, ready for its place: what is no object is written into the task's room.  Raises OSError.

    `seen` is what its inputs look like.
    """
    main, *others = stored.outputs
    made = []
    for number, path in enumerate(others):
        temporary = task.workdir / str(number)
        temporary.write_bytes(stored.outputs[path])
        made.append(Made(str(temporary), path))
    return Compiled(
        object=stored.outputs[main],
        stdout=stored.stdout,
        stderr=stored.stderr,
        made=tuple(made),
        inputs=tuple(path for path, digest in stored.inputs.items() if digest),
        node=stored.node,
        seconds=stored.seconds,
        bytes_sent=stored.bytes_sent,
        bytes_received=stored.bytes_received,
        seen=seen,
    )
