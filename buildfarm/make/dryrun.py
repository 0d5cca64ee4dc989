"""Asks make what it would do, without letting anything happen: `make -n -p --trace` in a shell of ours.

It does not parse the answer (`graph/makedb.py`) and follows no recursion: a recursive call comes back as a record
of its recipe line with the environment that make gave it.

Theory of operation.  A bare `make -n` runs recipe lines for real: those that begin with `+` or name `$(MAKE)`, and
all that remake an included makefile.  So a makefile of ours is read last (`-f` behind the project's own).  Until
then make is what it always is: a parse-time `$(shell ...)` runs in the makefile's own shell.  Ours then overrides
`.SHELLFLAGS` with the plan shell's script, the real shell and the real flags: every later command becomes
`SHELL script level SHELL FLAGS 'line'`, whatever SHELL is, target-specific or not.  `$(SHELL)` in recipes keeps its
value.  The script executes a `$(shell ...)` and answers a recipe line with a record and success.  It tells them
apart by stdout, a pipe for `$(shell ...)` only (`func_shell_base`), and up to make 4.3 by MAKELEVEL too, which is one
more for recipes; from 4.4 on (`shell-export` in `.FEATURES`) both have the same level, by the sources of 4.4.90.

A remade makefile: its recipes reach the plan shell, nothing is written, success is reported.  make re-executes
itself only if the file's mtime has changed (`update_goal_chain`), so there is no loop, and what depends on it stays
in the plan.  To learn the environment of recipes (exported variables, MAKEFLAGS), ours includes a file that is never
there, with a `+` rule: make "remakes" it first, and the script records what it got.

`$(shell ...)` and `$(file ...)` may write.  make proper will run them; the plan must not do so a second time, yet
must get their answers: so make runs under `make/confine.c` (or
`confine.py`, where nothing can be compiled), which throws away what is written in the tree and
refuses the rest, temporary files and devices aside.  Where the kernel permits no overlay, what writes fails in the
plan only (a less clever plan, an untouched tree); where it has no Landlock either, such calls do run once more than
make alone would run them.  `confinement` says which.

make writes line by line, even to a file, which costs as much as half of the rest; so it is preloaded with
`buffer.c`.  It flushes before it starts anything, so records stay where they belong.  From make 4.3 on, which starts
processes by posix_spawn, it answers recipe lines too, without the script and its two processes (`planshell.h`).  And
what `graph/makedb.py` does not read of the data base, four fifths, is never printed (`abridge.h`).

Rejected: `SHELL=` on the command line (the makefile's own SHELL is lost, `$(SHELL)` is changed in recipes);
following the text of -n alone (no environment for recursive calls, `+` lines do harm); no -n with a shell that
does nothing (a process for each line, and make sees that no target changed).
"""

from __future__ import annotations

import asyncio
import functools
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from buildfarm.errors import UsageError
from buildfarm.make import confining
from buildfarm.make.arguments import MakeArguments, parse
from buildfarm.make.inmemory import run_in_memory
from buildfarm.make.instance import MakeInstance, split_flags
from buildfarm.make.masquerade import MARKER
from buildfarm.make.records import Records
from buildfarm.value import dataclass

_OURS = (
    "TMPDIR",
    "LANGUAGE",
    "BUILDFARM_SOCKET",
    "BUILDFARM_LOWER",
    "BUILDFARM_PLANSHELL",
)  # changed for the dry run, put back in what it reports

_SCRIPT = """\
# The plan shell: runs $(shell ...), answers a recipe line with a record.
level=$1
shift
if test -p /dev/fd/1 && { test "$level" = any || test "${MAKELEVEL:-0}" = "$level"; }; then
  exec "$@"
fi
for line do :; done
case ${MAKEFLAGS%%%% *} in
  -*|*=*) planning= ;;
  *n*) planning=yes ;;
  *) planning= ;;
esac
if test "$line" = ": %(token)s" || test -n "$planning"; then
  printf '\\036%(token)s\\n'
  cat "/proc/$$/environ"
  printf '\\036%%s\\036%(token)s\\n' "$line"
fi
exit 0
"""
_MAKEFILE = """\
MAKEFILE_LIST := $(filter-out %(makefile)s,$(MAKEFILE_LIST))
override .SHELLFLAGS := %(script)s $(if $(filter shell-export,$(.FEATURES)),any,%(level)d) \
$(SHELL) $(.SHELLFLAGS)
ifeq ($(filter sh bash dash ash ksh rksh zsh,$(notdir $(lastword $(SHELL)))),)
override SHELL := /bin/sh
endif
-include %(probe)s
ifeq ($(.DEFAULT_GOAL),)
%(makefile)s: ;
%(probe)s: ; +: %(token)s
.DEFAULT_GOAL :=
else
%(makefile)s: ;
%(probe)s: ; +: %(token)s
endif
"""


