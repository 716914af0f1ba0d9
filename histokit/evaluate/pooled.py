"""One score of each of many runs, quick enough to list them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histokit.errors import HistokitError, StoreError, UnreachableError
from histokit.evaluate.frame import codes, score_matrix
from histokit.protocol.metrics import AREA, count_metrics
from histokit.protocol.number_metrics import NumberScorer
from histokit.protocol.scorers import Scorer, defined
from histokit.protocol.targets import Target, choose_metric, target_of
from histokit.store import RunRecord, Store
from histokit.store.records import NUMBER, VALUE_FIELDS


def usual_metrics(store: Store, runs: Sequence[RunRecord]) -> dict[str, str]:
    """Return the metric of each run, by its id: that of its dataset where it scores what the run predicts.

    Where the dataset is gone, it is the metric of the first run on it.
    """
    of_dataset = {record.name: record.metric for record in store.datasets()}
    for run in runs:
        of_dataset.setdefault(run.dataset, run.metric)
    return {run.id: choose_metric(_target(run), None, of_dataset[run.dataset]) for run in runs}


def _target(run: RunRecord) -> Target:
    return target_of(NUMBER if run.numbers else None)


def pooled_scores(
    store: Store, runs: Sequence[RunRecord], miss: Callable[[HistokitError], None]
) -> dict[str, tuple[str, float | None]]:
    """Return the score of each run over all its predictions, by the metric of its dataset.

    Parameters
    ----------
    store : Store
    runs : sequence of RunRecord
    miss : callable
        Is told of what cannot be read; a run of which that is so has no score.

    Returns
    -------
    dict
        Id → metric, and its value as `histokit.evaluate` pools it; None where it is undefined or nothing is labelled.
    """
    try:
        metrics = usual_metrics(store, runs)
    except (StoreError, UnreachableError) as error:
        miss(error)
        return {run.id: (run.metric, None) for run in runs}
    scores: dict[str, tuple[str, float | None]] = {}
    kinds: dict[tuple[str, ...], list[RunRecord]] = {}
    for run in runs:
        columns = [field.name for field in VALUE_FIELDS] if run.numbers else ["true", "predicted"]
        kinds.setdefault(("run", *columns, *["scores"] * (metrics[run.id] == AREA)), []).append(run)
    try:
        for names, alike in kinds.items():
            for run, rows in store.predictions_one_by_one(alike, list(names)):
                if isinstance(rows, StoreError):
                    miss(rows)
                else:
                    scores[run.id] = metrics[run.id], _score(run, rows, metrics[run.id])
    except UnreachableError as error:
        # Those of all runs are in one table.
        miss(error)
    return {run.id: (metrics[run.id], None) for run in runs} | scores


def _score(run: RunRecord, rows: pa.Table, metric: str) -> float | None:
    return _number_score(rows, metric) if run.numbers else _class_score(run, rows, metric)


def _number_score(rows: pa.Table, metric: str) -> float | None:
    rows = rows.filter(pc.is_valid(rows.column("true_value")))
    if not len(rows):
        return None
    scorer = NumberScorer(*(rows.column(field.name).to_numpy() for field in VALUE_FIELDS))
    return defined(scorer.values([metric])[metric])


def _class_score(run: RunRecord, rows: pa.Table, metric: str) -> float | None:
    rows = rows.filter(pc.is_valid(rows.column("true")))
    found = set(rows.column("true").unique().to_pylist())
    if not found & set(run.classes):
        return None
    classes = [*run.classes, *sorted(found - set(run.classes))]
    true, predicted = (codes(rows.column(name), classes) for name in ("true", "predicted"))
    if metric != AREA:
        cells = np.bincount(true * len(classes) + predicted, minlength=len(classes) ** 2)
        return defined(float(count_metrics(cells.reshape(len(classes), -1).astype(float))[metric]))
    scores = score_matrix(rows, len(run.classes), len(classes))
    if np.isnan(scores).any():
        return None
    positive = classes.index(str(run.parameters["positive"])) if _has_positive(run, classes) else None
    return defined(Scorer(true, predicted, scores, positive).values(["roc_auc"])["roc_auc"])


def _has_positive(run: RunRecord, classes: Sequence[str]) -> bool:
    return len(classes) == 2 and str(run.parameters.get("positive")) in classes
