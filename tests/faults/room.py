"""What every staging needs: a small project, plain make with distcc on it, buildfarm on it, and the comparison.

It injects no fault.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from tests import project
from tests.tool import Result, Running, buildfarm, environment

UNITS = 9
SECONDS = 120.0
_MAKEFILE = """\
OBJECTS := {objects}
CFLAGS ?= -O1 -Wall

program: main.o lib.a table.txt
\t$(CC) -o $@ main.o lib.a

lib.a: $(OBJECTS)
\trm -f $@
\t$(AR) rcs $@ $(OBJECTS)

%.o: %.c common.h
\t$(CC) $(CFLAGS) -c $< -o $@

table.txt: main.c
\tfor i in 1 2 3 4 5 6 7 8; do echo row $$i; done > $@
"""


def write(tree: Path) -> Path:
    """Nine units, an archive, a program, and a text that a recipe writes."""
    tree.mkdir(parents=True)
    names = [f"part{number}" for number in range(UNITS - 1)]
    (tree / "Makefile").write_text(_MAKEFILE.format(objects=" ".join(f"{name}.o" for name in names)))
    (tree / "common.h").write_text("".join(f"int {name}(int x);\n" for name in names) + "#define SCALE 3\n")
    calls = " ".join(f"x = {name}(x);" for name in names)
    (tree / "main.c").write_text(
        '#include <stdio.h>\n#include "common.h"\n'
        f'int main(void) {{ int x = 1; {calls} printf("%d\\n", x); return 0; }}\n'
    )
    for number, name in enumerate(names):
        steps = "\n".join(f"    x = x * SCALE + {number + k};" for k in range(40))
        (tree / f"{name}.c").write_text(f'#include "common.h"\nint {name}(int x)\n{{\n{steps}\n    return x;\n}}\n')
    return tree


@cache
def expected() -> Mapping[str, str]:
    """The digests of all files after an undisturbed plain make."""
    with tempfile.TemporaryDirectory() as directory:
        tree = write(Path(directory) / "p")
        done = subprocess.run(["make"], cwd=tree, capture_output=True, env=environment(), check=False)
        assert done.returncode == 0, done.stderr
        return project.digests(tree)


def difference(tree: Path, ignore: tuple[str, ...] = ()) -> list[str]:
    """The files that are not what plain make makes of an undisturbed tree."""
    found = project.digests(tree)
    names = expected().keys() | {name for name in found if name.endswith((".o", ".a", ".txt", "program"))}
    return sorted(n for n in names if n not in ignore and found.get(n) != expected().get(n))


def fresh(directory: Path, name: str) -> Path:
    """The project anew, whatever stood there."""
    shutil.rmtree(directory / name, ignore_errors=True)
    return write(directory / name)


# --- plain make ------------------------------------------------------------------------------------------------


def plain_environment(directory: Path, hosts: str, **extra: str) -> dict[str, str]:
    """Surroundings in which distcc uses these hosts and has its own state directory."""
    state = directory / "distcc"
    state.mkdir(exist_ok=True)
    return environment(**{"DISTCC_HOSTS": hosts, "DISTCC_DIR": str(state), **extra})


def plain(
    tree: Path, hosts: str, *words: str, seconds: float = SECONDS, compiler: str = "distcc gcc", **extra: str
) -> tuple[int | None, str]:
    """`make -j CC="distcc gcc"`: its exit status (None: it hung until it was killed) and its words."""
    env = plain_environment(tree.parent, hosts, **extra)
    process = subprocess.Popen(
        ["make", "-j6", f"CC={compiler}", *words],
        cwd=tree,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return None, output.decode(errors="replace")
    return process.returncode, output.decode(errors="replace")


def aftermath(tree: Path, ignore: tuple[str, ...] = ()) -> str:
    """What the next plain make, undisturbed and on this machine, makes of the tree."""
    done = subprocess.run(["make", "-j2"], cwd=tree, capture_output=True, env=environment(), check=False)
    wrong = difference(tree, ignore)
    if done.returncode != 0:
        return f"the next make fails: {_last(done.stderr.decode(errors='replace'))}"
    if wrong:
        return f"the next make says all is well, and {', '.join(wrong[:3])} {'is' if len(wrong) == 1 else 'are'} wrong"
    return "the next make ends well"


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines else "without a word")[:100].replace("`", "'")


def said(code: int | None) -> str:
    """An exit status in words."""
    return "hangs" if code is None else "exit 0" if code == 0 else f"exit {code}"


# --- buildfarm ---------------------------------------------------------------------------------------------------


def run(tree: Path, hosts: str, *words: str, **extra: str) -> Result:
    """`buildfarm run` to its end."""
    return buildfarm("run", "-C", str(tree), "--hosts", hosts, *words, env=environment(**extra))


def resume(tree: Path, hosts: str, *words: str, **extra: str) -> Result:
    """`buildfarm resume` to its end."""
    return buildfarm("resume", "-C", str(tree), "--hosts", hosts, *words, env=environment(**extra))


def starting(tree: Path, hosts: str, *words: str, **extra: str) -> Running:
    """`buildfarm run`, to be disturbed."""
    return Running(("run", "-C", str(tree), "--hosts", hosts, *words), environment(**extra))


def checked_in(tree: Path, database: Path | None = None) -> dict[str, int]:
    """By path, the recorded mtime (ns) of every output of a compile that the journal calls checked in."""
    database = database or tree / ".buildfarm" / "state.db"
    with tempfile.TemporaryDirectory() as directory:
        for suffix in ("", "-wal"):
            source = database.with_name(database.name + suffix)
            if source.exists():
                shutil.copy(source, Path(directory) / source.name)
        try:
            connection = sqlite3.connect(Path(directory) / database.name)
            rows = connection.execute(
                "SELECT path, mtime_ns FROM output JOIN step ON step.id = output.step"
                " WHERE standing = 'checked_in' AND kind = 'compile'"
            ).fetchall()
            connection.close()
        except sqlite3.Error:
            return {}
    return {os.fsdecode(path): mtime for path, mtime in rows}


def made_again(before: Mapping[str, int]) -> list[str]:
    """Those of `checked_in`'s files that are not the same any more."""
    return [Path(path).name for path, mtime in before.items() if _mtime(path) != mtime]


