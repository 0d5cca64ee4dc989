"""Compiles this package's C sources on their first use, with the system's compiler, for the user's cache.

It knows no source and no place: `masquerade` has the stub and the hook, `buffering` what a dry run's make is given,
`confining` what confines it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

RETRY_SECONDS = 86_400.0
_COMPILERS = ("cc", "gcc", "clang", "tcc")
_OWN_HEADER = re.compile(rb'^#include "(\w+\.h)"$', re.MULTILINE)


def build(
    text: bytes,
    product: Path,
    path: list[str],
    choices: Iterable[tuple[str, ...]],
    works: Callable[[Path], bool],
) -> bool:
    """Compile C `text` to `product` with the first compiler and options whose result works; whether there is one."""
    search = os.pathsep.join(path)
    import tempfile  # once for each machine; it takes longer to import than to find a stub that is there

    foreign = ("BUILDFARM_", "LD_PRELOAD")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(foreign)} | {"PATH": search}
    with tempfile.TemporaryDirectory(dir=product.parent, prefix=".compile-") as scratch:
        program = Path(scratch) / product.name
        source = Path(scratch) / "source.c"
        source.write_bytes(text)
        for compiler in _compilers(search):
            for options in choices:
                command = [compiler, "-O2", "-o", str(program), str(source), *options]
                try:
                    result = subprocess.run(
                        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
                    )
                except (OSError, subprocess.TimeoutExpired):
                    break
                if result.returncode == 0 and works(program):
                    program.replace(product)
                    return True
    return False


def kept(
    text: bytes,
    room: Path,
    name: str,
    choices: Iterable[tuple[str, ...]],
    works: Callable[[Path], bool],
    path: list[str] | None = None,
) -> Path | None:
    """What `build` made of C `text` on this kind of machine, below `room`; None where it can't.  Raises OSError.

    Where it could not, it is not tried again for a day (a busy machine's trials may end too late), unless there are
    other compilers on `path` ($PATH by default).
    """
    home = room / digest(text, platform.machine(), platform.libc_ver()[0])
    product = home / name
    if product.exists():
        return product
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = os.environ.get("PATH", os.defpath).split(os.pathsep) if path is None else path
    refused, tried_with = home / "does-not-work", os.fsencode("\n".join(_compilers(os.pathsep.join(path))))
    if _holds(refused, tried_with):
        return None
    if build(text, product, path, choices, works):
        return product
    refused.write_bytes(tried_with)
    return None


def _compilers(search: str) -> list[str]:
    return [found for name in _COMPILERS if (found := shutil.which(name, path=search))]


def _holds(refused: Path, tried_with: bytes) -> bool:
    """Whether what could not be made would not be made now."""
    try:
        return refused.read_bytes() == tried_with and time.time() - refused.stat().st_mtime < RETRY_SECONDS
    except OSError:
        return False


def source(name: str) -> bytes:
    """The text of a file of this package, with those of the package's own headers in their places."""
    text = Path(__file__).with_name(name).read_bytes()
    return _OWN_HEADER.sub(lambda include: source(os.fsdecode(include[1])), text)


def digest(*parts: str | bytes) -> str:
    found = hashlib.blake2b(digest_size=8)
    for part in parts:
        found.update(os.fsencode(part) + b"\0")
    return found.hexdigest()
