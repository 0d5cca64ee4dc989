"""A relay between client and a real `distccd`, which breaks what passes through it.

It speaks no more of distcc's protocol than it takes to find the parts of an answer (`doc/protocol-1.txt`).
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from tests.farm import free_port

PROBE = b"bf-probe"  # buildfarm's probes are let through: a node that fails them never gets a unit
Change = Callable[[bytes, int], bytes]
RESET = struct.pack("ii", 1, 0)


class Relay:
    """Listens on `port`, passes on to `target`; use as a context manager.

    `change(answer, number)` alters the number-th answer (from 0).  `cut` sends so many bytes of an answer and then a
    reset.  `pace` sends the answer byte by byte with so many seconds between.  `rate` is bytes a second both ways.
    `hold` accepts and answers nothing.
    """

    def __init__(
        self,
        target: int,
        *,
        change: Change | None = None,
        cut: int | None = None,
        pace: float | None = None,
        rate: int | None = None,
        hold: bool = False,
    ) -> None:
        self._target = target
        self._change, self._cut, self._pace, self._rate, self._hold = change, cut, pace, rate, hold
        self._answers = 0
        self.broken = 0
        self._lock = threading.Lock()
        self.port = free_port()
        self._server = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self._open = True

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._open = False
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while self._open:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(("127.0.0.1", self._target)) as node:
            seen = bytearray()
            forward = threading.Thread(target=self._forward, args=(client, node, seen), daemon=True)
            forward.start()
            try:
                self._relay(client, node, seen)
            finally:
                client.shutdown(socket.SHUT_RD)  # a thread that reads keeps the kernel from closing
                forward.join()

    def _relay(self, client: socket.socket, node: socket.socket, seen: bytearray) -> None:
        answer = bytearray()
        while part := node.recv(1 << 16):
            answer += part
        if PROBE in seen:
            client.sendall(answer)
            return
        with self._lock:
            number = self._answers
            self._answers += 1
            self.broken += 1
        self._answer(client, bytes(answer), number)

    def _forward(self, client: socket.socket, node: socket.socket, seen: bytearray) -> None:
        with suppress(OSError):
            while part := client.recv(1 << 16):
                if len(seen) < 1 << 16:
                    seen += part
                if self._rate and PROBE not in seen:
                    time.sleep(len(part) / self._rate)
                node.sendall(part)

    def _answer(self, client: socket.socket, answer: bytes, number: int) -> None:
        if self._hold:
            time.sleep(600)
        if self._change is not None:
            answer = self._change(answer, number)
        if self._cut is not None:
            client.sendall(answer[: self._cut])
            time.sleep(0.05)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        elif self._pace is not None:
            for byte in answer:
                client.sendall(bytes((byte,)))
                time.sleep(self._pace)
        elif self._rate:
            for at in range(0, len(answer), 512):
                client.sendall(answer[at : at + 512])
                time.sleep(min(512, len(answer) - at) / self._rate)
        else:
            client.sendall(answer)


def parts(answer: bytes) -> list[tuple[bytes, int, bytes]]:
    """(token, number, body) of an answer: DONE STAT SERR SOUT DOTO."""
    found, at = [], 0
    while at + 12 <= len(answer):
        token, number = answer[at : at + 4], int(answer[at + 4 : at + 12], 16)
        at += 12
        length = 0 if token in (b"DONE", b"STAT") else number
        found.append((token, number, answer[at : at + length]))
        at += length
    return found


def join(packets: list[tuple[bytes, int, bytes]]) -> bytes:
    return b"".join(token + b"%08x" % number + body for token, number, body in packets)


def with_object(answer: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The answer with another object (protocol 1: no compression)."""
    return join(
        [(t, len(new := change(body)), new) if t == b"DOTO" else (t, number, body) for t, number, body in parts(answer)]
    )
