"""Resuming at boot: a systemd user unit, one instance for each tree.

It writes and removes unit files and asks systemd, where there is one; what the unit runs is `buildfarm resume`.
Nothing here needs root.  A user's units start at boot only if the user *lingers* (loginctl(1)); else they start
when the user logs in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from buildfarm.errors import MachineError
from buildfarm.home import own_directory
from buildfarm.value import dataclass

TEMPLATE = "buildfarm-resume@.service"
WANTS = "default.target.wants"
LINGER = Path("/var/lib/systemd/linger")  # a file for each user who lingers (logind)
SYSTEMD_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How one tree stands with systemd."""

    unit: str
    installed: bool
    lingers: bool
    state: str | None  # systemd's ActiveState and Result; None: no systemd of this user answers


def unit_name(tree: Path) -> str:
    """The instance of the template for this tree."""
    name, _, suffix = TEMPLATE.partition("@")
    return f"{name}@{escape(os.fsencode(tree))}{suffix}"


def escape(path: bytes) -> str:
    """An absolute path as a unit's instance (systemd.unit(5), "String Escaping for Inclusion in Unit Names")."""
    parts = [part for part in path.split(b"/") if part]
    if not parts:
        return "-"
    plain = b"-".join(part.replace(b"-", b"\xff-") for part in parts)
    escaped = []
    position = 0
    while position < len(plain):
        byte = plain[position]
        if plain[position : position + 2] == b"\xff-":
            escaped.append("\\x2d")
            position += 1
        elif chr(byte).isascii() and (chr(byte).isalnum() or byte in b":_-" or (byte == 0x2E and position)):
            escaped.append(chr(byte))
        else:
            escaped.append(f"\\x{byte:02x}")
        position += 1
    return "".join(escaped)


def unit_text(python: str = sys.executable) -> str:
    """The template's text for this interpreter; systemd's own quoting (systemd.service(5), "Command lines")."""
    text = resources.files(__name__).joinpath(TEMPLATE).read_text(encoding="utf-8")
    quoted = python.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return text.replace("@PYTHON@", f'"{quoted}"')


def install(tree: Path, environment: Mapping[str, str]) -> Standing:
    """Have systemd resume this tree at boot.  Raises MachineError."""
    directory = units_directory(environment)
    link = directory / WANTS / unit_name(tree)
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        (directory / TEMPLATE).write_text(unit_text(), encoding="utf-8")
        link.unlink(missing_ok=True)
        link.symlink_to(directory / TEMPLATE)
    except OSError as error:
        raise MachineError(
            f"{error.filename}: can't write the unit: {error.strerror}", hint="make that directory writable"
        ) from error
    _reload(environment)
    return standing(tree, environment)


def uninstall(tree: Path, environment: Mapping[str, str]) -> bool:
    """Take it back; False: there was nothing.  The template goes with its last instance.  Raises MachineError."""
    directory = units_directory(environment)
    link = directory / WANTS / unit_name(tree)
    was = link.is_symlink()
    try:
        link.unlink(missing_ok=True)
        stem = TEMPLATE.partition("@")[0]
        if not any((directory / WANTS).glob(f"{stem}@*")):
            (directory / TEMPLATE).unlink(missing_ok=True)
    except OSError as error:
        raise MachineError(f"{error.filename}: can't remove the unit: {error.strerror}") from error
    _reload(environment)
    return was


def standing(tree: Path, environment: Mapping[str, str]) -> Standing:
    """What is installed, and what systemd says of it."""
    unit = unit_name(tree)
    installed = (units_directory(environment) / WANTS / unit).is_symlink()
    shown = _systemctl(environment, "show", "--property=ActiveState,Result", unit) if installed else None
    values = dict(line.split("=", 1) for line in (shown or "").splitlines() if "=" in line)
    state = f"{values.get('ActiveState', '?')}, last result: {values.get('Result', '?')}" if values else None
    return Standing(unit, installed, lingers(environment), state)


def lingers(environment: Mapping[str, str], directory: Path = LINGER) -> bool:
    """Whether this user's units start at boot."""
    return (directory / user(environment)).exists()


def user(environment: Mapping[str, str]) -> str:
    """This user's name, or number where there is no name."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return environment.get("USER") or str(os.getuid())


def units_directory(environment: Mapping[str, str]) -> Path:
    """Where a user's own units stand (systemd.unit(5), "User Unit Search Path")."""
    return own_directory("config", environment).parent / "systemd" / "user"


def _reload(environment: Mapping[str, str]) -> None:
    _systemctl(environment, "daemon-reload")


def _systemctl(environment: Mapping[str, str], *words: str) -> str | None:
    """What the user's systemd answers; None: there is none, or it does not answer."""
    program = shutil.which("systemctl", path=environment.get("PATH"))
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "--user", *words],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SYSTEMD_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
