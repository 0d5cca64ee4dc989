"""An outer make's job server, as its clients see it: found or refused, never blocking, nobody's flags changed."""

from __future__ import annotations

import fcntl
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from buildfarm.make.jobserver import JobServer, auths
from tests.tool import TIMEOUT, environment

# In a recipe of the outer make, in buildfarm's place: says what the inner make's recipe is known as.
ASK = """\
import json, os, subprocess, sys
from buildfarm.make.jobserver import JobServer
server = JobServer.of(os.environ)
with subprocess.Popen(
    ["make", "-f", "inner", *sys.argv[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False
) as make:
    pid, shell, environment = json.loads(make.stdout.readline())
    found = None if server is None else server.recipe(pid, environment)
    print({None: "none", pid: "this", shell: "shell"}.get(found, found))
    make.communicate(b"go on\\n")
"""
TELL = """\
import json, os
print(json.dumps([os.getpid(), os.getppid(), dict(os.environ)]), flush=True)
input()
"""


def pipe(tokens: int) -> tuple[int, int]:
    """A job server's two ends as a recipe inherits them."""
    read, write = os.pipe()
    for end in (read, write):
        os.set_inheritable(end, True)
    os.write(write, b"+" * tokens)
    return read, write


def named(auth: str) -> dict[str, str]:
    return {"MAKEFLAGS": f"w -j3 --jobserver-auth={auth} -- X=1"}


def test_a_pipe_is_used_without_making_it_nonblocking_for_others() -> None:
    read, write = pipe(2)
    server = JobServer.of(named(f"{read},{write}"))
    assert server is not None
    assert (server.take(1), server.take(5), server.take(5)) == (1, 1, 0)
    assert server.give()
    assert not fcntl.fcntl(read, fcntl.F_GETFL) & os.O_NONBLOCK
    assert not fcntl.fcntl(write, fcntl.F_GETFL) & os.O_NONBLOCK
    server.close()
    assert os.read(read, 5) == b"+"
    os.close(read)
    os.close(write)


def test_a_fifo_is_used_by_its_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    server = JobServer.of(named(f"fifo:{tmp_path}/fifo"))
    assert server is not None
    assert server.take(1) == 0
    assert server.give() and server.give()
    assert server.take(9) == 2
    server.close()


def test_what_is_no_job_server_is_refused(tmp_path: Path) -> None:
    read, write = pipe(1)
    other, end = pipe(1)
    plain = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    os.set_inheritable(plain, True)
    (tmp_path / "plain").touch()
    wrong = [f"{read},{end}", f"{plain},{plain}", f"{read}", "-2,-2", "9999,9998", "x,y", f"{read},99999999999999"]
    for auth in [*wrong, f"fifo:{tmp_path}/plain", f"fifo:{tmp_path}/gone", "fifo:"]:
        assert JobServer.of(named(auth)) is None, auth
    assert JobServer.of({}) is None
    assert JobServer.of({"MAKEFLAGS": f" -- X=--jobserver-auth={read},{write} --jobserver-auth={read},{write}"}) is None
    os.set_inheritable(read, False)  # what we open ourselves; make would have let it be inherited
    assert JobServer.of(named(f"{read},{write}")) is None
    for descriptor in (read, write, other, end, plain):
        os.close(descriptor)


def test_the_last_of_several_is_the_one() -> None:
    assert auths(" -j2 --jobserver-auth=3,4 --jobserver-auth=-2,-2 -- A=--jobserver-auth=5,6") == ["3,4", "-2,-2"]
    assert auths("--jobserver-fds=5,6 -j") == ["5,6"]


def test_what_is_left_to_take_is_taken_by_a_process_that_stays(tmp_path: Path) -> None:
    read, write = pipe(0)
    server = JobServer.of(named(f"{read},{write}"))
    assert server is not None
    later = server.take_later(2)
    assert later is not None
    server.close()
    os.write(write, b"+++")
    assert later.wait(TIMEOUT) == 0
    os.close(write)  # if it had kept that end open, nobody would ever see the end
    assert os.read(read, 9) == b"+" and os.read(read, 9) == b""
    os.close(read)


@pytest.mark.parametrize(
    ("recipe", "words", "expected"),
    [
        ("@TELL", "", "this"),
        ("+@TELL", "", "this"),
        ("@cd . && TELL && :", "", "shell"),
        ("@+cd . && TELL && :", "", "shell"),
        ("+@$(MAKE) -f below", "", "this"),
        ("+@$(MAKE) -f below -j3", "", "none"),
        ("@TELL", "-j3", "none"),
        ("@env -u MAKEFLAGS TELL", "", "none"),
    ],
)
def test_a_recipe_is_the_process_that_a_make_with_its_token_runs(
    recipe: str, words: str, expected: str, tmp_path: Path
) -> None:
    tell = shlex.join([sys.executable, str(tmp_path / "tell.py")])
    (tmp_path / "tell.py").write_text(TELL)
    (tmp_path / "ask.py").write_text(ASK)
    (tmp_path / "Makefile").write_text(f"all:\n\t+@{shlex.quote(sys.executable)} ask.py {words}\n")
    (tmp_path / "inner").write_text("all:\n\t" + recipe.replace("TELL", tell) + "\n")
    (tmp_path / "below").write_text(f"all:\n\t@{tell}\n")
    done = subprocess.run(
        ["make", "--no-print-directory", "-j2"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(Path(__file__).parent.parent)),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.stdout.strip() == expected, done
