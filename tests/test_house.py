"""The rooms of the house keep to the one direction of imports, and to their own libraries."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "histokit"
#: The files that may speak to the terminal, beside every ``command.py``.
TERMINAL = ("app.py", "help_pages.py", "options.py", "console.py", "completion.py")
#: Tables of data that import nothing heavy, so that the help of a command can tell what is in them.
TABLES = ("histokit.classifiers.table",)
STEPS = ("ingest", "extract", "select", "train", "finetune", "evaluate", "explain", "neighbours")

#: From the ground up; a room, or a module that stands by itself, imports only from itself and from what is below it.
FLOORS = (
    ("errors", "named_objects"),
    ("files", "ranges", "streams", "layout", "interruption", "steps", "cores", "late_imports"),
    ("notebooks",),
    ("plugin",),
    ("datasets", "backbones", "store"),
    ("reading", "networks"),
    ("features",),
    ("classifiers",),
    ("protocol",),
    ("figures",),
    STEPS,
    ("compare", "models"),
    ("study",),
    ("report",),
    ("bars", "commands", "completion"),
    ("console", "options"),
    ("arguments",),
    ("help_pages",),
    ("app",),
    ("cli",),
    ("__main__",),
)
LEVELS = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


@cache
def tree(path: Path) -> ast.Module:
    """A file as it is parsed, once for all tests."""
    return ast.parse(path.read_text())


def imports(path: Path, typing: bool = True) -> Iterator[tuple[str, bool]]:
    """Each imported module, for types alone or not, and whether it is imported when the file itself is."""
    yield from ((module, at_once) for module, at_once, for_types in _imports(path) if typing or not for_types)


@cache
def _imports(path: Path) -> list[tuple[str, bool, bool]]:
    found: list[tuple[str, bool, bool]] = []

    def visit(node: ast.AST, later: bool, types: bool) -> None:
        types = types or _for_types(node)
        later = later or types or isinstance(node, ast.FunctionDef | ast.Lambda)
        if isinstance(node, ast.Import):
            found.extend((alias.name, not later, types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
            found.extend((name, not later, types) for name in names)
        for child in ast.iter_child_nodes(node):
            visit(child, later, types)

    visit(tree(path), False, False)
    return found


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "histokit" and len(parts) > 1 and parts[1] in LEVELS else None


FILES = sorted(PACKAGE.rglob("*.py"))


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def test_imports_go_one_way() -> None:
    wrong = []
    for path in FILES:
        here = room("histokit." + name(path).removesuffix(".py").replace("/", "."))
        if here is None or path.name == "command.py":
            # What a command prints may need any room below the study; it holds no logic.
            continue
        for module, _ in imports(path):
            there = room(module)
            if there is not None and there != here and LEVELS[there] >= LEVELS[here]:
                wrong.append(f"{name(path)} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_every_module_has_its_place() -> None:
    found = {name(path).split("/")[0].removesuffix(".py") for path in FILES} - {"__init__"}
    assert found == LEVELS.keys()


def test_no_two_modules_need_each_other() -> None:
    dotted = {"histokit." + name(path).removesuffix(".py").replace("/", "."): path for path in FILES}
    needs = {
        module: {there for there, _ in imports(path, typing=False) if there in dotted}
        for module, path in dotted.items()
    }
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        pytest.fail(" needs ".join(error.args[1]))


def test_libraries_stay_in_their_rooms() -> None:
    wrong = []
    for path in FILES:
        libraries = {module.split(".")[0] for module, _ in imports(path)}
        if libraries & {"lancedb", "lance"} and not name(path).startswith("store/"):
            wrong.append(f"{name(path)} imports lancedb or lance")
        if libraries & {"matplotlib"} and not name(path).startswith("figures/"):
            wrong.append(f"{name(path)} imports matplotlib")
        if libraries & {"typer", "rich"} and path.name != "command.py" and name(path) not in TERMINAL:
            wrong.append(f"{name(path)} imports typer or rich")
    assert not wrong, "\n".join(wrong)


def test_commands_import_nothing_heavy() -> None:
    light = {*sys.stdlib_module_names, "typer", "histokit"}
    wrong = []
    for path in (path for path in FILES if path.name == "command.py"):
        at_once = [module for module, top in imports(path) if top]
        heavy = [module for module in at_once if module.split(".")[0] not in light]
        heavy += [
            module
            for module in at_once
            if (PACKAGE / (room(module) or "-")).is_dir() and not module.endswith("command")
            if not module.startswith(TABLES)
        ]
        wrong += [f"{name(path)} imports {module}" for module in heavy]
    assert not wrong, "\n".join(wrong)


def test_what_commands_share_is_declared_once() -> None:
    declared: dict[str, list[str]] = {}
    for path in (path for path in FILES if path.name in ("command.py", "options.py")):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Annotated":
                declared.setdefault(ast.unparse(node), []).append(name(path))
    again = {text: files for text, files in declared.items() if len(files) > 1}
    assert not again, again


def test_files_and_functions_stay_short() -> None:
    wrong = []
    for path in FILES:
        text = path.read_text()
        lines = len(text.splitlines())
        if lines > 320:
            wrong.append(f"{name(path)} has {lines} lines")
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                if length > 45:
                    wrong.append(f"{node.name} of {name(path)} has {length} lines")
    assert not wrong, "\n".join(wrong)


def test_what_other_modules_may_use_says_what_it_is() -> None:
    wrong = [
        f"{node.name} of {name(path)}"
        for path in FILES
        for node in tree(path).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        if not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert not wrong, "\n".join(wrong)


def test_a_class_name_means_one_thing() -> None:
    declared: dict[str, list[str]] = {}
    for path in FILES:
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                declared.setdefault(node.name, []).append(name(path))
    again = {text: files for text, files in declared.items() if len(files) > 1}
    assert not again, again


def test_a_pattern_is_written_once() -> None:
    written: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "re.compile":
                written.setdefault(ast.unparse(node.args[0]), []).append(name(path))
    again = {text: files for text, files in written.items() if len(files) > 1}
    assert not again, again


def test_only_ingesting_makes_datasets() -> None:
    for what in ("DatasetRecord", "save_dataset"):
        callers = {
            name(path).split("/")[0]
            for path in FILES
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == what
        }
        assert callers <= {"ingest", "store"}, what


def test_a_room_tells_of_its_commands_itself() -> None:
    wrong = []
    for path in (path for path in FILES if path.name == "command.py"):
        body = tree(path).body
        public = {node.name for node in body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")}
        told = {ast.unparse(node.args[2]) for node in ast.walk(body[-1]) if isinstance(node, ast.Call)}
        wrong += [f"{name(path)}: {function}" for function in public ^ told]
    assert not wrong, "\n".join(wrong)
