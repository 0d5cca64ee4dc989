"""The masquerade directory: one link to the stub for every compiler, archiver and make that is on PATH.

It starts no make and answers no call.  The directory lives in the user's cache and is never removed, because
configure scripts record its path; without BUILDFARM_SOCKET its stubs act as the real tools.

Where it can be compiled and works, `hook.c` is preloaded into make (LD_PRELOAD): then whatever is executed under
one of these names becomes the stub, by whatever path, and PATH stays the user's own.  Where it can't, the directory
goes first on PATH, and calls by absolute path are not seen.

Theory of operation.  `stub/KEY/buildfarm-stub` is the stub, KEY the hash of its source and this machine's kind (a
home may be shared by a PC and a Pi).  `masquerade/KEY` holds the links, KEY the hash of stub and names: a name
without a real tool behind it would make `command -v clang` lie to configure scripts, so every set of tools has its
own directory.  Everything is made under a private name and renamed, so that two runs may do it at once.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from buildfarm.errors import MachineError
from buildfarm.make import native
from buildfarm.value import dataclass

#: A directory that holds this file is a masquerade directory; stub.c and stub.py know the name too.
MARKER = ".buildfarm-masquerade"

#: The exec hook's file; hook.c and stub.c know it by this name.
HOOK = "buildfarm-hook.so"

#: `as` and `ld.bfd` are not here: nothing but a compiler calls them.  `c89`, `c99-gcc` are scripts that call gcc.
#: `ccache` would take our gcc for the compiler and remember the stub's mtime as the compiler's.
_NAMES = re.compile(
    r"""(?!c89-|c99-)
        (?:[A-Za-z0-9_.]+-)*                                     # arm-linux-gnueabihf-
        (?: (?:cc|gcc|g\+\+|c\+\+|gfortran|f77|f90|f95|f2003|f2008|g77|clang|clang\+\+|flang|flang-new|lfortran
              |icc|icpc|icx|icpx|ifort|ifx|dpcpp|pgcc|pgc\+\+|pgf77|pgf90|pgf95|pgfortran|nvc|nvc\+\+|nvfortran|nagfor
              |mpicc|mpicxx|mpic\+\+|mpiCC|mpif77|mpif90|mpif08|mpifort|mpiicc|mpiicpc|mpiifort|mpiicx|mpiicpx|mpiifx
              |ar|ranlib|ld)
            (?:-[0-9]+(?:\.[0-9]+)*)?                            # -12, -4.9
        ) (?:\.(?:openmpi|mpich|mpich2|mvapich2))?""",
    re.VERBOSE,
)
#: How the stub is compiled, the best first: with a start that needs no C library (early.h), static, as it comes.
_EARLY = ("-static", "-DEARLY", "-Wl,-e,early_entry", "-ffreestanding", "-fno-stack-protector")
_STUB_OPTIONS = ((*_EARLY, "-fno-tree-loop-distribute-patterns"), ("-static",), ())
_PLAIN_NAMES = frozenset({"make", "gmake", "ccache"})


@dataclass(frozen=True, slots=True)
class Masquerade:
    """Every entry of `directory` is a link to `stub`; `kind` is "c" or "python"; `hook` is None where there is none."""

    directory: Path
    stub: Path
    kind: str
    hook: Path | None = None


def prepare(cache: Path, *, extra_names: Iterable[str] = (), path: str | None = None) -> Masquerade:
    """Make (or find) the stub and the masquerade directory below `cache`, for the tools on `path` (default: $PATH).

    `extra_names` are masqueraded in any case.  Raises MachineError if `cache` can't be written or nothing in it
    can be executed.
    """
    directories = real_directories(path if path is not None else os.environ.get("PATH", os.defpath))
    names = sorted({*find_names(directories), *extra_names})
    try:
        stub, kind = _prepare_stub(cache / "stub", directories)
        key = native.digest(stub.parent.name, *names)
        directory = cache / "masquerade" / key
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        (directory / MARKER).touch()
        target = os.path.relpath(stub, directory)
        for name in names:
            _link(directory / name, target)
        hook = _prepare_hook(stub, directories) if kind == "c" else None
    except OSError as error:
        raise MachineError(
            f"{error.filename or cache}: can't make the masquerade directory: {error.strerror}",
            hint="set XDG_CACHE_HOME to a directory that you can write",
        ) from error
    return Masquerade(directory, stub, kind, hook)


def environment(base: Mapping[str, str], masquerade: Masquerade, socket: Path | str, token: str) -> dict[str, str]:
    """make's environment: `base` with the hook preloaded, or else the masquerade first on PATH, and where and for which
    build the stubs call.
    """
    found = dict(base)
    directories = real_directories(base.get("PATH", os.defpath))
    if masquerade.hook is not None:
        found = with_hook({**found, "BUILDFARM_HOOK": str(masquerade.hook)})
    else:
        directories.insert(0, str(masquerade.directory))
    if masquerade.hook is None or "PATH" in base:
        found["PATH"] = os.pathsep.join(directories)
    found["BUILDFARM_SOCKET"] = str(socket)
    found["BUILDFARM_TOKEN"] = token
    found["BUILDFARM_MASQUERADE"] = str(masquerade.directory)
    found["BUILDFARM_UMASK"] = f"{_umask():o}"  # a recipe that sets another wants its objects so
    return found


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def with_hook(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with the hook that $BUILDFARM_HOOK names, if any, last in LD_PRELOAD."""
    found = dict(environment)
    hook = found.get("BUILDFARM_HOOK")
    if hook:
        others = [entry for entry in re.split("[: ]", found.get("LD_PRELOAD", "")) if entry and entry != hook]
        found["LD_PRELOAD"] = ":".join([*others, hook])
    return found