def _mtime(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def finish(tree: Path, hosts: str, *, ignore: tuple[str, ...] = (), **extra: str) -> tuple[bool, str]:
    """Resume an interrupted build, or run a failed one again; whether the promise held, and in words."""
    before = checked_in(tree)
    result = resume(tree, hosts, **extra)
    if result.code == 66:
        result = run(tree, hosts, **extra)
    return judged(tree, result, before, ignore)


def judged(tree: Path, result: Result, before: Mapping[str, int], ignore: tuple[str, ...] = ()) -> tuple[bool, str]:
    """Whether a build that ended has kept the promise, and in words."""
    wrong, again = difference(tree, ignore), made_again(before)
    if result.code != 0:
        return False, f"exit {result.code}: {_last(result.stderr)}"
    if "Traceback" in result.stderr or "BUG" in result.stderr:
        return False, f"a bug: {_last(result.stderr)}"
    if wrong:
        return False, f"{', '.join(wrong)} differ"
    if again:
        return False, f"checked in and made again: {', '.join(again)}"
    return True, f"make's bytes, {len(before)} checked-in units kept" if before else "make's bytes"


def ended(tree: Path, act: Callable[[], Result], ignore: tuple[str, ...] = ()) -> tuple[bool, str, Result]:
    """A build that should simply succeed in spite of the fault."""
    result = act()
    held, words = judged(tree, result, {}, ignore)
    return held, words, result


def session(leader: int) -> list[int]:
    """All processes of a session, the leader too."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if os.getsid(int(entry)) == leader:
                    found.append(int(entry))
            except OSError:
                continue
    return found
