"""What is recorded while a network is trained: loss and metric against iterations and epochs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from histokit.networks.number_scale import NumberScale, scores_of
from histokit.protocol.number_metrics import direction
from histokit.protocol.scorers import defined
from histokit.protocol.tuning import Problem

TRAIN, VAL, TEST_SERIES = "train", "val", "test"


@dataclass(frozen=True)
class CurvePoint:
    """One point of one series.

    Parameters
    ----------
    series : str
        ``train`` (the mean over the batches since the point before, as they were when they were trained on), ``val``
        or ``test``.
    stage : int
        From 1.
    epoch : float
        Of all stages, that have passed; whole at the ends of epochs.
    iteration : int
        Of all stages, that have passed.
    loss, metric : float, optional
        None where undefined, and the metric of training batches between the ends of epochs.
    lr : float
        The base rate of the last step.
    seconds : float
        Since the training of this network began.
    """

    series: str
    stage: int
    epoch: float
    iteration: int
    loss: float | None
    metric: float | None
    lr: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        return asdict(self)


class Curve:
    """The points of a training, and the losses since the last of them.

    Parameters
    ----------
    metric : str
    """

    def __init__(self, metric: str):
        self.metric = metric
        self.points: list[CurvePoint] = []
        self.losses: list[Tensor] = []

    def recent_loss(self) -> float | None:
        """Return the mean loss since it was last asked for; none where there was no step."""
        recent, self.losses = self.losses, []
        return float(torch.stack(recent).double().mean()) if recent else None

    @property
    def told(self) -> str:
        """The last point of each series in words."""
        shown = ""
        for series, point in {point.series: point for point in self.points[-3:]}.items():
            loss = "" if point.loss is None else f" loss {point.loss:.3f}"
            metric = "" if point.metric is None else f" {self.metric} {point.metric:z.3f}"
            shown += f", {series}{loss}{metric}"
        return shown


@dataclass(frozen=True)
class Judge:
    """Scores predictions by the metric of what is learned.

    Parameters
    ----------
    problem : Problem
    scale : NumberScale
        Of numbers.
    """

    problem: Problem
    scale: NumberScale = field(default_factory=NumberScale)

    @property
    def metric(self) -> str:
        """Its name."""
        return self.problem.metric

    def __call__(self, y: NDArray[Any], scores: NDArray[np.float64]) -> float | None:
        """Return the metric of (n, K) scores of n samples, none where it is undefined; numbers are in their units."""
        return defined(self.problem.score(y, scores)[self.metric]) if len(y) else None

    def prefers(self, found: float, known: float) -> bool:
        """Return whether a value is better than another."""
        return direction(self.metric) * (found - known) > 0

    def scores(self, outputs: Tensor) -> Tensor:
        """Return the (n, K) probabilities, or numbers, that (n, K) outputs stand for."""
        return scores_of(outputs, self.scale if self.problem.numbers else None)

    def targets(self, y: NDArray[Any]) -> Tensor:
        """Return what the loss compares outputs with: (n,) class codes, or numbers that are standardised."""
        return torch.from_numpy(self.scale.standardised(y) if self.problem.numbers else y)
