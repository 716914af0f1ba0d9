"""How much each network and each layer brings: the importances of extremely randomised trees, summed and averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.forest import rank_and_score
from histokit.classifiers.grids import make_grid
from histokit.errors import UsageError, some
from histokit.features import FeatureSet
from histokit.features.feature_store import StoreLike, open_store
from histokit.features.normalisation import parse_normalisation
from histokit.layout import Pieces, Sheet
from histokit.notebooks import InNotebooks
from histokit.protocol.experiment import Experiment, prepare
from histokit.protocol.progress import PARTS, Progress
from histokit.protocol.step_options import ExperimentOptions
from histokit.ranges import check_ranges

#: The most important columns that together hold 10 % of all importance, those that bring it to 25 %, and so on:
#: the colours of Figure 5 of Mormont et al. 2018.
BANDS = (0.10, 0.25, 0.50, 1.0)

_ADDED = 1e-9


@dataclass(frozen=True)
class ImportanceShares(InNotebooks):
    """Shares of importance, averaged over datasets.

    Parameters
    ----------
    datasets : list of dict
        ``dataset``, ``split``, ``samples`` (that the trees were fitted on), their ``groups``, and ``networks`` and
        ``layers`` as below.
    networks, layers : list of dict
        ``network`` and, for layers, ``layer``; ``columns``; ``share_of_columns``; ``importance``, the sum over its
        columns, of 1 in all; ``std`` of that over datasets, where there are several; ``bands``, how much of it comes
        from columns of each band, and ``columns_in_bands``, how many they are on average.
    bands : list of float
        Where each band ends. Columns of all networks are sorted by decreasing importance; a column belongs to the band
        in which their cumulative importance lies before it is added.
    parameters : dict
        Of the trees, their seed, and how features are normalised where they are.
    notes : list of str
    """

    datasets: list[dict[str, Any]]
    networks: list[dict[str, Any]]
    layers: list[dict[str, Any]]
    bands: list[float]
    parameters: dict[str, Any]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        return asdict(self)

    def sheets(self) -> list[Sheet]:
        """Return the shares of networks, and those of layers where there are more of them, as tables for people."""
        edges = zip([0.0, *self.bands], self.bands, strict=False)
        bands = [Pieces([f"{100 * low:.0f} to", f"{100 * high:.0f} %"]) for low, high in edges]
        heads = ["columns", "share of columns", "importance", "std over datasets", *bands]
        title = f"importances on {some([document['dataset'] for document in self.datasets])}"
        found = [Sheet(title, ["network", *heads], [_share_row(row, "network") for row in self.networks])]
        if len(self.layers) > len(self.networks):
            rows = [_share_row(row, "network", "layer") for row in self.layers]
            found.append(Sheet(f"{title}, by layer", ["network", "layer", *heads], rows))
        return found


def _share_row(row: dict[str, Any], *names: str) -> list[Any]:
    figures = ("columns", "share_of_columns", "importance", "std")
    return [*(row[name] for name in (*names, *figures)), *row["bands"]]


def importance_shares(
    store: StoreLike,
    datasets: Sequence[str],
    features: str,
    *,
    split: str | None = None,
    max_features: str = "sqrt",
    trees: int = 100,
    seed: int = 0,
    target: str | None = None,
    target_type: str | None = None,
    where: str | None = None,
    normalise: str | None = None,
    controls: str | None = None,
    per: str | None = None,
    allow_missing: bool = False,
    progress: Callable[..., None] | None = None,
) -> ImportanceShares:
    """Fit extremely randomised trees on each dataset, and sum their importances by network and by layer.

    Parameters
    ----------
    store : FeatureStore or path
    datasets : sequence of str
        At least one; each has one forest, and each counts the same in the average.
    features : str
        One address, usually of several networks or layers.
    split : str, optional
        A stored split, ``cv``, ``leave-one-group-out`` or ``holdout``. The trees are fitted on all samples that train
        or validate in it; with folds, these are all samples.
    max_features : str
        Columns tried at each node: ``sqrt``, ``n/2``, ``n`` or a number.
    trees, seed : int
    target, where : str, optional
        A column in place of the label; SQL over the columns of the samples.
    target_type : str, optional
        ``class`` or ``number``; where not given, columns of fractions are numbers and all others are classes.
    normalise, controls, per : str, optional
        As of `histokit.train`: samples are normalised by the statistics of controls, which no tree is fitted on.
    allow_missing : bool
    progress : callable, optional
        ``progress(done, total, detail)``.

    Returns
    -------
    ImportanceShares

    Raises
    ------
    UsageError
        If no dataset is given, or the datasets have different features under this address.
    StoreError, DataError, LeakageError
    """
    store = open_store(store)
    if not datasets or len(set(datasets)) < len(datasets):
        raise UsageError("Give one dataset or more, each once.", next="See: histokit list datasets")
    check_ranges(trees=trees, seed=seed)
    parameters = make_grid("et", {"max_features": max_features, "trees": str(trees)})[0]
    how: dict[str, Any] = {"split": split, "target": target, "where": where, "allow_missing": allow_missing}
    options = ExperimentOptions(seed=seed, target_type=target_type, **how)
    normalisation = parse_normalisation(normalise, controls, per)
    given = {"normalise": normalise, "controls": controls, "per": per}
    normalised = {name: value for name, value in given.items() if value is not None}
    forests = Progress(progress, len(datasets), 1, parts=PARTS)
    found: list[dict[str, Any]] = []
    notes: list[str] = []
    parts: tuple[tuple[str, ...], ...] = ()
    for dataset in datasets:
        experiment = prepare(store, dataset, features, options, normalisation=normalisation)
        parts = _check_same(parts, experiment.features, datasets[0])
        notes += [f"{dataset}: {note}" for note in [*experiment.notes, *_tested_too(experiment)]]
        forests.detail = dataset
        found.append(_shares(experiment, _importances(experiment, parameters, forests)))
        forests.finish_piece()
    return ImportanceShares(
        datasets=found,
        networks=_averaged([entry["networks"] for entry in found]),
        layers=_averaged([entry["layers"] for entry in found]),
        bands=list(BANDS),
        parameters={**parameters, "max_features": max_features, "seed": seed, **normalised},
        notes=notes,
    )


def _check_same(known: tuple[tuple[str, ...], ...], features: FeatureSet, first: str) -> tuple[tuple[str, ...], ...]:
    parts = tuple((part.address, part.fingerprint) for part in features.parts)
    if known and parts != known:
        differing = sorted({address for address, _ in set(parts) ^ set(known)}) or ["their order"]
        raise UsageError(
            f"{features.record.name!r} has other features than {first!r}: {', '.join(differing)}.",
            next="Extract the same layers with the same weights and preprocessing, or name one with @FINGERPRINT.",
            details={"differing": differing},
        )
    return parts


def _tested_too(experiment: Experiment) -> list[str]:
    tested = np.unique(np.concatenate([outer.test for outer in experiment.folds]))
    if not np.isin(experiment.training, tested).any():
        return []
    name = experiment.split.name
    return [f"samples that train in one fold of {name!r} are tested in another: choose nothing by these importances"]


def _importances(experiment: Experiment, parameters: dict[str, Any], progress: Progress) -> NDArray[np.float64]:
    rows, problem = experiment.training, experiment.problem
    X, classes = np.asarray(problem.X[rows], np.float32), None if problem.numbers else problem.classes
    options: dict[str, Any] = {**parameters, "seed": problem.seed, "threads": True}
    tell = partial(_reach, progress)
    values, _ = rank_and_score(X, problem.y[rows], X[:0], classes, tell=tell, **options)
    return values


def _reach(progress: Progress, share: float) -> None:
    progress.step(share - progress.done)


def bands_of(importances: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the band of each column, 0 for the most important ones.

    Parameters
    ----------
    importances : (d,) array
        Adding up to 1.
    """
    order = np.argsort(-importances, kind="stable")
    before = np.cumsum(importances[order]) - importances[order]
    bands = np.empty(len(order), np.intp)
    # Sums such as 0.1 + 0.15 end a hair beside the edge.
    bands[order] = np.minimum(np.searchsorted(BANDS, before + _ADDED, side="right"), len(BANDS) - 1)
    return bands


