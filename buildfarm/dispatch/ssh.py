"""Reaches a node through ssh: `distccd --inetd` at the other end, its socket in our hands.

It speaks no distcc protocol (`client` does) and reads no ssh configuration; keys, ports and user names are ssh's
own affair (ssh_config(5)).

The command is distcc's (`src/ssh.c: dcc_ssh_connect`): the words of `DISTCC_SSH` or `ssh`, `-l USER` where the host
list names one, the host, the remote `distccd`, `--inetd --enable-tcp-insecure`.  OpenSSH itself also gets
`BatchMode`, because nobody is there to type a password, and, unless `DISTCC_SSH` speaks of a `ControlPath`, one master
connection a node for all units of this process: a handshake costs this machine some 15 ms of CPU.
The remote distccd's standard input and output are one end of a socket pair, so that nothing else differs from TCP.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from buildfarm.model import Node

REMOTE = ("--inetd", "--enable-tcp-insecure")
BATCH = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3")
PERSIST_SECONDS = 30  # how long a master connection outlives its last unit
WORDS_KEPT = 4000  # bytes of ssh's messages


def program(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The words of `DISTCC_SSH`, split at blanks as distcc does; empty when it is not set."""
    return tuple(environment.get("DISTCC_SSH", "").split())


def command(node: Node, control: str | None) -> list[str]:
    """The local command that runs distccd at `node`.  `control`: the socket of a shared connection."""
    words = list(node.via or ("ssh",))
    if os.path.basename(words[0]) == "ssh":
        words += BATCH
        if control is not None and not any("ControlPath" in word for word in node.via):
            words += ["-o", "ControlMaster=auto", "-o", f"ControlPath={control}"]
            words += ["-o", f"ControlPersist={PERSIST_SECONDS}"]
    if node.user:
        words += ["-l", node.user]
    return [*words, node.host, node.command or "distccd", *REMOTE]


class Tunnel:
    """One running ssh.  `socket` is ours to talk through; `close()` ends ssh, `words()` is what it complained of."""

    def __init__(self, node: Node) -> None:
        """Raises OSError when ssh can't be started."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._complaints = -1
        try:
            with theirs:
                self._complaints = os.memfd_create("ssh")
                self._process = subprocess.Popen(
                    command(node, _control()),
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=self._complaints,
                    start_new_session=True,  # no terminal to ask for a password at, no Ctrl-C
                )
        except BaseException:
            ours.close()
            if self._complaints >= 0:
                os.close(self._complaints)
            raise
        ours.setblocking(False)
        self.socket = ours

    def words(self) -> str:
        """The last line that ssh or the remote shell printed, or nothing."""
        text = os.pread(self._complaints, WORDS_KEPT, 0).decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("distccd[")]
        return "".join(c for c in lines[-1] if c.isprintable())[:200] if lines else ""

    async def gone(self, seconds: float) -> int | None:
        """ssh's exit status once it has ended, None if it has not within `seconds`."""
        import asyncio  # a host list is read before anything has to wait for a node

        end = asyncio.get_running_loop().time() + seconds
        while self._process.poll() is None and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.01)
        return self._process.returncode

    def close(self) -> None:
        """End ssh, its helpers included, at once."""
        self.socket.close()
        if self._process.poll() is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self._process.wait()
        os.close(self._complaints)


_directory: Path | None = None


def _control() -> str:
    """A private directory of this process for the master connections' sockets; short, for sun_path holds 108 bytes."""
    global _directory
    if _directory is None:
        import tempfile

        _directory = Path(tempfile.mkdtemp(prefix="bf-ssh-", dir="/tmp"))
        atexit.register(close_shared)
    return str(_directory / "%C")


def close_shared() -> None:
    """End this process's master connections; to be called by who leaves without `atexit`."""
    global _directory
    directory, _directory = _directory, None
    if directory is None:
        return
    for path in directory.iterdir():
        argv = ["ssh", "-o", f"ControlPath={path}", "-O", "exit", "buildfarm"]
        subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False)
    shutil.rmtree(directory, ignore_errors=True)
