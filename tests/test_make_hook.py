"""The exec hook: what it turns into the stub, by which way, and whom it leaves in peace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from buildfarm.make.masquerade import Masquerade, environment, prepare
from tests.farm import PATIENCE

CALLERS = """\
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
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
    if (!strcmp(how, "popen")) {
        FILE *stream = popen(strcat(strcpy(malloc(4096), file), " one two"), "r");
        while ((status = getc(stream)) != EOF) putchar(status);
        return pclose(stream);
    }
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
        done = subprocess.run(words, env=self.environment(**more), capture_output=True, check=False, timeout=PATIENCE)
        return (done.stdout + done.stderr).decode().strip()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("hook"))


WAYS = [
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
]


@pytest.mark.parametrize("how", WAYS)
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


# Executes a program with an environment of so many letters, or prints how many just fit.
FULL = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_STACK, (512 * 1024, resource.getrlimit(resource.RLIMIT_STACK)[1]))
how, program = sys.argv[1:3]
def execute(letters):
    pid = os.fork() if how == "execve" else os.posix_spawn(program, ["echo", "it fits"], {"A": "a" * letters})
    if not pid:
        try: os.execve(program, ["echo", "it fits"], {"A": "a" * letters})
        except OSError: os._exit(9)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
if len(sys.argv) > 3:
    execute(int(sys.argv[3]))
else:
    low, high = 1, 1 << 17
    while high - low > 1:
        middle = (low + high) // 2
        try: low, high = (middle, high) if execute(middle) else (low, middle)
        except OSError: high = middle
    print(low)
