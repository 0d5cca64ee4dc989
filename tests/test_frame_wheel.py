"""The wheel: pure Python, carries all that is not Python, and works where nothing else of ours is."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CARRIED = (
    "buildfarm/make/stub.c",
    "buildfarm/make/stub.py",
    "buildfarm/make/hook.c",
    "buildfarm/make/preload.h",
    "buildfarm/make/distribution.h",
    "buildfarm/make/program.h",
    "buildfarm/make/surroundings.h",
    "buildfarm/make/tool.h",
    "buildfarm/make/buffer.c",
    "buildfarm/make/abridge.h",
    "buildfarm/make/planshell.h",
    "buildfarm/state/schema.sql",
    "buildfarm/state/schema-2.sql",
    "buildfarm/report/templates/report.html",
    "buildfarm/report/templates/report.js",
    "buildfarm/boot/buildfarm-resume@.service",
    "data/share/man/man1/buildfarm.1",
    "data/share/bash-completion/completions/buildfarm",
    "data/share/zsh/site-functions/_buildfarm",
    "data/share/fish/vendor_completions.d/buildfarm.fish",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built in this environment where it has the backend, else in one that pip makes for it."""
    directory = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(directory), str(ROOT)]
    if find_spec("hatchling"):
        words.append("--no-build-isolation")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode and "onnection" in done.stderr:
        pytest.skip("the build backend is missing: it can't be fetched here")
    assert done.returncode == 0, done.stderr
    (built,) = directory.glob("*.whl")
    return built


def test_it_is_pure_python_and_carries_everything(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    names = [
        (name.partition(".data/")[2] and "data/" + name.partition(".data/data/")[2]) or name for name in _names(wheel)
    ]
    assert set(CARRIED) <= set(names), set(CARRIED) - set(names)
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "tools/"))]
    assert not [name for name in names if name.endswith((".so", ".pyc"))]


def test_installed_alone_it_builds_reports_and_completes(wheel: Path, tmp_path: Path) -> None:
    """Its dependencies are taken from this environment: what is tested is what the wheel brings."""
    place = tmp_path / "venv"
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    words = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    site = next((place / "lib").glob("python*/site-packages"))
    others = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("".join(f"import sys; sys.path.append({path!r})\n" for path in others))
    assert (place / "share" / "man" / "man1" / "buildfarm.1").is_file()
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "Makefile").write_text("a.o: a.c\n\t$(CC) -c $< -o $@\n")
    (tree / "a.c").write_text("int a;\n")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "BUILDFARM", "MAKE"))}
    env["XDG_CACHE_HOME"] = str(tmp_path / "cache")  # stub and hook must be compiled from what the wheel brings
    for command in (["run", "--hosts", ""], ["status"], ["report", "-o", "r.html"], ["completion", "bash"]):
        done = subprocess.run(
            [place / "bin" / "buildfarm", *command], cwd=tree, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    made = [path.name for path in (tmp_path / "cache" / "buildfarm" / "stub").rglob("*") if path.is_file()]
    assert {"buildfarm-stub", "buildfarm-hook.so"} <= set(made)
    where = subprocess.run(
        [python, "-c", "import buildfarm.cli; print(buildfarm.cli.__file__)"], cwd=tree, env=env, capture_output=True
    )
    assert str(place).encode() in where.stdout


def _names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()
