"""Samples as points of a plane: the first two principal components of their features, or UMAP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histokit.errors import DataError, UsageError, counted, did_you_mean
from histokit.features import FeatureSet
from histokit.features.export import open_for_export
from histokit.features.feature_store import StoreLike, open_store
from histokit.features.finite import check_finite
from histokit.features.sample_columns import flat
from histokit.layout import Sheet, natural
from histokit.notebooks import InNotebooks
from histokit.protocol.labelled_features import left_out
from histokit.ranges import check_ranges

Floats = NDArray[np.float64]

METHODS = ("pca", "umap")
#: Of more samples than these, drawn at random, the components are those of the drawn ones.
_FITTED = 50_000
#: What UMAP's own defaults are, and the distance that fits deep features.
_UMAP: dict[str, Any] = {"n_neighbors": 15, "min_dist": 0.1, "metric": "cosine"}
#: So many samples are turned into points at once.
_ROWS = 8192
#: Columns of lists and digests.
_TOLD = ("content", "image", "box")
#: Numbers with more values than these are no kinds.
_KINDS = 12


@dataclass(frozen=True, eq=False)
class ScatterPlot(InNotebooks):
    """Samples as points of a plane.

    Parameters
    ----------
    features : FeatureSet
        Whose samples they are.
    method : str
        ``pca`` or ``umap``.
    points : (n, 2) float64 array
    by : tuple of str
        The columns that tell what colour they have.
    settings : dict
        How the points were found.
    notes : list of str
    """

    features: FeatureSet
    method: str
    points: Floats
    by: tuple[str, ...]
    settings: dict[str, Any]
    notes: list[str]

    def __repr__(self) -> str:
        return f"ScatterPlot({self._title})"

    @property
    def _title(self) -> str:
        count = counted(len(self.points), "sample", "samples")
        return f"{self.features.record.name}: {count} by {self.method} of {self.features.address}"

    @property
    def axes(self) -> list[str]:
        """What both axes are."""
        shares = self.settings.get("explained_variance_ratio")
        if shares is None:
            return ["UMAP 1", "UMAP 2"]
        return [f"principal component {i + 1} ({share:.1%} of the variance)" for i, share in enumerate(shares)]

    @property
    def _samples(self) -> pa.Table:
        """The columns of samples, of which lists and digests are texts."""
        return flat(self.features.samples.select(dict.fromkeys(["id", *self.by])))

    def values(self, column: str) -> list[Any]:
        """Return a column of the samples: numbers where it holds measurements, else texts, none where it has none."""
        found = self._samples.column(column).to_pylist() if column in _TOLD else self.features.column(column).tolist()
        numbers = [v for v in found if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(numbers) == sum(v is not None for v in found) and len(set(numbers)) > _KINDS:
            return found
        return [None if v is None else str(v) for v in found]

    def table(self) -> pa.Table:
        """Return a row for each sample: id, x, y, and the columns that tell its colour; a column x is sample_x."""
        columns = {
            "id": pa.array(self.features.sample_ids, pa.string()),
            "x": pa.array(self.points[:, 0]),
            "y": pa.array(self.points[:, 1]),
        }
        samples = self._samples
        names = {name: name for name in self.by if name not in columns}
        for name in {"x", "y"}.intersection(self.by):
            given = f"sample_{name}"
            while given in names.values():
                given = f"sample_{given}"
            names[name] = given
        names = {name: names[name] for name in self.by if name in names}
        return pa.table(columns | {given: samples.column(name) for name, given in names.items()})

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        record = self.features.record
        groups = self.features.groups()
        return {
            "dataset": record.name,
            "features": self.features.address,
            "method": self.method,
            "settings": self.settings,
            "axes": self.axes,
            "samples": len(self.points),
            "group": record.group,
            "groups": None if groups is None else len({str(g) for g in groups if g is not None}),
            "steps": list(self.features.steps),
            "ids": self.features.sample_ids,
            "x": self.points[:, 0].tolist(),
            "y": self.points[:, 1].tolist(),
            "by": {name: self.values(name) for name in self.by},
            "notes": self.notes,
        }

    def sheets(self) -> list[Sheet]:
        """Return for each column where the samples of its values lie."""
        found = []
        for name in self.by:
            values = self.values(name)
            if any(v is not None for v in values) and not any(isinstance(v, str) for v in values):
                correlations = [_correlation(self.points[:, i], values) for i in (0, 1)]
                found.append(Sheet(f"{self._title}: correlation with {name}", ["x", "y"], [correlations]))
                continue
            places: dict[Any, list[int]] = {}
            for place, value in enumerate(values):
                places.setdefault(value, []).append(place)
            rows = []
            order = {value: place for place, value in enumerate(natural(sorted(v for v in places if v is not None)))}
            for value, own in sorted(places.items(), key=lambda pair: (-len(pair[1]), order.get(pair[0], len(order)))):
                middle, spread = self.points[own].mean(0).tolist(), self.points[own].std(0).tolist()
                rows.append(["none" if value is None else value, len(own), *middle, *spread])
            names = [name, "samples", "mean x", "mean y", "std x", "std y"]
            found.append(Sheet(self._title, names, rows))
        return found


def scatter(
    store: StoreLike,
    dataset: str,
    features: str,
    *,
    by: str | Sequence[str] | None = None,
    method: str = "pca",
    where: str | None = None,
    scale: bool = False,
    normalise: str | None = None,
    controls: str | None = None,
    per: str | None = None,
    allow_missing: bool = False,
    seed: int = 0,
) -> ScatterPlot:
    """Return the samples of a dataset as points of a plane.

    Parameters
    ----------
    store : FeatureStore or path
    dataset : str
    features : str
        An address; merged ones are vectors one behind the other.
    by : str or sequence of str, optional
        Columns that tell the colour of points; the label where not given.
    method : str
        ``pca``: the first two principal components of the centred features, those of 50,000 samples where there are
        more. ``umap``: McInnes et al. 2018, by cosine distance, 15 neighbours and a least distance of 0.1; of the same
        seed on the same machine the same points. What is far apart there need not be so in the features.
    where : str, optional
        A filter over the columns of the samples.
    scale : bool
        Give each column the mean 0 and the standard deviation 1, so that none outweighs the others.
    normalise, controls, per : str, optional
        As of `histokit.export`: by all controls of the dataset, whatever `where` keeps.
    allow_missing : bool
        Leave out samples whose features are missing, instead of raising.
    seed : int
        Of samples that are drawn, and of UMAP.

    Returns
    -------
    ScatterPlot

    Raises
    ------
    StoreError
        If features are absent, ambiguous or incomplete.
    UsageError
        If a method or column is unknown, or UMAP is not installed.
    DataError
        If features are not finite, or there are fewer than three samples or two columns.
    """
    check_ranges(seed=seed)
    _check_method(method)
    opened = open_store(store)
    found, told = open_for_export(
        opened,
        dataset,
        features,
        where=where,
        allow_missing=allow_missing,
        normalise=normalise,
        controls=controls,
        per=per,
    )
    columns = tuple(dict.fromkeys([by] if isinstance(by, str) else by or ["label"]))
    for column in columns:
        found.column(column)
    check_finite(found, ", with --where")
    notes = [*left_out(opened, found, where), *told]
    if len(found) < 3 or found.X.shape[1] < 2:
        size = f"{counted(len(found), 'sample', 'samples')} of {counted(found.X.shape[1], 'column', 'columns')}"
        raise DataError(f"Points of a plane need more than {size}.", next="Take other features, or mend --where.")
    X = _scaled(found.X) if scale else found.X
    points, settings = _by_pca(X, seed, notes) if method == "pca" else _by_umap(X, seed)
    return ScatterPlot(found, method, points, columns, {**settings, "scale": scale}, notes)


def _check_method(method: str) -> None:
    if method not in METHODS:
        raise UsageError(
            f"There is no method {method!r}.", next=f"{did_you_mean(method, METHODS)}Use {' or '.join(METHODS)}."
        )
    if method == "umap" and find_spec("umap") is None:
        raise UsageError(
            "The method umap needs umap-learn, which is not installed.",
            next="Install it with: pip install umap-learn; or use --method pca",
        )


def _scaled(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return columns of mean 0 and standard deviation 1; those without a spread are 0."""
    from sklearn.preprocessing import StandardScaler

    found: NDArray[np.float32] = StandardScaler().fit_transform(X)
    return found


