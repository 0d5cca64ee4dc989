"""Makes the canaries: small compiles of this machine's compilers, for `probe` to have repeated on every node.

It speaks to no node.  The sources are fixed and already preprocessed, so that nothing but the compiler decides the
object's bytes; the compiler names itself in `.comment`, so another build of the same version is seen too.  They
hold what differs between builds that call themselves alike: position independence, stack protection,
vectorisation, long double, exceptions, array descriptors.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path

from buildfarm.dispatch import local
from buildfarm.dispatch.elf import ObjectIdentity, identify
from buildfarm.errors import MachineError
from buildfarm.model import Job, Language, SentFile
from buildfarm.value import dataclass

MARK = "-frandom-seed=bf-probe"
"""Stands in every command of a probe, so that a node's log tells probes from units.  It changes no byte here."""

_DIRECTORY = "/bf/probe"  # where protocol 3 puts the files, below the node's temporary directory
_MODULE = "bf_probe_module.mod"

_C = b"""# 1 "bf_probe.c"
extern int puts(const char *);
struct pair { long double real, imaginary; };
static const char *const words[] = { "farm", "node", "slot" };
struct pair bf_turn(struct pair p) { struct pair q = { -p.imaginary, p.real }; return q; }
int bf_say(int which) { char line[64]; line[0] = words[which % 3][1]; line[1] = 0; return puts(line); }
double bf_sum(const double *x, int n) { double s = 0; for (int i = 0; i < n; i++) s += x[i] * 0.5; return s; }
"""
_CXX = b"""# 1 "bf_probe.cc"
template <class T> struct Box {
  T value; Box(T v) : value(v) {} virtual ~Box() {}
  virtual T twice() const { return value + value; }
};
struct Fault { int code; Fault(int c) : code(c) {} };
int bf_risk(int x) { if (x < 0) throw Fault(x); return Box<int>(x).twice(); }
int bf_safe(int x) { try { return bf_risk(x); } catch (const Fault &f) { return f.code; } }
"""
_FORTRAN_MODULE = b"""module bf_probe_module
  implicit none
  integer, parameter :: width = 7
  type :: cell
    real :: heat = 0
    real, allocatable :: layers(:)
  end type
end module
"""
_FORTRAN = b"""subroutine bf_probe(cells, n, total)
  use bf_probe_module, only: cell, width
  implicit none
  integer, intent(in) :: n
  type(cell), intent(inout) :: cells(n)
  real(8), intent(out) :: total
  integer :: i
  do i = 1, n
    cells(i)%heat = sqrt(cells(i)%heat) * width
    if (.not. allocated(cells(i)%layers)) allocate (cells(i)%layers(width))
  end do
  total = sum(real(cells%heat, 8))
end subroutine
"""


@dataclass(frozen=True, slots=True)
class Canary:
    """One compile to be repeated: the ways to ask for it, best first, and the object that must come back."""

    language: Language
    protocol: int
    jobs: tuple[Job, ...]  # they differ in argv[0]
    object: bytes


@dataclass(frozen=True, slots=True)
class Canaries:
    """What this machine's compilers are, and what they make of the canaries."""

    target: str  # gcc -dumpmachine
    version: str  # gcc -dumpfullversion
    identity: ObjectIdentity
    canaries: tuple[Canary, ...]


@dataclass(frozen=True, slots=True)
class Clutch:
    """What this machine's compilers say of themselves, and the bytes that they make of the canaries' sources."""

    target: str
    version: str
    c: bytes
    cxx: bytes | None  # None: there is no such compiler, or it fails
    fortran_module: bytes | None
    fortran: bytes | None


def recipe() -> bytes:
    """All that decides what is compiled; another buildfarm's canaries may be others."""
    flags = (" ".join(_flags(name)) for name in ("bf_probe.i", "bf_probe.ii", "bf_probe.f90"))
    return b"\0".join((_C, _CXX, _FORTRAN_MODULE, _FORTRAN, *(text.encode() for text in flags)))


async def hatch(compilers: Mapping[Language, str], environment: Mapping[str, str]) -> Canaries:
    """Compile the canaries here.

    `compilers` gives absolute paths, C's at least, as they are behind the masquerade directory.  A compiler that can't
    compile its canary has none.  Raises MachineError when the C compiler can't.
    """
    return canaries(await lay(compilers, environment), compilers[Language.C])


