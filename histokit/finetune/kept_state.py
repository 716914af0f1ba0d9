"""The state of a training: how far it is, and its optimiser as tensors and plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

PREFIX, GROUP = "optimizer.", "group"


@dataclass
class TrainingPlace:
    """How far a training is: steps of the epoch and of the stage, steps and epochs of all; in what it is computed."""

    stage: int = 0
    epoch: int = 0
    step: int = 0
    of_stage: int = 0
    steps: int = 0
    epochs: int = 0
    seconds: float = 0.0
    computed_in: list[str] = field(default_factory=list)


def optimizer_state(optimizer: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what an optimiser has accumulated: tensors by ``optimizer.PARAMETER.NAME``, and plain values.

    Some count their steps in groups of parameters: tensors and numbers of these are kept by ``groupNUMBER.NAME``.
    """
    known = optimizer.state_dict()
    tensors, plain = {}, {}
    of_groups = ((f"{GROUP}{number}", group) for number, group in enumerate(known["param_groups"]))
    for owner, values in (*known["state"].items(), *of_groups):
        for name, value in values.items():
            key = f"{owner}.{name}"
            if isinstance(value, Tensor):
                tensors[PREFIX + key] = value
            elif value is not None and (type(value) in (int, float) or not key.startswith(GROUP)):
                plain[key] = value
    return tensors, plain


def restore_optimizer(optimizer: Any, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    """Give an optimiser what `optimizer_state` returned, its tensors without the prefix."""
    state: dict[int, dict[str, Any]] = {}
    groups = optimizer.state_dict()["param_groups"]
    for key, value in {**tensors, **plain}.items():
        number, _, name = key.removeprefix(GROUP).partition(".")
        if key.startswith(GROUP):
            groups[int(number)][name] = value
        else:
            state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def split_by_part(tensors: Mapping[str, Tensor], device: Any) -> dict[str, dict[str, Tensor]]:
    """Return tensors by the first part of their names, on a device."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        # What counts steps stays where optimisers keep it.
        parts.setdefault(part, {})[rest] = tensor if tensor.ndim == 0 else tensor.to(device)
    return parts