def find_names(directories: Iterable[str]) -> set[str]:
    """Names of the tools in `directories` that are masqueraded: compilers, plain, versioned and cross; ar, ld, make."""
    names: set[str] = set()
    for directory in dict.fromkeys(map(os.path.realpath, directories)):  # /bin is /usr/bin on most systems
        try:
            entries = os.listdir(directory)
        except OSError:
            continue
        for name in entries:
            if name in names or not (name in _PLAIN_NAMES or _NAMES.fullmatch(name)):
                continue
            file = os.path.join(directory, name)
            if os.path.isfile(file) and os.access(file, os.X_OK):
                names.add(name)
    return names


def real_directories(path: str) -> list[str]:
    """The entries of a PATH that are no masquerade directories."""
    return [entry for entry in path.split(os.pathsep) if not os.path.lexists(os.path.join(entry or ".", MARKER))]


def _link(link: Path, target: str) -> None:
    """Let `link` point at `target`, whatever was there before."""
    try:
        if os.readlink(link) == target:
            return
    except OSError:
        pass
    # Not the pid: a home may be shared by machines and containers.
    temporary = link.with_name(f".{link.name}.{os.urandom(8).hex()}")
    temporary.symlink_to(target)
    temporary.replace(link)


# --- the stub --------------------------------------------------------------------------------------------


def _prepare_stub(directory: Path, path: list[str]) -> tuple[Path, str]:
    """The stub for this machine, compiled if need be, else the Python one.  Raises OSError, MachineError."""
    source = native.source("stub.c")
    stub = _place(directory, native.digest(source, platform.machine(), platform.libc_ver()[0]))
    if _runs(stub) or _compile(source, stub, path):
        return stub, "c"
    script = native.source("stub.py")
    text = f"#!{_interpreter()} -ISE\n".encode() + script
    stub = _place(directory, native.digest(text))
    if not _runs(stub):
        _install(text, stub)
        if not _runs(stub):
            raise MachineError(
                f"{stub}: can't be executed",
                hint="is the cache on a file system that is mounted noexec? set XDG_CACHE_HOME to another",
            )
    return stub, "python"


def _place(directory: Path, key: str) -> Path:
    """The stub's path; called by this name it only says that it runs."""
    home = directory / key
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    return home / "buildfarm-stub"


def _compile(source: bytes, stub: Path, path: list[str]) -> bool:
    """Compile stub.c to `stub`; whether there is a stub that runs now."""
    from buildfarm.make.rehearsal import delivers  # once for each machine

    return native.build(source, stub, path, _STUB_OPTIONS, lambda made: _runs(made) and delivers(made))


def _prepare_hook(stub: Path, path: list[str]) -> Path | None:
    """The exec hook for this machine, compiled if need be; None where it does not work.  Raises OSError."""
    room = stub.parent.parent
    if re.search(r"[:\s]", str(room)):
        return None  # ld.so(8): blanks and colons separate LD_PRELOAD's entries
    return native.kept(native.source("hook.c"), room, HOOK, (("-shared", "-fPIC", "-ldl"),), _Catches(stub), path)


@dataclass(frozen=True, slots=True)
class _Catches:
    """Whether a hook, preloaded into the shell, lets the masquerade's entry be executed for a program of its name."""

    stub: Path

    def __call__(self, hook: Path) -> bool:
        program, masquerade = hook.parent / "program", hook.parent / "masquerade"
        program.mkdir(exist_ok=True)
        masquerade.mkdir(exist_ok=True)
        shutil.copy(self.stub, program / "caught")
        entry = masquerade / "caught"
        entry.write_text('#!/bin/sh\nprintf %s "$BUILDFARM_REAL $*"\n')
        entry.chmod(0o755)
        environment = {
            "PATH": os.defpath,
            "LD_PRELOAD": str(hook),
            "BUILDFARM_SOCKET": "/nonexistent",
            "BUILDFARM_MASQUERADE": str(masquerade),
        }
        try:
            result = subprocess.run(
                ["/bin/sh", "-c", '"$0" one; true', str(program / "caught")],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=60,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        return result.stdout == os.fsencode(f"{program / 'caught'} one") and not result.stderr


def _install(text: bytes, stub: Path) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile(dir=stub.parent, delete=False) as file:
        file.write(text)
    temporary = Path(file.name)
    temporary.chmod(0o755)
    temporary.replace(stub)


def _runs(stub: Path) -> bool:
    """Whether `stub` can be executed here and is ours."""
    try:
        result = subprocess.run([stub], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0 and result.stdout == b"BFS1\n"


def _interpreter() -> str:
    """A Python whose path fits a `#!` line: no blanks, and short (execve(2): 255 bytes since Linux 5.1, 127 before).

    The real interpreter, not a virtual environment's, starts faster and outlives the environment.
    """
    base: str | None = getattr(sys, "_base_executable", None)
    for candidate in (base, sys.executable, shutil.which("python3")):
        if candidate and len(candidate) < 110 and not re.search(r"\s", candidate):
            return candidate
    raise MachineError(
        f"{sys.executable}: neither a C compiler nor a Python with a short path without blanks was found",
        hint="install a C compiler (gcc), or python3 in /usr/bin",
    )
