"""What the options for the assembler ask for (`-Wa,`): whether they may travel, and which listing is written.

It reads words only.  Source: as(1), of binutils 2.40.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

# Words of gas that change no more than the object, or its warnings (as(1)).  The others may write or read files
# (`-MD`, `-a=`, `-I`), print (`--statistics`) or put the node's directory into the object (`-g`, `--gdwarf-5`).
_TRAVELS: Final = tuple(
    word
    for row in (
        "-m -W -L -n --32 --64 --x32 --compress-debug-sections --nocompress-debug-sections --defsym= --divide",
        "--elf-stt-common= --execstack --fatal-warnings --generate-missing-build-notes= --keep-locals",
        "--no-pad-sections --no-warn --noexecstack --reduce-memory-overheads --size-check= --strip-local-absolute",
    )
    for word in row.split()
)
_LISTS: Final = re.compile(r"-a([cdghilmns]*)(?:=(.+))?")


def travels(arg: str) -> bool:
    """Whether a `-Wa,` option may go to a node."""
    return all(word.startswith(_TRAVELS) for word in arg.split(",")[1:])


def listed(arg: str) -> str | None:
    """The one file that a `-Wa,` option has a listing written to (as(1): `-a`), if no other file comes of it."""
    words = arg.split(",")[1:]
    found = [_LISTS.fullmatch(word) for word in words]
    files = [word[2] for word in found if word is not None and word[2]]
    others = [word for word, listing in zip(words, found, strict=True) if listing is None]
    return files[0] if len(files) == 1 and all(word.startswith(_TRAVELS) for word in others) else None


def lists_no_debug(argv: Sequence[str]) -> bool:
    """Whether a listing is asked for without sections of debug information (as(1): `-ad`)."""
    words = [word for arg in argv if arg.startswith("-Wa,") for word in arg.split(",")]
    return any(found is not None and "d" in found[1] for found in map(_LISTS.fullmatch, words))
