"""Takes the right to change files from a thread and all that it starts (Linux's Landlock).

It does not hide files, stop reading or the network, and can't stop `chmod`, `utime` or signals: Landlock doesn't
handle those.  The confinement is the calling thread's for good, so give it a thread that ends.

Source: the kernel's `Documentation/userspace-api/landlock.rst` and `include/uapi/linux/landlock.h`; ABI 1 came
with Linux 5.13.  The system call numbers are the same on every architecture that CPython runs Linux on.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38
_WRITE_FILE = 1 << 1
_REMOVE_AND_MAKE = 0x1FF << 4  # remove directory and file; make char, dir, reg, sock, fifo, block, sym
_REFER = 1 << 13  # from ABI 2
_TRUNCATE = 1 << 14  # from ABI 3


def _syscall(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def abi() -> int:
    """Landlock's ABI version here; 0 where the kernel lacks it or has it switched off."""
    try:
        return _syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_CREATE_RULESET_VERSION))
    except OSError:
        return 0


def confine_thread(writable: Sequence[str]) -> bool:
    """Forbid this thread, and every process that it starts, to create, write or remove files elsewhere.

    `writable` are directories that stay open to writing.  Returns False, and changes nothing, where Landlock
    is missing.
    """
    version = abi()
    if version == 0:
        return False
    handled = _WRITE_FILE | _REMOVE_AND_MAKE
    handled |= _REFER if version >= 2 else 0
    handled |= _TRUNCATE if version >= 3 else 0
    attributes = ctypes.create_string_buffer(struct.pack("=Q", handled), 8)
    ruleset = _syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(8), ctypes.c_uint(0))
    try:
        for path in writable:
            try:
                directory = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                rule = ctypes.create_string_buffer(struct.pack("=Qi", handled, directory), 12)
                _syscall(_ADD_RULE, ruleset, ctypes.c_int(_RULE_PATH_BENEATH), rule, ctypes.c_uint(0))
            finally:
                os.close(directory)
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(ctypes.c_int(_PR_SET_NO_NEW_PRIVS), *(ctypes.c_ulong(n) for n in (1, 0, 0, 0)))
        _syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint(0))
    except OSError:
        return False
    finally:
        os.close(ruleset)
    return True
