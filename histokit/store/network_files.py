"""Files of tensors: how they are read, and what has to be done to tensors and files so that they last."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histokit.errors import number_of

if TYPE_CHECKING:
    from torch import Tensor


def read_network(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a file, and the document in its metadata."""
    from safetensors import safe_open

    with safe_open(path, framework="pt", device="cpu") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, document_in(file)  # noqa: SIM118


def document_in(file: Any) -> dict[str, Any]:
    """Return the document in the metadata of an open file of tensors; an empty one where it has none."""
    document: dict[str, Any] = json.loads((file.metadata() or {}).get("histokit", "{}"))
    return document


def separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors on the CPU, in their usual order in memory, of which no two share any."""
    found: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        if tensor.untyped_storage().data_ptr() in taken or tensor.untyped_storage().nbytes() != tensor.nbytes:
            tensor = tensor.clone()
        taken.add(tensor.untyped_storage().data_ptr())
        found[name] = tensor
    return found


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reason_of(error: Exception) -> str:
    """Return why a file could not be written: in the words of the system, whichever library tells of it."""
    number = number_of(error)
    return os.strerror(number) if number else str(error)
