"""Keeps what this machine's compilers make of the canaries, so that a build need not compile them before it can begin.

It holds nothing that a node has said: every node is asked anew in every build.

Theory of operation.  A clutch is good for the compilers that laid it.  Its name is a digest of their paths, of what is
compiled, and of the variables by which gcc finds and alters its parts (GCC manual, "Environment Variables Affecting
GCC").  In it stand size, inode and times of each file that took part: drivers, `cc1`, `cc1plus`, `f951` and `as`, as
`-print-prog-name` tells them.  If one of them is not what it was, or another program comes first on PATH now, the
clutch is laid anew; so it is after a week, for the sake of what can't be seen here, such as a library of the
compiler's.  A driver that is a script may call anything, so nothing is kept of it.  A stale clutch could only make
nodes look wrong, or let one in whose compiler is the old one; the comparisons of a share of the units (`--verify`)
are made by the compiler itself, and stand behind this.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path

from buildfarm.dispatch import local
from buildfarm.dispatch.canary import Canaries, Clutch, canaries, lay, recipe
from buildfarm.model import Language

WEEK = 7 * 86400.0  # seconds
_PARTS = {Language.C: ("cc1", "as"), Language.CXX: ("cc1plus", "as"), Language.FORTRAN: ("f951", "as")}
_VARIABLES = ("PATH", "COMPILER_PATH", "GCC_", "LD_")  # beginnings of names


async def hatch(compilers: Mapping[Language, str], environment: Mapping[str, str], cache: Path) -> Canaries:
    """As `canary.hatch`, by a clutch that is kept in the directory `cache` where there is a good one."""
    known = kept(compilers, environment, cache)
    if known is not None:
        return known
    clutch, parts = await asyncio.gather(lay(compilers, environment), _parts(compilers, environment))
    found = canaries(clutch, compilers[Language.C])
    if parts is not None:
        _keep(cache / _name(compilers, environment), clutch, parts)
    return found


def kept(compilers: Mapping[Language, str], environment: Mapping[str, str], cache: Path) -> Canaries | None:
    """The canaries that need not be compiled; None: they must be."""
    clutch = _read(cache / _name(compilers, environment), environment)
    return None if clutch is None else canaries(clutch, compilers[Language.C])


def _name(compilers: Mapping[Language, str], environment: Mapping[str, str]) -> str:
    found = sorted(item for item in environment.items() if item[0].startswith(_VARIABLES))
    words = repr((sorted((str(language), path) for language, path in compilers.items()), found))
    return blake2b(words.encode(errors="surrogateescape") + recipe(), digest_size=16).hexdigest() + ".json"


def _read(file: Path, environment: Mapping[str, str]) -> Clutch | None:
    try:
        if abs(time.time() - file.stat().st_mtime) > WEEK:
            return None
        record = json.loads(file.read_bytes())
        for told, (path, stamp) in record["parts"].items():
            if _found(told, environment) != path or _stamp(path) != stamp:
                return None
        fields = {name: text and base64.b64decode(text) for name, text in record["bytes"].items()}
        return Clutch(record["target"], record["version"], **fields)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # not there, or not whole


def _keep(file: Path, clutch: Clutch, parts: Mapping[str, str]) -> None:
    fields = asdict(clutch)
    record = {
        "target": fields.pop("target"),
        "version": fields.pop("version"),
        "bytes": {name: content and base64.b64encode(content).decode() for name, content in fields.items()},
        "parts": {told: (path, _stamp(path)) for told, path in parts.items()},
    }
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh.write_text(json.dumps(record), encoding="ascii")
        os.replace(fresh, file)
    except OSError:
        pass  # then the next build lays it again


async def _parts(compilers: Mapping[Language, str], environment: Mapping[str, str]) -> dict[str, str] | None:
    """The files that take part, by the names under which they are found; None: that can't be told."""
    asked = [(path, part) for language, path in compilers.items() for part in _PARTS[language]]
    answers = await asyncio.gather(
        *(local.run([path, f"-print-prog-name={part}"], cwd="/", env=environment) for path, part in asked)
    )
    names = {*compilers.values(), *(os.fsdecode(answer.stdout).strip() for answer in answers)}
    found = {name: _found(name, environment) for name in names}
    if any(path is None or _is_script(path) for path in found.values()):
        return None
    return {name: path for name, path in found.items() if path is not None}


def _found(told: str, environment: Mapping[str, str]) -> str | None:
    """The file behind a path, or behind a name that is looked for on PATH."""
    path = told if os.sep in told else shutil.which(told, path=environment.get("PATH", os.defpath))
    return os.path.realpath(path) if path and os.path.isfile(path) else None


def _is_script(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return True


def _stamp(path: str) -> list[int]:
    found = os.stat(path)
    return [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]
