"""Verifies that what a node sent is the kind of object that this machine's compiler would have made.

It does not link, run or compare code: a well-formed object of the right kind with wrong instructions passes; the
probe's canaries are for that.  Facts: `elf(5)`, the System V gABI chapters 4 ("Object Files") and its e_shnum
escape.  A few `struct` reads per section, no pyelftools: this runs for every unit.
"""

from __future__ import annotations

import struct

from buildfarm.value import dataclass

_MAGIC = b"\x7fELF"
_RELOCATABLE = 1  # ET_REL
_BODILESS = (0, 8)  # SHT_NULL, SHT_NOBITS: sections without bytes in the file
_CLASSES = {1: "32-bit", 2: "64-bit"}
_ORDERS = {1: "<", 2: ">"}
_HEADERS = {1: ("HHIIIIIHHHHHH", 52), 2: ("HHIQQQIHHHHHH", 64)}  # after e_ident; size of the whole
_SECTIONS = {1: "IIIIIIIIII", 2: "IIQQQQIIQQ"}
_IDENT = 16
_DIRECTIVES = (b"\t.", b" .", b".")


_COMPRESSED = 0x800  # SHF_COMPRESSED


@dataclass(frozen=True, slots=True)
class Section:
    """Where a section's bytes are in the file."""

    name: bytes
    begin: int
    end: int
    compressed: bool


@dataclass(frozen=True, slots=True)
class ObjectIdentity:
    """The marks that all objects of one compiler with one family of flags share."""

    bits: int  # EI_CLASS: 1 for 32, 2 for 64
    order: int  # EI_DATA: 1 little, 2 big endian
    abi: int  # EI_OSABI; 3 (GNU) may stand for 0 (System V) in an object that uses GNU symbol types
    machine: int  # e_machine
    flags: int  # e_flags: the float ABI on ARM, RISC-V, MIPS

    def difference(self, other: ObjectIdentity) -> str | None:
        """What makes `other` foreign to this, in words; None: nothing."""
        for name, here, there in (
            ("class", self.bits, other.bits),
            ("byte order", self.order, other.order),
            ("machine", self.machine, other.machine),
            ("flags", self.flags, other.flags),
        ):
            if here != there:
                return f"ELF {name} 0x{there:x}, here 0x{here:x}"
        if other.abi != self.abi and {other.abi, self.abi} != {0, 3}:
            return f"ELF ABI {other.abi}, here {self.abi}"
        return None


def identify(data: bytes) -> ObjectIdentity | None:
    """The marks of an object that this machine's compiler has just made; None if it is no ELF object."""
    found = _parse(data)
    return None if isinstance(found, str) else found


def sections(data: bytes) -> list[Section]:
    """The sections that have bytes in the file, of an object that `inspect` has found well."""
    bits, order = data[4], data[5]
    header = struct.unpack_from(_ORDERS[order] + _HEADERS[bits][0], data, _IDENT)
    table, count, names = header[5], header[11], header[12]
    section = struct.Struct(_ORDERS[order] + _SECTIONS[bits])
    first = section.unpack_from(data, table)
    count, names = count or first[5], first[6] if names == 0xFFFF else names
    rows = list(section.iter_unpack(memoryview(data)[table : table + count * section.size]))
    strings = rows[names][4]
    return [
        Section(
            data[strings + name : data.index(b"\0", strings + name)],
            offset,
            offset + length,
            bool(flags & _COMPRESSED),
        )
        for name, kind, flags, _, offset, length, *_ in rows
        if kind not in _BODILESS
    ]


def is_whole(data: bytes) -> bool:
    """Whether this is an ELF file of any type whose section table and sections lie inside it."""
    return not isinstance(_parse(data, any_type=True), str)


def begins(data: bytes) -> bool:
    """Whether it begins as an ELF file: what is wrong with it has then been done to what a compiler had made."""
    return data.startswith(_MAGIC)


def inspect(data: bytes, reference: ObjectIdentity | None, *, assembler: bool = False) -> str | None:
    """What is wrong with a node's object, in words that follow the node's name; None: nothing.

    It must be a whole relocatable object with the marks of `reference` (None: of any kind); with `assembler`,
    which is what `-S` makes, plausible assembler text instead.
    """
    if assembler:
        return _inspect_text(data)
    found = _parse(data)
    if isinstance(found, str):
        return found
    foreign = None if reference is None else reference.difference(found)
    return None if foreign is None else f"sent a foreign object: {foreign}"


def _inspect_text(data: bytes) -> str | None:
    if not data:
        return "sent empty assembler text"
    if b"\0" in data or data.startswith(_MAGIC):
        return "sent binary data for assembler text"
    if not data.endswith(b"\n"):
        return "sent assembler text that ends within a line"
    if not any(line.startswith(_DIRECTIVES) for line in data[:65536].splitlines()):
        return "sent text without an assembler directive"
    return None


def _parse(data: bytes, *, any_type: bool = False) -> ObjectIdentity | str:
    """The marks of an object whose section table and sections lie inside it; or what is wrong.

    It must be relocatable, unless `any_type`.
    """
    if not data:
        return "sent an empty object"
    if data[:4] != _MAGIC:
        return "sent no object: it does not begin as an ELF file does"
    if len(data) < _IDENT or data[4] not in _CLASSES or data[5] not in _ORDERS:
        return "sent a broken object: no such ELF class or byte order"
    bits, order = data[4], data[5]
    layout, size = _HEADERS[bits]
    if len(data) < size:
        return f"sent a cut object: {len(data)} bytes, the ELF header alone has {size}"
    kind, machine, _, _, _, table, flags, _, _, _, entry, count, names = struct.unpack_from(
        _ORDERS[order] + layout, data, _IDENT
    )
    if kind != _RELOCATABLE and not any_type:
        return f"sent an ELF file of type {kind}, not a relocatable object"
    section = struct.Struct(_ORDERS[order] + _SECTIONS[bits])
    if entry != section.size or table < size:
        return "sent a broken object: no section table"
    if table + section.size > len(data):
        return f"sent a cut object: {len(data)} bytes, its section table is at {table}"
    first = section.unpack_from(data, table)
    count = count or first[5]  # more than 0xff00 sections: the number is the size of section 0
    names = first[6] if names == 0xFFFF else names
    end = table + count * section.size
    if end > len(data):
        return f"sent a cut object: {len(data)} bytes, its section table ends at {end}"
    if count < 2 or not 0 < names < count:
        return "sent an object without sections"
    for _, kind, _, _, offset, length, _, _, _, _ in section.iter_unpack(memoryview(data)[table:end]):
        if kind not in _BODILESS and offset + length > len(data):
            return f"sent a cut object: {len(data)} bytes, a section ends at {offset + length}"
    return ObjectIdentity(bits, order, data[7], machine, flags)
