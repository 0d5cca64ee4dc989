"""Holds `make`'s way into a fresh clone: finding Python, missing tools, the lock file, continuous integration."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.tool import environment

ROOT = Path(__file__).resolve().parent.parent


def needed() -> list[str]:
    """The tools that tools/system-tools sees to."""
    text = (ROOT / "tools" / "system-tools").read_text(encoding="ascii")
    listed = re.search(r"<<END\n(.*?)^END$", text, re.DOTALL | re.MULTILINE)
    assert listed
    return [line.split()[0] for line in listed[1].splitlines()]


def script(directory: Path, name: str, text: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def linked(directory: Path, *names: str) -> None:
    """Let these tools, as they are here, be all that a PATH of this directory has."""
    for name in names:
        real = shutil.which(name)
        assert real is not None, name
        (directory / name).symlink_to(real)


def run(words: list[str], path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=ROOT, env=environment(PATH=str(path), **variables), capture_output=True, text=True, check=False
    )


# --- the Python that builds the environment


def test_find_python_passes_over_one_that_is_too_old_or_does_not_run(tmp_path: Path) -> None:
    script(tmp_path, "python3", "exit 1")
    script(tmp_path, "python3.13", "exit 127")
    (tmp_path / "python3.12").symlink_to(sys.executable)
    done = run(["/bin/sh", "tools/find-python"], tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/python3.12\n")


def test_find_python_takes_the_one_that_is_asked_for_first(tmp_path: Path) -> None:
    for name in ("python3", "mine"):
        script(tmp_path, name, "exit 0")
    done = run(["/bin/sh", "tools/find-python"], tmp_path, PYTHON="mine")
    assert done.stdout == f"{tmp_path}/mine\n"


def test_find_python_says_what_to_install_where_there_is_none(tmp_path: Path) -> None:
    done = run(["/bin/sh", "tools/find-python"], tmp_path)
    assert done.returncode == 1
    assert "3.11" in done.stderr and "apt-get install python3" in done.stderr


# --- tools of the system


def test_without_apt_the_missing_tools_are_named_with_what_goes_without_them(tmp_path: Path) -> None:
    linked(tmp_path, "cc", "gcc", "make", "cat")
    script(tmp_path, "python", "exit 0")
    done = run(["/bin/sh", "tools/system-tools", "python"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "not installed: distcc gfortran g++ strace ccache" in done.stdout
    assert "no apt-get" in done.stdout
    assert "without gfortran: Fortran" in done.stdout


def test_without_root_nothing_is_tried_and_the_command_is_told(tmp_path: Path) -> None:
    linked(tmp_path, "cc", "gcc", "make", "cat")
    script(tmp_path, "python", "exit 0")
    script(tmp_path, "id", "echo 1000")
    script(tmp_path, "sudo", "exit 1")
    script(tmp_path, "apt-get", f"touch {tmp_path}/called")
    done = run(["/bin/sh", "tools/system-tools", "python"], tmp_path)
    assert done.returncode == 0
    assert "as root: apt-get install distcc gfortran" in done.stdout
    assert not (tmp_path / "called").exists()


def test_apt_is_asked_once_without_questions_and_a_failure_goes_on(tmp_path: Path) -> None:
    linked(tmp_path, "cc", "gcc", "make", "cat", "mktemp", "grep", "tail", "rm", "env", "tee", "chmod")
    script(tmp_path, "python", "exit 0")
    script(tmp_path, "id", "echo 1000")
    # Stands for sudo, and keeps away from the real /usr/sbin.
    script(
        tmp_path,
        "sudo",
        f'[ "$1" = -n ] && shift\ncase "$1" in env) exec "$@" ;; *) echo "$*" >> {tmp_path}/other ;; esac',
    )
    script(
        tmp_path,
        "apt-get",
        f'echo "$DEBIAN_FRONTEND $*" >> {tmp_path}/calls\n'
        'case "$*" in *install*) exit 0 ;; esac\necho "E: Temporary failure resolving deb.debian.org"\nexit 100',
    )
    done = run(["/bin/sh", "tools/system-tools", "python"], tmp_path)
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 1 and calls[0].startswith("noninteractive ") and calls[0].endswith("update")
    assert "apt-get failed: E: Temporary failure resolving" in done.stdout


def test_the_demo_asks_for_what_it_calls_only(tmp_path: Path) -> None:
    linked(tmp_path, "cc", "gcc", "make", "cat", "head")
    script(tmp_path, "python", "exit 0")
    done = run(["/bin/sh", "tools/system-tools", "--check", "--demo", "python"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "not installed: distcc gfortran (`make tools` tries to)" in done.stdout


def test_a_missing_c_compiler_is_fatal(tmp_path: Path) -> None:
    linked(tmp_path, "make", "cat")
    script(tmp_path, "python", "exit 0")
    done = run(["/bin/sh", "tools/system-tools", "--check", "python"], tmp_path)
    assert done.returncode == 1
    assert "needs a C compiler" in done.stderr


@pytest.mark.parametrize("tool", needed())
def test_a_tool_that_tests_call_is_here(tool: str) -> None:
    """Where it is not, the tests that need it are skipped by name; in continuous integration that is a failure."""
    if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        pytest.skip(f"{tool} is missing: make tools")


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
def test_in_continuous_integration_a_missing_tool_fails_the_test(tmp_path: Path, ci: str, status: int) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n\ndef test_it():\n    pytest.skip('gfortran is missing: install it')\n"
    )
    words = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, env=environment(CI=ci), capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout


# --- the lock file


def locked() -> dict[str, Version]:
    versions: dict[str, Version] = {}
    for line in (ROOT / "requirements-dev.lock").read_text(encoding="ascii").splitlines():
        if not line.startswith("#"):
            name, equals, version = line.partition("==")
            assert equals, f"{line!r}: every line is NAME==VERSION"
            versions[canonicalize_name(name)] = Version(version)
    return versions


def project() -> dict[str, list[str]]:
    with open(ROOT / "pyproject.toml", "rb") as file:
        data = tomllib.load(file)
    return {
        "build-system": data["build-system"]["requires"],
        "dependencies": data["project"]["dependencies"],
        **data["project"]["optional-dependencies"],
    }


@pytest.mark.parametrize("group", project())
def test_the_lock_file_satisfies_pyproject(group: str) -> None:
    versions = locked()
    for text in project()[group]:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        assert name in versions, f"{name} is not in requirements-dev.lock"
        assert requirement.specifier.contains(versions[name]), f"{name} {versions[name]} does not satisfy {text}"


def test_every_dependency_has_a_lower_bound() -> None:
    for texts in project().values():
        for text in texts:
            assert any(bound.operator == ">=" for bound in Requirement(text).specifier), text


# --- continuous integration


def ci(home: Path, makefile: str) -> subprocess.CompletedProcess[str]:
    """What `.ci/run` does in a clone with this Makefile."""
    (home / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", home / ".ci" / "run")
    (home / "Makefile").write_text(makefile)
    ours = {name: value for name, value in environment().items() if name not in ("ARGS", "WORKERS")}  # this make's
    return subprocess.run([home / ".ci" / "run"], env=ours, capture_output=True, text=True, check=False)


def test_ci_runs_make_check_with_ci_true_and_ends_with_pytests_closing_line(tmp_path: Path) -> None:
    red = ci(
        tmp_path / "red",
        "check: lint test\nlint:\n\t@false\ntest:\n\t@echo CI is $$CI\n"
        "\t@echo '=== 1 failed, 2 passed in 3.45s ==='; false\n",
    )
    assert red.returncode != 0
    assert "CI is true" in red.stdout
    assert red.stdout.splitlines()[-1] == "=== 1 failed, 2 passed in 3.45s ==="
    green = ci(tmp_path / "green", "check:\n\t@echo '=== 3 passed in 1.00s ==='\n")
    assert green.returncode == 0
    assert green.stdout.count("=== 3 passed in 1.00s ===") == 1


SUITE = """
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range({broken}))
def test_breaks(number):
    times = Path(f"broken-{{number}}")
    times.write_text("x" if not times.exists() else times.read_text() + "x")
    assert len(times.read_text()) > {breaks}, "what went wrong"

