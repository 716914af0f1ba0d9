"""What is shown of one run: scores, figures, samples that it got wrong, training, and what it was asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from histokit.classifiers.column_limits import SPREADS
from histokit.errors import DataError, StoreError, counted
from histokit.evaluate.curve_sheets import curve_sheets
from histokit.evaluate.curves import curves
from histokit.evaluate.evaluate import Evaluation, evaluate
from histokit.evaluate.views import FITTING
from histokit.features import FeatureStore
from histokit.figures.calibration import draw_calibration
from histokit.figures.evaluations import tested
from histokit.figures.groups import draw_groups
from histokit.figures.lettering import of_groups
from histokit.figures.scores import draw_scores
from histokit.figures.threshold_curves import draw_threshold_curves
from histokit.figures.training import draw_training
from histokit.layout import Sheet, natural_items, number_text
from histokit.protocol.leaks import CAN_KNOW, TOO_GOOD
from histokit.protocol.metrics import is_shown
from histokit.protocol.run_origin import to_the_second
from histokit.report.descriptions import describe_scores, describe_training, describe_view
from histokit.report.page import Block, DataTable, Facts, Notes, Section
from histokit.report.pictures import figure
from histokit.report.samples import Showing, sample_blocks
from histokit.store import RunRecord

_MEASURES = ("precision", "recall", "f1", "roc_auc", "support")
#: Kinds of mistakes that are listed.
_MISTAKES = 40
#: Words of notes on scores that are not what they seem.
_LEAKS = ("leaks", "optimistic", TOO_GOOD, CAN_KNOW)


def scored(store: FeatureStore, run: RunRecord, bootstrap: int, seed: int) -> Evaluation | None:
    """Return the scores of a run; none where nothing of what it predicted has a label."""
    try:
        (found,) = evaluate(store, run.id, bootstrap=bootstrap, seed=seed, views=FITTING)
    except DataError:
        return None
    return found


def notes_of(run: RunRecord, found: Evaluation | None) -> list[str]:
    """Return what is to be known of a run, each once."""
    texts = dict.fromkeys(_told(run, text) for text in [*run.notes, *(found.notes if found else [])])
    return in_order(texts)


def in_order(texts: Iterable[str]) -> list[str]:
    """Return notes, leaks first and what may be tried last."""
    return sorted(texts, key=lambda text: (not is_leak(text), text.startswith(SPREADS)))


def leaks_of(run: RunRecord) -> list[str]:
    """Return the notes of a run that say that its scores are too good."""
    return [text for text in notes_of(run, None) if is_leak(text)]


def _told(run: RunRecord, text: str) -> str:
    """Return a note in the words of comparisons where it says that a split leaks."""
    said = f"split {run.split}: "
    leaks = f"the split {run.split} of {run.dataset} leaks: "
    return leaks + text.removeprefix(said) if text.startswith(said) else text


def as_notes(texts: Sequence[str], calm: str) -> list[Block]:
    """Return notes in order, leaks apart; or a sentence where there are none."""
    leaks = [text for text in texts if is_leak(text)]
    rest = in_order(text for text in texts if not is_leak(text))
    blocks = [Notes(leaks, "leak")] * bool(leaks) + [Notes(rest, "note")] * bool(rest)
    return [*blocks] or [Notes([calm], "plain")]


def is_leak(text: str) -> bool:
    """Return whether a note says that a score is too good to be true."""
    return any(re.search(rf"\b{word}\b", text) for word in _LEAKS)


def run_sections(store: FeatureStore, run: RunRecord, found: Evaluation | None, showing: Showing) -> Iterator[Section]:
    """Yield the parts of a page that are about one run."""
    if found is None:
        text = "Nothing that this run predicted has a label: there are no scores."
        yield Section("Scores", [Notes([text], "plain")])
    else:
        yield Section("Scores", list(_scores(found)))
        if found.per_class:
            yield Section("Classes", list(_classes(found)))
        views = list(_views(found))
        if views:
            yield Section("Figures", views)
        yield Section("Folds", [DataTable(_folds(run, found))], closed=len(run.folds) > 12)
    blocks = list(sample_blocks(store, run, showing))
    if blocks:
        yield Section("Samples", blocks)
    training = list(_training(store, run))
    if training:
        yield Section("Training", training)
    yield Section("What the run was asked", [Facts(_asked(run))])


def headline(run: RunRecord, found: Evaluation | None) -> dict[str, Any]:
    """Return the first facts of a run."""
    facts: dict[str, Any] = {}
    if found is not None:
        facts |= {found.metric.replace("_", " "): _with_interval(found, found.metric)}
        facts |= {"predictions": found.n, **({f"groups ({run.group})": found.groups} if found.groups else {})}
    facts |= {"dataset": run.dataset, "features": run.address, "classifier": run.classifier, "split": run.split}
    return {name: value for name, value in facts.items() if value not in (None, "")} | {"run": run.id}


def _with_interval(found: Evaluation, metric: str) -> str:
    value = found.metrics[metric]
    if value is None:
        return f"undefined: {found.undefined.get(metric, '')}".rstrip(": ")
    bounds = (found.intervals or {}).get("metrics", {}).get(metric)
    if not bounds:
        return number_text(value)
    mark = "" if found.intervals["reliable"] else ", unreliable"
    return f"{number_text(value)} (95 % interval {' to '.join(map(number_text, bounds))}{mark})"


def _scores(found: Evaluation) -> Iterator[Block]:
    base, folds = found.baseline, found.folds
    bounds = (found.intervals or {}).get("metrics", {})
    rows = [
        [
            name.replace("_", " "),
            found.metrics[name],
            *(bounds.get(name) or [None, None]),
            mean,
            folds["std"][name],
            base.get(name),
        ]
        for name, mean in folds["mean"].items()
        if is_shown(name, found.metric)
    ]
    columns = ["metric", "pooled", "from", "to", "mean over folds", "std over folds", f"always {found.guess}"]
    title = f"Scores of {counted(found.n, 'test prediction', 'test predictions')}"
    if found.intervals:
        level = found.intervals
        title += f"; 95 % intervals by resampling {counted(level['groups'], 'group', 'groups')} ({level['unit']})"
    yield DataTable(Sheet(title, columns, rows))
    yield figure(
        draw_scores(found),
        describe_scores(found),
        f"{found.dataset}, {found.split}: {_sizes(found)}. Left: {_left(found)}. Right: {found.metric} of each fold.",
    )


#: View → function that draws it, and what it shows.
_VIEWS: dict[str, tuple[Callable[[Evaluation], Any], str]] = {
    "roc": (lambda found: draw_threshold_curves(found, "roc"), "ROC curves, each class against the rest"),
    "precision-recall": (lambda found: draw_threshold_curves(found, "precision-recall"), "Precision and recall"),
    "calibration": (draw_calibration, "Reliability of the probabilities"),
    "groups": (draw_groups, "Scores inside each group"),
}


def _views(found: Evaluation) -> Iterator[Block]:
    for name, (draw, what) in _VIEWS.items():
        if name in found.views:
            caption = f"{what}; {found.dataset}, {found.split}: {_sizes(found)}."
            yield figure(draw(found), describe_view(found, name, what), caption)


def _left(found: Evaluation) -> str:
    return "true and predicted classes" if found.per_class else "predicted against true numbers"


def _sizes(found: Evaluation) -> str:
    return f"{counted(found.n, 'prediction', 'predictions')}{of_groups(found.groups)}"


def _classes(found: Evaluation) -> Iterator[Block]:
    rows = [[name, *(values[measure] for measure in _MEASURES)] for name, values in natural_items(found.per_class)]
    yield DataTable(Sheet("By true class", ["class", *(m.replace("_", " ") for m in _MEASURES)], rows))
    classes, counts = found.confusion["classes"], found.confusion["counts"]
    wrong = [
        [true, predicted, count]
        for true, row in zip(classes, counts, strict=True)
        for predicted, count in zip(classes, row, strict=True)
        if count and true != predicted
    ]
    if wrong:
        ordered = sorted(wrong, key=lambda row: -row[2])
        title = "Mistakes, the most frequent first" + f" ({_MISTAKES} of {len(wrong):,} kinds)" * (
            len(wrong) > _MISTAKES
        )
        yield DataTable(Sheet(title, ["true", "predicted", "count"], ordered[:_MISTAKES]))


def _folds(run: RunRecord, found: Evaluation) -> Sheet:
    each = found.folds["each"]
    listed = {(fold["repeat"], fold["fold"]): fold for fold in run.folds}
    rows = []
    for entry in each:
        fold = listed.get((entry["repeat"], entry["fold"]), {})
        chosen = ", ".join(f"{name}={value}" for name, value in _choices(fold).items())
        score = entry["metrics"][found.metric]
        rows.append([entry["repeat"], entry["fold"], fold.get("train"), fold.get("test"), score, chosen or None])
    title = f"{counted(len(rows), 'fold', 'folds')} and what was chosen inside each training set"
    return Sheet(title, ["repeat", "fold", "training samples", "test samples", found.metric, "chosen"], rows)


def _choices(fitted: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was chosen in a training set: of several addresses one, and parameters."""
    features = {"features": fitted["address"]} if "address" in fitted else {}
    return {**features, **(fitted.get("parameters") or {})}


