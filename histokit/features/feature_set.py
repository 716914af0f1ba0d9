"""`FeatureSet`: the matrix, the labels and the groups of a dataset's samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histokit.errors import DataError, UsageError, counted, did_you_mean, shortened, some
from histokit.features.aggregated_units import aggregate_samples
from histokit.features.frames import annotated_data, column_values, data_frame
from histokit.features.normalisation import parse_normalisation
from histokit.features.normalised import normalise
from histokit.features.part_sheets import ShownFeatures
from histokit.store.filters import Filter
from histokit.store.records import DatasetRecord

Floats = npt.NDArray[np.float32]
Objects = npt.NDArray[np.object_]


#: Added up in float32 one behind the other, a mean of two hundred thousand equal numbers is off by two thousandths.
_REDUCTIONS: dict[str, Any] = {"mean": partial(np.mean, dtype=np.float64), "median": np.median, "max": np.max}


@dataclass(frozen=True)
class Part:
    """Which columns of a `FeatureSet` came from which table.

    Parameters
    ----------
    address, table, fingerprint, backbone, layer : str
    filters : array of int
        Positions in the vectors of the table.
    names : tuple of str
        Names of the filters.
    """

    address: str
    table: str
    fingerprint: str
    backbone: str
    layer: str
    filters: npt.NDArray[np.intp]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.filters)


@dataclass(frozen=True, eq=False)
class FeatureSet(ShownFeatures):
    """Features of samples, aligned with their labels and metadata.

    Parameters
    ----------
    X : (n, d) float32 array
    samples : pyarrow.Table
        n rows: id, content, image, part, box, label, mpp and the metadata.
    record : DatasetRecord
    parts : tuple of Part
        Their lengths add up to d.
    steps : tuple of dict
        What was done to the vectors since they were read, as JSON-serialisable data.
    """

    X: Floats
    samples: pa.Table
    record: DatasetRecord
    parts: tuple[Part, ...]
    steps: tuple[dict[str, Any], ...] = ()

    def __len__(self) -> int:
        return len(self.X)

    def __repr__(self) -> str:
        size = f"{len(self)} samples × {self.X.shape[1]} features"
        return f"FeatureSet({self.record.name}: {size} of {shortened(self.address)})"

    @property
    def address(self) -> str:
        """The canonical address of all parts."""
        return "+".join(part.address for part in self.parts)

    @property
    def sample_ids(self) -> list[str]:
        """The ids of the samples, in the order of rows."""
        return list(self.samples.column("id").to_pylist())

    @property
    def content(self) -> list[bytes]:
        """The content digests of the samples."""
        return list(self.samples.column("content").to_pylist())

    @property
    def labels(self) -> Objects:
        """The labels, (n,) with none where it is not known."""
        return self.column("label")

    @property
    def y(self) -> npt.NDArray[Any]:
        """The labels as an (n,) array of text.

        Raises
        ------
        DataError
            If a sample has no label.
        """
        labels = self.labels
        absent = sum(label is None for label in labels)
        if absent:
            raise DataError(
                f"{counted(absent, *(f'of {len(self):,} samples {has} no label' for has in ('has', 'have')))}.",
                next="Leave them out with .where('label IS NOT NULL').",
            )
        return labels.astype(str)

    def column(self, name: str) -> Objects:
        """Return a column of the samples as an (n,) object array, with none where a value is missing or NaN.

        Raises
        ------
        UsageError
            If there is no such column.
        """
        if name not in self.samples.column_names:
            names = self.samples.column_names
            raise UsageError(
                f"The dataset {self.record.name!r} has no column {name!r}.",
                next=f"{did_you_mean(name, names)}Its columns are: {', '.join(names)}.",
            )
        return column_values(self.samples.column(name))

    def groups(self, column: str | None = None) -> Objects | None:
        """Return the groups for a scikit-learn splitter: of a column, or of the dataset's own group.

        Returns
        -------
        (n,) object array, or None where the dataset names no group.
        """
        name = column or self.record.group
        return None if name is None else self.column(name)

    @property
    def column_names(self) -> list[str]:
        """The name of each column of `X`: ``backbone/layer[filter]``; ``@fingerprint`` tells variants of a layer."""
        specs: dict[str, set[str]] = {}
        for part in self.parts:
            specs.setdefault(part.address, set()).add(part.fingerprint)
        names = []
        for part in self.parts:
            mark = f"@{part.fingerprint}" if len(specs[part.address]) > 1 else ""
            names += [f"{part.address}{mark}[{name}]" for name in part.names]
        return names

    def __add__(self, other: FeatureSet) -> FeatureSet:
        """Merge the columns of two sets on sample id.

        Raises
        ------
        DataError
            If a sample of one is missing in the other, or has other content there.
        UsageError
            If one is normalised and the other is not.
        """
        if not isinstance(other, FeatureSet):
            return NotImplemented
        mine, theirs = self.sample_ids, other.sample_ids
        position = {sample_id: i for i, sample_id in enumerate(theirs)}
        absent = sorted(set(mine) ^ set(theirs))
        if absent:
            raise DataError(
                f"{counted(len(absent), 'sample is', 'samples are')} in only one of {self.address} and "
                f"{other.address}: {some(absent)}.",
                next="Extract both for the same samples, or take the common ones with .where(...).",
            )
        if self.steps != other.steps:
            raise UsageError("The two are not normalised alike.", next="Merge them first, then normalise.")
        order = np.array([position[i] for i in mine], dtype=np.intp)
        self._check_same_content(other, order)
        return replace(self, X=np.hstack([self.X, other.X[order]]), parts=self.parts + other.parts)

    def normalise(self, method: str, controls: str, per: str | None = None) -> FeatureSet:
        """Return the samples, normalised by the statistics of the controls among them.

        Columns without a spread among the controls of any unit become 0, and are listed in the last of ``steps``.

        Parameters
        ----------
        method : str
            ``standardise``, ``mad-robustise`` or ``sphering``; ``METHOD:EPSILON`` says what is added to spreads. See
            `histokit.features.normalisation.Normalisation`.
        controls : str
            A filter over the columns, as ``--where`` takes it.
        per : str, optional
            A column such as a plate, whose controls normalise its own samples.

        Raises
        ------
        DataError
            If a unit has fewer than two controls, a sample has no unit, or vectors are not finite.
        """
        asked = parse_normalisation(method, controls, per)
        assert asked is not None
        return normalise(self, self.where(controls), asked)[0]

    def _check_same_content(self, other: FeatureSet, order: npt.NDArray[np.intp]) -> None:
        theirs = other.content
        differing = [
            i for i, row, mine in zip(self.sample_ids, order, self.content, strict=True) if mine != theirs[row]
        ]
        if differing:
            raise DataError(
                f"{len(differing)} samples of {self.record.name!r} and {other.record.name!r} have the same id but "
                f"not the same content: {some(differing)}.",
                next="Merge features of the same images only.",
            )

    def take(self, indices: npt.ArrayLike) -> FeatureSet:
        """Return the samples at positions, in that order; negative ones count from the end.

        Raises
        ------
        IndexError
            If a position is outside.
        """
        rows = _positions(indices, len(self))
        return replace(self, X=self.X[rows], samples=self.samples.take(pa.array(rows)))

    def where(self, condition: str | npt.ArrayLike) -> FeatureSet:
        """Return the samples of a filter over the columns, as ``--where`` takes it, or of a boolean mask of length n.

        Raises
        ------
        UsageError
            If the filter is no condition over the columns, or the mask has another length.
        """
        if not isinstance(condition, str):
            mask = np.asarray(condition, dtype=bool)
            if mask.shape != (len(self),):
                raise UsageError(
                    f"The mask has the shape {mask.shape}; there are {len(self)} samples.",
                    next="Give one truth value for each sample.",
                )
            return self.take(np.flatnonzero(mask))
        return self.take(np.flatnonzero(Filter(condition).mask(self.samples)))

    def columns(self, indices: npt.ArrayLike) -> FeatureSet:
        """Return the set with only some columns of `X`, in ascending order and each once.

        Raises
        ------
        IndexError
            If a position is outside.
        """
        kept = np.unique(_positions(indices, self.X.shape[1]))
        parts, start = [], 0
        for part in self.parts:
            inside = kept[(kept >= start) & (kept < start + len(part))] - start
            if len(inside):
                names = tuple(part.names[i] for i in inside)
                parts.append(replace(part, filters=part.filters[inside], names=names))
            start += len(part)
        return replace(self, X=self.X[:, kept], parts=tuple(parts))

    def aggregate(self, by: str, how: Literal["mean", "median", "max"] = "mean", target: str = "label") -> FeatureSet:
        """Return one row for each value of a column, its id being the value.

        Labels and metadata are kept where they are the same in the whole unit, else they are none.

        Parameters
        ----------
        by : str
        how : str
        target : str
            The column that has to be the same in each unit.

        Raises
        ------
        DataError
            If a unit holds two labels, or values of the target.
        """
        if how not in _REDUCTIONS:
            raise UsageError(f"Aggregation {how!r} is unknown.", next=f"Use one of {', '.join(_REDUCTIONS)}.")
        reduce = _REDUCTIONS[how]
        keys = self.column(by)
        absent = sum(key is None for key in keys)
        if absent:
            samples = counted(absent, "sample has", "samples have")
            raise DataError(f"{samples} no {by}.", next=f"Leave them out with: {by} IS NOT NULL")
        members: dict[str, list[int]] = {}
        for row, key in enumerate(keys):
            members.setdefault(str(key), []).append(row)
        vectors = np.empty((len(members), self.X.shape[1]), np.float32)
        for place, rows in enumerate(members.values()):
            vectors[place] = reduce(self.X[rows], axis=0)
        return replace(self, X=vectors, samples=aggregate_samples(self.samples, members, by, target))

    def to_pandas(self) -> Any:
        """Return a DataFrame of the features, indexed by sample id, with the metadata as columns after them."""
        return data_frame(self)

    def to_anndata(self) -> Any:
        """Return an AnnData: features as X, labels and metadata with any value as obs, provenance of columns as var.

        A column that AnnData cannot write under its name (``_index``, or with ``/``) has ``_`` there or at its end.
        Where samples have boxes, ``obsm["spatial"]`` holds their centres (x, y in pixels of the image, as squidpy takes
        them), and ``obs["library_id"]`` the image, as ``FILE#PART`` where it is part of a file.
        """
        return annotated_data(self)


def _positions(indices: npt.ArrayLike, count: int) -> npt.NDArray[np.intp]:
    asked = np.asarray(indices)
    return np.arange(count)[asked if asked.size else asked.astype(np.intp)]
