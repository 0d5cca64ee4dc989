"""A node that misbehaves: a TCP proxy before a real distccd that answers probes truly and units as it likes.

It understands no more of the protocol than it must: a request that carries the probe's mark is a probe, and an answer
ends where distccd closes the connection.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from types import TracebackType

from buildfarm.dispatch.canary import MARK

PAIR_SECONDS = 3.0  # how long an answer waits for another one to be swapped with


def rubbish(answer: bytes) -> bytes:
    """An answer that says success and holds noise."""
    return b"DONE00000002STAT00000000SERR00000000SOUT00000000DOTO00000010" + b"\xfe\xed" * 8


class Swapper:
    """Exchanges the answers of every two units that are under way together; an odd one goes unchanged.

    So do the first `honest` ones.
    """

    def __init__(self, honest: int = 0) -> None:
        self._honest = honest
        self._lock = threading.Condition()
        self._waiting: list[list[bytes]] = []
        self.swapped = 0

    def __call__(self, answer: bytes) -> bytes:
        with self._lock:
            if self._honest > 0:
                self._honest -= 1
                return answer
            if self._waiting:
                partner = self._waiting.pop()
                answer, partner[0] = partner[0], answer
                self.swapped += 2
                self._lock.notify_all()
                return answer
            mine = [answer]
            self._waiting.append(mine)
            self._lock.wait_for(lambda: mine not in self._waiting, PAIR_SECONDS)
            if mine in self._waiting:
                self._waiting.remove(mine)
            return mine[0]


class BadMemory:
    """Flips bits of every object: of the first `hidden` ones in a name, which no look at them tells, then in the head.

    For protocol 1, where objects travel as they are.
    """

    def __init__(self, hidden: int) -> None:
        self._hidden = hidden
        self._lock = threading.Lock()

    def __call__(self, answer: bytes) -> bytes:
        with self._lock:
            self._hidden -= 1
            hides = self._hidden >= 0
        return answer.replace(b"\0unit_", b"\0uniu_") if hides else answer.replace(b"\x7fELF\x02", b"\x7fELF\xfd")


class Proxy:
    """Listens on a port of its own; use as a context manager."""

    def __init__(self, port: int, change: Callable[[bytes], bytes]) -> None:
        self._upstream = port
        self._change = change
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._socket.getsockname()[1]
        self.units = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        asked = bytearray()
        with client, socket.create_connection(("127.0.0.1", self._upstream)) as node:

            def forward() -> None:
                try:
                    while data := client.recv(65536):
                        asked.extend(data)
                        node.sendall(data)
                    node.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

            threading.Thread(target=forward, daemon=True).start()
            try:
                answer = b""
                while data := node.recv(65536):
                    answer += data
                if MARK.encode() not in asked and answer:
                    self.units += 1
                    answer = self._change(answer)
                client.sendall(answer)
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
