"""The score of each run by one metric, as it is and in every bootstrap resample."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from histokit.errors import DataError
from histokit.evaluate.facts import Facts
from histokit.evaluate.frame import Codes, Frame, make_frame
from histokit.evaluate.summary import FOLD_AREA, draw_weights, fold_mean
from histokit.plugin.digests import digest_bytes
from histokit.protocol.scorers import count_metrics, defined
from histokit.store import RunRecord, Store

Floats = NDArray[np.float64]

#: Runs whose predictions are in memory at once.
_BATCH = 32


@dataclass(frozen=True, eq=False)
class Scored:
    """A run and its score.

    Parameters
    ----------
    run : RunRecord
    facts : dict
        Of `histokit.evaluate.facts.describe_runs`.
    metric : str
        ``roc_auc_fold_mean`` for the ROC AUC of a run over folds.
    score, fold_mean, fold_std : float, optional
        None where undefined.
    resampled : (B,) array
        The score in each resample of groups, NaN where undefined.
    groups : int
        How many were resampled.
    samples : str
        A digest of folds, ids, labels and groups: runs of one digest can be paired.
    notes : list of str
    """

    run: RunRecord
    facts: Facts
    metric: str
    score: float | None
    fold_mean: float | None = None
    fold_std: float | None = None
    resampled: Floats = field(default_factory=lambda: np.empty(0))
    groups: int = 0
    samples: str = ""
    notes: tuple[str, ...] = ()


class _Draws:
    """Resamples of groups, drawn once for all runs of as many groups."""

    def __init__(self, resamples: int, seed: int):
        self.resamples, self.seed = resamples, seed
        self._count, self._weights = 0, np.empty((0, 0))

    def of(self, groups: int) -> Floats:
        if groups != self._count:
            self._count, self._weights = groups, draw_weights(groups, self.resamples, self.seed)
        return self._weights


def score_runs(
    store: Store,
    runs: Sequence[RunRecord],
    facts: Mapping[str, Facts],
    metrics: Mapping[str, str],
    *,
    bootstrap: int,
    seed: int,
    unlabelled_too: bool,
    progress: Callable[..., None] | None = None,
) -> tuple[list[Scored], list[str]]:
    """Score the stored predictions of runs.

    Parameters
    ----------
    store : Store
    runs : sequence of RunRecord
    facts : mapping of run id to facts
    metrics : mapping of run id to metric
    bootstrap, seed : int
        Resamples of groups; all runs on the same groups share the draws.
    unlabelled_too : bool
        Whether a run without labels is an error, and not left out.
    progress : callable, optional
        ``progress(done, total, detail)``.

    Returns
    -------
    list of Scored, list of str
        In the order of `runs`, and notes on those left out.

    Raises
    ------
    DataError
    """
    draws, found, notes = _Draws(bootstrap, seed), [], []
    for start in range(0, len(runs), _BATCH):
        batch = runs[start : start + _BATCH]
        tables = store.predictions_of([run.id for run in batch])
        for number, run in enumerate(batch, start=start + 1):
            try:
                frame = make_frame(run, tables[run.id])
            except DataError as error:
                if unlabelled_too:
                    raise
                notes.append(f"left out: {error.message}")
                continue
            found.append(_score(run, facts[run.id], frame, metrics[run.id], draws))
            if progress is not None:
                progress(number, len(runs), run.id)
    return found, notes


def _score(run: RunRecord, facts: Facts, frame: Frame, metric: str, draws: _Draws) -> Scored:
    folds = frame.folds()
    name = FOLD_AREA if metric == "roc_auc" and len(folds) > 1 else metric
    units, _ = frame.units()
    groups = int(units.max()) + 1
    broken = metric == "roc_auc" and bool(np.isnan(frame.scores).any())
    weights = np.vstack([np.ones((1, groups)), draws.of(groups)])
    if broken:
        values, each = np.full(len(weights), np.nan), np.array([np.nan])
    else:
        values = _resample(frame, units, weights, metric, name)
        each = np.array([frame.take(rows).scorer().values([metric])[metric] for *_, rows in folds])
    known = each[~np.isnan(each)]
    return Scored(
        run=run,
        facts=facts,
        metric=name,
        score=defined(float(values[0])),
        fold_mean=float(known.mean()) if len(known) else None,
        fold_std=float(known.std()) if len(known) else None,
        resampled=values[1:],
        groups=groups,
        samples=_digest(frame),
        notes=(f"{run.id} has scores that are no numbers: its {metric} is undefined",) if broken else (),
    )


def _resample(frame: Frame, units: Codes, weights: Floats, metric: str, name: str) -> Floats:
    if name == FOLD_AREA:
        return fold_mean(frame, units, weights, metric)
    if metric == "roc_auc":
        return frame.scorer(units).resample(weights, [metric])[metric]
    # Confusions add up over groups, so that a resample is one product with the confusion of each group.
    k = len(frame.classes)
    cells = units * k * k + frame.true * k + frame.predicted
    each = np.bincount(cells, minlength=weights.shape[1] * k * k).reshape(weights.shape[1], k * k)
    return count_metrics((weights @ each).reshape(-1, k, k))[metric]


def _digest(frame: Frame) -> str:
    """Return a digest of what was scored, whatever the order of rows."""
    truth = [frame.classes[k] for k in frame.true]
    rows = zip(frame.repeat.tolist(), frame.fold.tolist(), frame.ids, truth, map(str, frame.groups), strict=True)
    return digest_bytes(*(repr(row).encode() for row in sorted(rows))).hex()