@dataclass(frozen=True, slots=True)
class RecursiveLine:
    """A recipe line that make would run even under -n: nearly always a recursive make."""

    line: str
    environment: Mapping[str, str]  # as make gives it to the line; MAKEFLAGS without jobserver and -j


@dataclass(frozen=True, slots=True)
class DryRunOutput:
    """What a dry run said besides what was listened to.  `stderr` is for `graph.makedb.complaints`."""

    stderr: str
    seconds: float
    returncode: int  # make's own; 2 when something can't be made yet
    submakes: tuple[RecursiveLine, ...]  # by the numbers of the marks
    environment: Mapping[str, str]  # of recipe lines, target-specific exports aside
    confinement: str  # `overlay`: writing was thrown away; `refused`: it failed; `free`: $(shell ...) may have written
    error: str | None  # why there is no usable plan; None: there is one, perhaps not whole


async def dry_run(
    instance: MakeInstance,
    timeout: float,
    listen: Callable[[bytes], None],
    *,
    make: str | None = None,
    tree: str | None = None,
    library: Path | None = None,
    confiner: Path | None = None,
) -> DryRunOutput:
    """Run make for `instance` without effects.  Never raises for what make or the makefiles do.

    `listen` gets what make prints, for `graph.makedb.Reader`: while make runs, in a thread, in pieces of whole lines.
    `timeout` is in seconds of the processors' time (`Patience`); `make` is the real make's path (default: the first on
    the instance's PATH that is not in a masquerade directory).  `tree` is the directory below which `$(shell ...)` may
    seem to write (default: where make works).  `library` is `buffering.prepare`'s, `confiner` `confining.prepare`'s.
    After a timeout, or when cancelled, make and all that it started are killed.
    """
    try:
        words = parse(instance.argv[1:])
    except UsageError as error:
        return _refused(error.message)
    flags = split_flags(instance.environment.get("MAKEFLAGS", ""))
    if words.dry_run or not {"n", "q", "t"}.isdisjoint(flags.letters):
        return _refused("a make call with -n, -q, -t, -v or -h does not build: nothing to plan")
    if words.reads_stdin:
        return _refused("the makefile comes from standard input: can't plan")
    program = make or _real_make(instance)
    if program is None:
        return _refused("no make on PATH")
    directory = os.path.join(instance.directory, words.directory)
    if not os.path.isdir(directory):
        return _refused(f"{directory}: no such directory yet")
    private = tempfile.mkdtemp(prefix="buildfarm-plan-")
    try:
        return await _run(instance, words, program, private, timeout, tree, library, confiner, listen)
    except OSError as error:
        return _refused(f"{program}: {error.strerror or error}")
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _refused(reason: str) -> DryRunOutput:
    return DryRunOutput("", 0.0, -1, (), {}, "refused", reason)


def _real_make(instance: MakeInstance) -> str | None:
    name = instance.argv[0]
    if "/" in name and not os.path.exists(os.path.join(os.path.dirname(name), MARKER)):
        return os.path.join(instance.directory, name)
    entries = instance.environment.get("PATH", os.defpath).split(os.pathsep)
    real = (entry for entry in entries if not os.path.exists(os.path.join(entry, MARKER)))
    return shutil.which(os.path.basename(name), path=os.pathsep.join(real))


@functools.cache
def _token() -> str:
    """What no makefile says.  One for all dry runs: to compile `Records`'s patterns takes as long as a short plan."""
    return f"buildfarm-{secrets.token_hex(8)}"