def test_holds():
    with Path("held").open("a") as file:
        file.write("x")
"""


def ci_of(home: Path, suite: str, lint: str = "true") -> subprocess.CompletedProcess[str]:
    """What `.ci/run` does in a clone with these tests."""
    home.mkdir()
    (home / "test_suite.py").write_text(suite)
    (home / "pytest.ini").write_text("[pytest]\naddopts = -ra\n")
    return ci(
        home,
        f"check: lint types test\nlint:\n\t@{lint}\ntypes:\n"
        f"test:\n\t{sys.executable} -m pytest -n $(or $(WORKERS),2) --dist worksteal $(ARGS)\n",
    )


@pytest.mark.parametrize(
    ("broken", "breaks", "lint", "passes"),
    [(3, 1, "true", True), (1, 2, "true", False), (4, 1, "true", False), (1, 1, "false", False)],
    ids=["once", "twice", "too many", "and lint"],
)
def test_ci_gives_up_to_three_tests_a_second_chance_alone(
    tmp_path: Path, broken: int, breaks: int, lint: str, passes: bool
) -> None:
    home = tmp_path / "clone"
    done = ci_of(home, SUITE.format(broken=broken, breaks=breaks), lint)
    assert (done.returncode == 0) == passes
    assert "what went wrong" in done.stdout
    assert (home / "held").read_text() == "x"  # what passed isn't run again
    last = rf"^=+ {broken} passed in .*=$" if passes else rf"^=+ {broken} failed.* in .*=$"
    assert re.search(last, done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("fault", "passes"),
    [
        ("os._exit(1)", True),  # its worker dies, and another one goes on
        ("os.kill(os.getpid(), signal.SIGINT)", False),
        ('pytest.exit("enough")', False),
        ('raise SystemError("in the fixture")', False),
    ],
)
def test_ci_gives_no_second_chance_unless_all_tests_were_run(tmp_path: Path, fault: str, passes: bool) -> None:
    where = "fixture" if "fixture" in fault else "test"
    suite = f"""
import os, signal, time
from pathlib import Path
import pytest

def first_time(name):
    first = not Path(name).exists()
    Path(name).touch()
    return first

def test_breaks():
    assert not first_time("broken")

@pytest.fixture
def fixture():
    if first_time("fixture"):
        {fault if where == "fixture" else "pass"}

def test_ends_it_all(fixture):
    while not Path("broken").exists():
        time.sleep(0.01)
    if first_time("ended"):
        {fault if where == "test" else "pass"}
"""
    done = ci_of(tmp_path / "clone", suite)
    assert (done.returncode == 0) == passes, done.stdout
    assert ("once more, alone" in done.stdout) == passes


def test_make_help_names_every_goal() -> None:
    text = (ROOT / "Makefile").read_text(encoding="ascii")
    goals = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert goals
    done = subprocess.run(["make", "help"], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    shown = set(re.findall(r"^make (\w+)", done.stdout, re.MULTILINE))
    assert set(goals[1].split()) - {"help", "lint", "types"} <= shown
