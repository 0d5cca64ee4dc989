"""One build at a time in a tree: a lock that dies with its holder, and a file that says who holds it.

The kernel's lock (flock(2), by `filelock`) is let go however its holder ends, so that nothing ever needs to be
unlocked by hand; the owner file beside it only names the holder.  Where a file system has no such locks, the
owner file decides: a holder counts while its boot id, pid and start time all fit a living process (there two
runs that start within the same millisecond are not kept apart).
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from buildfarm.errors import MachineError, NoStateHere, TreeLocked
from buildfarm.state.identity import ProcessIdentity
from buildfarm.state.place import CLOSED, prepare_directory

NO_LOCKS_HERE = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL})


class TreeLock:
    """The lock of one tree; a context manager, or `acquire` and `release`.

    `state_dir` is the tree's `.buildfarm`, made if need be.  Take the lock before the journal is opened: opening
    may set a damaged database aside, which must not be one in use.  After `acquire`, `left_behind` is the holder before
    if it died without letting go, and `left_token` the token of its build.  `token` is this build's; without one the
    holder only looks, and what it found left behind is there again for the next when it lets go.
    """

    def __init__(self, state_dir: Path, *, token: str = "") -> None:
        self._state_dir = state_dir
        self._token = token
        self._found: bytes | None = None
        self.left_token = ""
        self._owner = state_dir / "lock.owner"
        self._lock = FileLock(state_dir / "lock", timeout=0, thread_local=False)
        self._held = False
        self.left_behind: ProcessIdentity | None = None

    def acquire(self) -> None:
        """Take the lock at once or raise: TreeLocked names the holder's pid, MachineError says what is wrong.

        NoStateHere is one: where this user may write to nothing of it, and no build runs in the tree.
        """
        if self._held:
            return
        prepare_directory(self._state_dir)
        try:
            self._lock.acquire()
        except Timeout:
            raise self._locked(self._holder_soon()) from None
        except (OSError, NotImplementedError) as error:
            number = errno.ENOSYS if isinstance(error, NotImplementedError) else error.errno
            if number in CLOSED:
                holder = read_owner(self._state_dir)
                if holder is not None and holder.is_alive():
                    raise self._locked(holder) from error
                raise NoStateHere(
                    f"{self._state_dir}: can't lock this tree: {os.strerror(number)}",
                    hint="make the directory writable for this user",
                ) from error
            if number not in NO_LOCKS_HERE:
                raise MachineError(
                    f"{self._state_dir}: can't lock this tree: {error}",
                    hint="make the directory writable for this user",
                ) from error
            self._acquire_by_owner_file()
        self.left_behind = read_owner(self._state_dir)
        if self.left_behind is not None:
            self._found = self._owner.read_bytes()
            token = json.loads(self._found).get("token")
            self.left_token = token if isinstance(token, str) else ""
        try:
            self._write_owner()
        except OSError as error:
            self._lock.release()
            raise MachineError(f"{self._owner}: {error.strerror}", hint="free space on this disk") from error
        self._held = True

    def release(self) -> None:
        """Let go; harmless when not held."""
        if not self._held:
            return
        self._held = False
        try:
            if self._found is not None and not self._token:
                self._owner.write_bytes(self._found)
            else:
                self._owner.unlink(missing_ok=True)
        except OSError:
            pass  # `forget` has removed it all, or the disk is full: the next holder finds us, dead
        finally:
            self._lock.release()

    def __enter__(self) -> TreeLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _acquire_by_owner_file(self) -> None:
        holder = read_owner(self._state_dir)
        if holder is not None and holder.is_alive():
            raise self._locked(holder)

    def _holder_soon(self) -> ProcessIdentity | None:
        """Who holds the lock.  A holder that has only just taken it may not have said so yet."""
        for _ in range(20):
            holder = read_owner(self._state_dir)
            if holder is not None and holder.is_alive():
                return holder
            time.sleep(0.01)
        return read_owner(self._state_dir)

    def _locked(self, holder: ProcessIdentity | None) -> TreeLocked:
        who = f"pid {holder.pid}" if holder else "its pid is not known"
        return TreeLocked(
            f"{self._state_dir.parent}: another build runs in this tree ({who})",
            hint="`buildfarm status --wait` waits for it to end",
        )

    def _write_owner(self) -> None:
        identity = ProcessIdentity.current()
        record = {
            "pid": identity.pid,
            "start": identity.start,
            "boot_id": identity.boot_id,
            "host": socket.gethostname(),
            "token": self._token,
        }
        fresh = self._owner.with_name(f"{self._owner.name}.{identity.pid}")
        fresh.write_text(json.dumps(record) + "\n", encoding="utf-8")
        os.replace(fresh, self._owner)


def read_owner(state_dir: Path) -> ProcessIdentity | None:
    """Who said last that it holds the tree's lock; None when nobody did, or the file is not readable."""
    try:
        record = json.loads((state_dir / "lock.owner").read_bytes())
        return ProcessIdentity(int(record["pid"]), int(record["start"]), str(record["boot_id"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
