"""What kept columns stand for: the samples that have the highest values of them, from the stored features."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from histokit.errors import StoreError, counted
from histokit.features import FeatureSet
from histokit.features.feature_store import StoreLike, open_store
from histokit.figures.contact import ContactSheet, Thumbnail
from histokit.figures.lettering import of_groups
from histokit.ranges import check_ranges
from histokit.reading.thumbnails import Square, read_squares
from histokit.store import SelectionRecord, Store


@dataclass(frozen=True, eq=False)
class ExcitedSample:
    """A sample that has a high value of a column.

    Parameters
    ----------
    id : str
    label : str, optional
        What the selection is of: its label, or the value of the column that it predicts.
    group : str, optional
    value : float
    square : (side, side, 3) uint8 array, optional
        None where its image cannot be read.
    """

    id: str
    label: str | None
    group: str | None
    value: float
    square: Square | None

    def to_json(self) -> dict[str, Any]:
        """Return all but the image as JSON-serialisable data."""
        return {name: getattr(self, name) for name in ("id", "label", "group", "value")}


@dataclass(frozen=True, eq=False)
class KeptColumn:
    """A column that a selection kept.

    Parameters
    ----------
    column : int
        Its number in the address.
    name : str
    importance : float, optional
        Among all columns, before any was eliminated.
    mean, std : float
        Of all samples.
    samples : tuple of ExcitedSample
        The highest value first.
    """

    column: int
    name: str
    importance: float | None
    mean: float
    std: float
    samples: tuple[ExcitedSample, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        facts = {name: getattr(self, name) for name in ("column", "name", "importance", "mean", "std")}
        return {**facts, "samples": [sample.to_json() for sample in self.samples]}


@dataclass(frozen=True, eq=False)
class KeptColumns:
    """What the columns that a selection kept stand for.

    Parameters
    ----------
    selection, dataset, address : str
    kept : int
        How many columns it kept.
    count : int
        Samples.
    columns : tuple of KeptColumn
        The most important one first.
    split : str
        Inside whose training samples columns were selected.
    groups : int
        Of the samples; 0 where there are none.
    notes : list of str
    """

    selection: str
    dataset: str
    address: str
    kept: int
    count: int
    columns: tuple[KeptColumn, ...]
    split: str
    groups: int
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        names = ("selection", "dataset", "split", "address", "kept", "count", "groups", "notes")
        facts = {name: getattr(self, name) for name in names}
        return {**facts, "columns": [column.to_json() for column in self.columns]}

    @property
    def sheet(self) -> ContactSheet:
        """Its columns as lines of thumbnails."""
        title = " · ".join(
            [
                self.dataset,
                self.address,
                f"selection {self.selection}, split {self.split}",
                f"{len(self.columns)} of {counted(self.kept, 'kept column', 'kept columns')}, by importance",
                f"their highest values among {counted(self.count, 'sample', 'samples')}{of_groups(self.groups)}",
            ]
        )
        rows = [
            [Thumbnail(each.square, each.label or "", each.id, _facts(each, column)) for each in column.samples]
            for column in self.columns
        ]
        below = (
            "Below each: label, id, and the column, with how many standard deviations (σ) its value is above the mean"
        )
        named = ", ".join(f"#{column.column} {column.name}" for column in self.columns)
        return ContactSheet(title, rows, f"{below}. Columns from top to bottom: {named}.")


def _facts(sample: ExcitedSample, column: KeptColumn) -> str:
    above = (sample.value - column.mean) / column.std if column.std else 0.0
    return f"#{column.column}: {above:+.1f} σ"


def kept_columns(store: StoreLike, selection_id: str, *, columns: int = 8, per_column: int = 7) -> KeptColumns:
    """Show what the columns that a selection kept stand for: the samples with the highest values of each.

    Nothing is computed anew: values are those of the stored features, as they are.

    Parameters
    ----------
    store : FeatureStore or path
    selection_id : str
    columns : int
        How many, the most important ones.
    per_column : int
        How many samples of each.

    Returns
    -------
    KeptColumns

    Raises
    ------
    StoreError
        If the selection kept none for all training samples, or the features are gone.
    """
    check_ranges(columns=columns, per_column=per_column)
    opened = open_store(store)
    selection = opened.selection(selection_id)
    if not selection.kept or not selection.kept["columns"]:
        raise StoreError(
            f"The selection {selection.id} kept no columns for all training samples.",
            next="See: histokit list selections",
        )
    address = "+".join(f"{part['backbone']}/{part['layer']}@{part['fingerprint']}" for part in selection.features)
    features = opened.features(selection.dataset, address, where=selection.parameters.get("where"), allow_missing=True)
    kept = np.array(selection.kept["columns"], np.intp)
    importances = np.array(selection.kept.get("importances") or np.zeros(features.X.shape[1]))
    chosen = kept[np.argsort(-importances[kept], kind="stable")][:columns]
    highest = {int(column): np.argsort(-features.X[:, column], kind="stable")[:per_column] for column in chosen}
    target = str(selection.parameters.get("target") or "label")
    squares = _squares(opened, features, sorted({int(row) for rows in highest.values() for row in rows}))
    names = features.column_names
    return KeptColumns(
        selection=selection.id,
        dataset=selection.dataset,
        address=selection.address,
        kept=len(kept),
        count=len(features),
        columns=tuple(
            KeptColumn(
                column,
                names[column],
                float(importances[column]) if selection.kept.get("importances") else None,
                float(features.X[:, column].mean()),
                float(features.X[:, column].std()),
                tuple(_sample(features, int(row), column, squares, target) for row in rows),
            )
            for column, rows in highest.items()
        ),
        split=selection.split,
        groups=len(set(features.column(features.record.group))) if features.record.group else 0,
        notes=_notes(opened, selection, len(features)),
    )


def _squares(store: Store, features: FeatureSet, rows: list[int]) -> dict[int, Square | None]:
    """Return the pictures of some samples."""
    found = read_squares(store, features.record, features.samples.take(rows).to_pylist())
    return dict(zip(rows, found, strict=True))


def _sample(
    features: FeatureSet, row: int, column: int, squares: dict[int, Square | None], target: str
) -> ExcitedSample:
    one = features.take([row])
    group = one.column(features.record.group)[0] if features.record.group else None
    label = one.column(target)[0]
    return ExcitedSample(
        one.sample_ids[0],
        None if label is None else str(label),
        None if group is None else str(group),
        float(one.X[0, column]),
        squares[row],
    )


def _notes(store: Store, selection: SelectionRecord, count: int) -> list[str]:
    notes = []
    samples = len(store.samples(selection.dataset, ["id"], where=selection.parameters.get("where")))
    if count < samples:
        of = f"of {samples:,} samples"
        forms = (f"{of} has no features, and is not shown", f"{of} have no features, and are not shown")
        notes.append(counted(samples - count, *forms))
    how = selection.parameters.get("normalise")
    if how:
        notes.append(
            f"values are those of the features as they are stored, not normalised ({how}) as the selection had them"
        )
    return notes
