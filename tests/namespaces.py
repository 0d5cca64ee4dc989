"""Commands in a user namespace of their own, where limits and mounts can be set without harm to anybody else.

namespaces(7), user_namespaces(7).  A test is skipped where this machine permits none.
"""

from __future__ import annotations

import subprocess

import pytest

START = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")


def within(setting: str, *words: str) -> list[str]:
    """The command line of `words` after the shell's `setting`."""
    start = [*START, f'{setting} && exec "$@"', "sh"]
    try:
        permitted = subprocess.run([*start, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("unshare is missing: install the package util-linux")
    if permitted.returncode:
        pytest.skip(f"no such namespace on this machine: {permitted.stderr.decode(errors='replace').strip()}")
    return [*start, *words]
