"""Has a node send what `-fstack-usage` writes beside the object (U-Boot asks for it in every unit).

It knows the file's form and place, and sends nothing.

*Theory of operation.*  distccd sends an object, two streams and, in protocol 3, a depfile; any other file of a
compile stays on the node.  Protocol 3 also makes links in the node's temporary tree, where the compile runs.  So the
file's name is given (`-dumpdir`, `-dumpbase`: gcc 11 and later name side files by them, whatever `-o` says), and a link
of that name leads to the compiler's standard output, on which `gcc -c` has nothing else to say, unless it is a pipe to
the assembler (`-pipe`, of which no object tells).  distccd takes the link away with the tree.  What comes must look
like such a file; else the unit is compiled here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from buildfarm.dispatch import local
from buildfarm.dispatch.prepared import CannotTravel, Made, Prepared, Settled
from buildfarm.dispatch.tree import OURS
from buildfarm.model import Answer, Job, SentFile

_NAME = f"{OURS}su"
_STDOUT = "../" * 64 + "dev/stdout"  # a relative link is left as it is (srvrpc.c); `..` of the root is the root
_LINES = re.compile(rb"(?:[^\t\n]+\t[0-9]+\t[a-z,]+\n)*")  # toplev.cc: output_stack_usage_1
_SINCE = 11  # gcc's release that names side files by -dumpdir and -dumpbase
_OPTIONS = ("-fstack-usage", "-dumpdir", "./", "-dumpbase", _NAME)


class StackUsage:
    """Which compilers can be asked so, for the life of a process."""

    def __init__(self) -> None:
        self._can: dict[str, bool] = {}  # by path

    async def can_be_asked(self, tool_path: str, env: Mapping[str, str]) -> bool:
        """Whether this is a gcc that names the file as it is told.  Raises OSError."""
        if tool_path not in self._can:
            told = await local.run([tool_path, "-dumpversion"], cwd="/", env=env)
            release = re.match(rb"\d+", told.stdout)
            self._can[tool_path] = release is not None and int(release[0]) >= _SINCE
        return self._can[tool_path]


def asked_for(prepared: Prepared, job: Job, final: str, workdir: Path) -> Prepared:
    """`prepared` with `job`, of protocol 3, in the place of its own, so that the file comes too and goes to `final`."""
    assert job.cwd is not None, "BUG: not of protocol 3"
    link = SentFile(os.path.join(job.cwd, f"{_NAME}.su"), link=_STDOUT)
    words = (word for word in job.argv[1:] if word != "-pipe")
    asking = replace(job, argv=(job.argv[0], *_OPTIONS, *words), files=(*job.files, link))
    return replace(prepared, job=asking, settle=_settler(prepared, Made(str(workdir / os.path.basename(final)), final)))


def _settler(prepared: Prepared, made: Made) -> Callable[[Answer], Settled]:
    def settle(answer: Answer) -> Settled:
        if _LINES.fullmatch(answer.stdout) is None:
            raise CannotTravel("its stack usage did not come whole")
        Path(made.temporary).write_bytes(answer.stdout)
        return Settled(answer.object, prepared.inputs, (*prepared.outputs_made, made))

    return settle
