"""Nodes that die and networks that fail, while units are on them."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.farm import Farm, free_port, wait_until
from tests.faults import room
from tests.faults.matrix import Finding, NotHere, fault
from tests.faults.node import Relay

GROUP = "Nodes and networks"
PATIENCE = 60.0  # seconds that plain make is given; distcc's own timeout is 300


def _with_farm(directory: Path, disturb: Callable[[Farm], None], nodes: int = 2) -> Finding:
    """`disturb` happens to the first of the nodes once two compilers run; a gate keeps them running."""
    found = []
    for ours in (False, True):
        tree = room.fresh(directory, "ours" if ours else "plain")
        with Farm(count=nodes, jobs=2, gated=True, options="") as farm:
            done = threading.Event()

            def act(farm: Farm = farm, done: threading.Event = done) -> None:
                wait_until(lambda: len(farm.started()) >= 2, "two compilers", 60)
                farm.close_gate()
                time.sleep(0.3)
                disturb(farm)
                farm.open_gate()
                done.set()

            actor = threading.Thread(target=act, daemon=True)
            actor.start()
            begun = time.monotonic()
            if ours:
                result = room.run(tree, farm.hosts)
                held, words = room.judged(tree, result, {})
                seconds = time.monotonic() - begun
            else:
                code, _ = room.plain(tree, farm.hosts, seconds=PATIENCE)
                found.append(_plain_words(tree, code, time.monotonic() - begun))
            actor.join(30)
            for node in farm.nodes:
                node.cont()
    return Finding(found[0], f"{words}, in {seconds:.0f} s", held)


def _plain_words(tree: Path, code: int | None, seconds: float) -> str:
    wrong = room.difference(tree)
    if code is None:
        return f"still hangs after {PATIENCE:.0f} s (distcc's timeout is 300 s); then killed, {room.aftermath(tree)}"
    return f"{room.said(code)} in {seconds:.0f} s" + (f"; {room.aftermath(tree)}" if wrong else ", make's bytes")


def _with_relay(directory: Path, make: Callable[[int], Relay]) -> Finding:
    """One of two nodes is reached through a relay that breaks."""
    with Farm(count=2, jobs=2, options="") as farm:
        good = f"127.0.0.1:{farm.nodes[1].port}/2"
        tree = room.fresh(directory, "plain")
        begun = time.monotonic()
        with make(farm.nodes[0].port) as relay:
            code, _ = room.plain(tree, f"127.0.0.1:{relay.port}/2 {good}", seconds=PATIENCE)
        plain = _plain_words(tree, code, time.monotonic() - begun)
        tree = room.fresh(directory, "ours")
        begun = time.monotonic()
        with make(farm.nodes[0].port) as relay:
            result = room.run(tree, f"127.0.0.1:{relay.port}/2 {good}")
    held, words = room.judged(tree, result, {})
    return Finding(plain, f"{words}, in {time.monotonic() - begun:.0f} s", held)


@fault(
    GROUP, "node killed", "`kill -9` of daemon and compilers while two units are on it", needs=("distcc",), quick=True
)
def node_killed(directory: Path) -> Finding:
    return _with_farm(directory, lambda farm: farm.nodes[0].kill())


@fault(GROUP, "node frozen", "SIGSTOP of daemon and compilers while two units are on it", needs=("distcc",))
def node_frozen(directory: Path) -> Finding:
    return _with_farm(directory, lambda farm: farm.nodes[0].stop())


@fault(GROUP, "the only node frozen", "the same where there is no other node", needs=("distcc",))
def only_node_frozen(directory: Path) -> Finding:
    return _with_farm(directory, lambda farm: farm.nodes[0].stop(), nodes=1)


@fault(
    GROUP,
    "reset in the middle of an object",
    "a relay sends 600 bytes of each answer, then RST",
    needs=("distcc",),
    quick=True,
)
def reset(directory: Path) -> Finding:
    return _with_relay(directory, lambda port: Relay(port, cut=600))


@fault(GROUP, "accepts and never answers", "a relay takes each job and holds the answer", needs=("distcc",))
def never_answers(directory: Path) -> Finding:
    return _with_relay(directory, lambda port: Relay(port, hold=True))


@fault(GROUP, "one byte each half second", "a relay paces the answers", needs=("distcc",))
def one_byte(directory: Path) -> Finding:
    return _with_relay(directory, lambda port: Relay(port, pace=0.5))


@fault(GROUP, "slow link", "a relay passes 2 kB a second both ways", needs=("distcc",))
def slow_link(directory: Path) -> Finding:
    return _with_relay(directory, lambda port: Relay(port, rate=2000))


def _command(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotHere(f"`{' '.join(words)}` is not permitted here: {done.stderr.strip()[:80]}")


@contextmanager
def _namespace() -> Iterator[tuple[str, str]]:
    """A network namespace with a link to here; its name, and the address of its end."""
    number = free_port()
    name, net = f"bf{number}", f"10.213.{number % 256}"  # a namespace that was left behind must not share it
    _command("ip", "netns", "add", name)
    try:
        _command("ip", "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
        _command("ip", "addr", "add", f"{net}.1/30", "dev", f"{name}a")
        _command("ip", "link", "set", f"{name}a", "up")
        _command("ip", "-n", name, "addr", "add", f"{net}.2/30", "dev", f"{name}b")
        _command("ip", "-n", name, "link", "set", f"{name}b", "up")
        _command("ip", "-n", name, "link", "set", "lo", "up")
        yield name, f"{net}.2"
    finally:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _half_open(directory: Path, ours: bool) -> tuple[int | None, float, Path]:
    tree = room.fresh(directory, "ours" if ours else "plain")
    with _namespace() as (name, address), Farm(count=1, jobs=2, gated=True, options="") as here:
        gate, port = here.directory / "far", 3640
        node = here.directory / "far-node"
        for part in (node / "bin", node / "tmp"):
            part.mkdir(parents=True)
            part.chmod(0o777)
        gate.touch()
        script = f'case "$*" in *bf-probe*) ;; *) : >{node}/tmp/started; sleep 5;; esac'
        (node / "bin" / "gcc").write_text(f'#!/bin/sh\n{script}\nexec /usr/bin/gcc "$@"\n')
        (node / "bin" / "gcc").chmod(0o755)
        for alias in ("x86_64-linux-gnu-gcc", "cc"):
            (node / "bin" / alias).symlink_to("gcc")
        words = ["distccd", "--no-detach", "--daemon", "--allow", "10.213.0.0/16", "--listen", address]
        words += ["--port", str(port), "--jobs", "2", "--log-stderr", "--verbose"]
        env = {
            "PATH": f"{node}/bin:/usr/bin:/bin",
            "DISTCCD_PATH": f"{node}/bin:/usr/bin:/bin",
            "TMPDIR": f"{node}/tmp",
        }
        log = (node / "log").open("wb")
        daemon = subprocess.Popen(
            ["ip", "netns", "exec", name, *words], env=env, stdout=log, stderr=log, start_new_session=True
        )
        try:
            wait_until(lambda: b"preforking daemon started" in (node / "log").read_bytes(), "the far node", 20)

            def drop() -> None:
                wait_until((node / "tmp" / "started").exists, "a far compile", 60)
                time.sleep(0.3)
                _command(
                    "ip",
                    "netns",
                    "exec",
                    name,
                    "nft",
                    "add table inet t; add chain inet t i "
                    "{ type filter hook input priority 0; policy drop; }; add chain inet t o "
                    "{ type filter hook output priority 0; policy drop; }",
                )

            actor = threading.Thread(target=drop, daemon=True)
            actor.start()
            hosts = f"{address}:{port}/2 {here.hosts}"
            begun = time.monotonic()
            if ours:
                code: int | None = room.run(tree, hosts).code
            else:
                code, _ = room.plain(tree, hosts, seconds=PATIENCE)
            if not (node / "tmp" / "started").exists():
                raise NotHere("the far node was given no unit, so nothing was staged")
            return code, time.monotonic() - begun, tree
        finally:
            for pid in room.session(daemon.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            daemon.wait()
            log.close()


@fault(
    GROUP,
    "half-open: the cable is pulled",
    "the node is in a network namespace; nftables drops all packets both ways while units are on it",
    needs=("root", "ip", "nft", "distcc"),
)
def half_open(directory: Path) -> Finding:
    code, seconds, tree = _half_open(directory, False)
    plain = _plain_words(tree, code, seconds)
    code, seconds, tree = _half_open(directory, True)
    wrong = room.difference(tree)
    held = code == 0 and not wrong
    words = f"{wrong} wrong" if wrong else "make's bytes"
    return Finding(plain, f"exit {code}, {words}, in {seconds:.0f} s", held)
