"""Evaluation of stored predictions; nothing is fitted anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from histokit.errors import UsageError, did_you_mean
from histokit.evaluate.evaluate_options import EvaluateOptions, Resampling
from histokit.evaluate.frame import Frame, Objects, read_frame
from histokit.evaluate.since import changed_since
from histokit.evaluate.summary import summarise
from histokit.evaluate.units import by_levels, inside_units, parse_by
from histokit.features.feature_store import StoreLike, open_store
from histokit.store import RunRecord, Store


@dataclass(frozen=True)
class Evaluation:
    """The scores of a run.

    Parameters
    ----------
    run, dataset, address, classifier, split, metric : str
    n : int
        Scored predictions.
    groups : int, optional
        Groups among them.
    metrics : dict
        Metric → pooled value, none where undefined; ``roc_auc_fold_mean`` is the mean over folds.
    undefined : dict
        Metric → why it is undefined.
    per_class : dict
        Class → precision, recall, f1, roc_auc, support.
    confusion : dict
        ``classes``, and ``counts`` with true classes in rows.
    folds : dict
        ``count``, and ``mean``, ``std`` and ``each`` over the outer folds.
    baseline : dict
        What always guessing the most frequent class scores.
    by : dict
        ``COLUMN:how`` → scores of the units of a level, or per-unit metrics of another column.
    intervals : dict
        Bootstrap intervals over groups; empty where none were asked for.
    notes : list of str
        What a reader should know of the scores.
    """

    run: str
    dataset: str
    address: str
    classifier: str
    split: str
    metric: str
    n: int
    groups: int | None
    metrics: dict[str, float | None]
    undefined: dict[str, str]
    per_class: dict[str, dict[str, Any]]
    confusion: dict[str, Any]
    folds: dict[str, Any]
    baseline: dict[str, Any]
    by: dict[str, Any]
    intervals: dict[str, Any]
    notes: list[str]

    def __repr__(self) -> str:
        value = self.metrics[self.metric]
        score = "undefined" if value is None else f"{value:.4f}"
        return f"Evaluation({self.run}: {self.metric} {score}, {self.n} predictions of {self.dataset})"

    def to_json(self) -> dict[str, Any]:
        """Return the evaluation as JSON-serialisable data."""
        return asdict(self)


def evaluate(
    store: StoreLike,
    runs: str | Sequence[str],
    *,
    by: str | Sequence[str] | None = None,
    metric: str | None = None,
    bootstrap: int = 0,
    seed: int = 0,
    progress: Callable[..., None] | None = None,
) -> list[Evaluation]:
    """Score the stored predictions of runs.

    Parameters
    ----------
    store : FeatureStore or path
    runs : str or sequence of str
        Ids, or their beginnings.
    by : str or sequence of str, optional
        ``COLUMN[:mean|median|vote],...``. Scores are aggregated to the units of a dataset's level, one level from
        the one before it; over any other column the metrics inside each unit are averaged.
    metric : str, optional
        What `Evaluation.metric` is and the figure shows; that of the run where not given.
    bootstrap : int
        The number of resamples of groups for 95 % intervals.
    seed : int
    progress : callable, optional
        ``progress(done, total, detail)``.

    Returns
    -------
    list of Evaluation

    Raises
    ------
    StoreError
        If a run is unknown.
    DataError
        If nothing has a label, or a unit holds two.
    UsageError
        If a column or the metric is unknown.
    """
    store = open_store(store)
    entries = parse_by(by)
    options = EvaluateOptions.of(locals())
    ids = [runs] if isinstance(runs, str) else list(runs)
    found = []
    for number, run_id in enumerate(ids):
        run = store.run(run_id)
        found.append(_evaluate_one(store, run, entries, options))
        if progress is not None:
            progress(number + 1, len(ids), run.id)
    return found


def _evaluate_one(
    store: Store, run: RunRecord, entries: Sequence[tuple[str, str]], options: EvaluateOptions
) -> Evaluation:
    frame = read_frame(store, run)
    levels = [entry for entry in entries if entry[0] in frame.levels]
    resampling = Resampling(options.bootstrap, options.seed, run.group)
    found = by_levels(frame, levels, resampling)
    for column, how in entries:
        if column not in frame.levels:
            values = _column(store, run, frame, column)
            found[f"{column}:{how}"] = inside_units(frame, values, column, how, resampling)
    summary = summarise(frame, resampling)
    notes = [*frame.notes, *changed_since(store, run)]
    if summary["intervals"] and not summary["intervals"]["reliable"]:
        notes.append(f"the intervals are unreliable: they resample {summary['intervals']['groups']} groups only")
    names = {name: getattr(run, name) for name in ("dataset", "address", "classifier", "split")}
    by = {f"{column}:{how}": found[f"{column}:{how}"] for column, how in entries}
    return Evaluation(run=run.id, **names, metric=options.metric or run.metric, **summary, by=by, notes=notes)


def _column(store: Store, run: RunRecord, frame: Frame, column: str) -> Objects:
    """Return a column of the dataset's samples for each prediction."""
    if column == run.group:
        return frame.groups
    known = store.samples(run.dataset).schema.names
    if column not in known:
        names = sorted({*known, *run.levels})
        raise UsageError(
            f"The dataset {run.dataset!r} has no column {column!r}.",
            next=f"{did_you_mean(column, names)}Its columns are: {', '.join(names)}.",
        )
    samples = store.samples(run.dataset, ["id", column])
    value = dict(zip(samples.column("id").to_pylist(), samples.column(column).to_pylist(), strict=True))
    found = np.empty(len(frame), object)
    found[:] = [value.get(i) for i in frame.ids]
    return found