async def _run(
    instance: MakeInstance,
    words: MakeArguments,
    program: str,
    private: str,
    timeout: float,
    tree: str | None,
    library: Path | None,
    confiner: Path | None,
    listen: Callable[[bytes], None],
) -> DryRunOutput:
    token = _token()
    names = {
        "token": token,
        "level": instance.makelevel,
        "script": os.path.join(private, token),
        "makefile": os.path.join(private, "plan.mk"),
        "probe": os.path.join(private, f"{token}.mk"),
    }
    _write(str(names["script"]), _SCRIPT % names)
    _write(str(names["makefile"]), _MAKEFILE % names)
    directory = os.path.normpath(os.path.join(instance.directory, words.directory))
    environment = dict(instance.environment)
    confined = confining.words(directory, tree, private, environment)
    environment["LANGUAGE"] = "C"  # make's own words untranslated; the locale stays
    environment["MAKEFLAGS"] = split_flags(environment.get("MAKEFLAGS", "")).text()
    if instance.makelevel:
        environment["MAKELEVEL"] = str(instance.makelevel)
    environment.pop("BUILDFARM_SOCKET", None)  # compilers that $(shell ...) asks are not the build's
    if library is not None:
        environment["BUILDFARM_PLANSHELL"] = str(names["script"])
    command = _command(instance.argv[0], words, directory, str(names["makefile"]))
    began = time.monotonic()
    confine_words = [*confined, str(library or ""), program, *command]
    records = Records(token, listen)
    returncode, err, confinement = await run_in_memory(
        confine_words, confiner, directory, environment, timeout, records
    )
    await asyncio.to_thread(records.end)
    seconds = time.monotonic() - began
    restored = [RecursiveLine(line, _restored(env, instance, words, library)) for line, env in records.found]
    probe = f": {token}"
    recipe_environment = next((r.environment for r in restored if r.line == probe), {})
    error = None
    if returncode is None:
        error = f"make had not finished its dry run after {seconds:.3g} s"
    elif not recipe_environment or not records.complete:
        complaint = [line for line in err.splitlines() if "***" in line] or err.splitlines()
        error = complaint[-1] if complaint else f"make ended with status {returncode} while it read the makefiles"
    return DryRunOutput(
        stderr=err,
        seconds=seconds,
        returncode=-1 if returncode is None else returncode,
        submakes=tuple(restored),
        environment=recipe_environment or _restored(environment, instance, words, library),
        confinement=confinement,
        error=error,
    )


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)


def _command(name: str, words: MakeArguments, directory: str, makefile: str) -> list[str]:
    own = default_makefile(directory)
    makefiles = words.makefiles or ((own,) if own is not None else ())
    flags = [word for word in words.flags if word != "-d" and not word.startswith("--debug")]
    command = [name, *flags, "-n", "-p", "-k", "--trace"]
    command += [word for file in (*makefiles, makefile) for word in ("-f", file)]
    command += [f"{d.name}{d.operator}{d.value}" for d in words.definitions]
    return [*command, "--", *words.goals] if words.goals else command


def default_makefile(directory: str) -> str | None:
    """The name that make would read without -f (manual, "What Name to Give Your Makefile")."""
    names = ("GNUmakefile", "makefile", "Makefile")
    return next((name for name in names if os.path.exists(os.path.join(directory, name))), None)


def _restored(
    environment: Mapping[str, str], instance: MakeInstance, words: MakeArguments, library: Path | None
) -> dict[str, str]:
    """Undo what the dry run itself changed in an environment that make handed down."""
    restored = dict(environment)
    first, colon, others = restored.get("LD_PRELOAD", "").partition(":")
    if first and first == str(library):  # a static make has not loaded it, so it did not go
        restored.pop("LD_PRELOAD")
        if colon:
            restored["LD_PRELOAD"] = others
    if restored.pop("BUILDFARM_PAGES", None) is not None:
        restored.pop("GLIBC_TUNABLES", None)
    for name in _OURS:
        restored.pop(name, None)
        if name in instance.environment:
            restored[name] = instance.environment[name]
    before = split_flags(instance.environment.get("MAKEFLAGS", "")).letters
    added = {"n", "p", "k"} - set(before) - ({"k"} if words.keep_going else set())
    flags = split_flags(restored.get("MAKEFLAGS", ""))
    flags = replace(flags, letters="".join(letter for letter in flags.letters if letter not in added))
    restored["MAKEFLAGS"] = flags.text()
    if "MFLAGS" in restored:
        restored["MFLAGS"] = " ".join(filter(None, (f"-{flags.letters}".rstrip("-"), *flags.words)))
    return restored
