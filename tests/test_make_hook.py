"""The exec hook: what it turns into the stub, by which way, and whom it leaves in peace."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from buildfarm.make.masquerade import Masquerade, environment, prepare

CALLERS = """\
#define _GNU_SOURCE
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
extern char **environ;
int main(int argc, char **argv)
{
    const char *how = argv[1];
    char *file = argv[2], *const words[] = {argv[2], "one", "two", NULL};
    pid_t pid;
    int status;
    (void)argc;
    if (!strcmp(how, "execve")) execve(file, words, environ);
    if (!strcmp(how, "execv")) execv(file, words);
    if (!strcmp(how, "execvp")) execvp(file, words);
    if (!strcmp(how, "execvpe")) execvpe(file, words, environ);
    if (!strcmp(how, "execl")) execl(file, file, "one", "two", (char *)NULL);
    if (!strcmp(how, "execlp")) execlp(file, file, "one", "two", (char *)NULL);
    if (!strcmp(how, "execle")) execle(file, file, "one", "two", (char *)NULL, environ);
    if (!strcmp(how, "vfork")) { if (!(pid = vfork())) { execv(file, words); _exit(9); } }
    if (!strcmp(how, "posix_spawn")) posix_spawn(&pid, file, NULL, NULL, words, environ);
    if (!strcmp(how, "posix_spawnp")) posix_spawnp(&pid, file, NULL, NULL, words, environ);
    if (!strcmp(how, "system")) return system(strcat(strcpy(malloc(4096), file), " one two"));
    waitpid(-1, &status, 0);
    return WEXITSTATUS(status);
}
"""


class Bench:
    """A masquerade whose one entry, `tool`, says what it was called with; real tools; a program for each exec call."""

    def __init__(self, root: Path) -> None:
        if shutil.which("cc") is None:
            pytest.skip("cc is missing: install a C compiler")
        self.root = root
        self.made: Masquerade = prepare(root / "cache")
        assert self.made.hook is not None, "the hook does not work here"
        self.masquerade = root / "masquerade"
        self.bin = root / "bin"
        for directory in (self.masquerade, self.bin):
            directory.mkdir()
        entry = self.masquerade / "tool"
        entry.write_text('#!/bin/sh\necho "stub for $BUILDFARM_REAL: $*"\n')
        entry.chmod(0o755)
        shutil.copy("/bin/echo", self.bin / "tool")
        self.caller = self.bin / "caller"
        (root / "caller.c").write_text(CALLERS)
        subprocess.run(["cc", "-w", "-o", self.caller, root / "caller.c"], check=True)

    def environment(self, **more: str) -> dict[str, str]:
        found = environment({"PATH": f"{self.bin}:/usr/bin:/bin"}, self.made, "/nonexistent", "token")
        return {**found, "BUILDFARM_MASQUERADE": str(self.masquerade), **more}

    def run(self, *words: str | Path, **more: str) -> str:
        done = subprocess.run(words, env=self.environment(**more), capture_output=True, check=False, timeout=60)
        return (done.stdout + done.stderr).decode().strip()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("hook"))


@pytest.mark.parametrize(
    "how",
    [
        "execve",
        "execv",
        "execvp",
        "execvpe",
        "execl",
        "execlp",
        "execle",
        "vfork",
        "posix_spawn",
        "posix_spawnp",
        "system",
    ],
)
def test_every_way_to_execute_an_absolute_path_is_caught(bench: Bench, how: str) -> None:
    assert bench.run(bench.caller, how, bench.bin / "tool") == f"stub for {bench.bin}/tool: one two"


@pytest.mark.parametrize("how", ["execvp", "execlp", "execvpe", "posix_spawnp", "system"])
def test_a_bare_name_is_caught_where_path_leads(bench: Bench, how: str) -> None:
    assert bench.run(bench.caller, how, "tool") == f"stub for {bench.bin}/tool: one two"


@pytest.mark.parametrize("shell", ["sh", "bash", sys.executable, "perl", "env", "xargs", "make"])
def test_the_usual_callers_are_seen_through(bench: Bench, shell: str, tmp_path: Path) -> None:
    tool = str(bench.bin / "tool")
    (tmp_path / "m").write_text(f"all: ; @{tool} one two\n")
    words = {
        "env": ["env", "-u", "NONE", tool, "one", "two"],
        "xargs": ["sh", "-c", f"echo one two | xargs {tool}"],
        "make": ["make", "-f", str(tmp_path / "m")],
        "perl": ["perl", "-e", f'exec "{tool}", "one", "two"'],
        sys.executable: ["python3", "-c", f"import subprocess; subprocess.run(['{tool}', 'one', 'two'])"],
    }.get(shell, [shell, "-c", f"{tool} one two"])
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is missing: install it")
    assert bench.run(*words) == f"stub for {tool}: one two"


@pytest.mark.parametrize(
    "words",
    [
        ["env", "-i", "{tool}", "one", "two"],
        ["env", "-i", "PATH={bin}", "tool", "one", "two"],
        ["env", "-i", "{sh}", "-c", "{tool} one two; true"],
        ["env", "-i", "/usr/bin/env", "LD_PRELOAD=", "{tool}", "one", "two"],
        ["env", "-u", "BUILDFARM_SOCKET", "-u", "LD_PRELOAD", "{tool}", "one", "two"],
        ["sh", "-c", "LD_PRELOAD= {tool} one two; true"],
        ["sh", "-c", "unset LD_PRELOAD BUILDFARM_SOCKET; {sh} -c '{tool} one two; true'; true"],
        ["env", "-i", "{script}", "one", "two"],
        [sys.executable, "-c", "import os; os.execve('{tool}', ['tool', 'one', 'two'], {{}})"],
    ],
    ids=" ".join,
)
def test_a_cleared_environment_hides_no_compiler(bench: Bench, words: list[str], tmp_path: Path) -> None:
    script, tool = tmp_path / "script", bench.bin / "tool"
    script.write_text(f'#!/bin/sh\n{tool} "$@"\ntrue\n')
    script.chmod(0o755)
    called = [word.format(tool=tool, bin=bench.bin, sh=shutil.which("sh"), script=script) for word in words]
    assert bench.run(*called) == f"stub for {tool}: one two"


def test_a_cleared_environment_is_what_other_programs_get(bench: Bench) -> None:
    assert bench.run("env", "-i", "A=1", "LD_PRELOAD=", "/usr/bin/printenv") == "A=1\nLD_PRELOAD="


def test_a_library_of_the_users_own_is_preloaded_beside_the_hook(bench: Bench) -> None:
    hook = bench.made.hook
    assert bench.run("env", "-i", "LD_PRELOAD=libc.so.6", "sh", "-c", "echo $LD_PRELOAD") == f"libc.so.6:{hook}"


def test_without_a_conductors_socket_nothing_is_caught(bench: Bench) -> None:
    assert bench.run(bench.caller, "execv", bench.bin / "tool", BUILDFARM_SOCKET="") == "one two"


def test_a_script_of_that_name_is_left_alone_and_what_it_calls_is_caught(bench: Bench, tmp_path: Path) -> None:
    script = tmp_path / "tool"
    script.write_text(f'#!/bin/sh\necho wrapped\nexec {bench.bin}/tool "$@"\n')
    script.chmod(0o755)
    assert bench.run(bench.caller, "execv", script) == f"wrapped\nstub for {bench.bin}/tool: one two"


def test_a_link_to_ccache_is_left_alone(bench: Bench, tmp_path: Path) -> None:
    shutil.copy("/bin/echo", tmp_path / "ccache")
    (tmp_path / "tool").symlink_to("ccache")
    assert bench.run(bench.caller, "execv", tmp_path / "tool") == "one two"


def test_a_missing_program_is_the_callers_error(bench: Bench) -> None:
    assert bench.run("sh", "-c", "/nonexistent/tool 2> /dev/null; echo $?") == "127"


def test_a_program_just_built_with_a_sanitizer_starts(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "a.c"
    source.write_text('int puts(const char *); int main(void) { puts("sane"); return 0; }\n')
    built = subprocess.run(["cc", "-fsanitize=address", "-o", tmp_path / "a", source], capture_output=True, check=False)
    if built.returncode:
        pytest.skip("libasan is missing: install a whole gcc")
    for call in (f"{tmp_path}/a", f"cd {tmp_path} && ./a"):
        assert bench.run("sh", "-c", f"{call}; true") == "sane"


def test_a_static_program_runs_as_ever(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text('int puts(const char *); int main(void) { puts("static"); return 0; }\n')
    built = subprocess.run(["cc", "-static", "-o", tmp_path / "a", tmp_path / "a.c"], capture_output=True, check=False)
    if built.returncode:
        pytest.skip("libc.a is missing: install libc6-dev")
    socket = tmp_path / "socket"
    assert bench.run("sh", "-c", f"{tmp_path}/a; true", BUILDFARM_SOCKET=str(socket)) == "static"
    assert (tmp_path / "socket.blind").read_text() == f"{tmp_path}/a\n", "the conductor is to know"


def test_the_real_tools_children_know_nothing_of_us(bench: Bench, tmp_path: Path) -> None:
    """The stub execs the real tool without socket and hook, whoever called it by whatever path."""
    real = shutil.which("env")
    assert real is not None
    shutil.copy(real, bench.bin / "gcc-99")
    (bench.made.directory / "gcc-99").symlink_to(bench.made.stub)
    found = environment({"PATH": f"{bench.bin}:/usr/bin:/bin"}, bench.made, "/nonexistent", "token")
    done = subprocess.run(
        ["sh", "-c", f"{bench.bin}/gcc-99; true"], env=found, capture_output=True, check=True, timeout=60
    )
    names = {line.partition(b"=")[0] for line in done.stdout.splitlines()}
    assert b"PATH" in names
    assert not names & {b"LD_PRELOAD", b"BUILDFARM_SOCKET", b"BUILDFARM_REAL"}