"""


@pytest.mark.parametrize("how", ["execve", "posix_spawn"])
def test_a_call_that_just_fits_does_so_with_what_the_hook_adds(bench: Bench, how: str) -> None:
    words = [sys.executable, "-c", FULL, how, "/bin/echo"]
    plain = subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
    assert bench.run(*words, plain.splitlines()[-1]) == "it fits"


@pytest.mark.parametrize("how", [*WAYS, "popen"])
def test_any_program_is_followed_into_a_cleared_environment(bench: Bench, how: str) -> None:
    tool = bench.bin / "tool"
    assert bench.run("env", "-i", "A=1", bench.caller, how, tool) == f"stub for {tool}: one two"


@pytest.mark.parametrize(
    "words",
    [
        ["printenv"],
        ["sh", "-c", "env"],
        ["bash", "-c", "env"],
        ["perl", "-e", 'print map { "$_=$ENV{$_}\\n" } sort keys %ENV'],
        ["python3", "-c", "import os\nfor pair in os.environ.items(): print(*pair)"],
        ["python3", "-c", "import os; os.system('env')"],
        ["awk", 'BEGIN { system("env"); "env" | getline x; print x }'],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("cleared", [["A=1", "B=2"], ["A=1", "LD_PRELOAD=", "B=2"], ["LD_PRELOAD=libc.so.6"], []])
def test_a_cleared_environment_is_what_a_program_sees(bench: Bench, words: list[str], cleared: list[str]) -> None:
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is missing: install it")
    command = ["env", "-i", *cleared, shutil.which(words[0]) or "", *words[1:]]
    plain = subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE).stdout.decode().strip()
    assert bench.run(*command) == plain


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


@pytest.mark.parametrize("how", WAYS)
def test_the_compiler_behind_distcc_is_caught_and_distcc_is_not_run(bench: Bench, tmp_path: Path, how: str) -> None:
    shutil.copy("/bin/false", tmp_path / "distcc")
    (tmp_path / "tool").symlink_to("distcc")
    path = f"{tmp_path}:{bench.environment()['PATH']}"
    assert bench.run(bench.caller, how, tmp_path / "tool", PATH=path) == f"stub for {bench.bin}/tool: one two"
    for words in ("distcc tool", f"distcc {bench.bin}/tool", f"env -i PATH={path} distcc tool"):
        assert bench.run("sh", "-c", f"{words} 1; true", PATH=path) == f"stub for {bench.bin}/tool: 1"


def test_what_distcc_is_asked_itself_it_answers(bench: Bench, tmp_path: Path) -> None:
    shutil.copy("/bin/echo", tmp_path / "distcc")
    for words in ("--show-hosts", "-c a.c", "unknown -c a.c"):
        assert bench.run("sh", "-c", f"{tmp_path}/distcc {words}; true") == words
    assert bench.run(tmp_path / "distcc", "tool", BUILDFARM_SOCKET="") == "tool"


def test_a_missing_program_is_the_callers_error(bench: Bench) -> None:
    assert bench.run("sh", "-c", "/nonexistent/tool 2> /dev/null; echo $?") == "127"


SAYS = 'int puts(const char *); int main(void) { puts("sane"); return 0; }\n'
SANITIZERS = [
    ("cc", "-fsanitize=address"),
    ("cc", "-fsanitize=address", "-static-libasan"),
    ("cc", "-fsanitize=thread"),
    ("cc", "-fsanitize=thread", "-static-libtsan"),
    ("cc", "-fsanitize=leak"),
    ("cc", "-fsanitize=leak", "-static-liblsan"),
    ("clang", "-fsanitize=address"),
    ("clang", "-fsanitize=address", "-shared-libasan"),
    ("clang", "-fsanitize=thread"),
    ("clang", "-fsanitize=memory"),
]


def built(directory: Path, name: str, text: str, *words: str) -> Path:
    """A program of `text`, or the test is skipped: what it needs is not here."""
    source, program = directory / f"{name}.c", directory / name
    source.write_text(text)
    compiler, *flags = words
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here, which is too large to be asked for")
    done = subprocess.run([compiler, "-w", "-o", program, source, *flags], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{' '.join(words)} does not link: {done.stderr.splitlines()[-1]}")
    if text == SAYS and subprocess.run([program], capture_output=True, check=False).stdout != b"sane\n":
        pytest.skip(f"what {' '.join(words)} makes does not run here")
    return program


def blind(directory: Path) -> list[str]:
    """What the hook has told the conductor of, whose socket would be `directory`/socket."""
    mark = directory / "socket.blind"
    return mark.read_text().splitlines() if mark.exists() else []


@pytest.mark.parametrize("words", SANITIZERS, ids=" ".join)
def test_a_program_just_built_with_a_sanitizer_starts_as_ever(
    bench: Bench, words: tuple[str, ...], tmp_path: Path
) -> None:
    a = built(tmp_path, "a", SAYS, *words)
    (tmp_path / "script").write_text(f"#!{a} -x\n")
    (tmp_path / "script").chmod(0o755)
    told = {"BUILDFARM_SOCKET": f"{tmp_path}/socket"}
    for call in (f"{a}", f"cd {tmp_path} && ./a", f"cd {tmp_path} && PATH=.:$PATH a", f"{tmp_path}/script"):
        assert bench.run("sh", "-c", f"{call}; true", **told) == "sane", call
    assert blind(tmp_path)[0] == str(a), "the conductor is to know"


@pytest.mark.parametrize("flags", [(), ("-fsanitize=undefined",), ("-Wl,-rpath,$ORIGIN",), ("-no-pie",), ("-s",)])
def test_a_program_just_built_is_seen_through(bench: Bench, flags: tuple[str, ...], tmp_path: Path) -> None:
    caller = built(tmp_path, "a", CALLERS, "cc", *flags)
    tool, told = bench.bin / "tool", {"BUILDFARM_SOCKET": f"{tmp_path}/socket"}
    for how in ("execv", "vfork", "posix_spawn", "system"):
        assert bench.run("sh", "-c", f"{caller} {how} {tool}; true", **told) == f"stub for {tool}: one two"
    assert blind(tmp_path) == []


def test_a_script_for_a_program_just_built_is_seen_through(bench: Bench, tmp_path: Path) -> None:
    """CPython's setup.py; a copy of the shell is as good as one that was built here."""
    shell, tool = tmp_path / "shell", bench.bin / "tool"
    shutil.copy(Path("/bin/sh").resolve(), shell)
    (tmp_path / "script").write_text(f"#!{shell}\n{tool} one two\ntrue\n")
    (tmp_path / "outer").write_text("#! ./script\n")
    for name in ("script", "outer"):
        (tmp_path / name).chmod(0o755)
    for call in ("./script", "./outer", "env -i ./script"):
        assert bench.run("sh", "-c", f"cd {tmp_path}; {call}; true") == f"stub for {tool}: one two"


def test_a_link_to_an_installed_program_is_one(bench: Bench, tmp_path: Path) -> None:
    shell, tool = tmp_path / "sh", bench.bin / "tool"
    shell.symlink_to("/bin/sh")
    for call in (f"{shell} -c '{tool} one two; true'", f"cd {tmp_path}; env -i ./sh -c '{tool} one two; true'"):
        assert bench.run("sh", "-c", f"{call}; true") == f"stub for {tool}: one two"


def test_a_blind_program_in_a_cleared_environment_is_told_of(bench: Bench, tmp_path: Path) -> None:
    a = built(tmp_path, "a", SAYS, "cc", "-static")
    assert bench.run("env", "-i", a, BUILDFARM_SOCKET=f"{tmp_path}/socket") == "sane"
    assert blind(tmp_path) == [str(a)]