def _by_pca(X: NDArray[np.float32], seed: int, notes: list[str]) -> tuple[Floats, dict[str, Any]]:
    from sklearn.decomposition import PCA

    drawn = np.arange(len(X))
    if len(X) > _FITTED:
        drawn = np.sort(np.random.default_rng(seed).choice(len(X), _FITTED, replace=False))
        notes.append(f"the components are those of {_FITTED:,} samples drawn from {len(X):,}")
    fitted_on = X[drawn]
    if not (fitted_on != fitted_on[0]).any():
        raise DataError("All samples have the same features.", next="Take other features: histokit list features")
    # In double precision: single loses digits where the mean is large beside the spread.
    fitted = PCA(2, random_state=seed).fit(fitted_on.astype(np.float64))
    parts = [fitted.transform(X[start : start + _ROWS].astype(np.float64)) for start in range(0, len(X), _ROWS)]
    shares = fitted.explained_variance_ratio_.tolist()
    return np.concatenate(parts), {"explained_variance_ratio": shares, "fitted_on": len(drawn)}


def _by_umap(X: NDArray[np.float32], seed: int) -> tuple[Floats, dict[str, Any]]:
    from importlib.metadata import version

    import umap

    neighbours = min(_UMAP["n_neighbors"], len(X) - 1)
    settings = {**_UMAP, "n_neighbors": neighbours, "random_state": seed}
    found = umap.UMAP(n_components=2, n_jobs=1, **settings).fit_transform(X)
    return np.asarray(found, np.float64), {**settings, "version": version("umap-learn")}


def _correlation(points: Floats, values: list[Any]) -> float | None:
    there = [i for i, v in enumerate(values) if v is not None]
    numbers = np.array([values[i] for i in there], float)
    if len(there) < 3 or not numbers.std() > 0 or not points[there].std() > 0:
        return None
    return float(np.corrcoef(points[there], numbers)[0, 1])
