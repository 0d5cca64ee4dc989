"""First contact with real daemons: who they are, what they can do, and why they are not taken."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace

import pytest

from buildfarm.dispatch.canary import Canaries, hatch
from buildfarm.dispatch.client import Deadlines
from buildfarm.dispatch.faults import NodeLate, NodeRefused
from buildfarm.dispatch.probe import NodeIdentity, probe
from buildfarm.errors import MachineError
from buildfarm.model import Language, Node
from tests.farm import Farm, dead_port

NAMES = {Language.C: "gcc", Language.CXX: "g++", Language.FORTRAN: "gfortran"}


def _compilers() -> dict[Language, str]:
    found = {language: shutil.which(name) for language, name in NAMES.items()}
    return {language: path for language, path in found.items() if path}


@pytest.fixture(scope="module")
def canaries() -> Canaries:
    return asyncio.run(hatch(_compilers(), os.environ))


def _probe(
    canaries: Canaries, *, compilers: Mapping[str, str] | None = None, path: str = "/usr/bin:/bin"
) -> NodeIdentity:
    with Farm(count=1, compilers=compilers, path=path) as farm:
        identity = asyncio.run(probe(Node("127.0.0.1", farm.nodes[0].port), canaries))
        assert farm.compiles() == []
        assert farm.started() == []
        assert [path.name for path in farm.nodes[0].tmp.iterdir() if path.is_dir() and path.name != "lock"] == []
        return identity


def test_a_node_like_this_machine_compiles_what_it_does(canaries: Canaries) -> None:
    identity = _probe(canaries)
    assert identity.compiler == f"gcc {canaries.version} {canaries.target}"
    assert identity.languages == frozenset(_compilers())
    assert identity.differences == {}
    assert identity.mismatch is None
    assert identity.argv0[Language.C] == "gcc"
    assert 0 < identity.round_trip_seconds < 10


def test_fortran_goes_by_the_name_of_gcc_where_gfortran_is_not_listed(canaries: Canaries) -> None:
    if Language.FORTRAN not in _compilers():
        pytest.skip("gfortran is missing: install the package gfortran")
    listed = os.path.exists("/usr/lib/distcc/gfortran")
    assert _probe(canaries).argv0[Language.FORTRAN] == ("gfortran" if listed else "gcc")


def test_another_version_is_a_mismatch(canaries: Canaries) -> None:
    identity = _probe(replace(canaries, version="99.1.0"))
    assert identity.languages == frozenset()
    assert identity.mismatch is not None
    assert identity.mismatch.startswith(f"its gcc has version {canaries.version}, here it is 99.1.0, and there is no ")


def test_other_bytes_of_the_same_version_are_a_difference(canaries: Canaries) -> None:
    script = '#!/bin/sh\ncase "$*" in *-dump*) exec /usr/bin/gcc "$@";; esac\nexec /usr/bin/gcc -fno-ident "$@"\n'
    identity = _probe(canaries, compilers={"gcc": script})
    assert Language.C not in identity.languages
    assert identity.differences[Language.C] == "its gcc makes other bytes than this machine's"


def test_a_compiler_that_is_not_installed_leaves_its_language_out(canaries: Canaries) -> None:
    if Language.CXX not in _compilers():
        pytest.skip("g++ is missing: install the package g++")
    script = '#!/bin/sh\nPATH=/usr/bin:/bin exec /usr/bin/gcc "$@"\n'
    identity = _probe(canaries, compilers={"gcc": script}, path="/nothing-is-installed-here")
    assert Language.C in identity.languages
    assert Language.CXX not in identity.languages
    assert "runs no g++ for c++" in identity.differences[Language.CXX]


def test_a_gcc_without_fortran_leaves_fortran_out(canaries: Canaries) -> None:
    if Language.FORTRAN not in _compilers():
        pytest.skip("gfortran is missing: install the package gfortran")
    script = (
        '#!/bin/sh\ncase "$*" in *.f90*) echo "gcc: fatal error: cannot execute \'f951\'" >&2; exit 1;; esac\n'
        'exec /usr/bin/gcc "$@"\n'
    )
    identity = _probe(canaries, compilers={"gcc": script})
    assert Language.C in identity.languages
    if identity.argv0.get(Language.FORTRAN) != "gfortran":
        assert "cannot execute" in identity.differences[Language.FORTRAN]


def test_a_node_whose_gcc_is_missing_refuses(canaries: Canaries) -> None:
    with pytest.raises(NodeRefused, match="the compiler is not installed"):
        _probe(canaries, path="/nothing-is-installed-here")


def test_a_node_whose_compiler_names_nothing_refuses_and_is_not_taken_for_another(canaries: Canaries) -> None:
    """As where its temporary directory is full, which may pass."""
    names = ("gcc", "gcc-12", f"{canaries.target}-gcc", f"{canaries.target}-gcc-12")
    with pytest.raises(NodeRefused, match="its gcc says nothing to -dumpmachine; is its disk full"):
        _probe(canaries, compilers=dict.fromkeys(names, "#!/bin/sh\nexit 0\n"))


def test_a_node_that_does_not_let_us_in_says_what_to_check(canaries: Canaries) -> None:
    async def scene() -> None:
        async def turn_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with await asyncio.start_server(turn_away, "127.0.0.1", 0) as server:
            with pytest.raises(NodeRefused, match="--allow list, and gcc in its /usr/lib/distcc"):
                await probe(Node("127.0.0.1", server.sockets[0].getsockname()[1]), canaries)

    asyncio.run(scene())


def test_a_node_that_is_not_there_refuses(canaries: Canaries) -> None:
    with pytest.raises(NodeRefused, match=r"^no connection: Connection refused$"):
        asyncio.run(probe(Node("127.0.0.1", dead_port()), canaries))


def test_a_hanging_node_is_late(canaries: Canaries, farm: Farm) -> None:
    farm.nodes[0].stop()
    with pytest.raises(NodeLate):
        asyncio.run(probe(Node("127.0.0.1", farm.nodes[0].port), canaries, deadlines=Deadlines(compile=0.1)))


def test_canaries_are_the_same_whenever_they_are_hatched(canaries: Canaries) -> None:
    assert asyncio.run(hatch(_compilers(), {**os.environ, "LANG": "C.UTF-8"})) == canaries


def test_a_machine_without_a_working_compiler_is_told() -> None:
    with pytest.raises(MachineError, match="does not compile a simple file"):
        asyncio.run(hatch({Language.C: "/bin/false"}, os.environ))
