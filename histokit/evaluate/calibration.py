"""Calibration: whether classes come as often as their probabilities say."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.table import CLASSIFIERS
from histokit.errors import DataError
from histokit.evaluate.evaluate_options import Resampling
from histokit.evaluate.frame import Frame
from histokit.evaluate.summary import draw_weights, interval_document
from histokit.evaluate.temperature import LEAST, FoldTemperature, at_edge, edge_note, scale_by_other_folds

Floats = NDArray[np.float64]

PROBABILITY = "probability"
_BINS = 15
#: What probabilities of a sample may lack of 1, as scores of half precision do.
_ROUNDED = 1e-2
_UNTOLD = "there are no other folds to fit a temperature to, and one of the samples themselves would flatter them"


class _Sums(NamedTuple):
    """Sums over the samples of each unit.

    Parameters
    ----------
    samples, confidence, right : (units, bins) arrays
    brier, log_loss : (units,) arrays
    """

    samples: Floats
    confidence: Floats
    right: Floats
    brier: Floats
    log_loss: Floats

    def weighted(self, weights: Floats) -> _Sums:
        """Return the sums where units count as often as (B, units) weights say, a resample in the place of a unit."""
        return _Sums(*(weights @ each for each in self))

    def measures(self) -> dict[str, Floats]:
        """Return what each row amounts to."""
        total = self.samples.sum(-1)
        return {
            "ece": np.abs(self.right - self.confidence).sum(-1) / total,
            "brier": self.brier / total,
            "log_loss": self.log_loss / total,
        }


def check_probabilities(frame: Frame, run: str, classifier: str) -> None:
    """Raise a `DataError` where scores are no probabilities.

    Parameters
    ----------
    frame : Frame
    run, classifier : str
    """
    if frame.kind == PROBABILITY:
        return
    if frame.kind != "decision":
        raise DataError(
            f"Units that are made by {frame.kind} have no probabilities: how well they are calibrated cannot be told.",
            next="Take the mean of probabilities, as in --by slide:mean.",
        )
    others = [name for name, row in CLASSIFIERS.items() if row.kind == PROBABILITY and row.estimator]
    raise DataError(
        f"The scores of the run {run} ({classifier}) are decision values, not probabilities: how well they are "
        "calibrated cannot be told.",
        next=f"Train one that gives probabilities: --classifier {', '.join(others[:-1])} or {others[-1]}; or a network "
        "(histokit finetune). The order of decision values is shown by the views roc and precision-recall.",
    )


def calibration(frame: Frame, resampling: Resampling) -> dict[str, Any]:
    """Return how well the probabilities of classes are calibrated.

    The confidence of a prediction is the probability of its class. In 15 bins of equal width, each without its lower
    edge, it is compared with the share of right predictions; the expected calibration error (ECE) is the mean of the
    differences, weighted by samples (Naeini et al. 2015; Guo et al. 2017, On calibration of modern neural networks,
    equation 3). The Brier score is the mean of the squared differences of all probabilities to 1 for the true class
    and 0 for the others (Brier 1950): from 0 to 2, of two classes twice the ``brier_score_loss`` of scikit-learn.
    Logarithms are natural ones.

    After temperature scaling (Guo et al. 2017, section 4.2) each fold has the temperature that is best for all other
    folds. The models of these were trained on samples of the fold, which one number can hardly tell of.

    Parameters
    ----------
    frame : Frame
        Of classes, with probabilities.
    resampling : Resampling

    Returns
    -------
    dict
        ``bins`` (``low``, ``high``, ``n``, and where there are samples their mean ``confidence`` and ``accuracy``),
        ``ece``, ``brier``, ``log_loss``, ``accuracy``, ``confidence``, ``zeros`` (samples whose true class had the
        probability 0), ``baseline`` (brier and log_loss of the shares of the classes), ``intervals``, empty where
        none were asked for, and ``temperature``: its ``value``, the geometric mean over ``folds``, with ``bins``,
        ``ece``, ``brier``, ``log_loss``, ``confidence`` and ``intervals`` after scaling, and a ``note`` where that of a
        fold is the lowest or the highest that is looked for; None, and ``why``, of a run
        of one fold.

    Raises
    ------
    DataError
        If the probabilities of a sample do not add up to 1.
    """
    probabilities = _probabilities(frame)
    scaled, temperatures = scale_by_other_folds(frame, probabilities)
    shares = np.bincount(frame.true, minlength=len(frame.classes)) / len(frame)
    known = shares[shares > 0]
    return {
        **_measured(frame, probabilities, resampling),
        "accuracy": float((frame.predicted == frame.true).mean()),
        "zeros": int((probabilities[np.arange(len(frame)), frame.true] <= 0).sum()),
        "baseline": {"brier": float(1 - (shares**2).sum()), "log_loss": abs(float((known * np.log(known)).sum()))},
        "temperature": _temperature(temperatures, _measured(frame, scaled, resampling)),
    }


def _temperature(found: list[FoldTemperature], measured: dict[str, Any]) -> dict[str, Any]:
    if not found:
        return {"value": None, "why": _UNTOLD}
    mean = float(np.exp(np.mean(np.log([each.temperature for each in found]))))
    edge = [each for each in found if at_edge(each.temperature)]
    note = {"note": edge_note(edge, len(found))} if edge else {}
    return {"value": mean, **note, "folds": [each._asdict() for each in found], **measured}


def _measured(frame: Frame, probabilities: Floats, resampling: Resampling) -> dict[str, Any]:
    """Return the bins of probabilities, their measures, mean confidence and intervals."""
    units, grouped = frame.units()
    sums = _sums(frame, probabilities, units)
    whole = sums.weighted(np.ones((1, len(sums.brier))))
    document: dict[str, Any] = {
        "bins": _bins(whole),
        **{name: float(value[0]) for name, value in whole.measures().items()},
        "confidence": float(whole.confidence.sum() / len(frame)),
        "intervals": {},
    }
    if resampling.resamples:
        weights = draw_weights(len(sums.brier), resampling.resamples, resampling.seed)
        unit = (resampling.group or "group") if grouped else frame.unit
        values = sums.weighted(weights).measures()
        document["intervals"] = interval_document(values, len(sums.brier), resampling, unit)
    return document


def _probabilities(frame: Frame) -> Floats:
    """Return the (n, K) probabilities; that of a class that the run does not know is 0."""
    found = np.where(np.isneginf(frame.scores), 0.0, frame.scores)
    wrong = (np.abs(found.sum(1) - 1) > _ROUNDED) | (found < 0).any(1)
    if wrong.any():
        raise DataError(
            f"The probabilities of {int(wrong.sum())} of {len(frame)} predictions do not add up to 1, such as those of "
            f"{frame.ids[wrong][0]!r}.",
            next="See their scores with: histokit predictions, --json. What gave them has to be mended.",
        )
    return found


def _sums(frame: Frame, probabilities: Floats, units: NDArray[np.intp]) -> _Sums:
    rows, count = np.arange(len(frame)), int(units.max()) + 1
    confidence = probabilities[rows, frame.predicted]
    bins = np.searchsorted(np.arange(1, _BINS) / _BINS, confidence, side="left")
    place = units * _BINS + bins

    def by(places: NDArray[np.intp], values: Floats, many: int) -> Floats:
        return np.bincount(places, values, many).astype(float)

    def by_bin(values: Floats) -> Floats:
        return by(place, values, count * _BINS).reshape(count, _BINS)

    squares = ((probabilities - np.eye(len(frame.classes))[frame.true]) ** 2).sum(1)
    logarithms = -np.log(np.clip(probabilities[rows, frame.true], LEAST, 1))
    return _Sums(
        by_bin(np.ones(len(frame))),
        by_bin(confidence),
        by_bin((frame.predicted == frame.true).astype(float)),
        *(by(units, values, count) for values in (squares, logarithms)),
    )


def _bins(whole: _Sums) -> list[dict[str, Any]]:
    found = []
    for number, (n, confidence, right) in enumerate(zip(*(each[0] for each in whole[:3]), strict=True)):
        means = {"confidence": float(confidence / n), "accuracy": float(right / n)} if n else {}
        found.append({"low": number / _BINS, "high": (number + 1) / _BINS, "n": int(n), **means})
    return found
