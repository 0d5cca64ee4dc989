"""The masquerade directory: what is in it, where it is, and that two runs may make it at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from buildfarm.errors import MachineError
from buildfarm.make.masquerade import MARKER, Masquerade, environment, find_names, prepare

MASQUERADED = [
    "gcc", "cc", "g++", "c++", "gfortran", "f77", "f95", "clang", "clang++", "gcc-12", "g++-4.9", "clang-17",
    "arm-linux-gnueabihf-gfortran-12", "x86_64-w64-mingw32-g++", "aarch64-linux-gnu-gcc", "mpicc", "mpif90", "mpifort",
    "mpicxx", "mpic++", "mpif90.openmpi", "ifort", "ifx", "nvfortran", "ar", "ranlib", "ld", "gcc-ar", "gcc-ranlib-12",
    "x86_64-linux-gnu-ar", "make", "gmake", "ccache",
]  # fmt: skip
LEFT_ALONE = [
    "as", "ld.bfd", "nm", "strip", "gcov", "gcc-nm", "c89", "c99", "c99-gcc", "cmake", "automake", "tar", "bar",
    "clangd", "clang-tidy-17", "gccgo", "ldd", "cpp", "mpirun", "gdb", "distcc", "x86_64-linux-gnu-gcov",
]  # fmt: skip


def executable(file: Path, text: str = "#!/bin/sh\nexit 0\n") -> None:
    file.write_text(text)
    file.chmod(0o755)


@pytest.fixture
def bin_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "bin"
    directory.mkdir()
    return directory


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Masquerade:
    return prepare(tmp_path_factory.mktemp("cache"))


def test_compilers_archivers_and_make_are_masqueraded_and_nothing_else(bin_directory: Path) -> None:
    for name in MASQUERADED + LEFT_ALONE:
        executable(bin_directory / name)
    assert find_names([str(bin_directory)]) == set(MASQUERADED)


def test_only_what_can_be_executed_is_masqueraded(bin_directory: Path) -> None:
    (bin_directory / "gcc").write_text("no program")
    (bin_directory / "clang").mkdir()
    (bin_directory / "g++").symlink_to("nowhere")
    assert find_names([str(bin_directory), "/nonexistent"]) == set()


def test_a_directory_with_two_names_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "usr").mkdir()
    (tmp_path / "bin").symlink_to("usr")
    (tmp_path / "usr" / "gcc").touch(mode=0o755)
    listed: list[str] = []
    listdir = os.listdir

    def recorded(path: str) -> list[str]:
        listed.append(path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", recorded)
    monkeypatch.chdir(tmp_path / "usr")
    assert find_names([str(tmp_path / "usr"), str(tmp_path / "bin"), ""]) == {"gcc"}
    assert listed == [os.path.realpath(tmp_path / "usr")]


def test_every_name_is_a_link_to_the_stub(made: Masquerade) -> None:
    names = {path.name for path in made.directory.iterdir()} - {MARKER}
    assert {"cc", "make"} <= names
    assert all((made.directory / name).samefile(made.stub) for name in names)


def test_the_same_tools_give_the_same_directory(made: Masquerade) -> None:
    inode = made.stub.stat().st_ino
    assert prepare(made.directory.parents[1]) == made
    assert made.stub.stat().st_ino == inode, "the stub was made anew"


def test_other_tools_give_another_directory_and_leave_the_first_as_it_was(
    made: Masquerade, bin_directory: Path
) -> None:
    executable(bin_directory / "made-for-nobody-gcc")  # a name that no machine has
    path = f"{bin_directory}:{os.environ['PATH']}"
    other = prepare(made.directory.parents[1], path=path)
    assert other.stub == made.stub
    assert (other.directory / "made-for-nobody-gcc").exists()
    assert not (made.directory / "made-for-nobody-gcc").exists()


def test_a_masquerade_on_path_is_not_taken_for_tools(made: Masquerade) -> None:
    (made.directory / "made-for-nobody-gcc").symlink_to(made.stub)  # only here: no real tool
    try:
        again = prepare(made.directory.parents[1], path=f"{made.directory}:{os.environ['PATH']}")
        assert again == made
    finally:
        (made.directory / "made-for-nobody-gcc").unlink()


def test_damage_is_repaired(tmp_path: Path) -> None:
    made = prepare(tmp_path)
    made.stub.write_bytes(b"")
    (made.directory / "make").unlink()
    (made.directory / "cc").unlink()
    (made.directory / "cc").symlink_to("nowhere")
    assert prepare(tmp_path) == made
    assert (made.directory / "make").samefile(made.stub)
    assert (made.directory / "cc").samefile(made.stub)
    result = subprocess.run([made.directory / "cc", "--version"], capture_output=True, check=True)
    assert result.stdout


def test_two_runs_may_make_it_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: prepare(tmp_path), range(8)))
    assert len(found) == 1
    (made,) = found
    assert sorted(path.name for path in made.stub.parent.iterdir()) == [made.stub.name]
    assert not [path for path in made.directory.iterdir() if path.name.startswith(".") and path.name != MARKER]


@pytest.mark.parametrize("compiler", [None, "#!/bin/sh\nexit 1\n", "#!/bin/sh\nexit 0\n"])
def test_without_a_working_compiler_the_stub_is_python(
    compiler: str | None, tmp_path: Path, bin_directory: Path
) -> None:
    if compiler is not None:
        executable(bin_directory / "gcc", compiler)
    made = prepare(tmp_path / "cache", extra_names=["gcc"], path=str(bin_directory))
    assert made.kind == "python"
    assert (made.directory / "gcc").samefile(made.stub)


def test_a_compiler_that_can_not_link_statically_will_do(tmp_path: Path, bin_directory: Path) -> None:
    real = shutil.which("gcc")
    if real is None:
        pytest.skip("gcc is missing: install it")
    script = f'#!/bin/sh\ncase "$*" in *-static*) exit 1;; esac\nPATH={os.environ["PATH"]} exec {real} "$@"\n'
    executable(bin_directory / "gcc", script)
    assert prepare(tmp_path / "cache", path=str(bin_directory)).kind == "c"


def test_a_python_with_blanks_in_its_path_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_base_executable", "/opt/my python/bin/python3")
    made = prepare(tmp_path, extra_names=["gcc"], path="/nonexistent")
    assert b" python" not in made.stub.read_bytes().splitlines()[0]
    monkeypatch.setattr(sys, "executable", "/opt/my python/bin/python3")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MachineError, match="blanks"):
        prepare(tmp_path, extra_names=["gcc"], path="/nonexistent")


def test_a_cache_that_can_not_be_made_is_a_machine_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match=r"file.*can't make the masquerade directory") as caught:
        prepare(tmp_path / "file" / "cache")
    assert caught.value.hint is not None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_cache_is_a_machine_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(MachineError, match="Permission denied"):
        prepare(tmp_path / "cache")


def test_without_the_hook_the_environment_puts_the_masquerade_first_and_once(made: Masquerade) -> None:
    base = {"PATH": f"/a:{made.directory}:/b", "HOME": "/h"}
    os.umask(mask := os.umask(0))
    assert environment(base, replace(made, hook=None), Path("/s"), "token") == {
        "PATH": f"{made.directory}:/a:/b",
        "HOME": "/h",
        "BUILDFARM_SOCKET": "/s",
        "BUILDFARM_TOKEN": "token",
        "BUILDFARM_MASQUERADE": str(made.directory),
        "BUILDFARM_UMASK": f"{mask:o}",
    }
    assert base["PATH"] == f"/a:{made.directory}:/b"


def test_with_the_hook_path_is_the_users_own_and_his_preloaded_libraries_stay(made: Masquerade) -> None:
    assert made.hook is not None and made.hook.exists()
    base = {"PATH": f"/a:{made.directory}:/b", "LD_PRELOAD": "/x.so /y.so"}
    found = environment(base, made, Path("/s"), "token")
    assert found["PATH"] == "/a:/b"
    assert found["LD_PRELOAD"] == f"/x.so:/y.so:{made.hook}"
    assert "PATH" not in environment({}, made, Path("/s"), "token")
