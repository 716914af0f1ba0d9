"""How good a network is after an epoch, and which one is kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from histokit.finetune.curve import Judge
from histokit.finetune.inputs import ImageInputs, Inputs

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Judged:
    """What a network gave for some rows.

    Parameters
    ----------
    rows : (n,) array of int
        Those that have an image.
    scores : (n, K) float64 array
        Probabilities of classes, or (n, 1) numbers.
    loss : float, optional
    metric : float, optional
        None where undefined.
    """

    rows: Rows
    scores: NDArray[np.float64]
    loss: float | None
    metric: float | None


@dataclass
class Best:
    """The network that was the best by some metric, and when.

    Parameters
    ----------
    metric, loss : float, optional
    epoch : int
        Of all stages; 0 where none was judged.
    waited : int
        Epochs since then.
    tensors : dict
    """

    metric: float | None = None
    loss: float | None = None
    epoch: int = 0
    waited: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, found: Judged, epoch: int, network: nn.Module, judge: Judge | None) -> None:
        """Take a network where it is the best up to now: by a judge's metric; where that says nothing, by the loss."""
        if self.epoch and not self._worse(found, judge):
            self.waited += 1
            return
        self.metric, self.loss, self.epoch, self.waited = found.metric, found.loss, epoch, 0
        self.tensors = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    def _worse(self, found: Judged, judge: Judge | None) -> bool:
        if judge is not None:
            if found.metric is None or self.metric is None:
                if found.metric is not None or self.metric is not None:
                    return self.metric is None
            elif found.metric != self.metric:
                return judge.prefers(found.metric, self.metric)
        return found.loss is not None and (self.loss is None or found.loss < self.loss)


@torch.no_grad()
def judge_rows(
    network: nn.Module,
    inputs: Inputs,
    groups: list[Rows],
    y: NDArray[Any],
    outputs: Callable[[nn.Module, Tensor], Tensor],
    loss: Callable[[Tensor, Tensor], Tensor],
    judge: Judge,
) -> Judged:
    """Predict rows with a network in evaluation mode.

    Parameters
    ----------
    network : TrainableNetwork
    inputs : Inputs
    groups : list of (n,) arrays
        Rows that go through at once.
    y : array
        Of all rows: class codes, or numbers.
    outputs : callable
        Runs a module on inputs.
    loss : callable
    judge : Judge
    """
    network.eval()
    module: Any = network if isinstance(inputs, ImageInputs) else network.head
    rows, found, total = [], [], 0.0
    for here, batch in inputs.prediction(groups):
        values = outputs(module, batch)
        total += float(loss(values, judge.targets(y[here]).to(values.device))) * len(here)
        rows.append(here)
        found.append(judge.scores(values).cpu().numpy())
    if not rows:
        return Judged(np.empty(0, np.intp), np.empty((0, 0)), None, None)
    known, scores = np.concatenate(rows), np.concatenate(found).astype(np.float64)
    mean = total / len(known)
    return Judged(known, scores, mean if math.isfinite(mean) else None, judge(y[known], scores))
