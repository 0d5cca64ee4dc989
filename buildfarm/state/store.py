"""Results that make has not asked for yet, kept on disk between its recipes and between builds.

One file for each fingerprint under `.buildfarm/store/`, bounded in bytes, the least recently used going first.
It does not judge whether a result still fits its inputs: it hands back what they were, and the caller compares.

Each file ends in the hash of all that stands before it and comes into being by a rename, so a crash leaves it
whole or not at all; a cut of power may leave rubbish, which the hash tells and which is dropped.  Nothing is
fsynced: a lost result is only compiled again.  The journal's table `stored` keeps the order of use, of many at
once; a file without a row is adopted at the next start, a row without a file forgotten.

make asks for most results soon after they came: the last few are also in memory, and need not be read.
"""

from __future__ import annotations

import json
import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import CancelledError
from hashlib import blake2b
from pathlib import Path

from buildfarm.state.database import JournalError
from buildfarm.state.digest import SIZE, digest_bytes
from buildfarm.state.encoding import pack
from buildfarm.state.journal import Journal
from buildfarm.state.writer import JournalWriter
from buildfarm.value import dataclass

MAGIC = b"BFSTORE1"
DEFAULT_LIMIT = 2 << 30  # bytes
RECENT_LIMIT = 4 << 20  # bytes of results in memory


@dataclass(frozen=True, slots=True)
class StoredResult:
    """What one unit's compile gave.

    `outputs` are the bytes by output path as the unit names it (the object, `.mod` files, the depfile);
    `inputs` the digest of every file that was read, by absolute path.
    """

    outputs: Mapping[str, bytes]
    inputs: Mapping[str, str]
    stdout: bytes = b""
    stderr: bytes = b""
    seconds: float = 0.0
    node: str | None = None
    bytes_sent: int = 0
    bytes_received: int = 0


