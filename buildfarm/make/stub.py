"""The masquerade stub in Python, for machines where stub.c can't be compiled; the same promises, some 10 ms slower.

It decides nothing and imports nothing of ours: the masquerade directory holds a copy of it, run by `python -ISE`.
See stub.c for the theory of operation and wire.py for the bytes.  What differs is Python's own footprint: the
environment is taken from /proc/self/environ (a C locale makes Python add LC_CTYPE to `os.environ`), and the
signals that Python ignores at its start get their defaults back.
"""

# `socket`, `signal` and `struct` import enum and more; their C halves start in a third of the time.
import _signal  # type: ignore[import-not-found]
import _socket
import errno
import os
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` costs 3 ms
    from collections.abc import Generator
    from typing import NoReturn

    Attempt = tuple[bytes, list[bytes], dict[bytes, bytes]]

MARKER = b".buildfarm-masquerade"
SOCKET_VARIABLE = b"BUILDFARM_SOCKET"
SI_KERNEL = 0x80
FORWARDED = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGPIPE", "SIGUSR1", "SIGUSR2", "SIGALRM")


class Stub:
    """One call of a masqueraded tool."""

    def __init__(self, arguments: list[bytes], environment: dict[bytes, bytes], script: bytes) -> None:
        self.arguments = arguments
        self.environment = environment
        self.script = script
        self.name = arguments[0].rpartition(b"/")[2]
        self.is_make = self.name in (b"make", b"gmake")
        # `#!` replaced argv[0] by the path that was executed; a call through PATH said just the name.
        directory = arguments[0].rpartition(b"/")[0]
        if directory in environment.get(b"PATH", b"").split(b":"):
            arguments[0] = self.name

    # --- the real tool ---

    def find_tool(self) -> tuple[bytes | None, list[bytes], dict[bytes, bytes]]:
        """File, argv and environment of the real tool."""
        own = os.stat(self.script)
        tool = None
        kept = []
        for directory in self.environment.get(b"PATH", b"/bin:/usr/bin").split(b":"):
            candidate = os.path.join(directory or b".", self.name)
            masquerade = False
            if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
                if os.path.samestat(os.stat(candidate), own) or (
                    tool is None and os.path.lexists(os.path.join(directory or b".", MARKER))
                ):
                    masquerade = True
                elif tool is None:
                    tool = candidate
            if not masquerade:
                kept.append(directory)
        if self.is_make or tool is None:
            return tool, self.arguments, self.environment
        environment = {name: value for name, value in self.environment.items() if name != SOCKET_VARIABLE}
        if b"PATH" in environment:
            environment[b"PATH"] = b":".join(kept)
        # As typed, if it was a bare name: the tool's words begin with it, and its PATH leads to itself.
        called = tool if b"/" in self.arguments[0] else self.arguments[0]
        return tool, [called, *self.arguments[1:]], environment

    def attempts(self) -> "Generator[Attempt, OSError, int]":
        """Yields (file, argv, environment) to execute, and takes the OSError; the last is for the user."""
        tool, argv, environment = self.find_tool()
        if tool is None:
            self.complain(self.name, "not found on PATH")
            return 127
        tried = set()
        while True:
            error = yield tool, argv, environment
            if error.errno in tried or error.errno not in (errno.E2BIG, errno.ENOEXEC):
                self.complain(tool, error.strerror or "failed")
                return 127 if error.errno == errno.ENOENT else 126
            tried.add(error.errno)
            if error.errno == errno.E2BIG:
                environment = {k: v for k, v in environment.items() if not k.startswith(b"BUILDFARM_")}
                argv = [self.name, *argv[1:]]
            else:
                tool, argv = b"/bin/sh", [b"sh", tool, *argv[1:]]

    def complain(self, what: bytes, why: str) -> None:
        os.write(2, b"buildfarm: " + what + b": " + why.encode() + b"\n")

    def exec_real(self) -> "NoReturn":
        attempts = self.attempts()
        try:
            attempt = next(attempts)
            while True:
                try:
                    os.execve(*attempt)
                except OSError as error:
                    attempt = attempts.send(error)
        except StopIteration as end:
            os._exit(end.value)

    def run_child(self, words: int | None = None) -> int:
        """Run the real tool as a child and return its wait status.  `words`: its stderr, if not ours."""
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        watched = {_signal.SIGCHLD}
        for signal_name in FORWARDED:
            number = getattr(_signal, signal_name)
            if _signal.getsignal(number) != _signal.SIG_IGN:
                watched.add(number)
        before = _signal.pthread_sigmask(_signal.SIG_BLOCK, watched)
        actions = [] if words is None else [(os.POSIX_SPAWN_DUP2, words, 2)]
        attempts = self.attempts()
        try:
            attempt = next(attempts)
            while True:
                try:
                    child = os.posix_spawn(*attempt, setsigmask=before, file_actions=actions)
                    break
                except OSError as error:
                    attempt = attempts.send(error)
        except StopIteration as end:
            status = end.value << 8
        else:
            while True:
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    break
                information = _signal.sigwaitinfo(watched)
                if information.si_signo != _signal.SIGCHLD and information.si_code != SI_KERNEL:
                    os.kill(child, information.si_signo)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
        return int(status)

    # --- the conversation ---

    def connect(self) -> _socket.socket | None:
        path = self.environment.get(SOCKET_VARIABLE)
        if not path:
            return None
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            connection.connect(path)
            peer = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        except OSError:
            return None
        return connection if int.from_bytes(peer[4:8], sys.byteorder) == os.geteuid() else None

    def call_message(self) -> bytes:
        variables = [name + b"=" + value for name, value in self.environment.items()]
        texts = [
            self.name,
            self.arguments[0],
            b"%d" % os.getpid(),
            os.getcwdb(),
            b"%d" % len(self.arguments),
            *self.arguments,
            b"%d" % len(variables),
            *variables,
            b"",
        ]
        body = b"\0".join(texts)
        return b"BFS1" + len(body).to_bytes(4, "little") + body

    def run_and_report(self, connection: _socket.socket, path: bytes | None) -> "NoReturn":
        """Run the tool, say how it ended, and end likewise.  `path`: of the file for its words."""
        words = None if path is None else open_words(path)
        status = self.run_child(words)
        if words is not None:
            print_words(words)
        try:
            transmit(connection, b"S" + status.to_bytes(4, "little"))
            receive(connection, 1)
        except (OSError, EOFError):
            pass  # the conductor is gone, the tool's work is done
        if path is not None and words is not None:
            try:
                os.unlink(path)
            except OSError:
                pass
        end_with(status)

    def converse(self, connection: _socket.socket) -> None:
        """Do what the conductor says.  Raises OSError or EOFError when it is gone; returns for E and M."""
        transmit(connection, self.call_message())
        while True:
            answer = receive(connection, 1)
            if answer == b"R":
                self.run_and_report(connection, None)
            elif answer == b"C":
                self.run_and_report(connection, receive_text(connection))
            elif answer == b"M":
                self.environment[b"MAKEFLAGS"] = receive_text(connection)
                return
            elif answer == b"D":
                head = receive(connection, 16)
                status, *lengths = (int.from_bytes(head[at : at + 4], "little") for at in (0, 4, 8, 12))
                output, errors, pairs = (receive(connection, length) for length in lengths)
                error = install(pairs)
                try:
                    transmit(connection, b"A" + error.to_bytes(4, "little"))
                except OSError:
                    if error:
                        raise
                if not error:
                    print_whole(1, output)
                    print_whole(2, errors)
                    end_with(status)
            else:
                return


