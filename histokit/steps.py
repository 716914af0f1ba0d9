"""The package of a step can be called like the function of its name."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Step(ModuleType):
    """A package whose call is a call of its function: ``histokit.extract(...)``."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(import_module(f"{self.__name__}.{name}"), name)(*args, **kwargs)


def callable_step(package: str) -> None:
    """Let ``histokit.extract(...)`` be ``histokit.extract.extract.extract(...)``, imported on the first call."""
    sys.modules[package].__class__ = _Step