class ObjectStore:
    """Thread-safe; never raises for the disk's sake: what can't be stored or read is just not there."""

    def __init__(self, state_dir: Path, writer: JournalWriter, limit: int = DEFAULT_LIMIT) -> None:
        """Takes up what is there; `limit` in bytes."""
        self._directory = state_dir / "store"
        self._writer = writer
        self._limit = limit
        self._lock = threading.Lock()
        self._sizes: OrderedDict[str, int] = OrderedDict()  # by file name, the least recently used first
        self._bytes = 0
        self._use = 0
        self._recent: OrderedDict[str, tuple[int, StoredResult]] = OrderedDict()  # with their files' sizes
        self._recent_bytes = 0
        self._unnoted: dict[str, int | None] = {}  # uses that the journal is about to be told
        self._notes_lock = threading.Lock()  # the journal's thread takes it, and must not wait for a file
        self._load()

    @property
    def bytes(self) -> int:
        """Bytes on disk."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._sizes)

    def __contains__(self, fingerprint: str) -> bool:
        with self._lock:
            return _name(fingerprint) in self._sizes

    def put(self, fingerprint: str, result: StoredResult) -> bool:
        """Keep a result, instead of any earlier one; False: too big, or the disk would not take it."""
        content = _pack(result)
        name = _name(fingerprint)
        if len(content) > self._limit:
            return False
        with self._lock:
            if not _write(self._directory / name, content):
                return False
            self._bytes += len(content) - self._sizes.pop(name, 0)
            self._sizes[name] = len(content)
            self._used(name)
            self._remember(name, len(content), result)
            while self._bytes > self._limit:
                self._drop(next(iter(self._sizes)))
        return True

    def recent(self, fingerprint: str) -> StoredResult | None:
        """The result, if it came lately: no file is read."""
        with self._lock:
            known = self._recent.get(_name(fingerprint))
        return None if known is None else known[1]

    def get(self, fingerprint: str) -> StoredResult | None:
        """The result, whole by its hash, or None."""
        name = _name(fingerprint)
        with self._lock:
            if name not in self._sizes:
                return None
            try:
                result = _unpack((self._directory / name).read_bytes())
            except (OSError, ValueError):
                self._drop(name)
                return None
            self._sizes.move_to_end(name)
            self._used(name)
            return result

    def discard(self, fingerprint: str) -> None:
        """Forget a result: delivered, or no longer what its inputs are."""
        with self._lock:
            if _name(fingerprint) in self._sizes:
                self._drop(_name(fingerprint))

    def discard_made_on(self, node: str) -> None:
        """Forget all that this node has made."""
        with self._lock:
            for name in [name for name in self._sizes if _maker(self._directory / name) == node]:
                self._drop(name)

    # --- the rest runs under the lock --------------------------------------------------------------------

    def _load(self) -> None:
        try:
            order = self._writer.submit(lambda journal: journal.stored_uses()).result(timeout=5.0)
        except (JournalError, TimeoutError, CancelledError):
            order = {}
        try:
            files = list(self._directory.iterdir())
        except OSError:
            files = []
        found = {}
        for file in files:
            if file.suffix == ".new":
                _remove(file)
            else:
                found[file.name] = file.stat().st_size
        for name in sorted(found, key=lambda name: order.get(name, 0)):
            self._sizes[name] = found[name]
        self._bytes = sum(found.values())
        self._use = max(order.values(), default=0)
        for name in order.keys() - found.keys():
            self._note(name, None)
        while self._bytes > self._limit:
            self._drop(next(iter(self._sizes)))

    def _remember(self, name: str, size: int, result: StoredResult) -> None:
        self._forget(name)
        self._recent[name] = (size, result)
        self._recent_bytes += size
        while self._recent_bytes > RECENT_LIMIT:
            self._forget(next(iter(self._recent)))

    def _forget(self, name: str) -> None:
        known = self._recent.pop(name, None)
        if known is not None:
            self._recent_bytes -= known[0]

    def _used(self, name: str) -> None:
        self._use += 1
        self._note(name, self._use)

    def _drop(self, name: str) -> None:
        self._bytes -= self._sizes.pop(name)
        self._forget(name)
        _remove(self._directory / name)
        self._note(name, None)

    def _note(self, name: str, use: int | None) -> None:
        with self._notes_lock:
            underway = bool(self._unnoted)
            self._unnoted[name] = use
        if underway:
            return  # the journal's next commit takes it along

        noted: dict[str, int | None] = {}  # outlives a transaction that is undone for another's fault, and tried anew

        def write(journal: Journal) -> None:
            with self._notes_lock:
                noted.update(self._unnoted)
                self._unnoted.clear()
            for name, use in noted.items():
                journal.set_stored(name, use)

        try:
            self._writer.submit(write, durable=False)
        except JournalError:
            pass  # closed: only the order of use is lost


def keep(state_dir: Path, fingerprint: str, result: StoredResult) -> bool:
    """Put a result where the next `ObjectStore` takes it up; False: the disk would not take it."""
    return _write(state_dir / "store" / _name(fingerprint), _pack(result))


def stored_results(state_dir: Path) -> int:
    """How many results a store holds; for those who only look."""
    try:
        return sum(file.suffix != ".new" for file in (state_dir / "store").iterdir())
    except OSError:
        return 0


def _name(fingerprint: str) -> str:
    return digest_bytes(pack(fingerprint))


def _write(file: Path, content: bytes) -> bool:
    fresh = file.with_name(f"{file.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(content)
        os.replace(fresh, file)
    except OSError:
        _remove(fresh)
        return False
    return True


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError:
        pass  # it will be found again at the next start


def _pack(result: StoredResult) -> bytes:
    head = json.dumps(
        {
            "outputs": [[path, len(content)] for path, content in result.outputs.items()],
            "inputs": list(result.inputs.items()),
            "stdout": len(result.stdout),
            "stderr": len(result.stderr),
            "seconds": result.seconds,
            "node": result.node,
            "sent": result.bytes_sent,
            "received": result.bytes_received,
        }
    ).encode("ascii")  # what is not ASCII is escaped, lone surrogates too
    body = b"".join((MAGIC, struct.pack("<I", len(head)), head, *result.outputs.values(), result.stdout, result.stderr))
    return body + blake2b(body, digest_size=SIZE).digest()


def _maker(file: Path) -> str | None:
    """The node that has made a result; None: none has, or this is no result."""
    try:
        with file.open("rb") as content:
            content.seek(len(MAGIC))
            (length,) = struct.unpack("<I", content.read(4))
            node = json.loads(content.read(length))["node"]
    except (OSError, ValueError, LookupError, TypeError, struct.error):
        return None  # by its hash, `get` finds that out
    return node if isinstance(node, str) else None


def _unpack(content: bytes) -> StoredResult:
    """Raises ValueError when it is not what `_pack` wrote."""
    body, digest = content[:-SIZE], content[-SIZE:]
    if body[: len(MAGIC)] != MAGIC or blake2b(body, digest_size=SIZE).digest() != digest:
        raise ValueError("not a whole result")
    (length,) = struct.unpack_from("<I", body, len(MAGIC))
    at = len(MAGIC) + 4 + length
    head = json.loads(body[len(MAGIC) + 4 : at])
    parts = []
    for size in (*(size for _, size in head["outputs"]), head["stdout"], head["stderr"]):
        parts.append(body[at : at + size])
        at += size
    return StoredResult(
        outputs={path: part for (path, _), part in zip(head["outputs"], parts, strict=False)},
        inputs=dict(head["inputs"]),
        stdout=parts[-2],
        stderr=parts[-1],
        seconds=head["seconds"],
        node=head["node"],
        bytes_sent=head.get("sent", 0),  # a store of before the traffic was kept has neither
        bytes_received=head.get("received", 0),
    )
