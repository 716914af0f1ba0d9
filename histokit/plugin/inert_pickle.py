"""An unpickler that builds tensors and plain containers, and something inert in place of all else.

Checkpoints hold more than tensors: parsed arguments, configurations, numbers of NumPy. torch's own safe unpickler gives
up on the whole file there. This one imports nothing that the file names, and calls nothing but what rebuilds tensors.
"""

from __future__ import annotations

import pickle
from typing import Any

_ALLOWED = {
    ("collections", "OrderedDict"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_parameter_with_state"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch.serialization", "_get_layout"),
    ("torch.storage", "UntypedStorage"),
}


class Inert(dict[Any, Any]):
    """Stands for any object or function; takes whatever a pickle does to it, and does nothing.

    Entries are kept, because subclasses of dict may hold what is looked for.
    """

    def __new__(cls, *_arguments: Any, **_options: Any) -> Inert:
        """Make one, whatever the arguments."""
        return super().__new__(cls)

    def __init__(self, *_arguments: Any, **_options: Any):
        super().__init__()

    #: Asked of the classes of modules that were saved whole in torch's old format.
    dump_patches = False

    __hash__ = object.__hash__  # type: ignore[assignment]
    __eq__ = object.__eq__

    def __setstate__(self, _state: Any) -> None:
        """Take no state."""

    def append(self, _value: Any) -> None:
        """Keep nothing."""

    def extend(self, _values: Any) -> None:
        """Keep nothing."""

    def add(self, _value: Any) -> None:
        """Keep nothing."""


class Unpickler(pickle.Unpickler):
    """Looks up nothing but what rebuilds tensors."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name stands for, where it is one of a few; `Inert` for all others."""
        if (module, name) in _ALLOWED:
            return super().find_class(module, name)
        if module == "torch" and _is_data_type(name):
            return super().find_class(module, name)
        return Inert


def load(file: Any, **options: Any) -> Any:
    """Unpickle one object, as `pickle.load`."""
    return Unpickler(file, **options).load()


def _is_data_type(name: str) -> bool:
    import torch

    return isinstance(getattr(torch, name, None), torch.dtype)