def test_a_set_id_program_just_built_is_told_of(bench: Bench, tmp_path: Path) -> None:
    a = built(tmp_path, "a", SAYS, "cc")
    a.chmod(0o4755)
    assert bench.run("sh", "-c", f"{a}; true", BUILDFARM_SOCKET=f"{tmp_path}/socket") == "sane"
    assert blind(tmp_path) == [str(a)]


@pytest.mark.parametrize("words", [("cc", "-m32"), ("musl-gcc",)], ids=" ".join)
def test_a_program_of_another_loader_starts_as_ever(bench: Bench, words: tuple[str, ...], tmp_path: Path) -> None:
    a = built(tmp_path, "a", SAYS, *words)
    (tmp_path / "script").write_text(f"#!{a}\n")
    (tmp_path / "script").chmod(0o755)
    for call in (a, tmp_path / "script"):
        assert bench.run("sh", "-c", f"{call}; true", BUILDFARM_SOCKET=f"{tmp_path}/socket") == "sane"
    assert blind(tmp_path) == [str(a)]


def test_an_elf_that_is_cut_or_of_another_kind_fails_as_ever(bench: Bench, tmp_path: Path) -> None:
    """Whatever its headers say, it is the kernel who refuses it, and no byte outside the file is believed."""
    whole = built(tmp_path, "a", SAYS, "cc").read_bytes()
    other = whole[:4] + bytes([3 - whole[4]]) + whole[5:]
    far = whole[:32] + b"\xf8" + b"\xff" * 7 + whole[40:]  # e_phoff
    cuts = [whole[:length] for length in (0, 3, 20, 64, 100, 600, 4000)]
    for content in [*cuts, other, far]:
        (tmp_path / "b").write_bytes(content)
        (tmp_path / "b").chmod(0o755)
        calls = ("sh", "-c", f"{tmp_path}/b > /dev/null 2>&1; echo $?")
        plain = subprocess.run(calls, capture_output=True, text=True, check=True).stdout.strip()
        assert bench.run(*calls, BUILDFARM_SOCKET=f"{tmp_path}/socket") == plain


def test_a_static_program_runs_as_ever(bench: Bench, tmp_path: Path) -> None:
    a = built(tmp_path, "a", SAYS, "cc", "-static")
    told = {"BUILDFARM_SOCKET": f"{tmp_path}/socket"}
    assert bench.run("sh", "-c", f"{a}; true", **told) == "sane"
    assert blind(tmp_path) == [f"{a}"], "the conductor is to know"


def test_what_a_shell_executes_for_a_static_interpreter_is_seen(bench: Bench, tmp_path: Path) -> None:
    text = '#include <unistd.h>\nint main(int n, char **w) { return execl("/bin/sh", "sh", w[1], (char *)0); }\n'
    a, tool = built(tmp_path, "a", text, "cc", "-static"), bench.bin / "tool"
    (tmp_path / "script").write_text(f"#!{a}\n{tool} one two\ntrue\n")
    (tmp_path / "script").chmod(0o755)
    told = {"BUILDFARM_SOCKET": f"{tmp_path}/socket"}
    assert bench.run("sh", "-c", f"{tmp_path}/script; true", **told) == f"stub for {tool}: one two"
    assert blind(tmp_path) == [f"{a}"]


def test_the_real_tools_children_know_nothing_of_us(bench: Bench, tmp_path: Path) -> None:
    """The stub execs the real tool without socket and hook, whoever called it by whatever path."""
    real = shutil.which("env")
    assert real is not None
    shutil.copy(real, bench.bin / "gcc-99")
    (bench.made.directory / "gcc-99").symlink_to(bench.made.stub)
    found = environment({"PATH": f"{bench.bin}:/usr/bin:/bin"}, bench.made, "/nonexistent", "token")
    done = subprocess.run(
        ["sh", "-c", f"{bench.bin}/gcc-99; true"], env=found, capture_output=True, check=True, timeout=PATIENCE
    )
    names = {line.partition(b"=")[0] for line in done.stdout.splitlines()}
    assert b"PATH" in names
    assert not names & {b"LD_PRELOAD", b"BUILDFARM_SOCKET", b"BUILDFARM_REAL"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become someone else")
def test_who_becomes_a_user_who_may_not_read_the_hook_hears_nothing_of_it(bench: Bench, tmp_path: Path) -> None:
    bench.root.chmod(0o700)
    program, source = tmp_path / "become", tmp_path / "become.c"
    source.write_text(
        "#include <unistd.h>\n"
        'int main(void) { return setuid(65534) || execl("/bin/sh", "sh", "-c", "/bin/echo said", (char *)0); }\n'
    )
    subprocess.run(["cc", "-o", program, source], check=True)
    assert bench.run(program) == "said"