async def lay(compilers: Mapping[Language, str], environment: Mapping[str, str]) -> Clutch:
    """Do the compiles that `hatch` needs."""
    gcc = compilers[Language.C]
    with tempfile.TemporaryDirectory(prefix="buildfarm-") as name:
        bench = _Bench(Path(name), {**environment, "LC_ALL": "C"})
        async with asyncio.TaskGroup() as tasks:
            target = tasks.create_task(bench.ask(gcc, "-dumpmachine"))
            version = tasks.create_task(bench.ask(gcc, "-dumpfullversion"))
            c = tasks.create_task(bench.compile(gcc, "bf_probe.i", _C))
            cxx = tasks.create_task(bench.compile(compilers.get(Language.CXX), "bf_probe.ii", _CXX))
            fortran = tasks.create_task(bench.compile_fortran(compilers.get(Language.FORTRAN)))
        module, made = fortran.result() or (None, None)
        return Clutch(target.result(), version.result(), c.result() or b"", cxx.result(), module, made)


def canaries(clutch: Clutch, gcc: str) -> Canaries:
    """The canaries of a clutch.  Raises MachineError when the C compiler has made nothing of use."""
    identity = identify(clutch.c)
    if identity is None:
        raise MachineError(
            f"{gcc} does not compile a simple file", hint="install a working C compiler (apt install gcc)"
        )
    found = [
        Canary(Language.C, 2, (_plain("gcc", "bf_probe.c", _C),), clutch.c),
        Canary(Language.C, 3, (_filed("gcc", "bf_probe.i", _C),), clutch.c),
    ]
    if clutch.cxx is not None:
        found.append(Canary(Language.CXX, 1, (_plain("g++", "bf_probe.cc", _CXX),), clutch.cxx))
    if clutch.fortran is not None and clutch.fortran_module is not None:
        jobs = tuple(_fortran(tool, clutch.fortran_module) for tool in ("gfortran", "gcc"))
        found.append(Canary(Language.FORTRAN, 3, jobs, clutch.fortran))
    return Canaries(clutch.target, clutch.version, identity, tuple(found))


@dataclass(frozen=True, slots=True)
class _Bench:
    directory: Path
    environment: Mapping[str, str]

    async def ask(self, compiler: str, question: str) -> str:
        finished = await local.run([compiler, question], cwd=str(self.directory), env=self.environment)
        return finished.stdout.decode(errors="replace").strip()

    async def compile(self, compiler: str | None, name: str, text: bytes) -> bytes | None:
        """The object, or None when there is no such compiler or it fails."""
        if compiler is None:
            return None
        (self.directory / name).write_bytes(text)
        target = self.directory / f"{name}.o"
        argv = [compiler, *_flags(name), name, "-o", target.name]
        finished = await local.run(argv, cwd=str(self.directory), env=self.environment)
        return target.read_bytes() if finished.succeeded else None

    async def compile_fortran(self, compiler: str | None) -> tuple[bytes, bytes] | None:
        """The module file and the object that uses it."""
        if compiler is None:
            return None
        (self.directory / "bf_probe_module.f90").write_bytes(_FORTRAN_MODULE)
        argv = [compiler, "-fsyntax-only", "bf_probe_module.f90"]
        finished = await local.run(argv, cwd=str(self.directory), env=self.environment)
        module = self.directory / _MODULE
        made = await self.compile(compiler, "bf_probe.f90", _FORTRAN)
        return None if made is None or not finished.succeeded else (module.read_bytes(), made)


def _flags(name: str) -> tuple[str, ...]:
    preprocessed = () if name.endswith(".f90") else ("-fpreprocessed",)
    return ("-O2", "-fstack-protector-strong", MARK, *preprocessed, "-c")


def _plain(tool: str, name: str, text: bytes) -> Job:
    """For protocols 1 and 2; distccd gives the text a name that says it is preprocessed."""
    return Job((tool, *_flags(name), name, "-o", "bf_probe.o"), source=text, recipe="P2")


def _filed(tool: str, name: str, text: bytes) -> Job:
    """For protocol 3."""
    files = (SentFile(f"{_DIRECTORY}/{name}", text),)
    return Job((tool, *_flags(name), name, "-o", "bf_probe.o"), cwd=_DIRECTORY, files=files, recipe="P3d")


def _fortran(tool: str, module: bytes) -> Job:
    """Recipe S2 of a file without include directories; `-Xlinker` hides gcc's own depfile options from distccd."""
    text = b'# 1 "bf_probe.f90"\n# 1 "%s//"\n# 1 "bf_probe.f90"\n%s' % (_DIRECTORY.encode(), _FORTRAN)
    files = (
        SentFile(f"{_DIRECTORY}/bf__bf_probe.f90", text),
        SentFile(f"{_DIRECTORY}/bf_probe.f90", _FORTRAN),
        SentFile(f"{_DIRECTORY}/{_MODULE}", module),
    )
    argv = (tool, "-I.", *_flags("bf_probe.f90"), "-nocpp", "-fpreprocessed", "bf__bf_probe.f90")
    return Job(
        (*argv, "-o", "bf_probe.o", "-Xlinker", "-MMD", "-Xlinker", "base.i"),
        cwd=_DIRECTORY,
        files=files,
        recipe="S2",
    )
