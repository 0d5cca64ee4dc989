"""Objects are believed only if they are whole and of this machine's kind."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from buildfarm.dispatch import elf

SOURCE = 'int zeros[100000];\nstatic const char *names[] = {"a", "b"};\nconst char *name(int i) { return names[i]; }\n'
Compile = Callable[..., bytes]


@pytest.fixture(scope="module")
def compile_here(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    directory: Path = tmp_path_factory.mktemp("elf")
    (directory / "a.c").write_text(SOURCE)

    def compile_here(*flags: str, tool: str = "gcc", mode: str = "-c") -> bytes:
        try:
            subprocess.run(
                [tool, *flags, mode, "a.c", "-o", "a.out"],
                cwd=directory,
                check=True,
                stderr=subprocess.DEVNULL,
            )
        except (OSError, subprocess.CalledProcessError):
            pytest.skip(f"{tool} {' '.join(flags)} does not compile here")
        return (directory / "a.out").read_bytes()

    return compile_here


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("-g", "-O2"),
        ("-ffunction-sections", "-fdata-sections"),
        ("-fPIC",),
        ("-O0", "-fno-common", "-fcommon"),
    ],
)
def test_this_machines_objects_pass(compile_here: Compile, flags: tuple[str, ...]) -> None:
    assert elf.inspect(compile_here(*flags), elf.identify(compile_here())) is None


def test_a_cut_object_is_found_at_every_length(compile_here: Compile) -> None:
    data = compile_here("-g")
    for length in range(len(data)):
        assert elf.inspect(data[:length], None), f"{length} of {len(data)} bytes passed"


def test_a_cut_objects_reason_gives_the_sizes(compile_here: Compile) -> None:
    data = compile_here()
    assert elf.inspect(data[:-1], None) == (
        f"sent a cut object: {len(data) - 1} bytes, its section table ends at {len(data)}"
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "sent an empty object"),
        (b"not an object", "sent no object: it does not begin as an ELF file does"),
        (bytes(4096), "sent no object"),
        (b"\x7fELF", "no such ELF class or byte order"),
        (b"\x7fELF" + bytes(96), "no such ELF class or byte order"),
        (b"\x7fELF\2\1\1" + bytes(20), "the ELF header alone has 64"),
        (b"\x7fELF\2\1\1" + bytes(9) + b"\1\0\x3e\0" + bytes(60), "no section table"),
    ],
)
def test_junk_is_no_object(data: bytes, words: str) -> None:
    assert words in (elf.inspect(data, None) or "")
    assert elf.identify(data) is None


def test_a_program_is_no_object(compile_here: Compile) -> None:
    program = compile_here("-shared", "-fPIC", mode="-O1")
    assert elf.inspect(program, None) == "sent an ELF file of type 3, not a relocatable object"


@pytest.mark.parametrize(
    ("tool", "flags", "words"),
    [
        ("aarch64-linux-gnu-gcc", (), "ELF machine 0xb7, here 0x3e"),
        ("gcc", ("-m32",), "ELF class 0x1, here 0x2"),
    ],
)
def test_a_foreign_object_is_found(compile_here: Compile, tool: str, flags: tuple[str, ...], words: str) -> None:
    here = elf.identify(compile_here())
    assert here is not None
    if here.machine != 0x3E:
        pytest.skip("these foreigners are told from x86_64")
    foreign = compile_here(*flags, tool=tool)
    assert elf.inspect(foreign, here) == f"sent a foreign object: {words}"
    assert elf.inspect(foreign, elf.identify(foreign)) is None


def test_other_flags_are_foreign_and_gnu_symbols_are_not(compile_here: Compile) -> None:
    data = compile_here()
    here = elf.identify(data)
    assert here is not None
    bits = 64 if here.bits == 2 else 32
    at = 48 if bits == 64 else 36
    flagged = data[:at] + struct.pack("=I", 0x5000400) + data[at + 4 :]
    assert elf.inspect(flagged, here) == f"sent a foreign object: ELF flags 0x5000400, here 0x{here.flags:x}"
    assert elf.inspect(data[:7] + b"\3" + data[8:], here) is None
    assert elf.inspect(data[:7] + b"\x09" + data[8:], here) == "sent a foreign object: ELF ABI 9, here 0"


def test_a_section_beyond_the_end_is_found(compile_here: Compile) -> None:
    data = bytearray(compile_here())
    if data[4] != 2:
        pytest.skip("the offsets below are those of 64-bit ELF")
    (table,) = struct.unpack_from("=Q", data, 40)
    struct.pack_into("=Q", data, table + 64 + 32, 1 << 40)  # section 1's sh_size
    assert "a section ends at" in (elf.inspect(bytes(data), None) or "")


def test_a_number_of_sections_that_stands_in_section_0_is_found(compile_here: Compile) -> None:
    """Past 65,279 sections e_shnum is 0, e_shstrndx 0xffff, and section 0 holds both (gABI, chapter 4)."""
    data = bytearray(compile_here())
    if data[4] != 2:
        pytest.skip("the offsets below are those of 64-bit ELF")
    (table,) = struct.unpack_from("=Q", data, 40)
    count, names = struct.unpack_from("=HH", data, 60)
    struct.pack_into("=HH", data, 60, 0, 0xFFFF)
    struct.pack_into("=QI", data, table + 32, count, names)
    assert elf.inspect(bytes(data), None) is None
    struct.pack_into("=Q", data, table + 32, 1 << 60)
    assert "its section table ends at" in (elf.inspect(bytes(data), None) or "")


def test_assembler_text_passes_and_other_text_does_not(compile_here: Compile) -> None:
    text = compile_here(mode="-S")
    assert elf.inspect(text, None, assembler=True) is None
    for data, words in (
        (b"", "empty"),
        (compile_here(), "binary"),
        (text[: len(text) // 2].rstrip(b"\n"), "ends within a line"),
        (b"dear friend,\nall is well\n", "without an assembler directive"),
    ):
        assert words in (elf.inspect(data, None, assembler=True) or "")
