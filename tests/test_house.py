"""The rooms of the house keep to the one direction of imports, and to their own libraries."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "histokit"
STEPS = ("ingest", "extract", "select", "train", "finetune", "evaluate")

#: From the ground up; a room imports only from itself and from rooms below it.
LEVELS = {
    "errors": 0,
    "plugin": 1,
    "datasets": 2,
    "backbones": 2,
    "store": 2,
    "features": 3,
    "protocol": 4,
    **dict.fromkeys(STEPS, 5),
    "study": 6,
    "cli": 7,
}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Each imported module, and whether it is imported when the file itself is."""
    tree = ast.parse(path.read_text())
    later = {id(inner) for outer in ast.walk(tree) if _runs_later(outer) for inner in ast.walk(outer)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) not in later
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module), id(node) not in later
            for alias in node.names:
                yield f"{node.module}.{alias.name}", id(node) not in later


def _runs_later(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.Lambda) or (
        isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    )


def room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "histokit" and len(parts) > 1 and parts[1] in LEVELS else None


FILES = sorted(PACKAGE.rglob("*.py"))


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_go_one_way(path: Path) -> None:
    here = room("histokit." + name(path).removesuffix(".py").replace("/", "."))
    if here is None or path.name == "command.py":
        # What a command prints may need any room below the study; it holds no logic.
        return
    for module, _ in imports(path):
        there = room(module)
        if there is not None and there != here:
            assert LEVELS[there] < LEVELS[here], f"{name(path)} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    for module, _ in imports(path):
        library = module.split(".")[0]
        if library in ("lancedb", "lance"):
            assert name(path).startswith("store/"), module
        if library in ("typer", "rich"):
            assert path.name in ("command.py", "cli.py", "console.py", "completion.py"), module


@pytest.mark.parametrize("path", [p for p in FILES if p.name == "command.py"], ids=name)
def test_commands_import_nothing_heavy(path: Path) -> None:
    light = {*sys.stdlib_module_names, "typer", "histokit"}
    assert {module.split(".")[0] for module, top in imports(path) if top} <= light
    heavy = [m for m, top in imports(path) if top and room(m) not in (None, "errors") and not m.endswith("command")]
    assert heavy == []


@pytest.mark.parametrize("path", FILES, ids=name)
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 320
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert length <= 45, f"{node.name} has {length} lines"
