"""The live view of a running build on a terminal, with make's own output above it.

It owns the pseudo terminal that make writes to and the one thread that copies and draws; it keeps no numbers
of its own (`progress` does) and chooses no layout (`view` does).

Theory of operation.  make and its recipes get the slave side of a pseudo terminal for each of stdout and stderr
that is a terminal, so compilers keep their colours and line lengths; a stream that was redirected is inherited
untouched.  One thread waits for output, copies it above the region, and redraws at most every `FRAME` seconds,
less often when drawing costs more than a twentieth of the time (a Pi's core has better work).  Terminal modes
that a full-screen program sets on the pseudo terminal are repeated on the real one, so `make menuconfig` works.
On Ctrl-Z the thread takes the region away, and the main thread, where Python runs signal handlers, stops us all.
Events come from the conductor's thread and only change the model, under a lock.  If this process is killed,
`heir` goes on copying.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from buildfarm.model import NodeStatus
from buildfarm.report import heir
from buildfarm.report.progress import Progress
from buildfarm.report.region import Region
from buildfarm.report.reporter import BuildStarted, Retry, Summary, Totals, UnitDone, UnitStarted

FRAME = 0.125
"""Seconds between two frames at best."""

SLOWEST_FRAME = 1.0
"""Seconds between two frames at worst; the first one has imported what draws."""

DRAIN = 0.2
"""Seconds of silence after which a pseudo terminal that somebody still holds counts as drained."""

WITHDRAWAL = 0.5
"""Seconds at most between Ctrl-Z and the stop: the thread may wait for a lock that the stopping thread holds."""

Drawing = Callable[[int, int], Sequence[str]]
"""Columns and rows of the terminal in, lines of the region out."""


class LiveReporter:
    """The `Reporter` for terminals.  `terminal` is a descriptor of one; `drawing` is called under the lock."""

    def __init__(
        self, terminal: int, *, progress: Progress, drawing: Drawing, say: Callable[[object], str | None]
    ) -> None:
        self._terminal = terminal
        self._progress = progress
        self._drawing = drawing
        self._say = say
        self._lock = threading.Lock()
        self._region = Region()
        self._size = (80, 24)
        self._held: list[str] = []  # said while a full-screen program had the terminal
        self._stopping = False
        self._closed = False
        self._visible = False
        self._real_modes = termios.tcgetattr(terminal)
        self._master, self.slave = os.openpty()
        os.set_blocking(self._master, False)
        tty.setraw(self.slave)
        modes = termios.tcgetattr(self.slave)
        modes[3] |= termios.ICANON | termios.ISIG  # so that a change that a program makes is seen as one
        termios.tcsetattr(self.slave, termios.TCSANOW, modes)
        self._slave_modes = termios.tcgetattr(self.slave)
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._suspending = False
        self._withdrawn = threading.Event()
        self._can_stop = signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL
        if self._can_stop:
            signal.signal(signal.SIGTSTP, self._suspend)
        self._heir, self._lifeline = self._appoint_heir()
        self._resize()
        self._thread = threading.Thread(target=self._run, name="live view", daemon=True)
        self._thread.start()

    # --- the reporter's methods: called from the conductor's thread ------------------------------------------

    def started(self, event: BuildStarted) -> None:
        self._tell(event, lambda: self._progress.started(event))
        self._visible = True

    def totals(self, event: Totals) -> None:
        self._tell(event, lambda: self._progress.totals(event))

    def unit_started(self, event: UnitStarted) -> None:
        self._tell(event, lambda: self._progress.unit_started(event))

    def unit_done(self, event: UnitDone) -> None:
        self._tell(event, lambda: self._progress.unit_done(event))

    def retry(self, event: Retry) -> None:
        self._tell(event, lambda: self._progress.retry(event))

    def node_changed(self, node: NodeStatus, time: float) -> None:
        self._tell(node, lambda: self._progress.node_changed(node, time))

    def set_aside(self, step: int, time: float) -> None:
        self._progress.set_aside(step, time)

    def note(self, text: str) -> None:
        self._tell(text, lambda: None)

    def finished(self, event: Summary) -> None:
        self._progress_finished(event)
        self.close()
        line = self._say(event)
        lines = [*self._held, line] if line else self._held
        start = "\r\n" if lines and self._region.unfinished else ""
        self._write((start + "".join(line + "\r\n" for line in lines)).encode("utf-8", "replace"))

    def close(self) -> None:
        """Stop drawing, let make's last output out and give the terminal back.  May be called twice."""
        if self._closed:
            return
        self._closed = True
        if self._can_stop:
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        self._stopping = True
        os.write(self._wake_write, b"x")
        self._thread.join()
        os.close(self.slave)
        self._drain()
        self._write(self._region.close(self._size[0]))
        with contextlib.suppress(termios.error):
            if termios.tcgetattr(self._terminal) != self._real_modes:
                termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._real_modes)
        with contextlib.suppress(OSError):
            os.write(self._lifeline, b".")
        for descriptor in (self._lifeline, self._master, self._wake_read, self._wake_write):
            os.close(descriptor)
        self._heir.wait()

    # --- the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        due, cost = time.monotonic() + FRAME, 0.0
        while not self._stopping:
            wait = max(0.0, due - time.monotonic())
            ready, _, _ = select.select([self._master, self._wake_read], [], [], wait)
            with self._lock:
                if self._wake_read in ready and not self._stopping:
                    os.read(self._wake_read, 1)
                    self._write(self._region.close(self._size[0]))
                    self._withdrawn.set()
                copied = self._master in ready and self._copy()
                now = time.monotonic()
                if now < due and not copied:
                    continue
                self._resize()
                self._repeat_modes()
                if self._visible and not self._suspending and self._in_foreground():
                    begun = time.thread_time()  # no time in which all is stopped
                    self._write(self._region.draw(self._drawing(*self._size), self._size[0]))
                    cost = time.thread_time() - begun
                due = now + max(FRAME, min(20 * cost, SLOWEST_FRAME))

    def _copy(self) -> bool:
        """Copy what make has written; whether anything above the region has changed."""
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:
            return False
        out = self._region.text(data, self._size[0])
        self._write(out)
        return bool(out)

    def _drain(self) -> None:
        with self._lock:
            while select.select([self._master], [], [], DRAIN)[0]:
                try:
                    data = os.read(self._master, 1 << 16)
                except OSError:  # EIO: no process holds the slave side any more
                    return
                self._write(self._region.text(data, self._size[0]))

    def _tell(self, event: object, apply: Callable[[], None]) -> None:
        with self._lock:
            apply()
            line = None if self._closed else self._say(event)
            if line and self._region.passing:
                self._held.append(line)
            elif line:
                self._write(self._region.say(line, self._size[0]))

    def _progress_finished(self, event: Summary) -> None:
        with self._lock:
            self._progress.finished(event)

    # --- the terminal ----------------------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        """Write all of `data`; a terminal that has gone away (hang-up) is nobody's error."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._terminal, view) :]
            except BlockingIOError:
                select.select([], [self._terminal], [])
            except OSError:
                return

    def _resize(self) -> None:
        try:
            size = os.get_terminal_size(self._terminal)
        except OSError:
            return
        if size != self._size and size.columns > 0 and size.lines > 0:
            self._size = (size.columns, size.lines)
            packed = struct.pack("HHHH", size.lines, size.columns, 0, 0)
            with contextlib.suppress(OSError):
                fcntl.ioctl(self.slave, termios.TIOCSWINSZ, packed)

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        """Stop as a program stops that draws nothing; called in the main thread, wherever that stands."""
        self._withdrawn.clear()
        self._suspending = True
        os.write(self._wake_write, b"z")
        self._withdrawn.wait(WITHDRAWAL)
        signal.signal(number, signal.SIG_DFL)  # so that the kernel decides: it stops no orphaned group
        os.kill(os.getpid(), number)
        signal.signal(number, self._suspend)
        self._suspending = False

    def _in_foreground(self) -> bool:
        try:
            return os.tcgetpgrp(self._terminal) == os.getpgrp()
        except OSError:
            return True  # not our controlling terminal: nobody else's job control applies

    def _repeat_modes(self) -> None:
        """Repeat on the real terminal what a program has set on the pseudo terminal that it took for it."""
        try:
            modes = termios.tcgetattr(self.slave)
        except termios.error:
            return
        if modes == self._slave_modes:
            return
        self._slave_modes = modes
        wanted: list[Any] = list(self._real_modes)
        cooked = termios.ICANON | termios.ECHO
        wanted[3] = (self._real_modes[3] & ~cooked) | (modes[3] & termios.ICANON and self._real_modes[3] & cooked)
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._terminal, termios.TCSADRAIN, wanted)

    def _appoint_heir(self) -> tuple[subprocess.Popen[bytes], int]:
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        descriptors = (self._master, self._terminal, read_end)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(heir.__file__)), *map(str, descriptors)],
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(read_end)
        return process, write_end
