"""Holds the layers that ARCHITECTURE.md draws, from the import statements; nothing is imported here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "buildfarm"
BASE = {"model", "errors", "value", "home"}
CONFIGURATION = {"config", "config_schema", "request"}
PACKAGES = {"make", "graph", "dispatch", "state", "report"}

# What the modules of a package may import from elsewhere in buildfarm, their own package aside.
MAY_IMPORT = {
    "value": set(),
    "model": {"value"},
    "errors": set(),
    "home": set(),
    "config_schema": set(),
    "config": {"errors", "config_schema", "value", "home"},
    "request": BASE,
    **dict.fromkeys(PACKAGES, BASE),
    "conductor": PACKAGES | BASE | CONFIGURATION,
    "cli": PACKAGES | BASE | CONFIGURATION | {"conductor", "boot"},
    "boot": {"errors", "value", "home"},  # files for the system's service manager
    "__main__": {"cli"},
    "__init__": set(),
}

EFFECTS = {"asyncio", "socket", "subprocess", "sqlite3", "time", "threading", "selectors"}
PURE = (
    "model.py",
    "value.py",
    "errors.py",
    "request.py",
    "config_schema.py",
    "graph/*.py",
    "dispatch/elf.py",
    "dispatch/events.py",
    "dispatch/expectations.py",
    "dispatch/faults.py",
    "dispatch/forecast.py",
    "dispatch/health.py",
    "dispatch/hosts.py",
    "dispatch/linemarkers.py",
    "dispatch/lzo.py",
    "dispatch/protocol.py",
    "dispatch/queue.py",
    "dispatch/roster.py",
    "dispatch/scheduler.py",
    "dispatch/verdict.py",
    "make/arguments.py",
    "make/wire.py",
    "report/document.py",
    "report/reporter.py",
    "report/text.py",
    "state/claims.py",
    "state/encoding.py",
    "state/views.py",
)
SLOW = {"pydantic", "networkx", "rich", "jinja2", "zeroconf", "watchdog", "asyncio"}

MODULES = sorted(PACKAGE.rglob("*.py"))


def package_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(path: Path, *, at_top: bool = False) -> Iterator[str]:
    """Dotted names that the file imports; `at_top`: only what is imported with the module itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in _import_time(tree) if at_top else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import, line {node.lineno}"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def _import_time(tree: ast.Module) -> Iterator[ast.AST]:
    """Every node outside functions and `if TYPE_CHECKING`."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        yield node
        waiting.extend(ast.iter_child_nodes(node))


def ours(path: Path) -> set[str]:
    """The packages of buildfarm that the file imports from, its own aside."""
    found = {name.split(".")[1] for name in imports(path) if name.startswith("buildfarm.")}
    return found - {package_of(path)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_the_layers_below_it(path: Path) -> None:
    package = package_of(path)
    assert package in MAY_IMPORT, (
        f"{package} is a new package: say in this test and in ARCHITECTURE.md what it may import"
    )
    assert ours(path) <= MAY_IMPORT[package], f"{package} may not import {ours(path) - MAY_IMPORT[package]}"


@pytest.mark.parametrize("pattern", PURE)
def test_a_pure_module_imports_nothing_that_acts(pattern: str) -> None:
    paths = list(PACKAGE.glob(pattern))
    assert paths, f"{pattern} is gone: take it off this list"
    for path in paths:
        acting = EFFECTS & {name.split(".")[0] for name in imports(path)}
        assert not acting, f"{path.relative_to(PACKAGE)} is to be pure and imports {acting}"


def test_only_the_command_line_knows_click() -> None:
    knowing = {package_of(path) for path in MODULES if any(name.split(".")[0] == "click" for name in imports(path))}
    assert knowing == {"cli"}


def test_only_the_state_package_opens_databases() -> None:
    knowing = {
        package_of(path) for path in MODULES if re.search(r"sqlite3\.connect\(", path.read_text(encoding="utf-8"))
    }
    assert knowing == {"state"}


def test_the_command_line_imports_nothing_slow_before_it_is_needed() -> None:
    for path in (PACKAGE / "cli").glob("*.py"):
        slow = SLOW & {name.split(".")[0] for name in imports(path, at_top=True)}
        assert not slow, f"{path.name} imports {slow} at its top: every `buildfarm status` would pay for it"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_says_what_it_is_and_why_it_is_long(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if not text.strip():
        return
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring, "no docstring"
    lines = text.count("\n")
    if lines > 400:
        assert re.search(r"one (thing|file)\b", docstring), (
            f"{lines} lines: the docstring is to say why it is one thing"
        )
