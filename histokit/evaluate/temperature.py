"""Temperature scaling: one number that makes probabilities less sure, or surer, of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from histokit.errors import counted
from histokit.evaluate.frame import Frame

Floats = NDArray[np.float64]

#: Probabilities of 0 have no logarithm: they are taken for the least one, as scikit-learn's ``log_loss`` does.
LEAST = float(np.finfo(np.float64).eps)
#: The coldest and the hottest temperature that is looked for.
_RANGE = (0.01, 100.0)


class FoldTemperature(NamedTuple):
    """The temperature of the predictions of an outer fold.

    Parameters
    ----------
    repeat, fold : int
    temperature : float
    fitted_on : int
        How many predictions of other folds it was fitted on.
    """

    repeat: int
    fold: int
    temperature: float
    fitted_on: int


def scale(logits: Floats, temperature: float) -> Floats:
    """Return probabilities at a temperature: ``softmax(logits / T)``.

    Parameters
    ----------
    logits : (n, K) float64 array
        Logarithms of probabilities; minus infinity, of a class that the model does not know, stays 0.
    temperature : float
        Above 1 all become more alike.

    Returns
    -------
    (n, K) float64 array
    """
    found: Floats = np.exp((logits - logits.max(1, keepdims=True)) / temperature)
    return found / found.sum(1, keepdims=True)


def fit_temperature(logits: Floats, true: NDArray[np.intp]) -> float:
    """Return the temperature of the least log loss, between 0.01 and 100 (Guo et al. 2017, section 4.2).

    Parameters
    ----------
    logits : (n, K) float64 array
        Logarithms of probabilities.
    true : (n,) array of int
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    # A class that the model does not know is wrong at every temperature.
    known = np.isfinite(logits[np.arange(len(true)), true])
    if not known.any():
        return 1.0
    logits, at_true = logits[known], logits[np.arange(len(true)), true][known]

    def loss(log_temperature: float) -> float:
        cold = float(np.exp(-log_temperature))
        return float((logsumexp(cold * logits, axis=1) - cold * at_true).mean())

    bounds = tuple(map(float, np.log(_RANGE)))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-7})
    # Where all are right the loss is 0 from some temperature down.
    best = next((edge for edge in bounds if loss(edge) < found.fun or found.fun <= 0), found.x)
    return float(np.exp(best))


def at_edge(temperature: float) -> bool:
    """Return whether a temperature is the lowest or the highest that is looked for: the best one lies beyond."""
    return not _RANGE[0] * 1.001 < temperature < _RANGE[1] / 1.001


def edge_note(found: Sequence[FoldTemperature], folds: int) -> str:
    """Return the sentence on folds whose temperature is at the edge, of so many folds."""
    cold = any(each.temperature < 1 for each in found)
    why = "all that it is fitted on are right" if cold else "they tell no class from another"
    return (
        f"the temperature of {counted(len(found), 'fold', 'folds')} of {folds} is {_RANGE[0 if cold else 1]:g}, the "
        f"{'lowest' if cold else 'highest'} that is looked for, because {why}: "
        "it says nothing of how sure predictions should be"
    )


def scale_by_other_folds(frame: Frame, probabilities: Floats) -> tuple[Floats, list[FoldTemperature]]:
    """Return the probabilities of each fold at the temperature of the least log loss of all other folds.

    So no sample's label has a part in the temperature that its own probabilities are scaled by: of repeated folds
    those predictions are left out that are of samples of the fold.

    Parameters
    ----------
    frame : Frame
    probabilities : (n, K) float64 array

    Returns
    -------
    ((n, K) float64 array, list of FoldTemperature)
        An empty list where there are no other folds; the probabilities are as they were then.
    """
    logits = np.where(np.isneginf(frame.scores), -np.inf, np.log(np.maximum(probabilities, LEAST)))
    scaled, found = probabilities.copy(), list[FoldTemperature]()
    for repeat, fold, rows in frame.folds():
        others = ~np.isin(frame.ids.astype(str), frame.ids[rows].astype(str))
        if not others.any():
            return probabilities, []
        temperature = fit_temperature(logits[others], frame.true[others])
        scaled[rows] = scale(logits[rows], temperature)
        found.append(FoldTemperature(repeat, fold, temperature, int(others.sum())))
    return scaled, found
