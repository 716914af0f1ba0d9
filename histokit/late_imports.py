"""What libraries import with themselves, costs much and is hardly used here: left out, or run when it is asked for.

Torch's compiler, which networks are built without, has `histokit.plugin.lean_imports`.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class LatePandas:
    """Keeps libraries from loading pandas with themselves: half a second that few commands need; they load it later."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Find nothing, as where pandas is not installed, while such a library is imported."""
        if name == "pandas" and any(map(_is_loading, ("pyarrow.dataset", "sklearn.utils.fixes"))):
            raise ModuleNotFoundError(f"No module named {name!r} yet", name=name)


def _is_loading(name: str) -> bool:
    return bool(getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False))


@contextmanager
def without(names: Sequence[str]) -> Iterator[None]:
    """Let modules that are not there yet be as if they were not installed."""
    left_out = [name for name in names if name not in sys.modules]
    sys.modules |= dict.fromkeys(left_out)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in left_out:
            del sys.modules[name]


def run_when_asked(name: str) -> None:
    """Let a package be there whose modules can be imported, and which is run when something of its own is asked for."""
    found = importlib.util.find_spec(name) if name not in sys.modules else None
    if found is not None and found.loader is not None:
        sys.modules[name] = _waiting(found)


def _waiting(found: ModuleSpec) -> ModuleType:
    package = importlib.util.module_from_spec(found)

    def load(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        del package.__dict__["__getattr__"]
        found.loader.exec_module(package)  # type: ignore[union-attr]
        return getattr(package, name)

    package.__dict__["__getattr__"] = load
    return package
