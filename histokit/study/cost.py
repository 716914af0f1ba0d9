"""What the pieces of a study will take: an estimate, meant to tell minutes from days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from histokit.classifiers.grids import make_grid
from histokit.classifiers.row import Cost
from histokit.classifiers.table import classifier, names
from histokit.extract.rates import Estimate, estimate
from histokit.networks.requests import asked_engine, engine_of
from histokit.store import RunRecord, SelectionRecord, Store
from histokit.study.extractions import Extract
from histokit.study.problem_size import ProblemSize, problem_size
from histokit.study.selections_and_runs import OnFeatures, Select, Train
from histokit.study.study_file import Study
from histokit.study.study_pieces import Ingest, MakeSplit, Piece
from histokit.study.train_networks import ExtractTrained, TrainNetwork
from histokit.study.training_cost import foreseen_bytes, foreseen_training

MEASURED, TYPICAL = "measured", "typical"


class Workload(NamedTuple):
    """What decides how long a run takes.

    Parameters
    ----------
    rows, columns, classes : int
        Of one training set.
    sets : int
        Training sets: one for each outer fold, and all samples.
    effort : float
        Of the grid and the inner folds, relative to the default ones.
    """

    rows: int
    columns: int
    classes: int
    sets: int
    effort: float = 1.0


#: Of a selection; those of classifiers are in their rows.
SELECTION = Cost(60.0, rows=1.1, columns=0.6, classes=0.2)

_FOLDS = 5

#: Seconds of every run and selection, however small, and of each sample that is ingested.
_EACH, _EACH_SAMPLE = 0.3, 0.0005

#: Columns of a layer of which nothing is known yet, and the share of them that a selection keeps.
_WIDTH, _KEPT = 700, 0.075

#: How many of the last runs of a classifier correct the estimate.
_LAST = 30


def foreseen(name: str, work: Workload) -> float:
    """Return the typical seconds of a run of a classifier, or of ``select``.

    Parameters
    ----------
    name : str
    work : Workload
    """
    cost = SELECTION if name == "select" else classifier(name).cost
    size = (work.rows / 2000) ** cost.rows * (work.columns / 1000) ** cost.columns
    each = cost.seconds * size * (work.classes / 2) ** cost.classes * work.effort
    return _EACH + work.sets * each


def effort(name: str, grid: Sequence[Mapping[str, Any]], inner: int) -> float:
    """Return how much a grid in some inner folds costs, relative to the default ones.

    Parameters
    ----------
    name : str
        A classifier.
    grid : sequence of dict
        With a single setting, nothing is tuned.
    inner : int
    """
    return _fits(name, grid, inner) / _fits(name, make_grid(name), _FOLDS)


def _fits(name: str, grid: Sequence[Mapping[str, Any]], inner: int) -> float:
    weights = [classifier(name).cost.of_setting(setting) for setting in grid]
    return sum(weights) * inner * (len(grid) > 1) + max(weights)


def estimate_costs(study: Study, pieces: Sequence[Piece]) -> None:
    """Give each piece the seconds that it will take, where they can be known, and where that is from.

    Parameters
    ----------
    study : Study
    pieces : sequence of Piece
        After they looked whether they are done.
    """
    store = study.store
    sizes = {data.name: problem_size(store, data) for data in study.datasets}
    factors = history(store)
    widths = {(table.backbone, table.layer): table.width for table in store.feature_tables()}
    for piece in pieces:
        size = sizes[piece.data.name]
        if piece.done:
            piece.seconds, piece.estimate = 0.0, None
        elif isinstance(piece, Extract | ExtractTrained) and piece.seconds is None and size is not None:
            rate = _rate(study, piece)
            # Those of trained networks are of each fold and of all training samples.
            passes = size.folds + 1 if isinstance(piece, ExtractTrained) and size.folds > 1 else 1
            seconds = rate.seconds * size.samples * passes if rate else None
            piece.seconds, piece.estimate = seconds, rate.source if rate else None
        elif isinstance(piece, TrainNetwork) and size is not None:
            training = foreseen_training(store, piece, size)
            piece.seconds, piece.estimate = training or (None, None)
            piece.bytes = foreseen_bytes(store, piece, size)
        elif isinstance(piece, OnFeatures) and size is not None:
            name = "select" if isinstance(piece, Select) else piece.classifier
            workloads = _workloads(study, piece, size, widths)
            piece.seconds = sum(foreseen(name, work) for work in workloads) * factors.get(name, 1.0)
            piece.estimate = MEASURED if name in factors else TYPICAL
        elif isinstance(piece, Ingest | MakeSplit) and size is not None:
            piece.seconds, piece.estimate = _EACH + _EACH_SAMPLE * size.samples, TYPICAL


def _rate(study: Study, piece: Extract | ExtractTrained) -> Estimate | None:
    options, backbone = piece.network.options, piece.network.resolved
    assert backbone is not None
    precision = options.get("precision", "float32")
    asked = options.get("engine", "torch"), options.get("compile", False)
    engine, device = asked_engine(*asked, precision, study.device)
    engine = engine_of(backbone, engine, dry_run=False, notes=[])
    return estimate(study.store, backbone, device, precision, engine=engine)


def _workloads(
    study: Study, piece: OnFeatures, size: ProblemSize, widths: Mapping[tuple[str, str], int]
) -> list[Workload]:
    """Return the work of a piece: one, or one for each layer."""
    sets, inner = size.folds + (size.folds > 1), study.common["inner_folds"]
    share, rows = (inner + 1) / (_FOLDS + 1), size.rows
    if isinstance(piece, Train):
        share = effort(piece.classifier, make_grid(piece.classifier, piece.own.get("grid")), inner)
        # Images are not aggregated.
        rows = max(1, round(rows * size.units)) if piece.layers else rows
    return [Workload(rows, d, size.classes, sets, share) for d in _columns(study.store, piece, widths)]


def _columns(store: Store, piece: OnFeatures, widths: Mapping[tuple[str, str], int]) -> list[int]:
    """Return the number of columns of each run of a piece."""
    found: list[int] = []
    for features in piece.features:
        network = features.network
        known = network.resolved.layers if network.resolved else ()
        curated = [layer.name for layer in known if piece.layers == "each" or not layer.composite]
        inner = curated if network.inner == ("all",) else network.inner
        names = [network.last] if piece.layers == "last" else inner
        found += [features.widths.get(n) or widths.get((network.name, n)) or _WIDTH for n in names]
    if piece.layers != "each":
        found = [sum(found)] if found else [1]
    selections = [need for need in piece.needs if isinstance(need, Select)]
    return [_kept(store, selections[0], d) for d in found] if selections else found


def _kept(store: Store, selection: Select, columns: int) -> int:
    if selection.done and selection.id:
        record = store.selection(selection.id)
        return int((record.kept or record.folds[0])["k_min"])
    return max(1, round(_KEPT * columns))


def history(store: Store) -> dict[str, float]:
    """Return by how much past runs of each classifier, and selections, took longer than is typical.

    Parameters
    ----------
    store : Store
    """
    past: dict[str, list[tuple[float, float]]] = {}
    for run in store.runs():
        # The choice of a layer, or the elimination of columns, takes more than the classifier.
        more = run.parameters.get("choose") or run.parameters.get("rfe")
        if run.kind == "train" and run.classifier in names() and not more:
            past.setdefault(run.classifier, []).append((run.seconds, foreseen(run.classifier, _of_run(run))))
    selected = [((s.created, s.id), s.seconds, _of_selection(s)) for s in store.each_selection()]
    for _, seconds, load in sorted(selected, key=lambda entry: entry[0]):
        past.setdefault("select", []).append((seconds, foreseen("select", load)))
    return {
        name: sum(taken for taken, _ in listed[-_LAST:]) / sum(typical for _, typical in listed[-_LAST:])
        for name, listed in past.items()
    }


def _of_run(run: RunRecord) -> Workload:
    rows = [fold["train"] for fold in run.folds]
    columns = [len(fold["columns"]) for fold in run.folds if "columns" in fold]
    columns = columns or [sum(part["columns"] for part in run.features)]
    sets = len(run.folds) + (len(run.folds) > 1)
    asked = effort(run.classifier, run.parameters["grid"], run.parameters["inner_folds"])
    return Workload(round(fmean(rows)), max(1, round(fmean(columns))), max(2, len(run.classes)), sets, asked)


def _of_selection(selection: SelectionRecord) -> Workload:
    rows = [len(part["ids"]) for part in selection.fitted_on[:-1]]
    columns = sum(part["columns"] for part in selection.features)
    sets = len(selection.folds) + (len(selection.folds) > 1)
    share = (selection.parameters["inner_folds"] + 1) / (_FOLDS + 1)
    return Workload(round(fmean(rows)), columns, 2, sets, share)
