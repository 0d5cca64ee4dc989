"""Runs a program that can change no file: what it writes in a tree is thrown away, elsewhere it is refused.

It does not hide files, and does not stop reading, the network, signals, or `chmod` and `chown` outside the trees.  It
is a program of its own (run by path, so it imports only the standard library) because a user namespace can't be
entered by a process with threads.  `confine.c` is the same in C; this one serves where nothing can be compiled:

    python -I -S confine.py DIRECTORY SCRATCH REPORT_FD TREE... -- WRITABLE... -- LIBRARY PROGRAM ARGV0 ARGUMENT...

It writes one word to REPORT_FD, `overlay`, `refused` or `free`, and becomes PROGRAM with the environment that it got,
LIBRARY preloaded before all others unless it is empty.

Theory of operation.  In a mount namespace of its own (without root: in a user namespace that maps the user to
itself) an overlay with its upper layer in memory is mounted over each tree, so that probes which write succeed
(redis's Makefile compiles `foo.c`, which a `$(shell ...)` writes, to choose `-std=`).  Then Landlock forbids to
create, write, rename and remove anywhere else.  Landlock doesn't handle times: `touch` of a file that it may not open
falls back to utimensat(2), and make would rebuild what depends on it.  So a seccomp filter refuses to set times by
path; by an open descriptor they may be set.  Where mounts are not permitted, writing in the trees is refused too
(`refused`); without Landlock and seccomp nothing is (`free`).  The tree may change below the overlay, because the
real build goes on; the kernel calls the view then undefined, but safe, and a plan is only a prediction.

Sources: the kernel's `filesystems/overlayfs.rst`, `userspace-api/landlock.rst` (ABI 1 came with Linux 5.13) and
`userspace-api/seccomp_filter.rst`; user_namespaces(7); Landlock's system call numbers are the same on every
architecture, the others are from each `unistd.h`.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Sequence

_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000
_MS_NOSUID_NODEV, _MS_REC_PRIVATE = 0x6, 0x44000
_MEMORY = "256m"  # for all that a program writes into the trees

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38
_WRITE_FILE = 1 << 1
_REMOVE_AND_MAKE = 0x1FF << 4  # remove directory and file; make char, dir, reg, sock, fifo, block, sym
_REFER = 1 << 13  # from ABI 2
_TRUNCATE = 1 << 14  # from ABI 3

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_EACCES = 13
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | _EACCES  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO

#: AUDIT_ARCH: (utimensat and its 64-bit-time twin, which take a path or a null pointer; utime, utimes, futimesat).
#: A 64-bit kernel may run 32-bit programs, so the filter holds all of them.
_TIME_CALLS = {
    0xC000003E: ((280,), (132, 235, 261)),  # x86_64
    0xC00000B7: ((88,), ()),  # aarch64
    0xC00000F3: ((88,), ()),  # riscv64
    0x40000028: ((348, 412), (30, 269, 326)),  # arm
    0x40000003: ((320, 412), (30, 271, 299)),  # i386
}


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


def become(
    directory: str,
    scratch: str,
    report: int,
    trees: Sequence[str],
    writable: Sequence[str],
    library: str,
    program: str,
    argv: Sequence[str],
) -> None:
    """Confine this process and execute `program`.  Raises OSError if it can't be executed."""
    layered = _overlay(trees, scratch)
    os.chdir(directory)
    refusing = _refuse_writing([*writable, *(trees if layered else ())])
    os.write(report, b"free" if not refusing else b"overlay" if layered else b"refused")
    os.close(report)
    with open("/proc/self/environ", "rb") as file:  # Python may have added LC_CTYPE to its own (PEP 538)
        entries = [entry.partition(b"=") for entry in file.read().split(b"\0") if b"=" in entry]
    environment = {name: value for name, _, value in entries}
    if library:
        others = environment.get(b"LD_PRELOAD")
        environment[b"LD_PRELOAD"] = os.fsencode(library) + (b":" + others if others is not None else b"")
    os.execve(program, list(argv), environment)


def _overlay(trees: Sequence[str], scratch: str) -> bool:
    """Mount an overlay over each tree; False where that is not permitted or not known."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(ctypes.c_int(_CLONE_NEWNS)) != 0:
        if libc.unshare(ctypes.c_int(_CLONE_NEWUSER | _CLONE_NEWNS)) != 0:
            return False
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            try:
                with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                    file.write(text)
            except OSError:
                return False
    try:
        _mount("none", "/", None, _MS_REC_PRIVATE, None)
        _mount("tmpfs", scratch, "tmpfs", _MS_NOSUID_NODEV, f"size={_MEMORY},mode=0700")
        for number, tree in enumerate(trees):
            layers = [os.path.join(scratch, f"{name}{number}") for name in ("upper", "work")]
            for layer in layers:
                os.makedirs(layer)
            os.chdir(tree)
            _mount("overlay", tree, "overlay", 0, f"lowerdir=.,upperdir={layers[0]},workdir={layers[1]}")
    except OSError:
        return False
    return True


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None) -> None:
    """mount(2).  Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    if libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), target)


def _refuse_writing(writable: Sequence[str]) -> bool:
    """Forbid to change files anywhere but below `writable`; False where the kernel can't do (all of) that."""
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
        program = _time_filter()
        filter_bytes = ctypes.create_string_buffer(program, len(program))
        described = _FilterProgram(len(program) // 8, ctypes.addressof(filter_bytes))
        arguments = (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(described), 0, 0)
        if libc.prctl(*(ctypes.c_ulong(n) if isinstance(n, int) else n for n in arguments)) != 0:
            return False
    except OSError:
        return False
    finally:
        os.close(ruleset)
    return True


class _FilterProgram(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _time_filter() -> bytes:
    """BPF over `struct seccomp_data`: number at 0, architecture at 4, arguments from 16 on, 8 bytes each."""
    sections = []
    for architecture, (with_path, others) in _TIME_CALLS.items():
        body = [(_LOAD, 0, 0, 0)]
        calls = [*others, *with_path]
        tail = len(with_path)  # the section's end: allow, refuse, then the test for a path
        for position, number in enumerate(calls):
            left = len(calls) - position - 1
            refused = position < len(calls) - tail
            body.append((_EQUAL, left + (1 if refused else 2), 0, number))
        path = [(_LOAD, 0, 0, 24), (_EQUAL, 0, 2, 0), (_LOAD, 0, 0, 28), (_EQUAL, 1, 0, 0)]
        body += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
        body += [*path, (_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
        sections += [(_LOAD, 0, 0, 4), (_EQUAL, 0, len(body), architecture), *body]
    return b"".join(struct.pack("=HBBI", *line) for line in [*sections, (_RETURN, 0, 0, _ALLOW)])


def main(words: Sequence[str]) -> None:
    directory, scratch, report, *rest = words
    first = rest.index("--")
    second = rest.index("--", first + 1)
    library, program, *argv = rest[second + 1 :]
    try:
        become(directory, scratch, int(report), rest[:first], rest[first + 1 : second], library, program, argv)
    except OSError as error:
        sys.stderr.write(f"buildfarm: {os.fsdecode(error.filename or 'confine')}: {error.strerror}\n")
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
