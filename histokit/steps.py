"""A module can be called like its function, and tells the function's parameters and documentation."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from histokit.named_objects import named_object

_FUNCTIONS: dict[str, str] = {}


def _function(module: str) -> Callable[..., Any]:
    found: Callable[..., Any] = named_object(_FUNCTIONS[module])
    return found


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except NameError:
        # A type that is only imported for type checkers keeps its name.
        return inspect.signature(function)


class _Text(str):
    def __repr__(self) -> str:
        return str(self)


def _as_written(function: Callable[..., Any]) -> inspect.Signature:
    """Return a signature that shows types by the names that they have in the source."""
    found = inspect.signature(function)
    parameters = [p.replace(annotation=_Text(p.annotation)) for p in found.parameters.values()]
    return found.replace(parameters=parameters, return_annotation=_Text(found.return_annotation))


class _Callable(ModuleType):
    """A module whose call is a call of its function: ``histokit.extract(...)``."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _function(self.__name__)(*args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        return _signature(_function(self.__name__))

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        function = _function(self.__name__)
        # What `help` says of a module has no signature of its own.
        return f"{function.__name__}{_as_written(function)}\n\n{inspect.getdoc(function)}"


def callable_step(module: str, function: str | None = None) -> None:
    """Let a call of a module be one of a function, which is imported when it is called or asked about.

    Parameters
    ----------
    module : str
    function : str, optional
        ``module:function``; where not given, ``histokit.extract`` is ``histokit.extract.extract:extract``.
    """
    _FUNCTIONS[module] = function or f"{module}.{(name := module.rpartition('.')[2])}:{name}"
    sys.modules[module].__class__ = _Callable
