"""MPI's wrappers and -march=native stand for what the real tools say."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from buildfarm.dispatch.prepare import CannotTravel
from buildfarm.dispatch.wrappers import Wrappers
from buildfarm.graph.classify import classify, with_native_expansion
from tests.travel import Trip


def wrapper(directory: Path, text: str) -> str:
    path = directory / "mpif90"
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)
    return str(path)


def real_command(wrappers: Wrappers, argv: list[str], tool: str, **env: str) -> tuple[str, ...]:
    return asyncio.run(wrappers.real_command(argv, tool, cwd="/", env={"PATH": os.defpath, **env}))


def test_the_users_arguments_take_the_placeholders_place_unharmed(tmp_path: Path) -> None:
    tool = wrapper(tmp_path, 'echo gfortran -g "$2" "$3" -I/mpi -L/mpi\n')
    argv = ["mpif90", "-c", "-DS=two words", "a b.f90", "-o", "x.o"]
    assert real_command(Wrappers(), argv, tool) == (
        "gfortran", "-g", "-c", "-DS=two words", "a b.f90", "-o", "x.o", "-I/mpi", "-L/mpi",
    )  # fmt: skip


def test_a_wrapper_is_asked_once_for_each_choice_of_compiler(tmp_path: Path) -> None:
    tool = wrapper(tmp_path, f'echo asked >> {tmp_path}/log; echo "${{OMPI_FC:-gfortran}}" -c "$3"\n')
    wrappers = Wrappers()
    for _ in range(3):
        assert real_command(wrappers, ["mpif90", "-c", "a.f90"], tool)[0] == "gfortran"
        assert real_command(wrappers, ["mpif90", "-c", "a.f90"], tool, OMPI_FC="f95")[0] == "f95"
    assert (tmp_path / "log").read_text() == "asked\nasked\n"


@pytest.mark.parametrize("text", ["exit 1", "echo gfortran something else", "echo"])
def test_a_wrapper_that_does_not_say_keeps_the_unit_here(tmp_path: Path, text: str) -> None:
    with pytest.raises(CannotTravel, match="does not say"):
        real_command(Wrappers(), ["mpif90", "-c", "a.f90"], wrapper(tmp_path, text))


@pytest.mark.parametrize("tool", ["mpif90", "mpicc", "mpicxx"])
def test_the_real_wrappers_show_what_they_run(tool: str) -> None:
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is missing: install the package libopenmpi-dev")
    source = {"mpif90": "a.f90", "mpicc": "a.c", "mpicxx": "a.cc"}[tool]
    shown = subprocess.run([path, "-show", "-O2", "-c", source], capture_output=True, text=True, check=True).stdout
    assert list(real_command(Wrappers(), [tool, "-O2", "-c", source], path, **os.environ)) == shown.split()


def test_a_unit_of_mpi_comes_back_raw(tmp_path: Path) -> None:
    path = shutil.which("mpif90")
    if path is None:
        pytest.skip("mpif90 is missing: install the package libopenmpi-dev")
    with Trip(tmp_path / "tree") as trip:
        trip.write(
            "m.f90",
            "subroutine s(n)\n  use mpi\n  integer n, e\n  call MPI_Comm_size(MPI_COMM_WORLD, n, e)\nend\n",
        )
        subprocess.run([path, "-g", "-O2", "-c", "m.f90"], cwd=trip.root, check=True)
        wanted = (trip.root / "m.o").read_bytes()
        command = real_command(Wrappers(), ["mpif90", "-g", "-O2", "-c", "m.f90"], path, **os.environ)
        prepared = trip.prepare(" ".join(command))
        assert trip.send(prepared.job).object == wanted
        assert any(os.path.basename(name) == "mpi.mod" for name in prepared.inputs)


@pytest.mark.parametrize("options", [["-march=native"], ["-mtune=native"], ["-march=native", "-mtune=generic"]])
def test_native_options_are_what_the_driver_makes_of_them(tmp_path: Path, options: list[str]) -> None:
    gcc = shutil.which("gcc")
    assert gcc is not None
    (tmp_path / "a.c").write_text("double f(double *x, int n) { double s = 0; while (n--) s += x[n] * 3; return s; }\n")
    unit = classify(["gcc", "-O3", "-ffast-math", *options, "-c", "a.c"]).unit
    assert unit is not None
    told = asyncio.run(
        Wrappers().native_options(gcc, unit.compile_arguments, cwd=str(tmp_path), env={"PATH": os.defpath})
    )
    assert not any("native" in option for option in told)
    expanded = with_native_expansion(unit, told).compile_arguments
    for arguments, output in ((unit.compile_arguments, "native.o"), (expanded, "expanded.o")):
        subprocess.run([gcc, *arguments, "-c", "a.c", "-o", output], cwd=tmp_path, check=True)
    assert (tmp_path / "native.o").read_bytes() == (tmp_path / "expanded.o").read_bytes()


def test_a_unit_stays_whose_native_options_the_driver_warns_of(tmp_path: Path) -> None:
    """`-mcpu=` is deprecated on x86, and a node gets what it stands for."""
    gcc = tmp_path / "gcc"
    warning = "gcc: warning: '-mcpu=' is deprecated; use '-mtune=' or '-march=' instead"
    gcc.write_text(f'#!/bin/sh\necho "{warning}" >&2\nexec {shutil.which("gcc")} "$@"\n')
    gcc.chmod(0o755)
    with pytest.raises(CannotTravel, match="warns of -march=native"):
        asyncio.run(Wrappers().native_options(str(gcc), ["-march=native"], cwd="/", env={"PATH": os.defpath}))
