"""Evaluation of stored predictions; nothing is fitted anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import pyarrow as pa

from histokit.errors import StoreError, counted
from histokit.evaluate.evaluate_options import EvaluateOptions, Resampling
from histokit.evaluate.frame import Frame, Points, make_frame, points_of
from histokit.evaluate.levels import by_levels
from histokit.evaluate.summary import FEW_LACKING, absent_classes, summarise
from histokit.evaluate.units import inside_units, is_chained, parse_by, widened
from histokit.evaluate.views import check_views, views_of
from histokit.features.chained_units import wells_of_plates
from histokit.features.feature_store import StoreLike, open_store
from histokit.layout import Sheet, natural_items, number_text
from histokit.notebooks import InNotebooks
from histokit.protocol.metrics import is_shown
from histokit.protocol.since import changed_since
from histokit.protocol.targets import CLASS, check_kind, target_of
from histokit.store import RunRecord, Store
from histokit.store.records import NUMBER


@dataclass(frozen=True)
class Evaluation(InNotebooks):
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
        Class → precision, recall, f1, roc_auc, support; empty where numbers are predicted.
    confusion : dict
        ``classes``, and ``counts`` with true classes in rows; empty where numbers are predicted.
    folds : dict
        ``count``, and ``mean``, ``std`` and ``each`` over the outer folds.
    baseline : dict
        What always guessing the most frequent class scores, or the mean of the true numbers.
    by : dict
        ``COLUMN:how`` → scores of the units of a level, or per-unit metrics of another column.
    intervals : dict
        Bootstrap intervals over groups; empty where none were asked for.
    notes : list of str
        What a reader should know of the scores.
    target_type : str
        ``class`` or ``number``.
    points : dict
        Of predicted numbers, for figures and not in JSON: ``true``, ``predicted`` and ``group`` of the samples (under
        no name) and of the units of each level (``COLUMN:how``).
    views : dict
        View → its document, of those that were asked for; units of levels have theirs in `by`.
    changed : list of str
        Those of the notes that tell of data that were ingested again since the run; not in JSON a second time.
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
    target_type: str = CLASS
    points: dict[str, Points] = field(default_factory=dict)
    views: dict[str, Any] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        value = self.metrics[self.metric]
        score = "undefined" if value is None else number_text(value)
        return f"Evaluation({self.run}: {self.metric} {score}, {self.n} predictions of {self.dataset})"

    @property
    def guess(self) -> str:
        """What the baseline always predicts: a class, or a number as text."""
        return f"{self.baseline['value']:.4g}" if "value" in self.baseline else str(self.baseline["class"])

    def sheets(self) -> list[Sheet]:
        """Return the scores, and those of each class, as tables for people."""
        bounds = (self.intervals or {}).get("metrics", {})
        rows = [
            [name, self.metrics[name], mean, self.folds["std"][name], *(bounds.get(name) or [None, None])]
            for name, mean in self.folds["mean"].items()
            if is_shown(name, self.metric)
        ]
        heads = ["metric", "pooled", "mean over folds", "std over folds", "from", "to"]
        scores = Sheet(f"{self.run}: {self.classifier} on {self.address} of {self.dataset}, {self.split}", heads, rows)
        known = natural_items(self.per_class)
        measures = [name for name in (known[0][1] if known else {}) if name != "undefined"]
        each = [[name, *map(values.__getitem__, measures)] for name, values in known]
        of_class = ["class", *measures]
        return [scores, *([Sheet("by true class", of_class, each)] if each else [])]

    def to_json(self) -> dict[str, Any]:
        """Return the evaluation as JSON-serialisable data, with views where there are any."""
        document = asdict(replace(self, points={}))
        del document["points"], document["changed"]
        if not self.views:
            del document["views"]
        return document


def evaluate(
    store: StoreLike,
    runs: str | Sequence[str],
    *,
    by: str | Sequence[str] | None = None,
    metric: str | None = None,
    bootstrap: int = 0,
    seed: int = 0,
    views: str | Sequence[str] = (),
    progress: Callable[..., None] | None = None,
) -> list[Evaluation]:
    """Score the stored predictions of runs.

    Parameters
    ----------
    store : FeatureStore or path
    runs : str or sequence of str
        Ids, or their beginnings.
    by : str or sequence of str, optional
        ``COLUMN[:mean|median|vote],...``, fine to coarse. Scores are aggregated to the units of a dataset's level, and
        to those of any column before it, each from the one before it, and each unit is of the class of its highest
        score. Over a column that no level follows, the metrics inside each unit are averaged.
    metric : str, optional
        What `Evaluation.metric` is and the figure shows; that of the run where not given.
    bootstrap : int
        The number of resamples of groups for 95 % intervals.
    seed : int
    views : str or sequence of str
        What else is to be made of the predictions: of `histokit.evaluate.views.VIEWS`, such as ``roc``. Figures of the
        same names draw them.
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
        If a column, the metric or a view is unknown, or a view is not of what a run predicts.
    """
    store = open_store(store)
    entries = parse_by(by)
    options = EvaluateOptions.of({**locals(), "views": check_views(views)})
    records = store.named_runs([runs] if isinstance(runs, str) else list(runs))
    found: dict[str, Evaluation] = {}
    for run, rows in store.predictions_one_by_one(records):
        if isinstance(rows, StoreError):
            raise rows
        found[run.id] = _evaluate_one(store, run, rows, entries, options)
        if progress is not None:
            progress(len(found), len(records), run.id)
    return [found[run.id] for run in records]


def _evaluate_one(
    store: Store,
    run: RunRecord,
    rows: pa.Table,
    asked: Sequence[Sequence[tuple[str, str]]],
    options: EvaluateOptions,
) -> Evaluation:
    frame = make_frame(run, rows)
    resampling = Resampling(options.bootstrap, options.seed, run.group)
    target = target_of(NUMBER if run.numbers else None)
    if options.metric:
        check_kind(target, options.metric, f"What the run {run.id} predicts")
    points: dict[str, Points] = {"": points_of(frame)} if run.numbers else {}
    see = partial(views_of, names=options.views, resampling=resampling, run=run)
    made = see(frame)
    by, said = _by(store, run, frame, asked, resampling, points, see)
    summary = summarise(frame, resampling)
    scaled = made.get("calibration", {}).get("temperature", {})
    changed = changed_since(store, run, rows)
    notes = [*frame.notes, *said, *absent_classes(frame), *changed]
    notes += [scaled["note"]] if "note" in scaled else []
    if summary["intervals"] and not summary["intervals"]["reliable"]:
        groups = counted(summary["intervals"]["groups"], "group", "groups")
        notes.append(f"the intervals are unreliable: they resample {groups} only")
    lacking = summary["intervals"].get("lacking_resamples", 0)
    if lacking > FEW_LACKING * options.bootstrap:
        notes.append(
            f"{lacking} of {options.bootstrap} resamples lack samples of some class: their balanced_accuracy, roc_auc "
            "and macro metrics are of the others, or undefined, and the intervals of these are off"
        )
    names = {name: getattr(run, name) for name in ("dataset", "address", "classifier", "split")}
    more: dict[str, Any] = {"target_type": target.type, "points": points, "views": made, "changed": changed}
    return Evaluation(run=run.id, **names, metric=options.metric or run.metric, **summary, by=by, notes=notes, **more)


def _by(
    store: Store,
    run: RunRecord,
    frame: Frame,
    asked: Sequence[Sequence[tuple[str, str]]],
    resampling: Resampling,
    points: dict[str, Points],
    see: Callable[[Frame], dict[str, Any]],
) -> tuple[dict[str, Any], list[str]]:
    """Return what was asked of units, in that order, and what is to be known of it."""
    entries = [entry for text in asked for entry in text]
    chained = [is_chained(text, number, frame.levels) for text in asked for number in range(len(text))]
    wide = widened(store, run, frame, [column for column, _ in entries])
    others = wide.levels.keys() - frame.levels.keys()
    chain = [entry for entry, is_level in zip(entries, chained, strict=True) if is_level]
    found, notes = by_levels(wide, chain, run.levels, resampling, points, see)
    apart, said = wells_of_plates(wide.levels, sorted(others))
    for (column, how), is_level in zip(entries, chained, strict=True):
        if not is_level:
            inside = found[f"{column}:{how}"] = inside_units(frame, apart[column], column, how, resampling)
            few = counted(
                inside["left_out"], f"of {len(frame):,} predictions has", f"of {len(frame):,} predictions have"
            )
            said += [f"{few} no {column}: no unit of it holds them"] * bool(inside["left_out"])
    return {f"{column}:{how}": found[f"{column}:{how}"] for column, how in entries}, list(dict.fromkeys(notes + said))
