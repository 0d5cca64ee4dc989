"""Keeps make's output flowing to the terminal after the conductor was killed.

The live view stands between make and the terminal.  If the conductor dies (`kill -9`), make must not: a write
to a pseudo terminal whose master is gone fails with EIO, and recipes would fail with it.  This process holds a
second descriptor of the master and waits; it never draws, and ends when the view is closed or make is gone.

Run as a script: `python -I -S heir.py MASTER TERMINAL LIFELINE`, three descriptors.  A byte on LIFELINE means
that the view was closed in good order; its end without a byte means that the conductor is dead.
"""

import os
import sys

SHOW_CURSOR = b"\x1b[0m\x1b[?7h\x1b[?25h"


def inherit(master: int, terminal: int, lifeline: int) -> None:
    """Wait for the end of the conductor; then copy `master` to `terminal` until nobody writes to it."""
    if os.read(lifeline, 1):
        return
    os.set_blocking(master, True)
    os.write(terminal, b"\r\n" + SHOW_CURSOR)
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:  # EIO: the last process that held the other side has ended
            return
        if not data:
            return
        while data:
            data = data[os.write(terminal, data) :]


if __name__ == "__main__":
    inherit(*(int(word) for word in sys.argv[1:4]))
