"""Training: tuned classifiers in all outer folds, their predictions, and the model of all training samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from shlex import quote
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histokit.classifiers.column_limits import check_columns
from histokit.classifiers.estimators import check_stored, dump
from histokit.errors import StoreError
from histokit.features import FeatureStore
from histokit.features.feature_store import StoreLike, open_store
from histokit.features.images import check_readable
from histokit.plugin.digests import DIGEST_BYTES
from histokit.protocol.experiment import Experiment
from histokit.protocol.finished_parts import FinishedParts
from histokit.protocol.predictions import rows_of_fold
from histokit.protocol.progress import PARTS, Progress, nested
from histokit.protocol.run_origin import creation_time, versions_of
from histokit.store.records import RunRecord, SelectionRecord
from histokit.store.removal import check_origin
from histokit.train import choices
from histokit.train.folds import Outcome, fold_notes, train_folds
from histokit.train.outer import Fitted, Recipe, fit_rows, selection_parts
from histokit.train.question import Question, ask
from histokit.train.train_options import TrainOptions


def train(
    store: StoreLike,
    dataset: str,
    features: str | Sequence[str],
    classifier: str = "svm",
    *,
    split: str | None = None,
    selection: str | None = None,
    rfe: bool = False,
    aggregate: str | None = None,
    metric: str | None = None,
    class_weight: str | None = None,
    target: str | None = None,
    target_type: str | None = None,
    where: str | None = None,
    grid: Mapping[str, Any] | None = None,
    inner_folds: int = 5,
    seed: int = 0,
    solver: str = "auto",
    scale: bool = False,
    choose: str | None = None,
    normalise: str | None = None,
    controls: str | None = None,
    per: str | None = None,
    fold_networks: bool = False,
    allow_missing: bool = False,
    force: bool = False,
    progress: Callable[..., None] | None = None,
) -> list[RunRecord]:
    """Train a classifier, or what predicts numbers, on each of some addresses.

    In every outer fold it is tuned on the training and validation samples, by group-wise inner folds, refitted
    on them, and predicts the test samples. It is then tuned and fitted on all training samples: that is the
    model which predicts other data.

    Parameters
    ----------
    store : FeatureStore or path
    dataset : str
    features : str or sequence of str
        Addresses; ``each`` stands for several. Every one gives its own run.
    classifier : str
        ``svm``, ``et``, ``fc``, ``logreg``, ``ridge`` or ``knn``; or ``et-fl``, of the address ``images``. Of numbers
        ``ridge``, ``svr``, ``et`` or ``knn``.
    split : str, optional
        A stored split, ``cv``, ``leave-one-group-out`` or ``holdout``. Where not given, that of the data, else ``cv``.
    selection : str, optional
        The id of a stored selection of columns.
    rfe : bool
        Select columns anew in each outer training set.
    aggregate : str, optional
        ``COLUMN:mean``, ``median`` or ``max``: train on units in place of samples. Several, fine to coarse, between
        commas: on the units of the last one, each from the units of the one before it.
    metric : str, optional
        What tuning goes by; the dataset's own where not given, and ``r2`` for numbers.
    class_weight : str, optional
        ``none`` or ``balanced``.
    target, where : str, optional
        A column in place of the label; SQL over the columns of the samples.
    target_type : str, optional
        ``class`` or ``number``; where not given, columns of fractions are numbers and all others are classes.
    grid : mapping, optional
        Parameter → values, in place of the default.
    inner_folds : int
        Capped by the number of groups.
    seed : int
    solver : str
        ``auto``: whole grids at once where there is a solver of ours; ``sklearn``: its estimator, fit by fit.
    scale : bool
        Standardise columns by the mean and the deviation of the training samples of each fold.
    choose : str, optional
        One more run that takes the best of the addresses: ``inner``, in each outer fold by the score of the inner
        folds; ``test``, by the test samples themselves, which is optimistic (as Mormont et al. 2018 read their curves).
    normalise : str, optional
        ``standardise``, ``mad-robustise`` or ``sphering``, with ``:EPSILON`` to say what is added to spreads: before
        anything else, samples are normalised by the statistics of controls, see `FeatureSet.normalise`.
    controls : str, optional
        A filter over the columns of all samples of the dataset, whatever `where` is. Controls need no label; they are
        neither trained on nor scored.
    per : str, optional
        A column such as a plate, whose controls normalise its own samples.
    fold_networks : bool
        In each outer fold, take the features of the network that a run of `finetune` trained in that fold
        (``run:ID.FOLD`` in place of ``run:ID``), which has not seen the fold's test samples.
    allow_missing : bool
        Go on without samples whose features are missing.
    force : bool
        Do it again even if the run is stored.
    progress : callable, optional
        ``progress(done, total, detail)``.

    Returns
    -------
    list of RunRecord
        As stored, one for each address; last the chosen one.

    Raises
    ------
    UsageError, StoreError, DataError, LeakageError
    """
    store = open_store(store)
    question = ask(store, dataset, features, TrainOptions.of(locals()))
    runs = []
    for number, address in enumerate(question.addresses):
        report = nested(progress, number, len(question.addresses))
        runs.append(_train_one(store, question, question.prepare(store, address), force, report))
    return [*runs, choices.chosen(store, runs, choose, force)] if choose else runs


def _train_one(
    store: FeatureStore,
    question: Question,
    experiment: Experiment,
    force: bool,
    report: Callable[..., None] | None,
) -> RunRecord:
    recipe = question.recipe
    unlike = _check_selection_fits(recipe.selection, experiment, question.options) if recipe.selection else []
    run_id = question.run_id(store, experiment)
    if store.has_run(run_id) and not force:
        return store.run(run_id)
    check_stored(recipe.classifier, recipe.numbers)
    finished = FinishedParts(store, run_id, experiment.features.sample_ids, experiment.vectors.values())
    parts, said = selection_parts(recipe, experiment, store)
    remarks = _check_data(store, recipe, experiment, [part["columns"] for part in parts if part])
    address, told_in = experiment.features.address, PARTS if recipe.rfe else 1
    progress = Progress(report, len(experiment.folds) + 1, recipe.steps, address, parts=told_in)
    outcomes = train_folds(recipe, experiment, parts, finished, progress)
    final = _final(recipe, experiment, outcomes, parts, finished, progress)
    if recipe.rfe and final.columns is not None:
        remarks = _check_data(store, recipe, experiment, [final.columns])
    told = fold_notes(recipe, outcomes, final, len(experiment.features.column_names))
    record = RunRecord(
        id=run_id,
        dataset=experiment.split.dataset,
        kind="train",
        address=experiment.features.address,
        classifier=recipe.classifier,
        split=experiment.split.name,
        split_digest=experiment.split.digest,
        classes=experiment.classes,
        metric=experiment.problem.metric,
        parameters=question.parameters(experiment),
        found=_found(experiment, final),
        folds=[outcome.document for outcome in outcomes],
        notes=[*experiment.notes, *unlike, *said, *remarks, *told],
        predicted=None if question.options.aggregate else experiment.tested_digest,
        versions=versions_of("scikit-learn", "numpy"),
        seconds=round(finished.seconds, 3),
        created=creation_time(),
        group=experiment.group,
        levels=experiment.features.record.levels,
        features=experiment.feature_list,
    )
    predictions = _predictions(recipe, experiment, run_id, outcomes)
    record = store.save_run(record, predictions, dump(_model(experiment, final)), again=force)
    finished.forget()
    check_origin(store, experiment.features.record, "run", run_id)
    return record


def _found(experiment: Experiment, final: Fitted) -> dict[str, Any]:
    """Return what a run keeps of what came out: its classifier, and where they are, steps and features of the folds."""
    steps, of_folds = list(experiment.features.steps), [each.feature_list for each in experiment.of_folds]
    kept = {"steps": steps, "fold_features": of_folds}
    return {"final": final.document(), **{name: value for name, value in kept.items() if value}}


def _check_data(
    store: FeatureStore, recipe: Recipe, experiment: Experiment, kept: Sequence[Sequence[int] | NDArray[np.intp]]
) -> list[str]:
    """Refuse what the classifier cannot be trained on; return what is to be known of images, or of the columns kept."""
    if recipe.fitting(0).row.pixels:
        return check_readable(store, experiment.features)
    names, X = experiment.features.column_names, experiment.problem.X[experiment.training]
    if kept:
        columns = sorted({int(column) for part in kept for column in part})
        names, X = [names[column] for column in columns], X[:, columns]
    how: dict[str, Any] = {"solver": recipe.solver, "scale": recipe.scale, "numbers": recipe.numbers}
    return check_columns(recipe.classifier, X, names, **how)


def _predictions(recipe: Recipe, experiment: Experiment, run_id: str, outcomes: Sequence[Outcome]) -> pa.Table:
    """Return the test predictions of all folds."""
    kind = recipe.fitting(0).row.kind
    folds = [experiment.of_fold(number) for number in range(len(outcomes))]
    return pa.concat_tables(
        rows_of_fold(own, outer, outer.test, outcome.scores, run=run_id, kind=kind)
        for (own, outer), outcome in zip(folds, outcomes, strict=True)
    )


def _check_selection_fits(selection: SelectionRecord, experiment: Experiment, options: TrainOptions) -> list[str]:
    """Refuse a selection of other columns; return what is to be known of columns that were not normalised there."""
    made_on = [(part["fingerprint"], part["columns"]) for part in selection.features]
    given = [(part["fingerprint"], part["columns"]) for part in experiment.feature_list]
    if made_on != given:
        raise StoreError(
            f"The selection {selection.id} was made on {selection.address}, not on {experiment.features.address}.",
            next=f"Use --features {selection.address}, or select on these features.",
        )
    normalised = {name: selection.parameters.get(name) for name in ("normalise", "controls", "per")}
    if normalised["normalise"] and normalised != {name: getattr(options, name) for name in normalised}:
        same = " ".join(f"--{name} {quote(value)}" for name, value in normalised.items() if value)
        raise StoreError(
            f"The selection {selection.id} was made on features that were normalised otherwise than these.",
            next=f"Add {same}, or select on these features.",
        )
    if options.normalise and not normalised["normalise"]:
        return [
            f"the selection {selection.id} is of columns as they were before --normalise {options.normalise}: select "
            "with the same --normalise to choose among those that are trained on"
        ]
    return []


def _final(
    recipe: Recipe,
    experiment: Experiment,
    outcomes: Sequence[Outcome],
    parts: Sequence[dict[str, Any] | None],
    finished: FinishedParts,
    progress: Progress,
) -> Fitted:
    """Return the model of all training samples, which is that of a fold where it trained on the same."""
    rows = experiment.training
    part = None
    if recipe.selection is not None:
        part = recipe.selection.kept or recipe.selection.folds[0]
    for outcome, used in zip(outcomes, parts, strict=True):
        same_columns = (used or {}).get("columns") == (part or {}).get("columns")
        if outcome.fitted is not None and same_columns:
            return outcome.fitted
    entry = fit_rows(recipe, experiment, rows, part, progress.step, finished.of(len(outcomes)))
    progress.finish_piece()
    return entry


def _model(experiment: Experiment, final: Fitted) -> dict[str, Any]:
    trained = experiment.samples_of(final.rows)
    return {
        "estimator": final.estimator,
        "columns": final.columns,
        "classes": list(experiment.classes),
        "trained_on": _stacked(experiment.contents[i] for i in trained),
        "trained_vectors": _stacked(experiment.vectors[i] for i in trained if i in experiment.vectors),
    }


def _stacked(digests: Iterable[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST_BYTES)
