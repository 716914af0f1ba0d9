"""Importing and building networks without torch's compiler, which costs as much as torch itself and is not used here.

torchvision wants one function of ``torch._dynamo``, for one operation on one kind of device, and timm keeps the
compiler from some functions. While a library is imported, the compiler's modules are stood in for by ones whose
functions import it when they are called.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_COMPILER = ("torch._dynamo", "torch._dynamo.utils")

#: What draws from a truncated normal distribution: torch's until all lie between its bounds, which would never be where
#: nothing is drawn; timm's by several passes over the memory, which take as long as reading the weights.
_TRUNCATED = (("torch.nn.init", "_no_grad_trunc_normal_"), ("timm.layers.weight_init", "_trunc_normal_"))

#: Methods by which parameters get random values.
_RANDOM = frozenset(("normal_", "uniform_", "erfinv_"))


def library(name: str) -> Any:
    """Import a library of networks: ``timm``, ``torchvision``, or a module of one."""
    if name in sys.modules:
        return sys.modules[name]
    with compiler_deferred():
        return importlib.import_module(name)


@contextmanager
def compiler_deferred() -> Iterator[None]:
    """Let nothing inside import the compiler, as working out shapes, or operations one by one, would."""
    importlib.import_module("torch")
    standing = {name: _Deferred(name) for name in _COMPILER if name not in sys.modules}
    sys.modules.update(standing)
    try:
        yield
    finally:
        # Another `with` may be around this one.
        _withdraw(standing)


def _withdraw(names: Iterable[str] = _COMPILER) -> None:
    for name in names:
        if isinstance(sys.modules.get(name), _Deferred):
            del sys.modules[name]


class _Deferred(ModuleType):
    """Stands for a module; what is taken from it imports the module when it is called."""

    def __getattr__(self, attribute: str) -> Callable[..., Any]:
        if attribute == "__path__":
            return []  # type: ignore[return-value]
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        if attribute in _WITHOUT_EFFECT:
            return _WITHOUT_EFFECT[attribute]
        name = self.__name__

        def call(*arguments: Any, **options: Any) -> Any:
            _withdraw()
            return getattr(importlib.import_module(name), attribute)(*arguments, **options)

        return call


def _as_it_is(function: Callable[..., Any] | None = None, *_arguments: Any, **_options: Any) -> Any:
    """Keep the compiler from a function, which needs nothing where there is no compiler."""
    return function if function is not None else _as_it_is


#: What optimisers ask of the compiler, which means something only in what it compiles.
_WITHOUT_EFFECT: dict[str, Callable[..., Any]] = {"disable": _as_it_is, "graph_break": lambda *_, **__: None}


def _undrawn(tensor: Any, *_arguments: Any, **_options: Any) -> Any:
    # What was in the memory before must decide nothing.
    return tensor if tensor.requires_grad or tensor.is_meta else tensor.zero_()


@contextmanager
def uninitialised() -> Iterator[None]:
    """Build a network inside whose parameters are all replaced later, or never looked at: none is drawn."""
    from torch.overrides import TorchFunctionMode

    class Undrawn(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if getattr(func, "__module__", None) == "torch.nn.init" or func.__name__ in _RANDOM:
                # Functions of torch.nn.init hand their tensor on by name.
                return _undrawn(args[0] if args else kwargs["tensor"])
            return func(*args, **(kwargs or {}))

    found = [(sys.modules.get(module), name) for module, name in _TRUNCATED]
    drawing = [(module, name, getattr(module, name)) for module, name in found if hasattr(module, name)]
    for module, name, _ in drawing:
        setattr(module, name, _undrawn)
    try:
        with Undrawn():
            yield
    finally:
        for module, name, function in drawing:
            setattr(module, name, function)
