"""Rehearses a call with a stub that was just compiled: does it tell what it was called for, and take a delivery?

It compiles nothing and knows no other answer.  A stub's first steps run without a C library (early.h), and a compiler
that puts a call into them makes a stub that dies; that must show here and not in a build.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from pathlib import Path

from buildfarm.errors import MachineError
from buildfarm.make import wire
from buildfarm.make.listener import Listener

PATIENCE = 20.0  # seconds
STATUS = 3


def delivers(stub: Path) -> bool:
    """Whether the stub does as it should; the files that this takes are gone afterwards."""
    with tempfile.TemporaryDirectory(dir=stub.parent) as name:
        program, made, wanted = (Path(name, which) for which in ("called", "made", "wanted"))
        try:
            program.symlink_to(stub)
            made.write_bytes(b"content")
            listener = Listener()
        except (OSError, MachineError):
            return False
        environment = {"PATH": os.defpath, "BUILDFARM_SOCKET": str(listener.path), "BUILDFARM_UMASK": "77"}
        answer = wire.encode_done(STATUS << 8, b"out", b"err", [(str(made), str(wanted))])
        listener.socket.settimeout(PATIENCE)
        try:
            with subprocess.Popen(
                [program, "word"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            ) as process:
                try:
                    peer, _ = listener.socket.accept()
                    with peer:
                        call = _call(peer)
                        peer.sendall(answer)
                        acknowledged = peer.recv(5)
                    words = process.communicate(timeout=PATIENCE)
                finally:
                    process.kill()
            content = wanted.read_bytes()
        except (OSError, wire.PeerError, subprocess.TimeoutExpired):
            return False
        finally:
            listener.close()
        return (
            call.called_as == str(program)
            and call.invocation.argv == (str(program), "word")
            and call.invocation.env == environment
            and acknowledged == wire.encode_delivered(wire.Delivered(0))
            and (process.returncode, *words, content) == (STATUS, b"out", b"err", b"content")
        )


def _call(peer: socket.socket) -> wire.Call:
    """Raises OSError, wire.PeerError."""
    peer.settimeout(PATIENCE)
    reader = wire.MessageReader()
    while data := peer.recv(65536):
        for message in reader.feed(data):
            if isinstance(message, wire.Call):
                return message
    raise wire.PeerError("the stub is gone")