def _shares(experiment: Experiment, importances: NDArray[np.float64]) -> dict[str, Any]:
    bands, parts = bands_of(importances), experiment.features.parts
    networks = np.repeat([part.backbone for part in parts], [len(part) for part in parts])
    layers = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    rows, split = experiment.training, experiment.split
    groups = None if experiment.problem.groups is None else len(set(experiment.problem.groups[rows].tolist()))
    facts = {"dataset": split.dataset, "split": split.name, "samples": len(rows), "groups": groups}
    return {
        **facts,
        "networks": [
            {"network": name, **_summed(importances, bands, networks == name)}
            for name in dict.fromkeys(part.backbone for part in parts)
        ],
        "layers": [
            {"network": part.backbone, "layer": part.layer, **_summed(importances, bands, layers == number)}
            for number, part in enumerate(parts)
        ],
    }


def _summed(importances: NDArray[np.float64], bands: NDArray[np.intp], inside: NDArray[np.bool_]) -> dict[str, Any]:
    weights = importances[inside]
    return {
        "columns": int(inside.sum()),
        "share_of_columns": float(inside.mean()),
        "importance": float(weights.sum()),
        "bands": np.bincount(bands[inside], weights, len(BANDS)).tolist(),
        "columns_in_bands": np.bincount(bands[inside], minlength=len(BANDS)).tolist(),
    }


def _averaged(tables: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    averaged = []
    for entries in zip(*tables, strict=True):
        mean = {name: np.mean([e[name] for e in entries], axis=0).tolist() for name in ("bands", "columns_in_bands")}
        importances = [entry["importance"] for entry in entries]
        std = float(np.std(importances)) if len(importances) > 1 else None
        spread = {"importance": float(np.mean(importances)), "std": std}
        averaged.append({**entries[0], **spread, **mean})
    return averaged
