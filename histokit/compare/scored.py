"""The score of each run by one metric, as it is and in every bootstrap resample."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histokit.compare.resampled import resample_areas, resample_counts, resample_numbers
from histokit.compare.run_facts import Facts
from histokit.errors import DataError, StoreError
from histokit.evaluate.frame import Frame, make_frame
from histokit.evaluate.summary import FEW_LACKING, FOLD_AREA, draw_weights, lacking_resamples
from histokit.finetune.recipe import TEST
from histokit.plugin.digests import digest_bytes
from histokit.protocol.metrics import METRICS
from histokit.protocol.scorers import defined, spread
from histokit.protocol.since import Change, changes_since
from histokit.store import RunRecord, Store

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scored:
    """A run and its score.

    Parameters
    ----------
    run : RunRecord
    facts : dict
        Of `histokit.compare.run_facts.describe_runs`.
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
    predicted : int
        How many samples were predicted, each once.
    right : array of bytes, optional
        A bit for each sample, in the order of ids: whether its class was predicted. None where samples are of groups
        or were predicted several times, so that they are not independent of each other, and where numbers are
        predicted.
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
    predicted: int = 0
    right: NDArray[np.uint8] | None = None
    changes: tuple[Change, ...] = ()

    @property
    def peeked(self) -> str:
        """What of it was chosen by the very samples that it is scored on: layers, or epochs; empty for nothing."""
        if self.run.kind == "predict":
            return ""
        if self.run.parameters.get("recipe", {}).get("choose_epoch") == TEST:
            return "epochs"
        return "layers" if self.facts.get("choose") == "test" else ""


class _Shared:
    """What many runs have in common: resamples of as many groups, the digest of the same samples, and their changes."""

    def __init__(self, store: Store, resamples: int, seed: int):
        self.resamples, self.seed = resamples, seed
        self._store = store
        self._changes: dict[Hashable, tuple[Change, ...]] = {}
        self._groups, self._weights = 0, np.empty((0, 0))
        self._digests: dict[bytes, str] = {}

    def weights(self, groups: int) -> Floats:
        """Return how often each group counts: as it is in the first row, as it was drawn in the others."""
        if groups != self._groups:
            drawn = draw_weights(groups, self.resamples, self.seed)
            self._groups, self._weights = groups, np.vstack([np.ones((1, groups)), drawn])
        return self._weights

    def digest(self, frame: Frame) -> str:
        """Return a digest of folds, ids, labels and groups, whatever the order of rows."""
        columns = [frame.repeat.tolist(), frame.fold.tolist(), frame.ids.tolist(), frame.labels, frame.groups.tolist()]
        as_listed = digest_bytes(*(repr(column).encode() for column in columns))
        if as_listed not in self._digests:
            rows = sorted(repr(row).encode() for row in zip(*columns, strict=True))
            self._digests[as_listed] = digest_bytes(*rows).hex()
        return self._digests[as_listed]

    def changes(self, run: RunRecord, rows: pa.Table, samples: str) -> tuple[Change, ...]:
        """Return what is otherwise now in the samples of a run, looked up once for runs on the same ones."""
        units = [rows.column("id"), pc.list_flatten(rows.column("levels"))] if run.levels else []
        there = digest_bytes(*(repr(column.to_pylist()).encode() for column in units))
        target = run.parameters.get("target")
        key = (run.dataset, target, run.group, run.numbers, run.predicted, samples, run.levels, there)
        if key not in self._changes:
            self._changes[key] = tuple(changes_since(self._store, run, rows))
        return self._changes[key]


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
    shared = _Shared(store, bootstrap, seed)
    found: dict[str, Scored] = {}
    without: dict[str, str] = {}
    for number, (run, rows) in enumerate(store.predictions_one_by_one(runs), start=1):
        if isinstance(rows, StoreError):
            raise rows
        try:
            scored = _score(run, facts[run.id], make_frame(run, rows), metrics[run.id], shared)
            found[run.id] = replace(scored, changes=shared.changes(run, rows, scored.samples))
        except DataError as error:
            if unlabelled_too:
                raise
            without[run.id] = f"left out: {error.message}"
        if progress is not None:
            progress(number, len(runs), run.id)
    ids = [run.id for run in runs]
    return [found[each] for each in ids if each in found], [without[each] for each in ids if each in without]


def _score(run: RunRecord, facts: Facts, frame: Frame, metric: str, shared: _Shared) -> Scored:
    units, _ = frame.units()
    weights = shared.weights(int(units.max()) + 1)
    if frame.numbers:
        values, each = resample_numbers(frame, units, weights, metric)
    elif metric == "roc_auc":
        values, each = resample_areas(frame, units, weights)
    else:
        values, each = resample_counts(frame, units, weights, metric)
    broken = metric == "roc_auc" and bool(np.isnan(frame.scores).any())
    if broken:
        values = np.full(len(weights), np.nan)
    known = each[~np.isnan(each)]
    lacking = 0 if frame.numbers or not METRICS[metric].over_classes else lacking_resamples(frame, units, weights)
    notes = [f"{run.id} has scores that are no numbers: its {metric} is undefined"] * broken
    if lacking > FEW_LACKING * shared.resamples and not np.isnan(values[0]):
        notes.append(
            f"{lacking} of {shared.resamples} resamples of {run.dataset} lack samples of some class: their {metric} is "
            "of the others, or undefined, so that intervals and p are off"
        )
    return Scored(
        run=run,
        facts=facts,
        metric=FOLD_AREA if metric == "roc_auc" and len(each) > 1 else metric,
        score=defined(float(values[0])),
        fold_mean=float(known.mean()) if len(known) else None,
        fold_std=spread(each),
        resampled=values[1:],
        groups=weights.shape[1],
        samples=shared.digest(frame),
        predicted=len(np.unique(frame.ids.astype(str))),
        right=_right(frame) if weights.shape[1] == len(frame) else None,
        notes=tuple(notes),
    )


def _right(frame: Frame) -> NDArray[np.uint8] | None:
    order = np.argsort(frame.ids.astype(str), kind="stable")
    return None if frame.numbers else np.packbits((frame.true == frame.predicted)[order])
