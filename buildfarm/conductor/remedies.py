"""Knows what to do about each fault that a survey finds: the exact line to run or to write, and on which machine.

It looks at nothing itself and changes nothing; `survey` finds the faults, `doctor` shows both.  The settings are those
of Debian's `/etc/default/distcc`, which its init script reads; distccd has no configuration file of its own.
"""

from __future__ import annotations

import shlex

from buildfarm.value import dataclass

DEFAULTS = "/etc/default/distcc"
PORT = 3632  # Debian's init script starts distccd on no other
PACKAGES = ("distcc", "gcc", "g++", "gfortran")
SLOW_NETWORK = 20e6  # bytes a second: below, compressing costs less time than it saves


@dataclass(frozen=True, slots=True)
class Ground:
    """How this machine and a node stand to each other."""

    host: str  # as in the host list, without the port
    port: int = PORT
    own_address: str | None = None  # this machine's, as the node sees it
    node_address: str | None = None
    ssh: bool = False

    @property
    def allowed(self) -> str:
        """This machine, as the node must let it in."""
        return self.own_address or "<this machine's address>"

    @property
    def is_loopback(self) -> bool:
        """Whether the node is this machine."""
        return (self.node_address or self.host).startswith(("127.", "::1", "localhost"))


def remedy(fault: str, ground: Ground, *, denied: bool = False) -> str | None:
    """What to do about a probe's `fault`, one line each; the words are those of `dispatch.client` and `probe`.

    `denied`: the node closes a connection before anything is asked.
    """
    host = ground.host
    if "no private address" in fault:
        return f"name {host} by its private address, or write @{host} to go through ssh, or permit it: --allow-public"
    if fault.startswith("ssh: "):
        return _ssh(fault, host)
    if "connection" in fault.lower() and "refused" in fault:
        return _nobody_listens(ground)
    if any(words in fault for words in ("Name or service", "name resolution", "No address", "no host name")):
        return f"write {host}'s address instead of its name, or add a line for it to /etc/hosts here"
    if "no connection" in fault:
        return (
            f"is {host} on?  ping -c3 {host}\n"
            f"does a firewall keep the port closed?  on {host}: "
            f"sudo ufw allow from {ground.allowed} to any port {ground.port} proto tcp"
        )
    if "closed without an answer" in fault and denied:
        # One that can't write its temporary files closes as early: it makes one before it reads (`serve.c`).
        return (
            f'on {host}, {DEFAULTS}: ALLOWEDNETS="{_networks(ground.allowed)}"\n'
            f'or, if its log says "can\'t use TMPDIR", on {host}, {DEFAULTS}: export TMPDIR=/tmp   '
            f"(or another that distccd's user may write to)\n"
            f"then, on {host}: sudo systemctl restart distcc"
        )
    if "closed without an answer" in fault:
        install = "sudo apt install gcc g++ gfortran; sudo update-distcc-symlinks"
        return f"on {host}: {install}   (/usr/lib/distcc must list gcc)"
    if "its gcc has target" in fault:
        target = fault.rpartition("here it is ")[2].partition(",")[0]
        package = f"gcc-{target.replace('_', '-')}"
        return f"on {host}: sudo apt install {package} {package.replace('gcc', 'g++', 1)}; sudo update-distcc-symlinks"
    if "its gcc has version" in fault:
        return (
            f"on {host}: sudo apt full-upgrade   (and here: the releases must be the same; "
            f"`gcc -dumpfullversion` on both tells)"
        )
    if "other bytes" in fault:
        return f"bring {host} and this machine to the same packages: sudo apt full-upgrade on both"
    if "not installed" in fault or "exec" in fault:
        return f"on {host}: sudo apt install gcc g++ gfortran"
    if "disk full" in fault:
        return f"on {host}: df -h /tmp   (or, in {DEFAULTS}: export TMPDIR=/dev/shm)"
    if "no answer within" in fault or "took" in fault:
        return f"on {host}: sudo systemctl restart distcc   (it is reached and does not answer)"
    return None


def _networks(others: str) -> str:
    """The value of ALLOWEDNETS: the node itself and `others`, a list of addresses and networks; itself once."""
    return "127.0.0.1" if others == "127.0.0.1" else f"127.0.0.1 {others}"


def _nobody_listens(ground: Ground) -> str:
    """The machine is there and refuses: no daemon on this port, or one that listens at another address."""
    host, port = ground.host, ground.port
    listener = ground.node_address or "0.0.0.0"
    away = "" if ground.is_loopback else "   (at 127.0.0.1 it can't be reached)"
    there = "here" if ground.is_loopback else f"on {host}"
    at_once = (
        "or take it out of the host list: unless a tunnel begins here, its processors are this machine's"
        if ground.is_loopback
        else f"all of it at once: buildfarm nodes setup {host} --apply"
    )
    lines = [f"nothing listens on {host}, port {port}; who does, {there}: sudo ss -ltnp 'sport = :{port}'"]
    if port != PORT:
        lines.append(f"is {port} right?  Debian's distccd listens on {PORT}: write {host}/N in the host list")
    lines += [
        f"if distccd is missing, {there}: sudo apt install {' '.join(PACKAGES)}",
        f'{there}, {DEFAULTS}: STARTDISTCC="true"',
        f'{there}, {DEFAULTS}: LISTENER="{listener}"{away}',
        f"{there}: sudo systemctl enable distcc; sudo systemctl restart distcc",
        at_once,
    ]
    return "\n".join(lines)


def _ssh(fault: str, host: str) -> str:
    if "Permission denied" in fault:
        return f"ssh-copy-id {host}   (ssh must get in without a password: nobody is there to type one)"
    if "Host key verification" in fault:
        return f"ssh {host} true   (once, by hand, to accept its host key)"
    if "not found" in fault:
        return f"on {host}: sudo apt install {' '.join(PACKAGES)}   (or name distccd: @{host}:/usr/local/bin/distccd)"
    return f"ssh {host} distccd --version   (shows what is wrong)"


def compression_advice(bytes_per_second: float | None, *, lzo: bool, engine: str, host: str) -> str | None:
    """What to do about a slow network; None: nothing."""
    if bytes_per_second is None or bytes_per_second >= SLOW_NETWORK:
        return None
    if not lzo:
        return f"the way to {host} is slow: write {host}/N,lzo in the host list, so that texts travel packed"
    if engine != "liblzo2":
        return "sudo apt install liblzo2-2   (here: without it texts travel unpacked)"
    return None


def setup_script(network: str, *, listen: str, jobs: int | None, announce: bool = True) -> str:
    """A shell script that makes a fresh Debian or Raspberry Pi OS machine a node for `network`, a list of networks.

    To be run as root or by who may use sudo; running it twice does no harm.
    """
    settings = {
        "STARTDISTCC": "true",
        "ALLOWEDNETS": _networks(network),
        "LISTENER": listen,
        "NICE": "10",
        "JOBS": str(jobs or ""),
        "ZEROCONF": "true" if announce else "false",
    }
    lines = "\n".join(f'{name}="{value}"' for name, value in settings.items())
    return f"""\
set -eu
SUDO=; [ "$(id -u)" = 0 ] || SUDO=sudo
export DEBIAN_FRONTEND=noninteractive
$SUDO apt-get update
$SUDO apt-get install -y {shlex.join(PACKAGES)}
$SUDO update-distcc-symlinks
$SUDO tee {DEFAULTS} >/dev/null <<'END'
# Written by `buildfarm nodes setup`.
{lines}
export TMPDIR=/dev/shm
END
$SUDO systemctl enable distcc
$SUDO systemctl restart distcc
"""
