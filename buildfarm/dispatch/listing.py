"""Makes object and listing (`-Wa,-a...=FILE`) of a unit from the assembler text that a node has made of it.

It sends nothing, and does not judge the text.

*Theory of operation.*  A stock `distccd` refuses to be asked for a listing (arg.c: dcc_scan_args), and could not make
it right: it holds lines of the sources, which the assembler looks up by their names.  So the node compiles with `-S`,
and the assembler, a small part of a compile, is run here, by the words that the driver would start it with (`-###`).

With `-g` it tells columns, so the node preprocesses; and it must leave out debug information, where strings stand in
the order of their hashes, which the node's directory changes.

Headers and symbols of a listing name the text, which is a temporary file with a random name in every compile: here it
is a name that the driver has drawn.
"""

from __future__ import annotations

import os
from pathlib import Path

from buildfarm.dispatch import local
from buildfarm.dispatch.driver import started
from buildfarm.dispatch.prepared import CannotTravel, Made
from buildfarm.model import Invocation, Unit


async def assembled(
    unit: Unit, invocation: Invocation, tool_path: str, text: bytes, *, workdir: Path
) -> tuple[bytes, Made]:
    """The object, and the listing, which is in `workdir`.  Raises CannotTravel, OSError."""
    assert unit.listing is not None, "BUG: nothing to list"
    cwd, env = invocation.cwd, invocation.env
    made = Made(str(workdir / os.path.basename(unit.listing)), os.path.join(cwd, unit.listing))
    output = str(workdir / "assembled.o")
    *_, words = await started([tool_path, *unit.argv[1:]], cwd=cwd, env=env) or [[]]
    if not words or words[-3:-1] != ["-o", unit.output] or not words[-1].endswith(".s"):
        raise CannotTravel("how its assembler is called was not understood")
    drawn = words[-1]
    words = [f"{word.partition('=')[0]}={made.temporary}" if _lists(word, unit.listing) else word for word in words]
    words[-2] = output
    with open(drawn, "xb") as file:
        file.write(text)
    try:
        done = await local.run(words, cwd=cwd, env=env)
    finally:
        os.unlink(drawn)
    if not done.succeeded or done.stdout or done.stderr:
        raise CannotTravel("its assembler has something to say")
    return Path(output).read_bytes(), made


def _lists(word: str, listing: str) -> bool:
    return word.startswith("-a") and word.endswith(f"={listing}")
