"""Which groups fail: the score inside each slide, patient, or whatever folds keep together."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from histokit.errors import DataError
from histokit.evaluate.evaluate_options import Resampling
from histokit.evaluate.frame import Frame


def check_groups_known(frame: Frame, run: str) -> None:
    """Raise a `DataError` where no prediction has a group.

    Parameters
    ----------
    frame : Frame
    run : str
    """
    if all(group is None for group in frame.groups):
        raise DataError(
            f"The predictions of the run {run} have no groups, such as slides or patients.",
            next="Name their column when the data come in (ingest -o group=…), or score units with --by COLUMN.",
        )


def group_scores(frame: Frame, resampling: Resampling) -> dict[str, Any]:
    """Return how well the samples of each group were predicted, the worst first.

    Parameters
    ----------
    frame : Frame
        Of classes or of numbers.
    resampling : Resampling
        Says what groups are called.

    Returns
    -------
    dict
        ``column``, ``measure`` (``accuracy``, the share of right predictions; of numbers ``mae``, the mean absolute
        error), ``pooled`` (its value over all predictions), ``classes``, ``left_out`` (predictions of no group), and
        ``groups``: of each ``group``, ``n`` (predictions; several of a sample where folds are repeated), ``score``,
        ``folds`` that tested it, and either ``classes`` (true class → n) and ``mistakes`` (the most frequent wrong
        ``predicted`` class of a ``true`` one, and its ``n``; none without any), or ``bias``, the mean of predicted
        less true numbers.
    """
    there = np.array([group is not None for group in frame.groups], bool)
    names, number = np.unique(frame.groups[there].astype(str), return_inverse=True)
    inside = [np.flatnonzero(there)[number == k] for k in range(len(names))]
    found = [{"group": str(name), **_of_group(frame.take(rows))} for name, rows in zip(names, inside, strict=True)]
    sign = -1 if frame.numbers else 1
    return {
        "column": resampling.group or "group",
        "measure": "mae" if frame.numbers else "accuracy",
        "pooled": _score(frame),
        "classes": list(frame.classes),
        "left_out": int((~there).sum()),
        "groups": sorted(found, key=lambda entry: (sign * entry["score"], -entry["n"], entry["group"])),
    }


def _score(frame: Frame) -> float:
    if frame.numbers:
        return float(np.abs(frame.predicted - frame.true).mean())
    return float((frame.predicted == frame.true).mean())


def _of_group(frame: Frame) -> dict[str, Any]:
    facts = {"n": len(frame), "score": _score(frame), "folds": sorted(set(frame.fold.tolist()))}
    if frame.numbers:
        return {**facts, "bias": float((frame.predicted - frame.true).mean())}
    counts = np.bincount(frame.true, minlength=len(frame.classes))
    pairs = zip(frame.true.tolist(), frame.predicted.tolist(), strict=True)
    wrong = Counter(pair for pair in pairs if pair[0] != pair[1])
    (true, predicted), n = min(wrong.items(), key=lambda item: (-item[1], item[0])) if wrong else ((0, 0), 0)
    mistakes = {"true": frame.classes[true], "predicted": frame.classes[predicted], "n": n} if n else None
    classes = {frame.classes[k]: int(counts[k]) for k in np.flatnonzero(counts)}
    return {**facts, "classes": classes, "mistakes": mistakes}
