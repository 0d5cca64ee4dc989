"""make's first moments, before there is a conductor to serve its calls: whether one is needed at all.

It answers nothing but the calls of make itself, which always become the real make, and it imports no asyncio: a make
that finds everything up to date, recursive or not, has ended before any of that would have been of use.

Theory of operation.  `wait` polls the running make, the socket and a pipe for signals.  A stub that calls for anything
else than make ends the wait; so does a signal that asks us to stop, and so does patience.  Stubs that were heard by
then wait in `calls` for the server, which answers them as if it had accepted them itself.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

from buildfarm.make import wire
from buildfarm.make.instance import flags_in_order
from buildfarm.make.listener import Listener
from buildfarm.model import Invocation
from buildfarm.value import dataclass

MAKES = frozenset({"make", "gmake"})
_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class EarlyCall:
    """A stub that was heard before there was a server; `call` None: it has not said all yet."""

    peer: socket.socket
    reader: wire.MessageReader
    call: wire.Call | None


class StopSignals:
    """Collects the signals that ask us to stop, from `hear` on.  What was ignored stays so, as make has it (main.c)."""

    def __init__(self, numbers: Sequence[signal.Signals]) -> None:
        self.heard: list[signal.Signals] = []
        self.numbers = tuple(number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN)
        self.descriptor, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._before: dict[signal.Signals, Any] = {}

    def hear(self) -> None:
        """Take the signals from whoever had them."""
        for number in self.numbers:
            self._before[number] = signal.signal(number, self._take)

    def close(self) -> None:
        """Give them back to whoever had them; one that has handlers of somebody else by now stays with him."""
        for number, before in self._before.items():
            if signal.getsignal(number) == self._take:
                signal.signal(number, before)
        os.close(self.descriptor)
        os.close(self._write)

    def _take(self, number: int, _: FrameType | None) -> None:
        self.heard.append(signal.Signals(number))
        try:
            os.write(self._write, b"x")
        except BlockingIOError:
            pass


class Prelude:
    """`started` has the recursive makes that were let go on, `calls` the stubs that wait for a conductor."""

    def __init__(self, listener: Listener, *, keeps_goals: bool = False) -> None:
        self._listener = listener
        self._keeps_goals = keeps_goals  # recursive makes build several goals in their order
        self._unheard: dict[int, tuple[socket.socket, wire.MessageReader]] = {}  # by descriptor
        self.started: list[Invocation] = []
        self.calls: list[EarlyCall] = []

    def wait(self, make: int, stop: StopSignals, seconds: float) -> bool:
        """Whether make (its pid) has ended by itself before anybody was needed; at most `seconds`."""
        try:
            ended = os.pidfd_open(make)
        except (AttributeError, OSError):  # Linux before 5.3: the conductor knows another way
            return False
        try:
            poll = select.poll()
            for descriptor in (ended, self._listener.socket.fileno(), stop.descriptor):
                poll.register(descriptor, select.POLLIN)
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                ready = [descriptor for descriptor, _ in poll.poll(left * 1000)]
                if stop.heard or not self._hear(ready, poll):
                    return False
                if ended in ready:
                    return not self._unheard
            return False
        finally:
            os.close(ended)
            self.calls += [EarlyCall(peer, reader, None) for peer, reader in self._unheard.values()]

    def _hear(self, ready: Sequence[int], poll: select.poll) -> bool:
        """Listen to who has something to say; False: somebody else must answer."""
        if self._listener.socket.fileno() in ready:
            try:
                for peer in self._listener.accept():
                    self._unheard[peer.fileno()] = peer, wire.MessageReader()
                    poll.register(peer, select.POLLIN)
                    if not self._read(peer.fileno(), poll):
                        return False
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                return False
        return all(self._read(descriptor, poll) for descriptor in ready if descriptor in self._unheard)

    def _read(self, descriptor: int, poll: select.poll) -> bool:
        """Take in what a stub says and let it go on if it is a make's; False: it is not."""
        peer, reader = self._unheard[descriptor]
        try:
            data = peer.recv(_PIECE)
            messages = reader.feed(data)
        except (BlockingIOError, InterruptedError):
            return True
        except (OSError, wire.PeerError):
            data, messages = b"", []
        if data and not messages:
            return True
        poll.unregister(descriptor)
        del self._unheard[descriptor]
        call = messages[0] if messages else None
        if isinstance(call, wire.Call) and call.name not in MAKES:
            self.calls.append(EarlyCall(peer, reader, call))
            return False
        if isinstance(call, wire.Call):
            made = call.invocation
            self.started.append(made)
            try:
                peer.send(wire.encode_exec(flags_in_order(made.argv, made.env) if self._keeps_goals else None))
            except OSError:
                pass  # it was killed meanwhile
        peer.close()
        return True