def transmit(connection: _socket.socket, data: bytes) -> None:
    connection.sendall(data, _socket.MSG_NOSIGNAL)


def receive(connection: _socket.socket, length: int) -> bytes:
    pieces = []
    while length:
        piece = connection.recv(min(length, 1 << 20))
        if not piece:
            raise EOFError
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def receive_text(connection: _socket.socket) -> bytes:
    return receive(connection, int.from_bytes(receive(connection, 4), "little"))


def open_words(path: bytes) -> int | None:
    """The file for the tool's words, made anew; None where there is to be none."""
    try:
        return None if os.isatty(2) or os.fstat(2) is None else os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        return None


def print_words(words: int) -> None:
    at = 0
    while piece := os.pread(words, 65536, at):
        print_whole(2, piece)
        at += len(piece)


def apply_umask(path: bytes) -> None:
    """The conductor wrote the file under its own umask, which a recipe may have changed for the tool."""
    mask = os.umask(0)
    os.umask(mask)
    usual = os.environ.get("BUILDFARM_UMASK")
    if usual is None or int(usual, 8) != mask:
        os.chmod(path, 0o666 & ~mask)


def install(pairs: bytes) -> int:
    """Rename (from, to) pairs; 0 or the errno of the first that failed."""
    paths = pairs.split(b"\0")[:-1]
    try:
        for source, target in zip(paths[::2], paths[1::2], strict=True):
            apply_umask(source)
            os.rename(source, target)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def print_whole(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
        except OSError:
            return


def end_with(status: int) -> "NoReturn":
    """End as a process of this wait status ended."""
    number = status & 0x7F
    if number:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if number not in (_signal.SIGKILL, _signal.SIGSTOP):
            _signal.signal(number, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
        os._exit(128 + number)
    os._exit(status >> 8 & 0xFF)


def _has_streams() -> bool:
    try:
        return os.fstat(1) is not None and os.fstat(2) is not None
    except OSError:
        return False


def main() -> "NoReturn":
    """Stand in for the tool that argv[0] names."""
    with open("/proc/self/cmdline", "rb") as file:
        words = file.read().split(b"\0")[:-1]
    # python, its options, the script as it was executed, the call's arguments
    first = len(words) - len(sys.argv)
    with open("/proc/self/environ", "rb") as file:
        variables = file.read().split(b"\0")[:-1]
    environment: dict[bytes, bytes] = {}
    for variable in variables:
        name, separator, value = variable.partition(b"=")
        if separator:
            environment.setdefault(name, value)
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)
    if _signal.getsignal(_signal.SIGINT) == _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    stub = Stub(words[first:], environment, words[first])
    if stub.name == b"buildfarm-stub":
        os.write(1, b"BFS1\n")
        os._exit(0)
    connection = stub.connect() if stub.is_make or _has_streams() else None
    if connection is not None:
        try:
            stub.converse(connection)
        except (OSError, EOFError):
            pass
    stub.exec_real()


if __name__ == "__main__":
    main()
