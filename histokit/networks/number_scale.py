"""What the outputs of a network stand for: probabilities of classes, or numbers in the units of the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class NumberScale:
    """By what a target is standardised: outputs are about 0 and of the order of 1, whatever its units.

    So rates and the parameter of a loss mean the same for ages and for areas, and half precision has digits enough.

    Parameters
    ----------
    mean, std : float
        Of the training samples; the deviation is that of the population, and 1 where all of them are equal.
    """

    mean: float = 0.0
    std: float = 1.0

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> Self:
        """Return the scale of the (n,) values of training samples."""
        equal = np.ptp(values) == 0
        return cls(float(values[0] if equal else values.mean()), 1.0 if equal else float(values.std()))

    @classmethod
    def from_json(cls, document: Mapping[str, float]) -> Self:
        """Rebuild from `to_json`."""
        return cls(**document)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        return asdict(self)

    def standardised(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return numbers as outputs are to be."""
        found: NDArray[np.float32] = ((values - self.mean) / self.std).astype(np.float32)
        return found

    def restored(self, outputs: Tensor) -> Tensor:
        """Return outputs as numbers in the units of the target."""
        return outputs * self.std + self.mean


def scores_of(outputs: Tensor, scale: NumberScale | None) -> Tensor:
    """Return what the outputs of a network stand for.

    Parameters
    ----------
    outputs : (n, K) Tensor
    scale : NumberScale, optional
        None where they are of classes.

    Returns
    -------
    (n, K) float64 Tensor
        Probabilities of classes, or numbers.
    """
    exact = outputs.double()
    return exact.softmax(1) if scale is None else scale.restored(exact)
