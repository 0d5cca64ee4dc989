"""A build with nothing to do starts quickly: it imports nothing that only compiling needs, and asks no node."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.farm import PATIENCE
from tests.tool import TIMEOUT, buildfarm, environment, status

# A make that takes a quarter of a second is served in full, on a loaded machine as on any: here it may take longer.
PATIENT = f"""
import sys
from buildfarm.conductor import build
build.PATIENCE = {PATIENCE}
from buildfarm.cli import main
main(sys.argv[1:])
"""
HEAVY = {  # logging, random and tempfile come with filelock
    *("asyncio", "concurrent", "difflib", "networkx", "pydantic", "rich", "ssl"),
    *("watchdog", "zipfile", "buildfarm.conductor.workshop", "buildfarm.dispatch.client", "buildfarm.graph.plan"),
}
PLAIN = {"Makefile": "all: made\nmade: source\n\tcp source made\n", "source": ""}
RECURSIVE = {
    "Makefile": "all:\n\t@for d in a b c; do $(MAKE) -s -C $$d || exit 1; done\n",
    **{f"{name}/{file}": text for name in "abc" for file, text in PLAIN.items()},
}


@pytest.mark.parametrize("files", [PLAIN, RECURSIVE], ids=["plain", "recursive"])
def test_a_null_build_imports_no_conductor_and_asks_no_node(tmp_path: Path, files: dict[str, str]) -> None:
    tree = tmp_path / "p"
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    assert buildfarm("run", "-C", str(tree), "--hosts", "").code == 0
    with socket.create_server(("127.0.0.1", 0)) as node:
        node.setblocking(False)
        hosts = f"127.0.0.1:{node.getsockname()[1]}/4"
        heavy = HEAVY & imported(tree, hosts)
        assert not heavy, f"a null build imports {heavy}"
        with pytest.raises(BlockingIOError):  # else it has asked a node
            node.accept()
    document = status(tree)
    assert document["state"] == "complete" and document["units"]["done"] == 0
    assert [node["state"] for node in document["nodes"]] == ["down"], "nobody has asked it"


def imported(tree: Path, hosts: str) -> set[str]:
    """The modules, and the packages of modules, that such a build has imported."""
    words = [sys.executable, "-X", "importtime", "-c", PATIENT, "run", "-C", str(tree), "--hosts", hosts]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr
    names = re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE)
    assert "buildfarm.conductor.build" in names
    return {*names, *(name.partition(".")[0] for name in names)}