def _training(store: FeatureStore, run: RunRecord) -> Iterator[Block]:
    if run.kind != "finetune":
        return
    try:
        (found,) = curves(store, run.id)
    except StoreError as error:
        yield Notes([error.message], "note")
        return
    means = f"means over {counted(found.networks, 'network', 'networks')}"
    counts = f", tested on {tested([found.tested], [None])}" if found.tested["predicted"] else ""
    caption = f"Loss and {found.metric} by epoch; {run.dataset}, {run.split}: {means}{counts}."
    yield figure(draw_training(found), describe_training(found), caption)
    yield DataTable(curve_sheets(found)[0])


def _asked(run: RunRecord) -> Mapping[str, Any]:
    # Not by equality: a seed of 0 equals False.
    told = {name: value for name, value in run.asked.items() if value is not False and value not in (None, "", [])}
    given = {name.replace("_", " "): value for name, value in told.items()}
    final = run.found.get("final", {})
    kinds = dict.fromkeys(how for fitted in (*run.folds, final) for how in fitted.get("computed_in", []))
    chosen = {"chosen on all training samples": _choices(final), "computed in": ", ".join(kinds)}
    more = {name: value for name, value in chosen.items() if value}
    return {**given, **more, "seconds": run.seconds, "made": to_the_second(run.created)}
