"""Feature selection: which columns of which layers are worth keeping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from histokit.features import FeatureStore
from histokit.features.feature_store import StoreLike, open_store
from histokit.protocol.elimination import PASSES, eliminate
from histokit.protocol.experiment import Experiment, prepare
from histokit.protocol.finished_parts import FinishedParts
from histokit.protocol.outer_folds import Rows
from histokit.protocol.progress import PARTS, Progress
from histokit.protocol.run_origin import creation_time
from histokit.protocol.subset_sizes import AUTO, parse_step
from histokit.protocol.targets import with_type
from histokit.select.select_options import SelectOptions
from histokit.store.records import SelectionRecord
from histokit.store.removal import check_origin

#: Raised when the same question would give another selection than before.
SELECTION_VERSION = 2


def select(
    store: StoreLike,
    dataset: str,
    features: str,
    *,
    split: str | None = None,
    method: str = "rfe",
    tolerance: float = 0.005,
    step: float | str = AUTO,
    inner_folds: int = 5,
    seed: int = 0,
    metric: str | None = None,
    target: str | None = None,
    target_type: str | None = None,
    where: str | None = None,
    normalise: str | None = None,
    controls: str | None = None,
    per: str | None = None,
    allow_missing: bool = False,
    force: bool = False,
    progress: Callable[..., None] | None = None,
) -> SelectionRecord:
    """Select columns by recursive elimination, in each outer training set and once more in all training samples.

    Each stretch of a path that is done is kept in the store until the selection is saved: after an interruption the
    same call goes on from there, and ends with the same selection.

    Parameters
    ----------
    store : FeatureStore or path
    dataset : str
    features : str
        One address.
    split : str, optional
        A stored split, ``cv``, ``leave-one-group-out`` or ``holdout``; test samples are never looked at.
    method : str
        ``rfe``: recursive elimination by the importances of extremely randomised trees.
    tolerance : float
        The smallest subset is taken whose score is no further below the best; of ``mae`` and ``rmse`` in standard
        deviations of the target.
    step : float or str
        How many columns go at a time: a fraction below 1, else a count, such as the 4 of Mormont et al. 2018.
        ``auto``: large steps far from the knee of the curve, and that count near it.
    inner_folds : int
    seed : int
    metric : str, optional
        The dataset's own where not given.
    target, where : str, optional
        A column in place of the label; SQL over the columns of the samples.
    target_type : str, optional
        ``class`` or ``number``; where not given, columns of fractions are numbers and all others are classes.
    normalise, controls, per : str, optional
        As of `histokit.train`: samples are normalised by the statistics of controls, which are not selected on.
    allow_missing : bool
    force : bool
        Do it again even if the selection is stored.
    progress : callable, optional
        ``progress(done, total, detail)``.

    Returns
    -------
    SelectionRecord
        As stored.

    Raises
    ------
    UsageError, StoreError, DataError, LeakageError
    """
    store = open_store(store)
    options = SelectOptions.of(locals())
    experiment, parameters, selection_id = _question(store, dataset, features, options)
    if store.has_selection(selection_id) and not force:
        return store.selection(selection_id)
    finished = FinishedParts(store, selection_id, experiment.features.sample_ids, experiment.vectors.values())
    found = _eliminate_everywhere(experiment, parameters, finished, progress)
    record = _record(selection_id, experiment, parameters, found, finished.seconds)
    store.save_selection(record)
    finished.forget()
    check_origin(store, experiment.features.record, "selection", selection_id)
    return record


def identify(store: StoreLike, dataset: str, features: str, **options: Any) -> str:
    """Return the id that `select` would give a selection, whether it is stored or not; no vector is read.

    Options and errors are those of `select`.
    """
    return _question(open_store(store), dataset, features, SelectOptions(**options), outline=True)[2]


def _question(
    store: FeatureStore, dataset: str, features: str, options: SelectOptions, outline: bool = False
) -> tuple[Experiment, dict[str, Any], str]:
    """Return what is selected from, how, and the id of the selection."""
    options = with_type(store, dataset, options)
    how: dict[str, Any] = {"normalisation": options.normalisation, "outline": outline, "keep": not outline}
    experiment = prepare(store, dataset, features, options, **how)
    asked = {name: value for name, value in options.asked().items() if name != "split"}
    parameters = {**asked, "step": parse_step(options.step), "metric": experiment.problem.metric}
    asked = {"parameters": parameters, "version": SELECTION_VERSION}
    return experiment, parameters, experiment.id_of(asked, partial(store.dataset_of, "selections"))


def _record(
    selection_id: str,
    experiment: Experiment,
    parameters: dict[str, Any],
    found: list[dict[str, Any]],
    seconds: float,
) -> SelectionRecord:
    kept, names = found[-1], experiment.features.column_names
    trained = experiment.samples_of(experiment.training)
    steps = experiment.features.steps
    notes = [*experiment.notes, *dict.fromkeys(f"elimination: {text}" for part in found for text in part["notes"])]
    return SelectionRecord(
        id=selection_id,
        dataset=experiment.split.dataset,
        address=experiment.features.address,
        split=experiment.split.name,
        split_digest=experiment.split.digest,
        method=parameters["method"],
        parameters=parameters,
        found={"notes": notes, **({"steps": list(steps)} if steps else {})},
        folds=found[:-1],
        kept=kept,
        fitted_on=_fitted_on(experiment),
        features=experiment.feature_list,
        provenance=[names[column] for column in kept["columns"]],
        seconds=round(seconds, 3),
        created=creation_time(),
        contents={i: experiment.contents[i].hex() for i in trained},
        vectors={i: experiment.vectors[i].hex() for i in trained if i in experiment.vectors},
    )


def _eliminate_everywhere(
    experiment: Experiment, parameters: dict[str, Any], finished: FinishedParts, report: Callable[..., None] | None
) -> list[dict[str, Any]]:
    """Return the selection of each outer fold, and last that of all training samples."""
    subsets: list[tuple[int | None, int | None, Rows]] = [
        (outer.fold.repeat, outer.fold.fold, outer.train) for outer in experiment.folds
    ]
    subsets.append((None, None, experiment.training))
    passes = PASSES if parameters["step"] == AUTO else 1
    steps = passes * (parameters["inner_folds"] + 1)
    first = [
        next(i for i in range(n + 1) if np.array_equal(subsets[i][2], rows)) for n, (*_, rows) in enumerate(subsets)
    ]
    progress = Progress(report, len(set(first)), steps, experiment.features.address, parts=PARTS)
    found: list[dict[str, Any]] = []
    for number, (repeat, fold, rows) in enumerate(subsets):
        part = found[first[number]] if first[number] < number else None
        if part is None:
            options = {name: parameters[name] for name in ("tolerance", "step")}
            options |= {"folds": parameters["inner_folds"], "memory": finished.of(number)}
            part = asdict(eliminate(experiment.problem, rows, report=progress.step, **options))
            progress.finish_piece()
        found.append({**part, "repeat": repeat, "fold": fold})
    return [*({k: v for k, v in part.items() if k != "importances"} for part in found[:-1]), found[-1]]


def _fitted_on(experiment: Experiment) -> list[dict[str, Any]]:
    ids = experiment.features.sample_ids
    used = [
        {"repeat": p.fold.repeat, "fold": p.fold.fold, "ids": [ids[row] for row in p.train]} for p in experiment.folds
    ]
    return [*used, {"repeat": None, "fold": None, "ids": [ids[row] for row in experiment.training]}]
